// What kind of file system holds a directory, as far as durability goes: whether what was
// synced there is on a disk of this machine.
#ifndef ACRELAY_BASE_FILESYSTEM_H
#define ACRELAY_BASE_FILESYSTEM_H

#include <stdbool.h>

enum filesystem {
    FILESYSTEM_LOCAL,   // as far as we know
    FILESYSTEM_NETWORK, // locks or syncs are another machine's (NFS, CIFS, FUSE, ...)
    FILESYSTEM_MEMORY,  // gone at the next boot (tmpfs, ramfs)
    FILESYSTEM_OVERLAY, // a container's own layer: goes with the container
};

// filesystem_of_fd and filesystem_of class the file system of an open file or of a path; of a
// path that does not exist, that of the nearest directory above it that does. What cannot be
// examined is FILESYSTEM_LOCAL.
enum filesystem filesystem_of_fd(int fd);
enum filesystem filesystem_of(const char *path);

// filesystem_of_type classes the f_type of statfs(2).
enum filesystem filesystem_of_type(unsigned long type);

// filesystem_is_refused: a journal there needs --force (network and memory).
bool filesystem_is_refused(enum filesystem kind);

// filesystem_problem goes on after "state_dir PATH ": what it is, what that means, and what to
// do. NULL for FILESYSTEM_LOCAL.
const char *filesystem_problem(enum filesystem kind);

#endif
