// Property: whatever stands in the configuration file, reading it neither crashes nor stays
// silent: it gives a configuration whose hooks are within bounds, or problems, each one
// printable line that begins with the place.
#include "base/text.h"
#include "config/config.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// What a broken file shows only ever takes something out of an earlier configuration.
static void
require_narrower(struct span text)
{
    static const char good[] =
        "account: {name: acme}\npublic_url: https://a.example\n"
        "secret_files: [/s/one, /s/two]\n"
        "hooks: [{name: a, events: [open]}, {name: b, events: [open]}]\n";
    struct buf problems;

    buf_init(&problems, 1 << 16);
    struct config *c = config_parse("good.yaml", span_of(good), &problems);
    if (!c)
        abort();
    config_narrow(c, text);
    if (c->hooks_len > 2 || c->secret_files.len > 2 ||
        c->secret_files.at[c->secret_files.len])
        abort();
    config_release(c);
    buf_release(&problems);
}

static void
require_lines(struct span problems, const char *file)
{
    char escaped[8192];

    while (problems.len > 0) {
        struct span line = span_cut(&problems, '\n');
        text_escape(escaped, sizeof escaped, line);
        if (!span_starts(line, span_of(file)) ||
            (line.len < sizeof escaped - 8 && !span_is(line, escaped)))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char file[64];
    struct buf problems;
    int fd = memfd_create("acrelay.yaml", MFD_CLOEXEC);

    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
        abort();
    snprintf(file, sizeof file, "/proc/self/fd/%d", fd);
    buf_init(&problems, 1 << 20);
    struct config *c = config_read(file, &problems);
    if (!c && problems.len == 0)
        abort();
    if (c && (c->hooks_len < 1 || c->hooks_len > CONFIG_HOOKS_MAX || c->threads < 1 ||
              !c->public_url || c->secret_files.len < 1))
        abort();
    require_lines(buf_span(&problems), file);
    require_narrower(span_make(bytes, len));
    config_release(c);
    buf_release(&problems);
    close(fd);
    return 0;
}
