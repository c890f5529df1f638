#include "receiver/source.h"

#include "base/clock.h"
#include "base/log.h"
#include "edge/reloads.h"

#include <stdio.h>
#include <stdlib.h>

enum { LOOK_MS = 5000 };

// --- the file ----------------------------------------------------------------------------------

static bool
is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static struct stat
look_at(const char *file)
{
    struct stat now;

    return stat(file, &now) == 0 ? now : (struct stat){0};
}

bool
source_is_due(struct source *s)
{
    int64_t now_ms = clock_boot_us() / 1000;

    if (now_ms < s->look_ms || (!s->is_last_good && s->judged && now_ms > s->until_ms))
        return false;
    s->look_ms = now_ms + s->step_ms;
    struct stat now = look_at(s->file);
    if (is_same(&now, &s->seen))
        return !s->judged;
    s->seen = now;
    s->judged = false;
    return false;
}

// NULL with *err and !s->is_valid when it is not valid.
static struct config *
read_file(struct source *s, struct err *err)
{
    struct problems problems = {0};

    s->seen = look_at(s->file);
    s->judged = true;
    buf_release(&s->text);
    struct config *c = config_read(s->file, &s->text, &problems);
    s->is_valid = c != NULL;
    if (!c && problems.at[0].line == 0) // it cannot be read
        err_exit(err, EXIT_CODE_CONFIG, "%s: %s", s->file, problems.at[0].text);
    else
        problems_print(&problems, PROBLEMS_LOG);
    if (!c && problems.at[0].line > 0)
        err_exit(err, EXIT_CODE_CONFIG,
                 "%s is not valid: `acrelay check` names each mistake", s->file);
    free(problems.at);
    return c;
}

struct rules *
source_read(struct source *s, const struct rules *before, struct err *err)
{
    struct config *c = read_file(s, err);

    return c ? rules_make(c, before, err) : NULL;
}

// --- the last good one -----------------------------------------------------------------------

static bool
is_beginning(struct span text, struct span of)
{
    return text.len < of.len && span_starts(of, text);
}

struct rules *
source_narrow(struct source *s, const struct rules *before, struct err *err)
{
    struct problems problems = {0};
    struct span good = buf_span(&s->good);
    struct config *c = config_parse(s->file, good, &problems);

    free(problems.at);
    if (!c) {
        err_exit(err, EXIT_CODE_CONFIG, "the last good configuration is not valid now");
        return NULL;
    }
    // A copy of it that is not written to its end removes nothing.
    if (!is_beginning(buf_span(&s->text), good))
        config_narrow(c, buf_span(&s->text));
    if (c->hooks_len > 0 && c->secret_files.len > 0)
        return rules_make(c, before, err);
    config_release(c);
    err_exit(err, EXIT_CODE_CONFIG,
             "no hook, or no secret, of the last good configuration is left in %s",
             s->file);
    return NULL;
}

// Hooks that the configuration before this start had: who posts to them is told.
static void
remember(struct source *s, struct rules *r)
{
    struct problems problems = {0};
    struct config *c = NULL;
    struct buf text;
    struct err err;
    int64_t kept_us;

    if (last_good_read(&s->kept, &text, &kept_us, &err) == 0)
        c = config_parse(s->file, buf_span(&text), &problems);
    if (c) {
        rules_remember(r, c);
        rules_log_removed(r, c, NULL);
    }
    config_release(c);
    free(problems.at);
    buf_release(&text);
}

static struct rules *
start_last_good(struct source *s, struct err *err)
{
    struct err why = {0};
    char when[CLOCK_TEXT], text[sizeof err->text + 200];
    int64_t kept_us = 0;

    int read = last_good_read(&s->kept, &s->good, &kept_us, &why);
    struct rules *rules = read < 0 ? NULL : source_narrow(s, NULL, &why);
    if (!rules) {
        log_error("config: there is no going on with the last good configuration: %s",
                  why.text);
        if (read == 0 && s->is_valid == false && why.exit)
            err->exit = why.exit; // of a secret
        return NULL;
    }
    clock_format_seconds(when, kept_us);
    snprintf(text, sizeof text,
             "%s; the last good configuration, of %s, is used until then", err->text,
             when);
    log_alarm("config: %s", text);
    s->is_last_good = true;
    reloads_use_last_good(text);
    remember(s, rules);
    return rules;
}

struct rules *
source_start(struct source *s, const char *file, const char *directory, struct err *err)
{
    *s = (struct source){.file = file, .step_ms = times_ms("config_look", LOOK_MS)};
    last_good_init(&s->kept, directory, file);
    reloads_start();
    struct rules *r = source_read(s, NULL, err);
    if (r)
        remember(s, r);
    else if (!s->is_valid)
        r = start_last_good(s, err);
    return r;
}

void
source_keep(struct source *s)
{
    if (s->is_last_good) {
        s->is_last_good = false;
        buf_release(&s->good);
        reloads_use_last_good(NULL);
        log_info("config: %s is valid and in use again", s->file);
    }
    if (s->until_ms == 0) // the start is over
        s->until_ms = clock_boot_us() / 1000 + 2 * s->step_ms;
    last_good_keep(&s->kept, buf_span(&s->text));
}
