// The last good configuration is a file of one line and the text (before ${}, so without
// secrets). The line can be made again from the rest, so that a torn file shows:
//
//     # acrelay last good configuration 1 <CRC-32C of the text> <its bytes> <the file's path>
//
// A change of the format changes the 1. A file that is torn, of another version, about another
// file, or that others could have written is not used.
#include "base/clock.h"
#include "base/crc.h"
#include "base/file.h"
#include "edge/admin.h"
#include "edge/digest.h"
#include "receiver/receiver.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEPT_MAX = (1 << 20) + PATH_MAX + 100, CHECK_MS = 5000 };

// --- the last good configuration -----------------------------------------------------------------

// In --state-dir, or the first of $STATE_DIRECTORY.
static void
set_kept_path(struct receiver *r)
{
    const char *directory = r->state_dir ? r->state_dir : getenv("STATE_DIRECTORY");
    size_t len = directory ? strcspn(directory, r->state_dir ? "" : ":") : 0;
    char *path = r->source.kept_path;

    if (len > 0 && len + 32 < sizeof r->source.kept_path)
        snprintf(path, sizeof r->source.kept_path, "%.*s/last-good.yaml", (int)len,
                 directory);
}

static void
add_line(struct buf *to, struct span text, const char *file)
{
    buf_add_format(to, "# acrelay last good configuration 1 %08x %zu %s\n",
                   crc_of(0, text.at, text.len), text.len, file);
}

static int
read_whole(int fd, struct buf *whole, int64_t *kept_us, struct err *err)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, "cannot open it");
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) ||
        st.st_nlink != 1)
        return err_set(err, ERR_INPUT,
                       "other users could have written it (owner, mode or links)");
    *kept_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
    char *room = buf_room(whole, (size_t)st.st_size);
    if (!room)
        return err_set(err, ERR_INPUT, "it is too large");
    if (read(fd, room, (size_t)st.st_size) != st.st_size)
        return err_set(err, ERR_FATAL, "it cannot be read whole");
    whole->len = (size_t)st.st_size;
    return 0;
}

// Appends the text; *kept_us is when it was kept (wall clock).
static int
read_kept(const struct receiver *r, struct buf *text, int64_t *kept_us, struct err *err)
{
    const char *path = r->source.kept_path;
    struct buf whole, line;

    if (!*path)
        return err_set(err, ERR_INPUT,
                       "none is kept without --state-dir (or $STATE_DIRECTORY, which "
                       "systemd sets)");
    buf_init(&whole, KEPT_MAX);
    buf_init(&line, KEPT_MAX);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    int result = read_whole(fd, &whole, kept_us, err);
    close(fd);
    size_t end = span_find(buf_span(&whole), '\n') + 1;
    struct span rest = span_from(buf_span(&whole), end);
    add_line(&line, rest, r->file);
    if (result == 0 && !span_equal(buf_span(&line), span_to(buf_span(&whole), end)))
        result = err_set(
            err, ERR_INPUT,
            "it is incomplete, of another version, or of a file other than %s", r->file);
    if (result == 0)
        buf_add(text, rest);
    else
        err_context(err, "%s", path);
    buf_release(&whole);
    buf_release(&line);
    return result;
}

// Makes the text the one that is kept, durably; nothing when it is already.
static void
keep(const struct receiver *r, struct span text)
{
    const char *path = r->source.kept_path;
    struct buf kept, whole;
    struct err err = {0};
    int64_t kept_us;

    if (!*path)
        return;
    buf_init(&kept, KEPT_MAX);
    buf_init(&whole, KEPT_MAX);
    bool same =
        read_kept(r, &kept, &kept_us, &err) == 0 && span_equal(buf_span(&kept), text);
    add_line(&whole, text, r->file);
    buf_add(&whole, text);
    if (!same && file_replace(path, buf_span(&whole), &err) < 0)
        log_warn("config: cannot keep the last good configuration: %s; with an invalid "
                 "file this receiver could not start",
                 err.text);
    buf_release(&kept);
    buf_release(&whole);
}

// --- the file ------------------------------------------------------------------------------------

// Is the file to be read now? It was the same at two checks then.
static bool
is_due(struct receiver *r)
{
    struct source *s = &r->source;
    int64_t now_ms = clock_boot_ms();

    if (now_ms < s->check_ms || (!s->is_last_good && s->judged && now_ms > s->until_ms))
        return false;
    s->check_ms = now_ms + s->step_ms;
    uint64_t now = file_stamp(r->file);
    if (now == s->seen)
        return !s->judged;
    s->seen = now;
    s->judged = false;
    return false;
}

