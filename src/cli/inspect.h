// inspect: one page in a browser, for as long as the command runs. What it asks for, and
// what is answered, is inspect/API.md.
//
// A thread reads the streams into a window of the newest deliveries (inspect_window.c), the main
// thread has `acrelay status` write what the page polls, once a second for all who look; so a
// page costs Redis nothing. Only what a person asks for, one delivery or the dead letters, is read
// when it is asked for, over connections of its own.
#ifndef ACRELAY_CLI_INSPECT_H
#define ACRELAY_CLI_INSPECT_H

#include "cli/cli.h"
#include "edge/http.h"

#include <pthread.h>

enum { INSPECT_BYTES = 16 << 20 }; // of an answer

struct inspect {
    struct cli *cli;
    struct tags tags; // never connected: each thread and request has a copy
    char token[SECRET_TOKEN_TEXT];
    struct window *window;
    pthread_mutex_t lock;
    struct buf head; // written by the main thread, for all who poll it
};

// inspect_handle answers a request; `context` is the struct inspect (inspect_http.c).
void inspect_handle(struct http_request *r, void *context);

// An answer adds members to a document, and gives the status: 200, or another with *err.
typedef int inspect_answer_fn(struct inspect *i, const struct http_request *r,
                              struct buf *to, struct err *err);

// window_start starts the thread that reads the newest deliveries of all streams, and goes on.
struct window *window_start(const struct inspect *i, struct err *err);

// window_list answers /api/deliveries.
inspect_answer_fn window_list;

// window_add_rate adds `rate`, and says in *err why Redis is not read, "": it is.
void window_add_rate(struct window *w, struct buf *to, int64_t now_s, struct err *err);

#endif
