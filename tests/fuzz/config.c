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
    struct problems problems = {0};
    struct config *c = config_parse("good.yaml", span_of(good), &problems);
    if (!c)
        abort();
    config_narrow(c, text);
    if (c->hooks_len > 2 || c->secret_files.len > 2 ||
        c->secret_files.at[c->secret_files.len])
        abort();
    config_release(c);
    free(problems.at);
}

static void
require_lines(const struct problems *problems, const char *file)
{
    char line[PROBLEM_LINE], escaped[8192];

    for (size_t i = 0; i < problems->len; i++) {
        struct span text = span_of(problem_line(&problems->at[i], line));
        text_escape(escaped, sizeof escaped, text);
        if (!span_starts(text, span_of(file)) || !span_is(text, escaped))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char file[64];
    struct problems problems = {0};
    int fd = memfd_create("acrelay.yaml", MFD_CLOEXEC);

    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
        abort();
    snprintf(file, sizeof file, "/proc/self/fd/%d", fd);
    struct config *c = config_read(file, NULL, &problems);
    if (!c && problems.len == 0)
        abort();
    if (c && (c->hooks_len < 1 || c->hooks_len > CONFIG_HOOKS_MAX || c->threads < 1 ||
              !c->public_url || c->secret_files.len < 1))
        abort();
    require_lines(&problems, file);
    require_narrower(span_make(bytes, len));
    config_release(c);
    free(problems.at);
    close(fd);
    return 0;
}
