// What the page polls: how it goes, the hooks, the commands with their results.
#include "cli/inspect.h"

#include "base/clock.h"
#include "base/text.h"
#include "worker/known.h"

#include <stdlib.h>

enum { SLOW = 5 }; // rounds between looks at hooks and commands

struct facts {
    struct inspect *inspect;
    struct tags tags, of_namespace; // kept from round to round
    bool away;      // a connection failed in this round: no other is tried
    struct err err; // why
    int64_t now_us; // by Redis's clock, 0: not known
    unsigned rounds;
    int64_t waiting; // commands
};

// The connection to a tag, or for the keys of the worker and the commands; NULL: away.
static struct redis *
connection(struct facts *f, const struct inspect_key *key)
{
    struct tags *tags = key ? &f->tags : &f->of_namespace;
    size_t tag = key ? key->tag : 0;
    struct err err = {0};
    bool connected = tags->redis[tag] && !tags->redis[tag]->dead;

    if (f->away && !connected)
        return NULL;
    struct redis *r = tags_redis(tags, tag, &err);
    f->away |= !r;
    if (!r)
        f->err = err;
    return r;
}

// A command with one key of the namespace.
static const struct redis_reply *
ask_name(struct facts *f, const char *command, const char *name)
{
    char key[SCRIPT_KEY];
    struct redis *r = connection(f, NULL);

    script_key(key, f->inspect->config->redis_namespace, span_of(name));
    return r ? cli_ask(r, &f->err, command, key) : NULL;
}

// null where it is not known.
static void
add_number(struct buf *to, const char *name, const struct redis_reply *reply)
{
    if (reply && redis_value(reply).kind == REDIS_NUMBER)
        document_json(to, name, "%lld", (long long)redis_value(reply).number);
    else
        document_json(to, name, "null");
}

// --- head -------------------------------------------------------------------------------------

static void
add_programs(struct cli *c, struct buf *to)
{
    buf_release(&c->receiver.metrics);
    buf_release(&c->worker.metrics);
    admin_json_fetch(c);
    output_wait_end();
    (void)status_programs(c); // it says so
    document_end(&output.document);
    document_value(to, "programs", buf_span(&output.document));
    buf_clear(&output.document);
}

static void
add_group(struct buf *to, const struct redis_reply *group)
{
    document_open(to, NULL, '{');
    document_shown(to, "name", cli_field(group, "name"));
    document_shown(to, "last", cli_field(group, "last-delivered-id"));
    add_number(to, "consumers", redis_member(group, "consumers"));
    add_number(to, "pending", redis_member(group, "pending"));
    add_number(to, "lag", redis_member(group, "lag"));
    document_close(to, '{');
}

static void
add_stream(struct facts *f, struct buf *to, const struct inspect_key *key)
{
    struct redis *r = connection(f, key);

    document_open(to, NULL, '{');
    document_shown(to, "key", span_of(key->key));
    document_open(to, "groups", '[');
    const struct redis_reply *groups =
        r ? cli_ask(r, &(struct err){0}, "XINFO", "GROUPS", key->key) : NULL;
    for (size_t i = 0; i < redis_value(groups).len; i++)
        add_group(to, redis_reply_at(groups, i));
    document_close(to, '[');
    document_close(to, '{');
}

static void
add_streams(struct facts *f, struct buf *to)
{
    const struct inspect *i = f->inspect;
    int64_t dead = 0;
    bool known = true;

    document_open(to, "streams", '[');
    for (size_t k = 0; k < i->keys_len; k++) {
        const struct inspect_key *key = &i->keys[k];
        if (!key->is_dead) {
            add_stream(f, to, key);
            continue;
        }
        struct redis *r = connection(f, key);
        const struct redis_reply *length =
            r ? cli_ask(r, &f->err, "XLEN", key->key) : NULL;
        known &= length != NULL;
        dead += redis_value(length).number;
    }
    document_close(to, '[');
    document_json(to, "dead", known ? "%lld" : "null", (long long)dead);
    add_number(to, "dead_commands", ask_name(f, "XLEN", "commands.dead"));
}

static void
add_journal(const struct inspect *i, struct buf *to)
{
    struct err err = {0};
    struct cursor *cursor = cursor_open_reader(i->config->state_dir, 0, NULL, &err);

    document_open(to, "journal", '{');
    document_flag(to, "readable", cursor);
    document_shown(to, "text", span_of(cursor ? i->config->state_dir : err.text));
    document_close(to, '{');
    cursor_close(cursor);
}

