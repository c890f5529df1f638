// journal replay, salvage, claim: an operator's way out. Replay adds entries once more,
// outside the cursor and marked; salvage saves what can be read of a damaged or left journal,
// or posts it to the receiver; claim says that this place, and no other, ships a journal from now on;
// partitions rewrites the layout where it is damaged or lost.
#include "cli/cli.h"

#include "relay/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

// --- replay ---------------------------------------------------------------------------

struct replaying {
    struct cli *cli;
    const struct journal_walk *walk;
    struct layout layout;                 // len 0: not read yet
    struct redis *redis[LAYOUT_TAGS_MAX]; // NULL: not connected
    struct entry_maker maker;
    uint64_t added, failed;
    bool really;
};

static int
begin_replay(struct replaying *r, struct err *err)
{
    r->maker.journal_id = span_of(r->walk->total.id);
    return layout_open(&r->layout, r->cli->config, cli_directory(r->cli, err),
                       r->walk->total.id, err);
}

// To where deliveries go now, whichever partition had it. *away: no other will be taken there.
static int
replay_entry(struct replaying *r, const struct entry *entry, bool *away, struct err *err)
{
    char tag[CONFIG_TAG];
    int owner = relay_owner(&r->layout, UINT64_MAX, entry);
    struct redis **redis = &r->redis[owner];

    layout_tag(r->cli->config->redis_namespace, owner, tag);
    if (!*redis)
        *redis = cli_redis(r->cli, tag, err);
    int result = *redis ? relay_replay(*redis, tag, entry, err) : -1;
    *away = !*redis || (*redis)->dead;
    return result;
}

static int
replay_record(const struct record *record, void *context, struct err *err)
{
    struct replaying *r = context;
    struct entry entry;
    bool away;

    if (r->really) {
        if (r->layout.len == 0 && begin_replay(r, err) < 0)
            return -1;
        entry_make(&r->maker, record, &entry);
        if (replay_entry(r, &entry, &away, err) < 0) {
            const char *known = relay_advice(err->text)->in;
            err_context(err, "sequence %llu", (unsigned long long)record->sequence);
            // An error that is not known, or WRONGTYPE: others may be taken.
            if (away || (*known && strcmp(known, "WRONGTYPE") != 0))
                return -1;
            (void)output_fail(err);
            r->failed++;
            return 0;
        }
    }
    r->added++;
    return 0;
}

