// Findings: what `check` and `doctor` report, one after the other: good, a warning or wrong, what
// it is about, a sentence, and for what is not good what to do.
#ifndef ACRELAY_CLI_FINDINGS_H
#define ACRELAY_CLI_FINDINGS_H

#include "base/buf.h"
#include "cli/admin_json.h"
#include "cli/cli.h"

enum finding { GOOD, WARNING, WRONG };

struct findings {
    struct cli *cli;
    bool deeply;         // doctor: also what is no matter of configuration
    enum exit_code code; // of the first thing wrong
    size_t counts[3];
    // What the running programs say of themselves, asked once.
    bool redis_usable;
    struct admin_state receiver, worker;
    struct buf receiver_page, worker_page; // /metrics; empty: no answer
};

// A check looks at one thing; `asks` is shown while it takes a while. There may be no
// configuration only for the first one.
struct check {
    const char *asks;
    void (*run)(struct findings *f);
};

// findings_run runs one after the other, until there is no configuration to go by.
void findings_run(struct findings *f, const struct check *checks, size_t len);

// findings_tell prints one. `advice` says what to do, NULL when the sentence does. `code` is
// the program's exit code when this is the first thing wrong.
void findings_tell(struct findings *f, enum finding finding, enum exit_code code,
                   const char *what, const char *advice, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

// findings_end prints the sum, releases, and returns the exit code.
int findings_end(struct findings *f);

// check_all looks at file, secrets, Redis, directory and ports (the last three not when
// offline) and leaves the configuration in f->cli->config, NULL when it has mistakes.
void check_all(struct findings *f, bool offline);

#endif
