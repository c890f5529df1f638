// journal replay, salvage, claim: an operator's way out. Replay adds entries once more,
// outside the cursor and marked; salvage saves what can be read of a damaged journal; claim
// says that this place, and no other, ships a journal from now on.
#include "cli/cli.h"
#include "cli/journey.h"
#include "cli/show.h"
#include "relay/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

// --- replay ---------------------------------------------------------------------------

struct replaying {
    struct redis *redis;
    struct entry_maker *maker;
    uint64_t added;
    bool really;
};

static int
replay_begin(struct journey *j, struct err *err)
{
    struct replaying *r = j->context;

    r->maker = entry_maker_open(j->cli->config->account_name, j->id);
    if (r->really)
        r->redis = config_redis(j->cli->config, err);
    return r->really && !r->redis ? -1 : 0;
}

static int
replay_record(struct journey *j, const struct record *record, struct err *err)
{
    struct replaying *r = j->context;
    struct entry entry;

    if (r->really) {
        entry_make(r->maker, record, &entry);
        if (relay_replay(r->redis, j->cli->config->redis_namespace, &entry, err) < 0)
            return err_context(err, "sequence %llu",
                               (unsigned long long)record->sequence);
    }
    r->added++;
    return 0;
}

int
cli_journal_replay(struct cli *c)
{
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
    if (c->json)
        printf("{\"replayed\":%llu,\"done\":%s}\n", (unsigned long long)r.added,
               r.really ? "true" : "false");
    else if (r.really)
        printf("%llu entries added, marked with ce_replay\n",
               (unsigned long long)r.added);
    else if (result == 0)
        printf(
            "%llu deliveries would be added once more, whether they are in their streams "
            "or not; --yes does it\n",
            (unsigned long long)r.added);
    return result < 0 ? cli_fail(&err) : EXIT_CODE_OK;
}

// --- salvage --------------------------------------------------------------------------

static int
salvage_record(struct journey *j, const struct record *record, struct err *err)
{
    FILE *to = j->context;
    struct buf object;

    buf_init(&object, 8 * (size_t)JOURNAL_RECORD_MAX);
    journey_add_delivery(&object, record, true);
    object.at[object.len - 1] = '}';
    buf_add_byte(&object, '\n');
    bool good = fwrite(object.at, 1, object.len, to) == object.len;
    buf_release(&object);
    return good ? 0 : err_errno(err, "cannot write");
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

int
cli_journal_salvage(struct cli *c)
{
    const char *path = options_text(c->options, "to-file", NULL);
    struct journey j = {
        .cli = c, .on_record = salvage_record, .on_gap = journey_print_gap};
    struct err err = {0};

    if (!path) {
        err_exit(&err, EXIT_CODE_USAGE, "--to-file says where the deliveries go");
        return cli_fail(&err);
    }
    FILE *file = salvage_create(path, &err);
    if (!file)
        return cli_fail(&err);
    j.context = file;
    int result = journey_make(&j, &err);
    if (fflush(file) != 0 || fsync(fileno(file)) != 0)
        result = err_errno(&err, "%s: cannot write", path);
    if (fclose(file) != 0 && result == 0)
        result = err_errno(&err, "%s: cannot close", path);
    printf(c->json ? "{\"saved\":%llu,\"missing\":%llu}\n"
                   : "%llu deliveries saved, %llu records missing\n",
           (unsigned long long)j.records, (unsigned long long)j.missing);
    return result < 0 ? cli_fail(&err) : j.gaps ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- claim ----------------------------------------------------------------------------

static int
claim(struct cli *c, const char *id, struct err *err)
{
    struct redis_options redis;
    struct buf password;
    uint64_t cursor = 0;
    int result = config_redis_options(&redis, c->config, &password, err);

    if (result == 0)
        result = relay_claim(&redis, c->config->redis_namespace, id, cli_directory(c),
                             &cursor, err);
    buf_release(&password);
    if (result < 0)
        return -1;
    printf(c->json ? "{\"journal\":\"%s\",\"cursor\":%llu}\n"
                   : "journal %s ships from here now; its cursor stands at %llu\n",
           id, (unsigned long long)cursor);
    return 0;
}

int
cli_journal_claim(struct cli *c)
{
    struct err err = {0};
    struct cursor *cursor = cursor_open_reader(cli_directory(c), 0, &err);
    char id[JOURNAL_ID_TEXT];

    if (!cursor)
        return cli_fail(&err);
    snprintf(id, sizeof id, "%s", cursor_journal_id(cursor));
    cursor_close(cursor);
    if (!options_has(c->options, "yes")) {
        printf("journal %s in %s would be claimed for this machine and directory.\n"
               "Do so only when no other copy of it runs any more. --yes does it.\n",
               id, cli_directory(c));
        return EXIT_CODE_OK;
    }
    return claim(c, id, &err) < 0 ? cli_fail(&err) : EXIT_CODE_OK;
}