static void
write_head(struct facts *f, struct buf *to)
{
    struct inspect *i = f->inspect;
    const struct config *c = i->config;
    struct err err = {0};

    document_open(to, NULL, '{');
    document_shown(to, "account", span_of(c->account_name));
    document_shown(to, "namespace", span_of(c->redis_namespace));
    add_programs(i->cli, to);
    add_journal(i, to);
    add_streams(f, to);
    bool up = window_add_head(i->window, to, f->now_us / 1000000, &err);
    document_open(to, "redis", '{');
    document_flag(to, "up", up && !f->away);
    document_shown(to, "text",
                   span_of(f->away ? f->err.text
                           : up    ? c->redis_url.text
                                   : err.text));
    document_close(to, '{');
    document_json(to, "commands", c->services_len ? "%lld" : "null",
                  (long long)f->waiting);
}

// --- hooks ------------------------------------------------------------------------------------

// A hook of the file, what the worker says of it, and its last event in any of the tags.
struct hook_facts {
    struct state state;
    int64_t last_us;
};

static void
read_last(struct facts *f, struct hook_facts *hooks)
{
    const struct config *c = f->inspect->config;
    char key[SCRIPT_KEY];
    int64_t us;

    for (size_t t = 0; t < f->tags.len; t++) {
        struct redis *r = connection(f, &(struct inspect_key){.tag = t});
        script_key(key, f->tags.at[t], SPAN("last"));
        const struct redis_reply *all = r ? cli_ask(r, &f->err, "HGETALL", key) : NULL;
        for (size_t i = 0; i + 1 < redis_value(all).len; i += 2) {
            const struct config_hook *hook =
                config_find_hook(c, redis_value(redis_reply_at(all, i)).text);
            if (hook && clock_parse(&us, redis_value(redis_reply_at(all, i + 1)).text) &&
                us > hooks[hook - c->hooks].last_us)
                hooks[hook - c->hooks].last_us = us;
        }
    }
}

// `hook` is NULL for one that left the file.
static void
add_hook(const struct facts *f, struct buf *to, struct span name,
         const struct config_hook *hook, const struct hook_facts *facts)
{
    const struct state *state = &facts->state;
    int64_t last_us = facts->last_us;
    bool silent = strcmp(state->name, "silent") == 0;

    document_open(to, NULL, '{');
    cli_add_masked(to, "name", name, false);
    cli_add_masked(to, "label", span_of(hook ? hook->label : ""), false);
    document_flag(to, "wanted", hook);
    document_shown(to, "stream", span_of(hook ? hook->stream : ""));
    document_open(to, "events", '[');
    for (size_t i = 0; hook && i < hook->events.len; i++)
        document_shown(to, NULL, span_of(hook->events.at[i]));
    document_close(to, '[');
    document_word(to, "state", state->name[0] ? state->name : NULL);
    document_time(to, "checked", state->checked_us);
    document_time(to, "repaired", state->repaired_us);
    document_time(to, "last_event", last_us);
    document_json(to, "last_event_seconds", last_us && f->now_us ? "%lld" : "null",
                  (long long)(f->now_us - last_us) / 1000000);
    document_json(to, "expect_every_seconds",
                  hook && hook->expect_every_us ? "%lld" : "null",
                  hook ? (long long)hook->expect_every_us / 1000000 : 0);
    document_flag(to, "silent", silent);
    document_close(to, '{');
}

// Those that left the file; their names are the worker's.
static void
add_left(const struct facts *f, struct buf *to, const struct redis_reply *all)
{
    for (size_t i = 0; i + 1 < redis_value(all).len; i += 2) {
        struct span name = redis_value(redis_reply_at(all, i)).text;
        struct hook_facts facts = {0};
        state_read(&facts.state, redis_value(redis_reply_at(all, i + 1)).text);
        if (strcmp(facts.state.name, "left") == 0 &&
            !config_find_hook(f->inspect->config, name))
            add_hook(f, to, name, NULL, &facts);
    }
}

static void
write_hooks(struct facts *f, struct buf *to)
{
    const struct config *c = f->inspect->config;
    struct hook_facts *hooks = memory_get((c->hooks_len + 1) * sizeof *hooks);

    memset(hooks, 0, (c->hooks_len + 1) * sizeof *hooks);
    read_last(f, hooks);
    const struct redis_reply *all = ask_name(f, "HGETALL", "hooks");
    for (size_t i = 0; i < c->hooks_len; i++)
        state_read(&hooks[i].state, cli_field(all, c->hooks[i].name));
    document_open(to, NULL, '{');
    document_shown(to, "why", span_of(all ? "" : f->err.text));
    document_open(to, "hooks", '[');
    for (size_t i = 0; i < c->hooks_len; i++)
        add_hook(f, to, span_of(c->hooks[i].name), &c->hooks[i], &hooks[i]);
    add_left(f, to, all);
    document_close(to, '[');
    free(hooks);
}

