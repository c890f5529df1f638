// What the admin listeners of our programs answer in JSON.
#ifndef ACRELAY_CLI_ADMIN_JSON_H
#define ACRELAY_CLI_ADMIN_JSON_H

#include "config/config.h"

#include <stdint.h>

// A program of ours as its /readyz shows it.
struct admin_state {
    int code;                                   // 0: no answer; then `reason` says why
    char redis_error[600], activecampaign[600]; // why the check is false; "" it is not
    uint64_t reloads_done;
    bool reload_ok, last_good; // last_good: it does not use the file, which is not valid
    char reload[600];          // why the last reload was refused, or what it gave
    char reason[200];
};

// admin_json_fetch asks for /readyz, 5 s at most.
void admin_json_fetch(struct admin_state *to, const struct socket_address *admin);

// admin_json_reload asks for a reload and gives its number; -1 with *err.
int admin_json_reload(uint64_t *number, const struct socket_address *admin,
                      struct err *err);

#endif
