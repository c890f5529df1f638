// Files are those a running worker was configured from: the configuration and the secrets it
// names. A change counts when all of them have stood still, because half a file may be valid
// too, and deletes hooks. Pure but for files_stamp: the caller gives the time.
#ifndef ACRELAY_WORKER_FILES_H
#define ACRELAY_WORKER_FILES_H

#include "config/config.h"

#include <stdint.h>

enum { FILES_STILL_MS = 5000 };

struct files {
    int64_t still_ms;         // so long nothing may have changed
    int64_t changed_ms;       // when the last change was seen
    uint64_t config, secrets; // as seen last; config 0: it is not there
    uint64_t loaded;          // the configuration in use
    bool announce;            // what it removes has not been announced yet
    int64_t announced_ms;
};

// files_stamp makes a number of the file's inode, size and time, mixed into `seed`; 0 when it
// is not there. files_secrets does so with all that the configuration names.
uint64_t files_stamp(uint64_t seed, const char *path);
uint64_t files_secrets(const struct config *c);

// files_init begins with what is loaded now.
void files_init(struct files *f, int64_t still_ms, uint64_t config, uint64_t secrets,
                int64_t now_ms);

// files_see takes what is there now; call it every second or so.
void files_see(struct files *f, uint64_t config, uint64_t secrets, int64_t now_ms);

// files_put_off counts as a change now.
void files_put_off(struct files *f, int64_t now_ms);

// files_loaded: what files_see saw last was read, asked for by an operator or by itself.
void files_loaded(struct files *f, bool asked);

// files_want_reload: there is a change, and it stands still. files_may_remove: what is loaded is
// what is there, stands still, and what it removes was asked for, or announced (files_announced)
// twice still_ms ago: a writer may pause.
bool files_want_reload(const struct files *f, int64_t now_ms);
bool files_may_remove(const struct files *f, int64_t now_ms);
void files_announced(struct files *f, int64_t now_ms);

// files_still_in gives the time until they stand still if nothing changes any more, 0 now.
int64_t files_still_in(const struct files *f, int64_t now_ms);

#endif
