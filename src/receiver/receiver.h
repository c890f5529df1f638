// The receiver's parts, as main() puts them together, and reloading them. One thread's.
#ifndef ACRELAY_RECEIVER_RECEIVER_H
#define ACRELAY_RECEIVER_RECEIVER_H

#include "receiver/figures.h"
#include "receiver/limits.h"
#include "receiver/intake.h"
#include "receiver/source.h"

enum { SOCKETS_MAX = 64 };

struct receiver {
    const char *file, *state_dir; // of the command line
    bool force;
    struct source source;
    char said[sizeof((struct err *)0)->text]; // of a file that was read by itself
    struct rules *rules;                      // the intake holds them
    struct buf password;
    const char *streams[CONFIG_HOOKS_MAX + 1], *hooks[CONFIG_HOOKS_MAX + 1];
    struct journal *journal;
    struct relay *relay;
    struct figures figures;
    struct intake *intake;
    struct limits limits;
    struct http_server *server, *admin;
    int sockets[SOCKETS_MAX];
    size_t sockets_len;
};

// receiver_relay_options fills *o, which borrows from r and c until the next call.
int receiver_relay_options(struct receiver *r, const struct config *c,
                           struct relay_options *o, struct err *err);

// receiver_reload reads the file (SIGHUP); all or nothing.
void receiver_reload(struct receiver *r);

// receiver_follow_file reads the file by itself where that is due (source.h). True when only a
// restart takes it over, so that the last good configuration is used no longer than it must.
bool receiver_follow_file(struct receiver *r);

#endif
