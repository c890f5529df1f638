// The gate decides on a request by its head alone: which hook, or which answer (DESIGN.md
// section 3). Pure. A gate is made of a configuration and its secrets, and read-only then.
#ifndef ACRELAY_RECEIVER_GATE_H
#define ACRELAY_RECEIVER_GATE_H

#include "config/config.h"
#include "edge/http.h"

struct gate;

struct gate_verdict {
    int code;      // 0: let in; else the answer
    size_t hook;   // index in config->hooks, when the URL is right; else SIZE_MAX
    size_t former; // index of the former hook whose URL it is; else SIZE_MAX
    bool chunked;
    uint64_t length; // of the body, when not chunked
    bool wants_continue;
    struct span type, encoding;
};

// gate_make also knows the names of former hooks (NULL: none), which it does not let in. It
// borrows all names.
struct gate *gate_make(const struct config *c, const struct secrets *s,
                       const struct config_list *former);
void gate_release(struct gate *g); // NULL is fine

// gate_judge checks in the order of DESIGN.md section 3: 404, 405, 400, 411, 414, 431, 413;
// but 431 for 64 headers or more comes before 400, as not all of them are known then.
struct gate_verdict gate_judge(const struct gate *g, const struct http_request *r);

#endif
