// What a reply of Redis means for the relay, said by its first word (reliability.md 4.4
// lists them with what each was seen to do). Pure.
#ifndef ACRELAY_RELAY_REPLY_H
#define ACRELAY_RELAY_REPLY_H

#include "base/span.h"

#include <stdint.h>

// Named by what the relay does. In every case but REPLY_DONE the journal simply waits.
enum reply {
    REPLY_DONE,      // OK: go on behind the cursor it tells
    REPLY_AT,        // nothing written: the cursor is not where we thought, but there
    REPLY_FENCED,    // nothing written: the cursor is another's
    REPLY_NOSCRIPT,  // nothing executed: send the text of the script
    REPLY_WAIT,      // nothing executed: wait and try again
    REPLY_ELSEWHERE, // not the master (any more): wait and connect again
    REPLY_MOVED,     // nothing executed: connect where it says
    REPLY_STOP,      // an operator must act: alarm, and try again slowly
    REPLY_REFUSED,   // this record was refused, those before it are in
    REPLY_UNKNOWN,   // executed or not: connect again and read the cursor
};

// reply_of reads an error reply, or the word in a script's answer; inside says which: an
// ERR from within the script is about one record, one from without can be anything.
enum reply reply_of(struct span text, bool inside);

// reply_word is the first word, for logs and for counting by class; at most 31 bytes, and
// "other" for anything that is not upper-case letters.
enum { REPLY_WORD = 32 };
void reply_word(char to[REPLY_WORD], struct span text);

// reply_moved reads "MOVED slot host:port" into host[host_size] and port; an empty host
// means the one we are connected to. False when it is anything else.
bool reply_moved(struct span text, char *host, size_t host_size, uint16_t *port);

#endif
