// What the commands of acrelay-worker share. A command is one function, which prints to
// stdout and returns the exit code.
#ifndef ACRELAY_WORKER_WORKER_H
#define ACRELAY_WORKER_WORKER_H

#include "program/options.h"
#include "worker/apply.h"
#include "worker/leader.h"
#include "worker/show.h"
#include "worker/wanted.h"

struct worker {
    const struct options *options;
    const char *file;
    struct show show;
    struct config *config;
    struct secrets *secrets;
    struct hooks wanted;
    struct known known; // outlives a reload
    struct ac_client *account;
    struct store *store;
    struct leader *leader;
};

// worker_load reads configuration and secrets and opens the account, into an empty worker
// (file and options set, and what of configuration and secrets was read already). Mistakes of the file are told on stderr, by `run` in the log; *err
// has the rest.
int worker_load(struct worker *w, const struct ac_client_options *cb, struct err *err);
void worker_unload(struct worker *w);

// worker_apply gives an apply of what is loaded.
struct apply worker_apply(struct worker *w);

int worker_run(struct worker *w); // run.c

// worker_warn_events warns of events that AC's own list does not have.
void worker_warn_events(struct worker *w);

#endif