// --- commands ---------------------------------------------------------------------------------

static void
add_results(struct facts *f, struct buf *to, const char *service)
{
    static const char *const names[] = {"ce_id",  "ce_subject", "outcome",
                                        "status", "attempts",   "detail"};
    struct redis *r = connection(f, NULL);
    char key[SCRIPT_KEY];

    commands_key(key, f->inspect->config, "results", span_of(service));
    document_open(to, "results", '[');
    const struct redis_reply *reply =
        r ? cli_ask(r, &f->err, "XREVRANGE", key, "+", "-", "COUNT", "20") : NULL;
    for (size_t i = 0; i < redis_value(reply).len; i++) {
        const struct redis_reply *entry = redis_reply_at(reply, i);
        const struct redis_reply *fields = redis_reply_at(entry, 1);
        document_open(to, NULL, '{');
        struct span id = redis_value(redis_reply_at(entry, 0)).text;
        document_shown(to, "id", id);
        document_time(to, "time", strtoll(id.at, NULL, 10) * 1000);
        cli_add_masked(to, "type", span_after_last(cli_field(fields, "ce_type"), '.'),
                       false);
        for (size_t n = 0; n < sizeof names / sizeof *names; n++)
            cli_add_masked(to, names[n] + (n == 1 ? 3 : 0), cli_field(fields, names[n]),
                           false);
        document_close(to, '{');
    }
    document_close(to, '[');
}

static int64_t
add_service(struct facts *f, struct buf *to, const struct config_service *service)
{
    struct commands_state state = {0};
    struct redis *r = connection(f, NULL);
    struct err err = f->err;
    bool known =
        r && commands_read(r, f->inspect->config, service->name, &state, &err) == 0;

    document_open(to, NULL, '{');
    document_shown(to, "name", span_of(service->name));
    document_open(to, "allow", '[');
    for (size_t i = 0; i < service->allow.len; i++)
        document_shown(to, NULL, span_of(service->allow.at[i]));
    document_close(to, '[');
    document_json(to, "waiting", known ? "%lld" : "null", (long long)state.waiting);
    document_json(to, "oldest_seconds",
                  known && state.oldest_ms && f->now_us ? "%lld" : "null",
                  (long long)(f->now_us / 1000 - state.oldest_ms) / 1000);
    document_shown(to, "error", span_of(known ? "" : err.text));
    add_results(f, to, service->name);
    document_close(to, '{');
    return state.waiting;
}

static void
write_commands(struct facts *f, struct buf *to)
{
    const struct config *c = f->inspect->config;

    f->waiting = 0;
    document_open(to, NULL, '{');
    document_open(to, "services", '[');
    for (size_t i = 0; i < c->services_len; i++)
        f->waiting += add_service(f, to, &c->services[i]);
    document_close(to, '[');
}

// --- all of it --------------------------------------------------------------------------------

static void
show(struct inspect *i, struct buf *shown, struct buf *fresh)
{
    struct buf old;

    document_end(fresh);
    pthread_mutex_lock(&i->lock);
    old = *shown;
    *shown = *fresh;
    pthread_mutex_unlock(&i->lock);
    buf_release(&old);
}

void
facts_write(struct inspect *i)
{
    static struct facts f; // of the main thread
    struct buf head, hooks, commands;

    if (!f.inspect) {
        f = (struct facts){.inspect = i, .tags = i->tags};
        tags_of_namespace(&f.of_namespace, i->cli);
    }
    f.away = false;
    f.err = (struct err){0};
    struct redis *r = connection(&f, NULL);
    f.now_us = r ? cli_redis_us(r) : 0;
    if (f.rounds++ % SLOW == 0) {
        buf_init(&hooks, INSPECT_BYTES);
        buf_init(&commands, INSPECT_BYTES);
        write_hooks(&f, &hooks);
        write_commands(&f, &commands);
        show(i, &i->hooks, &hooks);
        show(i, &i->commands, &commands);
    }
    buf_init(&head, INSPECT_BYTES);
    write_head(&f, &head);
    show(i, &i->head, &head);
}
