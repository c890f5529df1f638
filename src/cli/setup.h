// setup goes from a configuration to the first event over HTTPS in steps. Each says what it does,
// does nothing where that is done already, and can be repeated and undone.
#ifndef ACRELAY_CLI_SETUP_H
#define ACRELAY_CLI_SETUP_H

#include "cli/cli.h"

struct setup {
    struct cli *cli;
    const struct config *c;
    const char *account; // of one of several; "" for acrelay.yaml
};

// setup_show prints a line: what a step found ("already") or did ("done"), and of what.
void setup_show(const char *result, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// setup_run runs a program of this machine (words ended by NULL) and gives its exit code; -1 with
// *err when it cannot. What it prints is appended to *output; NULL: it is shown.
int setup_run(struct buf *output, struct err *err, const char *const *words);

// setup_start enables and starts a unit, setup_stop stops and disables it; what is so already is
// left as it is. setup_is_running asks.
bool setup_is_running(const char *unit);
int setup_start(const char *unit, struct err *err);
int setup_stop(const char *unit, struct err *err);

// https.c: HTTPS in front of the receiver by Debian's Caddy under a unit of ours.
// https_check looks whether the public name leads to this machine and who holds port 443, and
// changes nothing. https_start writes the Caddyfile and starts the unit. Where that fails, a unit
// that it started is stopped, and one that served others before goes on without this account's new
// site. https_stop takes back what it did: the unit continues to serve other accounts.
int https_check(const struct setup *s, struct err *err);
int https_start(const struct setup *s, struct err *err);
int https_stop(const struct setup *s, struct err *err);

// trial.c: a sample goes the whole way that a delivery takes, from public_url to the stream of the
// test hook, where it is looked for. An answer is waited for as long as `patience_ms`: a certificate
// takes a while.
int trial_run(const struct cli *c, int64_t patience_ms, struct err *err);

// contact_json.c: writes a contact's own first name to it again, which changes nothing, and which
// ActiveCampaign reports as an `update` by the API.
struct rest;
int contact_touch(struct rest *r, uint64_t id, struct err *err);

#endif
