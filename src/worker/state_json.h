// A state is what {namespace}:hooks says of one hook, as JSON without URL and token:
// {"state":"registered","ids":["7"],"checked":T,"last_event":T,"repaired":T,
// "repaired_boot":"<seconds of the boot clock>"}, times RFC 3339 UTC or absent. States: registered, pending (changes wait), silent (no event for longer than
// expect_every), left (the file does not name it any more, and AC still posts to it). What is
// known of its hooks beside (known.h), only where there is something:
// "created":[{"id":"7","list":"0","at":T}] AC accepted, no list has shown it yet;
// "stored":[{"id":"7","differs":true,"written":"<16 hex>","as":"<16 hex>"}] digests of what was
// written and of what AC made of it; where they do not differ, for an hour.
#ifndef ACRELAY_WORKER_STATE_JSON_H
#define ACRELAY_WORKER_STATE_JSON_H

#include "hook/hook.h"
#include "worker/known.h"

struct state {
    const char *word;
    int64_t checked_us, last_us, repaired_us; // 0: never
    int64_t repaired_boot_us;                 // the same by the boot clock
};

// state_json_write appends the JSON, with the ids of the found hooks of this name.
void state_json_write(struct buf *to, const struct state *state, const char *name,
                      const struct hooks *found, const struct known *known);

// state_json_merge_known appends `text` with what is known of the hooks of this name;
// state_json_read_known adds what it says to *known.
void state_json_merge_known(struct buf *to, struct span text, const struct known *known,
                            const char *name);
void state_json_read_known(struct known *known, const char *name, struct span text);

// state_json_repaired reads when the hook was last repaired, by both clocks, 0 when it says
// nothing.
void state_json_repaired(struct state *to, struct span text);

// state_json_word reads the state into word[size]; "" when it says nothing.
void state_json_word(char *word, size_t size, struct span text);

#endif
