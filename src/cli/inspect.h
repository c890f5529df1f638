// inspect: one page in a browser, for as long as the command runs. What it asks for, and
// what is answered, is inspect/API.md.
//
// A thread reads the streams into a window of the newest deliveries (inspect_window.c),
// the main thread writes the facts that the page polls (inspect_facts.c), once a second
// for all who look; so a page costs Redis nothing. Only what a person asks for, one
// delivery (inspect_one.c) or a dead letter, is read when it is asked for, over a
// connection of its own.
#ifndef ACRELAY_CLI_INSPECT_H
#define ACRELAY_CLI_INSPECT_H

#include "cli/letters.h"
#include "edge/http.h"
#include "event/mask.h"

#include <pthread.h>

enum {
    INSPECT_KEYS = 512,
    INSPECT_WINDOW = 2000,    // deliveries held
    INSPECT_BYTES = 16 << 20, // of an answer
};

// What everybody polls is written by the main thread, for all of them.
enum inspect_page { INSPECT_HEAD, INSPECT_HOOKS, INSPECT_COMMANDS, INSPECT_PAGES };

// A stream that is shown, of events, or of dead letters.
struct inspect_key {
    char key[SCRIPT_KEY];
    size_t tag; // of struct inspect
    bool is_dead;
};

struct inspect {
    struct cli *cli;
    const struct config *config;
    struct tags tags; // never connected: each thread and request has a copy
    char token[SECRET_TOKEN_TEXT];
    struct inspect_key keys[INSPECT_KEYS]; // all of a tag, then all of the next
    size_t keys_len;
    struct window *window;
    pthread_mutex_t lock; // of what the main thread writes:
    struct buf pages[INSPECT_PAGES];
};

// --- requests (inspect_http.c) ----------------------------------------------------------------

// inspect_serve answers on a listening socket until the process ends.
int inspect_serve(struct inspect *i, const int *socket, struct err *err);

// --- the window (inspect_window.c) --------------------------------------------------------------

// window_start starts the thread that reads the newest deliveries of all keys, and goes on.
struct window *window_start(struct inspect *i, struct err *err);

// window_list answers /api/deliveries; the status.
int window_list(struct inspect *i, const struct http_request *r, struct buf *to,
                struct err *err);

// window_add_rate adds `rate`, and says in *err why Redis is not read, "": it is.
void window_add_rate(struct window *w, struct buf *to, int64_t now_s, struct err *err);

// window_find finds the newest row of a ce_id: the index of its key, -1 when it is not held.
int window_find(struct window *w, struct span ce_id, char entry[COMMANDS_ENTRY]);

// --- dead letters (inspect_dead.c) ----------------------------------------------------------------

// dead_page answers /api/dead, the newest; dead_write replays or drops one.
int dead_page(struct inspect *i, struct buf *to, struct err *err);
int dead_write(struct inspect *i, const struct http_request *r, struct buf *to,
               struct err *err, letters_fn *act);

// --- one delivery (inspect_one.c) -----------------------------------------------------------------

// one_page answers /api/delivery and /api/reveal.
int one_page(struct inspect *i, const struct http_request *r, struct buf *to,
             struct err *err, bool reveals);

// --- what is asked (inspect_answer.c) -------------------------------------------------------------

// inspect_parameter decodes a parameter of the query into to[size]; "" when it is not
// there, NULL when it is longer, or holds a NUL.
const char *inspect_parameter(const struct http_request *r, const char *name, char *to,
                              size_t size);

#endif
