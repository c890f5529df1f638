// The facts of `acrelay status`, part by part. Each is said where it is found: as a member of a
// document, and as a line for people where they are shown. The inspector's page shows the same
// parts.
#ifndef ACRELAY_CLI_STATUS_H
#define ACRELAY_CLI_STATUS_H

#include "cli/cli.h"

struct status {
    struct cli *cli;
    struct buf *to; // the document
    bool prints;    // lines too
    bool masks;     // what may be somebody's address (event/mask.h)
    bool hurries;   // asked over and over: no connection after one that failed
    bool results;   // the last results of each service, too

    struct tags tags;     // of the streams
    struct redis *redis;  // of {ac}; NULL: not usable, redis_err says why
    bool away;            // a partition is, which hurries
    struct err redis_err; // the last failure
    int64_t redis_us;     // Redis's time, which its times are compared with; 0: not known

    bool healthy;
};

// --- saying (status_programs.c) ---------------------------------------------------------

// status_part says what a part does: "<name>" and "<name>_ok". status_figure says a number.
// status_line prints a line below it.
enum status_unit { STATUS_COUNT, STATUS_BYTES, STATUS_SECONDS };
void status_part(struct status *s, const char *name, bool ok, const char *text);
void status_figure(struct status *s, const char *member, const char *label,
                   enum status_unit unit, double value);
void status_line(const struct status *s, enum output_color color, const char *label,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

// --- the programs (status_programs.c) ---------------------------------------------------

// status_programs asks the receiver and the worker. Whether both are well.
bool status_programs(struct status *s);

// --- Redis (status_redis.c) -------------------------------------------------------------

// status_connect connects where it is not, and asks for the time. status_connection gives the
// connection to a tag, NULL with *err.
void status_connect(struct status *s);
struct redis *status_connection(struct status *s, size_t tag, struct err *err);

// status_streams shows how many entries there are, and all who share the namespace; status_groups who
// reads them; status_dead the dead letters, status_commands_dead those of commands.
void status_streams(struct status *s);
void status_groups(struct status *s);
void status_dead(struct status *s);
void status_commands_dead(struct status *s);
void status_receivers(struct status *s);

// --- hooks and commands (status_hooks.c) ------------------------------------------------

void status_hooks(struct status *s);
void status_commands(struct status *s);

#endif
