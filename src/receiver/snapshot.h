// A snapshot is what the intake goes by: a configuration with its secrets and gate. Read-only
// once made, shared by requests under way, replaced as a whole by a reload: the last holder of an
// old one releases it, secrets overwritten.
#ifndef ACRELAY_RECEIVER_SNAPSHOT_H
#define ACRELAY_RECEIVER_SNAPSHOT_H

#include "base/metric.h"
#include "receiver/gate.h"

#include <stdatomic.h>

struct snapshot {
    _Atomic(size_t) holders;
    struct config *config;
    struct secrets *secrets;
    struct gate *gate;
    struct metric **accepted; // by hook: counters of 200
    struct metric **last;     // by hook: when the last of them came
    // Hooks of earlier configurations that this one does not have: posts to them are counted by
    // name, and the first one is logged.
    struct config_list former;
    _Atomic(bool) *former_seen;
};

// snapshot_make takes the configuration and opens its secrets; the caller is the holder. Former
// hooks are those of `before` and of the configuration `earlier` (NULL: none). On an error the
// configuration is released.
struct snapshot *snapshot_make(struct config *c, const struct snapshot *before,
                               const struct config *earlier, struct err *err);
void snapshot_drop(struct snapshot *s); // takes a holder away; NULL is fine

// snapshot_count counts an answer; hook and former are what the gate found (SIZE_MAX: none). An
// answer that the HTTP library gave by itself has no snapshot.
void snapshot_count(struct snapshot *s, size_t hook, size_t former, int code);

#endif
