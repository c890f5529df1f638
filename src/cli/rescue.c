// journal replay, salvage, claim: an operator's way out. Replay adds entries once more,
// outside the cursor and marked; salvage saves what can be read of a damaged or left journal,
// or posts it to the receiver; claim says that this place, and no other, ships a journal from now on.
#include "cli/cli.h"
#include "cli/journey.h"
#include "event/delivery.h"
#include "relay/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

// --- replay ---------------------------------------------------------------------------

struct replaying {
    struct redis *redis;
    struct entry_maker *maker;
    uint64_t added, failed;
    bool really;
};

static int
replay_begin(struct journey *j, struct err *err)
{
    struct replaying *r = j->context;

    r->maker = entry_maker_open(j->cli->config->account_name, j->id);
    if (r->really) {
        output_wait("asking Redis (%s)", j->cli->config->redis_url.text);
        r->redis = cli_redis(j->cli, err);
        output_wait_end();
    }
    return r->really && !r->redis ? -1 : 0;
}

// Whether Redis refuses this entry, and would take others.
static bool
is_refused_entry(const struct replaying *r, const struct err *err)
{
    const char *known = cli_redis_advice(err->text)->in;

    return !redis_is_dead(r->redis) && (!*known || strcmp(known, "WRONGTYPE") == 0);
}

static int
replay_record(struct journey *j, const struct record *record, struct err *err)
{
    struct replaying *r = j->context;
    struct entry entry;

    if (r->really) {
        entry_make(r->maker, record, &entry);
        if (relay_replay(r->redis, j->cli->config->redis_namespace, &entry, err) < 0) {
            err_context(err, "sequence %llu", (unsigned long long)record->sequence);
            if (!is_refused_entry(r, err))
                return -1;
            (void)cli_fail(err);
            r->failed++;
            return 0;
        }
    }
    r->added++;
    return 0;
}

