// A configuration from a text, and what is told about it.
#include "base/file.h"
#include "config/config.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[] = "/tmp/acrelay-config-XXXXXX";
static struct buf problems;

static inline void
write_problems(const struct problems *found)
{
    char line[PROBLEM_LINE];

    for (size_t i = 0; i < found->len; i++)
        buf_add_format(&problems, "%s%s\n", found->at[i].warning ? "warning: " : "",
                       problem_line(&found->at[i], line));
}

static inline struct config *
read_text(const char *text)
{
    struct problems found = {0};
    struct err err;

    if (strstr(path, "XXXXXX"))
        cr_assert_geq(mkstemp(path), 0);
    buf_release(&problems); // of the text before
    buf_init(&problems, 1 << 16);
    cr_assert_eq(file_replace(path, span_of(text), &err), 0);
    struct config *c = config_read(path, NULL, &found);
    unlink(path);
    write_problems(&found);
    free(found.at);
    return c;
}

static inline void
expect_line(const char *level, const char *place_and_text)
{
    char wanted[300];

    snprintf(wanted, sizeof wanted, "%s%s:%s", level, path, place_and_text);
    cr_expect_not_null(strstr(buf_text(&problems), wanted), "no \"%s\" in\n%s", wanted,
                       buf_text(&problems));
}

static inline void
expect_problem(const char *place_and_text)
{
    expect_line("", place_and_text);
}

static inline void
expect_warning(const char *place_and_text)
{
    expect_line("warning: ", place_and_text);
}

static const char least[] = "account: {name: acme}\n"
                            "public_url: https://hooks.acme.example/\n"
                            "secret_files: [hook-secret]\n"
                            "hooks:\n"
                            "  - {name: contacts, events: [subscribe]}\n";