// NULL with *err and !source.is_valid when it is not valid.
static struct config *
read_file(struct receiver *r, struct err *err)
{
    struct source *s = &r->source;
    struct problems problems = {0};
    char line[PROBLEM_LINE];

    s->seen = file_stamp(r->file);
    s->judged = true;
    buf_release(&s->text);
    struct config *c = config_read(r->file, &s->text, &problems);
    s->is_valid = c != NULL;
    if (c || problems.len > 1) // a single one is in *err
        problems_print(&problems, PROBLEMS_LOG);
    if (!c)
        err_exit(err, EXIT_CODE_CONFIG, "the file is invalid: %.400s",
                 problems_first(&problems, line));
    free(problems.at);
    return c;
}

struct snapshot *
reload_read(struct receiver *r, struct err *err)
{
    struct config *c = read_file(r, err);

    return c ? snapshot_make(c, r->snapshot, NULL, err) : NULL;
}

// --- start ---------------------------------------------------------------------------------------

static struct config *
parse_good(const struct receiver *r)
{
    struct problems problems = {0};
    struct config *c = config_parse(r->file, buf_span(&r->source.good), &problems);

    free(problems.at);
    return c;
}

// The last good configuration, without what the file, which is not valid, shows to be removed.
static struct snapshot *
narrow(struct receiver *r, const struct config *earlier, struct err *err)
{
    struct span text = buf_span(&r->source.text), good = buf_span(&r->source.good);
    bool is_torn = text.len < good.len && span_starts(good, text);
    struct config *c = parse_good(r);

    if (!c) {
        err_exit(err, EXIT_CODE_CONFIG, "the last good configuration is no longer valid");
        return NULL;
    }
    // A copy of it that is not written to its end removes nothing.
    if (!is_torn)
        config_narrow(c, text);
    if (c->hooks_len > 0 && c->secret_files.len > 0)
        return snapshot_make(c, r->snapshot, earlier, err);
    config_release(c);
    err_exit(err, EXIT_CODE_CONFIG,
             "%s has none of the hooks, or none of the secrets, of the last good "
             "configuration",
             r->file);
    return NULL;
}

// Logs each hook of `before` that is gone, and appends their names to *names (NULL: not).
static void
log_removed(const struct config *before, const struct config *now, struct buf *names)
{
    for (size_t i = 0; i < before->hooks_len; i++) {
        const char *name = before->hooks[i].name;
        if (config_find_hook(now, span_of(name)))
            continue;
        log_warn("receiver: hook %s is no longer served: if ActiveCampaign still has its "
                 "webhook, its events are lost (see `acrelay-worker list`)",
                 name);
        if (names)
            buf_add_format(names, "%s%s", names->len ? ", " : "", name);
    }
}

// A rotation keeps a secret of before; one written over another keeps none.
static bool
share_a_secret(const struct secrets *a, const struct secrets *b)
{
    for (size_t i = 0; i < a->len; i++)
        for (size_t k = 0; k < b->len; k++)
            if (a->at[i].len == b->at[k].len &&
                digest_equal(a->at[i].at, b->at[k].at, a->at[i].len))
                return true;
    return false;
}

static void
log_removed_secrets(const struct secrets *before, const struct secrets *now,
                    struct buf *names)
{
    if (share_a_secret(before, now))
        return;
    log_warn(
        "receiver: none of the earlier secrets is accepted any more: posts to URLs that "
        "were made with them are answered with 404, and their events are lost. Put the "
        "earlier secret back, in a file of its own after the new one in secret_files, or "
        "restart acrelay-worker, which moves the webhooks to the new one (see "
        "`acrelay-worker secrets`)");
    if (names)
        buf_add_format(names, "%sthe URLs of all earlier secrets",
                       names->len ? ", " : "");
}

// `why`: of a last good configuration that could not be read.
static struct snapshot *
start_last_good(struct receiver *r, const struct config *earlier, int64_t kept_us,
                struct err *why, struct err *err)
{
    char when[CLOCK_TEXT], text[sizeof err->text + 200];
    bool was_read = !*why->text;
    struct snapshot *made = was_read ? narrow(r, earlier, why) : NULL;

    if (!made) {
        struct err both; // `why` is of a secret where the configuration was read
        err_exit(&both, was_read && why->exit ? why->exit : err->exit,
                 "%s; no last good configuration: %s", err->text, why->text);
        *err = both;
        return NULL;
    }
    clock_format_seconds(when, kept_us);
    snprintf(text, sizeof text,
             "%s; until it is fixed the last good configuration, of %s, is used",
             err->text, when);
    log_alarm("config: %s", text);
    r->source.is_last_good = true;
    admin_use_last_good(text);
    return made;
}