static int
run_journal_replay(void *cli)
{
    struct cli *c = cli;
    struct replaying r = {.really = options_has(c->options, "yes")};
    struct journey j = {.cli = c,
                        .begin = replay_begin,
                        .on_record = replay_record,
                        .on_gap = journey_print_gap,
                        .context = &r};
    struct err err = {0};

    const char *zone = c->config->account_time_zone;
    int result = event_zone_set(zone ? zone : "", &err);
    if (result == 0)
        result = journey_make(&j, &err);
    entry_maker_close(r.maker);
    redis_close(r.redis);
    if (output.json)
        printf("{\"replayed\":%llu,\"failed\":%llu,\"done\":%s}\n",
               (unsigned long long)r.added, (unsigned long long)r.failed,
               r.really ? "true" : "false");
    else if (r.really)
        printf("%llu entries added, marked with ce_replay; %llu refused\n",
               (unsigned long long)r.added, (unsigned long long)r.failed);
    else if (result == 0)
        printf(
            "%llu deliveries would be added once more, whether they are in their streams "
            "or not; --yes does it\n",
            (unsigned long long)r.added);
    if (result < 0)
        return cli_fail(&err);
    return r.failed ? EXIT_CODE_FAILURE : j.gaps ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- salvage --------------------------------------------------------------------------

static int
salvage_record(struct journey *j, const struct record *record, struct err *err)
{
    FILE *to = j->context;

    journey_add_delivery(record, true);
    struct span line = output_line();
    return fwrite(line.at, 1, line.len, to) == line.len ? 0
                                                        : err_errno(err, "cannot write");
}

static int
salvage_walk(struct journey *j, struct err *err)
{
    const char *segment = options_text(j->cli->options, "segment", NULL);

    return segment ? journey_make_in(j, segment, err) : journey_make(j, err);
}

// The file holds personal data: it is new, and its owner's alone.
static FILE *
salvage_create(const char *path, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

    if (!file)
        err_errno(err, "%s: cannot create", path);
    return file;
}

static int
salvage_to_file(struct journey *j, const char *path, struct err *err)
{
    FILE *file = salvage_create(path, err);

    if (!file)
        return -1;
    j->on_record = salvage_record;
    j->context = file;
    int result = salvage_walk(j, err);
    if (fflush(file) != 0 || fsync(fileno(file)) != 0)
        result = err_errno(err, "%s: cannot write", path);
    if (fclose(file) != 0 && result == 0)
        result = err_errno(err, "%s: cannot close", path);
    return result;
}

// --- salvage by posting ---------------------------------------------------------------

struct posting {
    struct secrets *secrets;
    struct post_target to;
    int fd;
    uint64_t posted, left;
};

static int
post_delivery(struct posting *p, const struct delivery *d, struct err *err)
{
    struct buf path;
    bool closed = true;

    if (p->fd < 0)
        p->fd = post_open(&p->to, err);
    if (p->fd < 0)
        return err_context(err, "the receiver");
    buf_init(&path, 4096);
    secrets_url(p->secrets, 0, "", d->hook, &path);
    if (d->query.len) {
        buf_add_byte(&path, '?');
        buf_add(&path, d->query);
    }
    int code =
        post_send(p->fd, buf_span(&path), d->type, d->encoding, d->body, &closed, err);
    buf_release(&path);
    if (closed) {
        close(p->fd);
        p->fd = -1;
    }
    if (code >= 0 && code != 200)
        err_exit(err, EXIT_CODE_UNAVAILABLE, "the receiver answers %d", code);
    return code;
}

// What the receiver refuses about this delivery, and not about any.
static bool
is_refused_alone(int code)
{
    return code == 400 || code == 413 || code == 414 || code == 431;
}

// What cannot be posted as it came is told and left.
static int
post_record(struct journey *j, const struct record *record, struct err *err)
{
    struct posting *p = j->context;
    unsigned long long sequence = record->sequence;
    struct delivery d = {0};
    const char *why = NULL;
    int code = 0;

    if (delivery_decode(&d, record->payload, NULL) < 0)
        why = "it is unreadable";
    else if (!config_find_hook(j->cli->config, d.hook))
        why = "its hook is not in the configuration";
    else if (is_refused_alone(code = post_delivery(p, &d, err)))
        why = err->text;
    if (why) {
        fprintf(stderr, "acrelay: sequence %llu is left: %s\n", sequence, why);
        p->left++;
        return 0;
    }
    if (code != 200) {
        err_context(err, "sequence %llu", sequence);
        fprintf(
            stderr,
            "acrelay: go on with --from %llu; had it been taken, it becomes a repeat\n",
            sequence);
        return -1;
    }
    p->posted++;
    return 0;
}

// In order, each a new delivery to the receiver, until one is not answered 200.
static int
salvage_by_posting(struct journey *j, struct posting *p, struct err *err)
{
    struct cli *c = j->cli;

    if (!cli_read_config(c))
        return err_exit(
            err, EXIT_CODE_CONFIG,
            "--post needs a good configuration: it says where the receiver is");
    p->secrets = secrets_load(c->config, err);
    if (!p->secrets)
        return -1;
    const struct socket_address *listen = &c->config->listen.at[0];
    p->to = (struct post_target){.path = listen->path, .at = listen->at};
    p->fd = -1;
    j->on_record = post_record;
    j->context = p;
    int result = salvage_walk(j, err);
    secrets_release(p->secrets);
    if (p->fd >= 0)
        close(p->fd);
    return result;
}

static int
run_journal_salvage(void *cli)
{
    struct cli *c = cli;
    const char *path = options_text(c->options, "to-file", NULL);
    struct journey j = {.cli = c, .on_gap = journey_print_gap};
    struct posting posting = {0};
    struct err err = {0};

    if ((path != NULL) == options_has(c->options, "post")) {
        err_exit(&err, EXIT_CODE_USAGE,
                 "--to-file says where the deliveries go, or --post posts them");
        return cli_fail(&err);
    }
    int result =
        path ? salvage_to_file(&j, path, &err) : salvage_by_posting(&j, &posting, &err);
    unsigned long long done = path ? j.records : posting.posted, left = posting.left;
    const char *word = path ? "saved" : "posted";
    if (output.json)
        printf("{\"%s\":%llu,\"left\":%llu,\"missing\":%llu}\n", word, done, left,
               (unsigned long long)j.missing);
    else
        printf("%llu deliveries %s, %llu left, %llu records missing\n", done, word, left,
               (unsigned long long)j.missing);
    if (result < 0)
        return cli_fail(&err);
    return j.gaps || posting.left ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- claim ----------------------------------------------------------------------------

static int
claim(struct cli *c, const char *id, const char *directory, struct err *err)
{
    struct redis_options redis;
    struct buf password;
    uint64_t cursor = 0;
    int result = config_redis_options(&redis, c->config, &password, err);

    output_wait("asking Redis (%s)", c->config->redis_url.text);
    if (result == 0 && relay_claim(&redis, c->config->redis_namespace, id, directory,
                                   &cursor, err) < 0) {
        err->exit = cli_redis_advice(err->text)->code;
        result = -1;
    }
    output_wait_end();
    buf_wipe(&password);
    if (result < 0)
        return -1;
    printf(output.json ? "{\"journal\":\"%s\",\"cursor\":%llu,\"done\":true}\n"
                       : "journal %s ships from here now; its cursor stands at %llu\n",
           id, (unsigned long long)cursor);
    return 0;
}

static void
show_claim(const char *id, const char *directory)
{
    if (output.json)
        printf("{\"journal\":\"%s\",\"done\":false}\n", id);
    else
        printf("journal %s in %s would be claimed for this machine and directory.\n"
               "Do so only when no other copy of it runs any more. --yes does it.\n",
               id, directory);
}

static int
run_journal_claim(void *cli)
{
    struct cli *c = cli;
    struct err err = {0};
    const char *directory = cli_directory(c, &err);
    struct cursor *cursor = cursor_open_reader(directory, 0, &err);
    char id[JOURNAL_ID_TEXT];

    if (!cursor)
        return cli_fail(&err);
    snprintf(id, sizeof id, "%s", cursor_journal_id(cursor));
    cursor_close(cursor);
    if (!options_has(c->options, "yes")) {
        show_claim(id, directory);
        return EXIT_CODE_OK;
    }
    return claim(c, id, directory, &err) < 0 ? cli_fail(&err) : EXIT_CODE_OK;
}

// --- the command line -------------------------------------------------------------------

static const struct option replay_options[] = {
    OPTIONS_RANGE,
    OPTION_IS_FLAG("yes", "really do it; else only say what would be done"),
    OPTION_END,
};

static const struct option salvage_options[] = {
    OPTIONS_RANGE,
    OPTION_IS_FILE("segment", "FILE",
                   "only this segment's file, also one that was set aside in bad/"),
    OPTION_IS_FILE("to-file", "FILE", "where the deliveries go, a JSON line each"),
    OPTION_IS_FLAG("post", "post them to the receiver instead, each as a new delivery"),
    OPTION_END,
};

static const struct option claim_options[] = {
    OPTION_DIRECTORY,
    OPTION_IS_FLAG("yes", "really do it; else only say what would be done"),
    OPTION_END,
};

const struct command cli_repair_commands[] = {
    {"journal replay", "", "add deliveries to their streams once more", 0, 0,
     replay_options, run_journal_replay, true, NULL},
    {"journal salvage", "", "save every readable delivery to a file, or post it", 0, 0,
     salvage_options, run_journal_salvage, false, NULL},
    {"journal claim", "", "make this the only place that ships this journal", 0, 0,
     claim_options, run_journal_claim, true, NULL},
    {0},
};
