// Files: small whole-file reads with a ceiling, durable replacement, secrets. The journal
// has its own calls; this is for everything else.
#ifndef ACRELAY_BASE_FILE_H
#define ACRELAY_BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

// file_read appends the file's bytes to *to; a file larger than the room left in *to is
// ERR_INPUT, one that cannot be opened or read ERR_FATAL.
int file_read(const char *path, struct buf *to, struct err *err);

// file_read_secret reads a secret: one line of text, in a regular file of ours or root's that
// others can neither read nor write; where it is root's, one of our own groups may read it. A
// file below $CREDENTIALS_DIRECTORY may have any mode (systemd keeps that directory to itself).
// "env:NAME" is a variable of the environment. A byte order mark and line ends at the end are
// dropped. Fewer than `least` bytes, or other control bytes, is ERR_INPUT; a wrong mode is
// refused with EXIT_CODE_PERMISSION and the chmod to use.
int file_read_secret(const char *path, size_t least, struct buf *to, struct err *err);

// file_replace writes content beside path, syncs, renames over path and syncs the
// directory: after a crash the file has the old content or the new.
int file_replace(const char *path, struct span content, struct err *err);

// file_beside writes into to[size] the path of `name` in the directory that holds `path`;
// an absolute name stays as it is. -1 when it does not fit.
int file_beside(char *to, size_t size, const char *path, const char *name,
                struct err *err);

// file_sync_parent makes the directory entry of path durable.
int file_sync_parent(const char *path, struct err *err);

#endif
