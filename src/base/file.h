// Files: small whole-file reads with a ceiling, durable replacement, secrets. The journal
// has its own calls; this is for everything else.
#ifndef ACRELAY_BASE_FILE_H
#define ACRELAY_BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

// file_read appends the file's bytes to *to; a file larger than the room left in *to is
// ERR_INPUT, one that cannot be opened or read ERR_FATAL.
int file_read(const char *path, struct buf *to, struct err *err);

// file_read_secret reads a secret into *to, which is empty: one line of text, in a regular
// file owned by us or root that others can neither read nor write; if root owns it, one of
// our own groups may read it. A file below $CREDENTIALS_DIRECTORY may have any mode (systemd
// keeps that directory to itself). "env:NAME" is a variable of the environment. A byte order
// mark and line ends at the end are dropped. Fewer than `min` bytes, or other control bytes,
// is ERR_INPUT; a wrong mode is refused with EXIT_CODE_PERMISSION and the chmod to use.
int file_read_secret(const char *path, size_t min, struct buf *to, struct err *err);
#define FILE_DENIED                                                                      \
    "run this as root or as the file's owner; a unit needs LoadCredential="

// file_read_key is file_read_secret for a file whose bytes are taken as they are: a private key.
int file_read_key(const char *path, struct buf *to, struct err *err);

// file_replace writes content beside path, syncs, renames over path and syncs the
// directory: after a crash the file has the old content or the new.
int file_replace(const char *path, struct span content, struct err *err);

// file_create is file_replace for a new file: an existing one is left alone, and is an error
// (link(2) never replaces). Unlike with file_replace, `mode` may let others read it (0644).
int file_create(const char *path, struct span content, unsigned mode, struct err *err);

// file_sync_parent makes the directory entry of path durable.
int file_sync_parent(const char *path, struct err *err);

// file_stamp is a number that changes when the file does, by all that stat(2) reports except the
// time of the last read; 0 when there is none.
uint64_t file_stamp(const char *path);

// What kind of file system holds a directory, as far as durability goes: whether what was
// synced there is on a disk of this machine.
enum filesystem {
    FILESYSTEM_LOCAL,   // as far as we know
    FILESYSTEM_NETWORK, // locks or syncs are another machine's (NFS, CIFS, FUSE, ...)
    FILESYSTEM_MEMORY,  // gone at the next boot (tmpfs, ramfs)
    FILESYSTEM_OVERLAY, // a container's own layer: goes with the container
};

// filesystem_of classifies the file system of a path; of one that does not exist, that of
// the nearest directory above it that does. What cannot be examined is FILESYSTEM_LOCAL.
enum filesystem filesystem_of(const char *path);

// filesystem_of_type classifies the f_type of statfs(2).
enum filesystem filesystem_of_type(unsigned long type);

// filesystem_is_refused: a journal there needs --force (network and memory).
static inline bool
filesystem_is_refused(enum filesystem kind)
{
    return kind == FILESYSTEM_NETWORK || kind == FILESYSTEM_MEMORY;
}

// filesystem_problem completes a sentence that begins "state_dir PATH ": what it is, what that means, and
// what to do. NULL for FILESYSTEM_LOCAL.
const char *filesystem_problem(enum filesystem kind);

#endif
