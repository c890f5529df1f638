#include "base/filesystem.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

// statfs(2) and linux/magic.h; some file systems keep theirs in their own sources.
static const struct {
    unsigned long type;
    enum filesystem kind;
} types[] = {
    {0x6969, FILESYSTEM_NETWORK},     // NFS
    {0x517b, FILESYSTEM_NETWORK},     // SMB
    {0xff534d42, FILESYSTEM_NETWORK}, // CIFS
    {0xfe534d42, FILESYSTEM_NETWORK}, // SMB2
    {0x01021997, FILESYSTEM_NETWORK}, // 9P
    {0x00c36400, FILESYSTEM_NETWORK}, // Ceph
    {0x65735546, FILESYSTEM_NETWORK}, // FUSE, virtiofs
    {0x5346414f, FILESYSTEM_NETWORK}, // AFS
    {0x6b414653, FILESYSTEM_NETWORK}, // AFS of the kernel
    {0x73757245, FILESYSTEM_NETWORK}, // Coda
    {0x0bd00bd0, FILESYSTEM_NETWORK}, // Lustre
    {0x786f4256, FILESYSTEM_NETWORK}, // VirtualBox shared folder
    {0x01021994, FILESYSTEM_MEMORY},  // tmpfs, devtmpfs
    {0x858458f6, FILESYSTEM_MEMORY},  // ramfs
    {0x958458f6, FILESYSTEM_MEMORY},  // hugetlbfs
    {0x794c7630, FILESYSTEM_OVERLAY}, {0x61756673, FILESYSTEM_OVERLAY}, // aufs
};

enum filesystem
filesystem_of_type(unsigned long type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == (type & 0xffffffff))
            return types[i].kind;
    return FILESYSTEM_LOCAL;
}

enum filesystem
filesystem_of_fd(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 ? filesystem_of_type((unsigned long)fs.f_type)
                                 : FILESYSTEM_LOCAL;
}

enum filesystem
filesystem_of(const char *path)
{
    char at[PATH_MAX];
    struct statfs fs;

    if (snprintf(at, sizeof at, "%s", path) >= (int)sizeof at)
        return FILESYSTEM_LOCAL;
    while (statfs(at, &fs) < 0) {
        if (errno != ENOENT || strcmp(at, "/") == 0 || strcmp(at, ".") == 0)
            return FILESYSTEM_LOCAL;
        const char *above = dirname(at); // shortens `at`, or is a constant
        memmove(at, above, strlen(above) + 1);
    }
    return filesystem_of_type((unsigned long)fs.f_type);
}

bool
filesystem_is_refused(enum filesystem kind)
{
    return kind == FILESYSTEM_NETWORK || kind == FILESYSTEM_MEMORY;
}

const char *
filesystem_problem(enum filesystem kind)
{
    switch (kind) {
    case FILESYSTEM_NETWORK:
        return "is on a network file system, where a lock or a sync may not hold: use a "
               "local disk, or --force";
    case FILESYSTEM_MEMORY:
        return "is on a file system that is only memory (tmpfs or ramfs): what was "
               "answered 200 is gone at the next boot. Use a local disk, or --force";
    case FILESYSTEM_OVERLAY:
        return "is in a container's own layer (overlay): deliveries go when the "
               "container "
               "is removed. Use a volume";
    case FILESYSTEM_LOCAL:
        break;
    }
    return NULL;
}