static int
run_journal_replay(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct replaying r = {.cli = c,
                          .maker = {.events = event_maker_open(),
                                    .account = span_of(c->config->account_name)},
                          .really = options_has(c->options, "yes")};
    struct journal_walk w = {.each = replay_record, .context = &r};

    r.walk = &w;
    int result = event_zone_set(c->config->account_time_zone, err);
    if (result == 0)
        result = journal_walk(&w, c, err);
    event_maker_close(r.maker.events);
    for (size_t i = 0; i < LAYOUT_TAGS_MAX; i++)
        redis_close(r.redis[i]);
    output_number("replayed", r.added);
    output_number("failed", r.failed);
    output_flag("done", r.really);
    if (output.json)
        output_line(stdout);
    else if (r.really)
        printf("entries added, marked with ce_replay: %llu; refused: %llu\n",
               (unsigned long long)r.added, (unsigned long long)r.failed);
    else if (result == 0)
        printf("deliveries that would be added again, whether or not they are in their "
               "streams: %llu; --yes does it\n",
               (unsigned long long)r.added);
    if (result < 0)
        return -1;
    return r.failed ? EXIT_CODE_FAILURE : w.total.gaps ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- salvage --------------------------------------------------------------------------

static int
save_record(const struct record *record, void *file, struct err *err)
{
    journal_add_delivery(record, true, false);
    output_line(file);
    return ferror(file) ? err_errno(err, "cannot write") : 0;
}

// The file holds personal data: it is new, and its owner's alone.
static int
salvage_to_file(struct journal_walk *w, struct cli *c, const char *path, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

    if (!file)
        return err_errno(err, "%s: cannot create", path);
    w->each = save_record;
    w->context = file;
    int result = journal_walk(w, c, err);
    if (fflush(file) != 0 || fsync(fileno(file)) != 0)
        result = err_errno(err, "%s: cannot write", path);
    if (fclose(file) != 0 && result == 0)
        result = err_errno(err, "%s: cannot close", path);
    if (result < 0 && w->total.records == 0)
        unlink(path); // the next try makes it
    return result;
}

// In order, each a new delivery to the receiver, until one is not answered 200.
struct posting {
    const struct cli *cli;
    struct poster poster;
    uint64_t posted, left;
};

// What cannot be posted as it came is reported and left.
static int
post_record(const struct record *record, void *context, struct err *err)
{
    struct posting *p = context;
    unsigned long long sequence = record->sequence;
    struct delivery d = {0};
    const char *why = NULL;
    int code = 0;

    if (delivery_decode(&d, record->payload, NULL) < 0)
        why = "it cannot be parsed";
    else if (!config_find_served(p->cli->config, d.hook))
        why = "its hook is not in the configuration";
    else if ((code = poster_post(&p->poster, &d, err)) >= 0 && code != 200)
        err_exit(err, EXIT_CODE_UNAVAILABLE, "the receiver answers %d", code);
    // What the receiver refuses about this delivery, and not about any.
    if (code == 400 || code == 413 || code == 414 || code == 431)
        why = err->text;
    if (why) {
        fprintf(stderr, "acrelay: sequence %llu is skipped: %s\n", sequence, why);
        p->left++;
        return 0;
    }
    if (code == 200) {
        p->posted++;
        return 0;
    }
    fprintf(stderr,
            "acrelay: continue with --from %llu; if it was stored after all, it becomes "
            "a duplicate\n",
            sequence);
    return err_context(err, "sequence %llu", sequence);
}

static int
run_journal_salvage(void *cli, struct err *err)
{
    struct cli *c = cli;
    const char *path = options_text(c->options, "to-file", NULL);
    struct posting posting = {.cli = c};
    struct journal_walk w = {.each = post_record,
                             .context = &posting,
                             .segment = options_text(c->options, "segment", NULL)};
    int result = -1;

    if ((path != NULL) == options_has(c->options, "post"))
        return err_exit(err, EXIT_CODE_USAGE, "one of --to-file and --post is required");
    if (path)
        result = salvage_to_file(&w, c, path, err);
    else if (poster_find(&posting.poster, c, err) == 0)
        result = journal_walk(&w, c, err);
    poster_release(&posting.poster);
    uint64_t done = path ? w.total.records : posting.posted;
    const char *word = path ? "saved" : "posted";
    output_number(word, done);
    output_number("left", posting.left);
    output_number("missing", w.total.lost);
    output_say("deliveries %s: %llu, skipped: %llu, missing: %llu\n", word,
               (unsigned long long)done, (unsigned long long)posting.left,
               (unsigned long long)w.total.lost);
    if (result < 0)
        return -1;
    return w.total.gaps || posting.left ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- claim ----------------------------------------------------------------------------

struct claiming {
    struct cli *cli;
    const char *id, *directory;
    bool with_namespace; // the account was renamed: the namespace is still its own
    uint64_t cursor;     // the lowest
    struct buf cursors;  // of all: "7 ({ac.0}), 9 ({ac.1})"
    size_t claimed;
};

static void
add_cursor(struct claiming *to, const char *tag, uint64_t cursor)
{
    to->cursor = to->claimed == 0 || cursor < to->cursor ? cursor : to->cursor;
    buf_add_format(&to->cursors, "%s%llu ({%s})", to->claimed++ ? ", " : "",
                   (unsigned long long)cursor, tag);
}

// claim_tag, by the node that has it; `owned`: the journal has records there.
static int
claim_tag(struct claiming *to, const char *tag, bool owned, struct err *err)
{
    const struct config *c = to->cli->config;
    struct redis *r = cli_redis(to->cli, tag, err);
    char key[SCRIPT_KEY];
    uint64_t cursor = 0;
    bool ok = r;

    script_key(key, tag, SPAN("account"));
    if (ok && to->with_namespace)
        ok = cli_ask(r, err, "SET", key, c->account_name);
    if (ok && owned)
        ok = cli_reply(relay_claim(r, c, tag, to->id, to->directory, &cursor, err), err);
    if (ok && owned)
        add_cursor(to, tag, cursor);
    redis_close(r);
    return ok ? 0 : -1;
}

// All partitions; tag 0 is the worker's too.
static int
claim_tags(struct claiming *to, const struct layout *l, struct err *err)
{
    char tag[CONFIG_TAG];
    uint64_t first, last;
    int result = 0;

    for (int i = 0; i < LAYOUT_TAGS_MAX && result == 0; i++) {
        bool owned = layout_find(l, i, &first, &last);
        layout_tag(to->cli->config->redis_namespace, i, tag);
        if (owned || (i == 0 && to->with_namespace))
            result = claim_tag(to, tag, owned && *to->id, err);
    }
    return result;
}

static const char no_journal[] = "there is no journal yet, so no cursor is claimed";

// id "": before the first delivery only the namespace can be claimed.
static int
claim(struct cli *c, const char *id, const char *directory, struct err *err)
{
    struct claiming to = {.cli = c,
                          .id = id,
                          .directory = directory,
                          .with_namespace = options_has(c->options, "namespace")};
    struct layout layout = {.at[0] = {1, config_partitions(c->config)}, .len = 1};

    if (*id && layout_open(&layout, c->config, directory, id, err) < 0)
        return -1;
    buf_init(&to.cursors, 1 << 16);
    output_wait("asking Redis (%s)", c->config->redis_url.text);
    int result = claim_tags(&to, &layout, err);
    output_wait_end();
    if (result == 0 && !*id)
        output_say("redis.namespace now belongs to this account; %s\n", no_journal);
    else if (result == 0 && !output.json)
        printf("journal %s is now published from here; its cursor%s at %s%s\n", id,
               to.claimed == 1 ? " is" : "s are", buf_text(&to.cursors),
               to.with_namespace ? "; redis.namespace now belongs to this account" : "");
    output_number("cursor", to.cursor);
    buf_release(&to.cursors);
    return result;
}

// The journal's directory, and its id; NULL with *err.
static const char *
find_journal(struct cli *c, char id[JOURNAL_ID_TEXT], struct err *err)
{
    const char *directory = cli_directory(c, err);
    struct cursor *cursor = directory ? cursor_open_reader(directory, 0, id, err) : NULL;

    cursor_close(cursor);
    return cursor ? directory : NULL;
}

static int
run_journal_claim(void *cli, struct err *err)
{
    struct cli *c = cli;
    bool really = options_has(c->options, "yes"),
         with_namespace = options_has(c->options, "namespace");
    char id[JOURNAL_ID_TEXT] = "";
    const char *directory = find_journal(c, id, err);
    bool is_new = !directory && with_namespace && err->error == ENOENT;

    if ((!directory && !is_new) || (really && claim(c, id, directory, err) < 0))
        return -1;
    output_text("journal", span_of(id));
    output_flag("done", really);
    if (output.json)
        output_line(stdout);
    else if (!really && is_new)
        printf("redis.namespace would be claimed for this account; %s.\n--yes does it.\n",
               no_journal);
    else if (!really)
        printf("journal %s in %s would be claimed for this machine and directory%s.\nDo "
               "this only if no other copy of it is running. --yes does it.\n",
               id, directory,
               with_namespace ? ", and redis.namespace for this account" : "");
    return EXIT_CODE_OK;
}

// --- partitions --------------------------------------------------------------------------

static int
run_journal_partitions(void *cli, struct err *err)
{
    struct cli *c = cli;
    const char *given = c->options->arguments[0];
    char id[JOURNAL_ID_TEXT];
    const char *directory = find_journal(c, id, err);
    uint64_t n;

    if (!directory)
        return -1;
    if (!text_number(&n, span_of(given), CONFIG_PARTITIONS_MAX) || n == 0)
        return err_exit(err, EXIT_CODE_USAGE, "%s: not a number from 1 to %d", given,
                        CONFIG_PARTITIONS_MAX);
    struct layout l = {.at[0] = {1, (int)n}, .len = 1};
    bool really = options_has(c->options, "yes");
    if (really && journal_is_held(directory))
        return err_exit(err, EXIT_CODE_LOCK,
                        "%s is in use by a receiver, which would not read the new file "
                        "before its next start: stop it, run this again, and start it",
                        directory);
    if (really && layout_write(&l, directory, id, err) < 0)
        return -1;
    output_number("partitions", n);
    output_flag("done", really);
    output_say(
        "All records in %s %s taken to be in %llu partition%s, as redis.partitions "
        "was while they came.\n%s\n",
        directory, really ? "are" : "would be", (unsigned long long)n, PLURAL(n),
        really ? "Start the receiver." : "--yes does it.");
    return EXIT_CODE_OK;
}

// --- the command line -------------------------------------------------------------------

#define OPTION_YES OPTION_IS_FLAG("yes", "do it; otherwise only show what would be done")
static const struct option salvage_options[] = {
    OPTIONS_RANGE,
    OPTION_IS_TEXT("segment", "FILE",
                   "read only this segment file, for example one from bad/"),
    OPTION_IS_TEXT("to-file", "FILE",
                   "save the deliveries to this file, one line of JSON each"),
    OPTION_IS_FLAG("post", "post them to the receiver, each as a new delivery"),
    {0},
};

const struct subcommand cli_repair_commands[] = {
    {"journal replay", "", "add deliveries to their streams again", 0, 0,
     OPTIONS(OPTIONS_RANGE, OPTION_YES), run_journal_replay, true, NULL},
    {"journal salvage", "", "save every readable delivery to a file, or post it", 0, 0,
     salvage_options, run_journal_salvage, false, NULL},
    {"journal claim", "", "make this the only place from which this journal is published",
     0, 0,
     OPTIONS(OPTION_DIRECTORY,
             OPTION_IS_FLAG("namespace",
                            "also claim redis.namespace, after the account was renamed"),
             OPTION_YES),
     run_journal_claim, true, NULL},
    {"journal partitions", "<n>",
     "rewrite how the journal's records are spread over partitions", 1, 1,
     OPTIONS(OPTION_DIRECTORY, OPTION_YES), run_journal_partitions, true, NULL},
    {0},
};
