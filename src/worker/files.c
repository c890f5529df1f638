#include "worker/files.h"

#include <stddef.h>
#include <sys/stat.h>

// FNV-1a, a byte at a time.
static uint64_t
mix(uint64_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++, value >>= 8)
        hash = (hash ^ (value & 0xff)) * UINT64_C(0x100000001b3);
    return hash;
}

uint64_t
files_stamp(uint64_t seed, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return 0;
    uint64_t hash = mix(mix(seed ^ UINT64_C(0xcbf29ce484222325), st.st_dev), st.st_ino);
    hash = mix(mix(hash, (uint64_t)st.st_size), (uint64_t)st.st_mtim.tv_sec);
    return mix(hash, (uint64_t)st.st_mtim.tv_nsec) | 1;
}

uint64_t
files_secrets(const struct config *c)
{
    uint64_t all = 0;

    for (size_t i = 0; i < c->secret_files.len; i++)
        all = mix(all, files_stamp(i, c->secret_files.at[i]));
    if (c->account_api_token_file)
        all = mix(all, files_stamp(0, c->account_api_token_file));
    return all;
}

void
files_init(struct files *f, int64_t still_ms, uint64_t config, uint64_t secrets,
           int64_t now_ms)
{
    *f = (struct files){.still_ms = still_ms,
                        .changed_ms = now_ms,
                        .config = config,
                        .secrets = secrets,
                        .loaded = config,
                        .announced_ms = -2 * still_ms};
}

void
files_see(struct files *f, uint64_t config, uint64_t secrets, int64_t now_ms)
{
    if (config != f->config || secrets != f->secrets)
        f->changed_ms = now_ms;
    f->config = config;
    f->secrets = secrets;
}

void
files_put_off(struct files *f, int64_t now_ms)
{
    f->changed_ms = now_ms;
}

void
files_loaded(struct files *f, bool asked)
{
    f->loaded = f->config;
    f->announce = !asked;
    f->announced_ms = -2 * f->still_ms;
}

int64_t
files_still_in(const struct files *f, int64_t now_ms)
{
    int64_t left = f->changed_ms + f->still_ms - now_ms;

    return left > 0 ? left : 0;
}

bool
files_want_reload(const struct files *f, int64_t now_ms)
{
    return f->config != 0 && f->config != f->loaded && files_still_in(f, now_ms) == 0;
}

bool
files_may_remove(const struct files *f, int64_t now_ms)
{
    return f->config == f->loaded && !f->announce &&
           now_ms >= f->announced_ms + 2 * f->still_ms && files_still_in(f, now_ms) == 0;
}

void
files_announced(struct files *f, int64_t now_ms)
{
    if (f->announce)
        f->announced_ms = now_ms;
    f->announce = false;
}
