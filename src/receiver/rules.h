// Rules are what the intake goes by: a configuration with its secrets and gate. Read-only once
// made, shared by requests under way, replaced as a whole by a reload: the last holder of old
// ones releases them, secrets overwritten.
#ifndef ACRELAY_RECEIVER_RULES_H
#define ACRELAY_RECEIVER_RULES_H

#include "base/metric.h"
#include "receiver/gate.h"

#include <stdatomic.h>

struct rules {
    struct config *config;
    struct secrets *secrets;
    struct gate *gate;
    struct metric **accepted; // by hook: counters of 200
    struct metric **last;     // by hook: when the last of them came
    // Hooks of earlier rules that these do not have: posts to them are counted by name, and the
    // first one is logged.
    struct config_list former;
    _Atomic(bool) *former_seen;
    _Atomic(size_t) holders;
};

// rules_make takes the configuration and opens its secrets; the caller is the holder. `before`
// (NULL: none) are the rules these come after. On an error the configuration is released.
struct rules *rules_make(struct config *c, const struct rules *before, struct err *err);

// rules_remember has hooks of another configuration counted as former ones, where these rules
// do not have them; before anybody else holds the rules.
void rules_remember(struct rules *r, const struct config *c);

// rules_log_removed logs each hook of another configuration that these rules do not have, and
// appends their names to *names ("a, b"; NULL: not).
void rules_log_removed(const struct rules *r, const struct config *c, struct buf *names);

void rules_hold(struct rules *r);
void rules_drop(struct rules *r); // NULL is fine

// rules_count counts an answer; hook and former are what the gate said (SIZE_MAX: none).
void rules_count(struct rules *r, size_t hook, size_t former, int code);

// rules_count_refusal counts an answer that the HTTP library gave by itself.
void rules_count_refusal(int code);

#endif
