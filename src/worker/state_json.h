// A state is what {namespace}:hooks says of one hook, as JSON without URL and token:
// {"state":"registered","ids":["7"],"checked":T,"last_event":T,"repaired":T}, times RFC 3339
// UTC or absent. States: registered, pending (changes wait), silent (no event for longer than
// expect_every).
#ifndef ACRELAY_WORKER_STATE_JSON_H
#define ACRELAY_WORKER_STATE_JSON_H

#include "hook/hook.h"

struct state {
    const char *word;
    int64_t checked_us, last_us, repaired_us; // 0: never
};

// state_json_write appends the JSON, with the ids of the found hooks of this name.
void state_json_write(struct buf *to, const struct state *state, const char *name,
                      const struct hooks *found);

// state_json_repaired reads when the hook was last repaired, 0 when it says nothing.
int64_t state_json_repaired(struct span text);

// state_json_word reads the state into word[size]; "" when it says nothing.
void state_json_word(char *word, size_t size, struct span text);

#endif
