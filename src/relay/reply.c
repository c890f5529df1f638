// One table. What is not in it is REPLY_UNKNOWN, which is always safe: the cursor in Redis
// says what has been done.
#include "relay/reply.h"

#include "base/text.h"

static const struct {
    const char *word;
    enum reply reply;
} words[] = {
    {"OK", REPLY_DONE},
    {"AT", REPLY_AT},
    {"FENCED", REPLY_FENCED},
    {"NOSCRIPT", REPLY_NOSCRIPT},
    {"LOADING", REPLY_WAIT},
    {"BUSY", REPLY_WAIT},
    {"OOM", REPLY_WAIT},
    {"MISCONF", REPLY_WAIT},
    {"NOREPLICAS", REPLY_WAIT},
    {"CLUSTERDOWN", REPLY_WAIT},
    {"TRYAGAIN", REPLY_WAIT},
    // A slot on its way to another node: MOVED follows when it has arrived.
    {"ASK", REPLY_WAIT},
    {"READONLY", REPLY_ELSEWHERE},
    {"MASTERDOWN", REPLY_ELSEWHERE},
    {"MOVED", REPLY_MOVED},
    {"NOAUTH", REPLY_STOP},
    {"WRONGPASS", REPLY_STOP},
    {"NOPERM", REPLY_STOP},
    {"WRONGTYPE", REPLY_STOP},
    {"CROSSSLOT", REPLY_STOP},
    {"DENIED", REPLY_STOP}, // protected mode
};

// Errors that begin with ERR and say nothing about one record. Redis 7.0 says "The user executing
// the script ..." of a right that is missing inside a script, Redis 8 and Valkey "ACL failure in
// script: ..."; a command that is missing there is "Unknown Redis command" or "Unknown command".
static const struct {
    const char *start;
    enum reply reply;
} errors[] = {
    {"ERR max number of clients", REPLY_WAIT},
    {"ERR unknown command", REPLY_STOP},
    {"ERR Unknown command", REPLY_STOP},
    {"ERR Unknown Redis command", REPLY_STOP},
    {"ERR This Redis command is not allowed from script", REPLY_STOP},
    {"ERR This command is not allowed from script", REPLY_STOP},
    {"ERR The user executing the script", REPLY_STOP},
    {"ERR ACL failure in script", REPLY_STOP},
};

// Inside a script some versions keep the '-' of the wire before the word.
static struct span
first_word(struct span text)
{
    if (span_starts(text, SPAN("-")))
        text = span_from(text, 1);
    return span_to(text, span_find(text, ' '));
}

enum reply
reply_of(struct span text, bool inside)
{
    struct span word = first_word(text);

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (span_is(word, words[i].word))
            return words[i].reply;
    }
    if (!span_is(word, "ERR"))
        return REPLY_UNKNOWN;
    text = span_from(text, (size_t)(word.at - text.at));
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (span_starts(text, span_of(errors[i].start)))
            return errors[i].reply;
    }
    return inside ? REPLY_REFUSED : REPLY_UNKNOWN;
}

void
reply_word(char to[REPLY_WORD], struct span text)
{
    struct span word = first_word(text);
    bool good = word.len > 0 && word.len < REPLY_WORD;

    for (size_t i = 0; good && i < word.len; i++)
        good = word.at[i] >= 'A' && word.at[i] <= 'Z';
    if (!good)
        word = SPAN("other");
    memcpy(to, word.at, word.len);
    to[word.len] = '\0';
}

bool
reply_moved(struct span text, char *host, size_t host_size, uint16_t *port)
{
    uint64_t number;

    if (!span_is(span_cut(&text, ' '), "MOVED"))
        return false;
    (void)span_cut(&text, ' '); // the slot
    // The last colon: an IPv6 address has colons of its own.
    size_t colon = text.len;
    while (colon > 0 && text.at[colon - 1] != ':')
        colon--;
    if (colon == 0 || colon > host_size ||
        !text_number(&number, span_from(text, colon), UINT16_MAX) || number == 0)
        return false;
    memcpy(host, text.at, colon - 1);
    host[colon - 1] = '\0';
    *port = (uint16_t)number;
    return true;
}