int
reload_start(struct receiver *r, struct err *err)
{
    struct source *s = &r->source;
    struct config *earlier = NULL; // of before this start: posts to its hooks are counted
    struct err why = {0};
    int64_t kept_us = 0;

    *s = (struct source){.step_ms = times_ms("config_look", CHECK_MS)};
    set_kept_path(r);
    struct config *c = read_file(r, err);
    buf_init(&s->good, KEPT_MAX);
    if (read_kept(r, &s->good, &kept_us, &why) == 0)
        earlier = parse_good(r);
    r->snapshot = c ? snapshot_make(c, NULL, earlier, err)
                    : start_last_good(r, earlier, kept_us, &why, err);
    if (r->snapshot && earlier)
        log_removed(earlier, r->snapshot->config, NULL);
    config_release(earlier);
    if (!s->is_last_good)
        buf_release(&s->good);
    return r->snapshot ? 0 : -1;
}

void
reload_keep(struct receiver *r)
{
    struct source *s = &r->source;

    if (s->is_last_good) {
        s->is_last_good = false;
        buf_release(&s->good);
        admin_use_last_good(NULL);
        log_info("config: %s is valid and in use again", r->file);
    }
    if (s->until_ms == 0) // the start is over
        s->until_ms = clock_boot_ms() + 2 * s->step_ms;
    keep(r, buf_span(&s->text));
}

// --- reload --------------------------------------------------------------------------------------

static int
take_over(struct receiver *r, struct snapshot *fresh, struct buf *removed,
          struct err *err)
{
    const struct config *c = fresh->config;

    if (relay_reload(r->relay, fresh->config, err) < 0)
        return -1;
    admin_set_hosts(c->admin_hosts.at, c->admin_hosts.len);
    log_removed(r->snapshot->config, c, removed);
    log_removed_secrets(r->snapshot->secrets, fresh->secrets, removed);
    intake_replace(r->intake, fresh);
    r->snapshot = fresh;
    return 0;
}

// Reads the file and takes it over; all or nothing. The names of hooks that are gone with it are
// appended to *removed.
static int
read_again(struct receiver *r, bool *restart, struct buf *removed, struct err *err)
{
    struct snapshot *fresh = reload_read(r, err);

    *restart =
        fresh && config_check_reload(r->snapshot->config, fresh->config, NULL, err) < 0;
    if (fresh && !*restart && take_over(r, fresh, removed, err) == 0) {
        reload_keep(r);
        return 0;
    }
    snapshot_drop(fresh);
    // A secret that is missing may come by itself; a change that needs a restart gets one.
    if (r->source.is_last_good && r->source.is_valid)
        r->source.judged = false;
    return -1;
}

// The file is still not valid, but another one than before: what it removes is not accepted.
static void
narrow_again(struct receiver *r, const struct err *why)
{
    struct err err = {0};
    struct snapshot *fresh = narrow(r, NULL, &err);

    if (!fresh || take_over(r, fresh, NULL, &err) < 0) {
        snapshot_drop(fresh);
        log_error("config: keeping what is running: %s", err.text);
    }
    admin_use_last_good(why->text);
}

// Says what became of a reload; `asked`: to those that wait for it, too.
static void
report_reload(struct receiver *r, bool asked, struct buf *removed)
{
    char text[400];

    snprintf(text, sizeof text, "reloaded, %zu hook%s, %zu secret%s%s%s%s",
             r->snapshot->config->hooks_len, PLURAL(r->snapshot->config->hooks_len),
             r->snapshot->secrets->len, PLURAL(r->snapshot->secrets->len),
             removed->len ? "; no longer served: " : "", buf_text(removed),
             removed->full ? ", and others" : "");
    once_clear(&r->source.trouble);
    log_info("receiver: %s", text);
    if (asked)
        admin_reload_end(true, text);
}

static void
report_failure(struct receiver *r, bool asked, const struct err *err)
{
    struct once *once = &r->source.trouble;

    if (asked)
        once_clear(once);
    once_report(once, LOG_LEVEL_ERROR,
                "receiver: reload failed, keeping the running configuration: %s",
                err->text);
    if (asked || !r->source.is_last_good)
        admin_reload_end(false, err->text);
    if (r->source.is_last_good && !r->source.is_valid)
        narrow_again(r, err);
}

bool
reload_run(struct receiver *r, bool asked)
{
    struct err err = {0};
    struct buf removed;
    bool restart;

    if (!asked && !is_due(r))
        return false;
    buf_init(&removed, 300);
    if (asked) {
        admin_reload_begin();
        sockets_notify("RELOADING=1");
    }
    bool ok = read_again(r, &restart, &removed, &err) == 0;
    if (ok)
        report_reload(r, asked, &removed);
    else
        report_failure(r, asked, &err);
    if (asked)
        sockets_notify("READY=1");
    buf_release(&removed);
    return !asked && !ok && restart && r->source.is_last_good;
}
