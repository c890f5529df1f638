// What the worker keeps in Redis: {namespace}:hooks, a hash of JSON by hook.
#include "worker/known.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "edge/redis.h"
#include "relay/relay.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/param.h>

enum { ARGS_MAX = 16, KEYS_MAX = 2, JSON_MAX = 1 << 16 };
enum { KNOWN_MAX = 10000 };              // each may cost a request
enum { TRIES_MAX = 20, MOVING_MS = 50 }; // of a command while its keys move

// --- the connection ------------------------------------------------------------------------

void
worker_redis_close(struct worker_redis *r)
{
    redis_close(r->redis);
    r->redis = NULL;
}

static const char *
tag_of(const struct worker_redis *r)
{
    return r->tag[0] ? r->tag : r->config->redis_namespace;
}

static void
fail(struct worker_redis *r, bool lost, const struct err *err)
{
    const char *advice = relay_advice(err->text)->advice;
    // That nobody listens any more explains nothing: the connection ended for that.
    bool explains = !r->away || (r->lost && err->kind == ERR_INPUT && advice != r->away);

    worker_redis_close(r);
    if (explains && r->tag[0])
        log_warn(
            "worker: partition %s is away (%s): whether hooks are silent is not known "
            "until it is back. What to do: %s",
            r->tag, err->text, advice);
    else if (explains && !r->quiet)
        log_warn("worker: Redis is away (%s): hook states are not written%s until it is "
                 "back. What to do: %s",
                 err->text, r->config->services_len ? ", and commands wait," : "",
                 advice);
    r->away = advice;
    r->lost = lost;
}

bool
worker_redis_connect(struct worker_redis *r)
{
    struct err err = {0};

    if (r->redis)
        return true;
    if (r->quiet && r->away)
        return false;
    r->redis = config_redis(r->config, tag_of(r), &r->find, 0, &err);
    if (!r->redis) {
        fail(r, false, &err);
        return false;
    }
    r->connections++;
    if (r->away)
        log_info("worker: %s%s is back", r->tag[0] ? "partition " : "Redis", r->tag);
    r->away = NULL;
    return true;
}

// Of the refused commands the first one is logged, until Redis takes it.
static void
report_refused(struct worker_redis *r, const char *command, struct span text)
{
    struct err err = {0};

    if (r->quiet || r->refused)
        return;
    err_set(&err, ERR_INPUT, "%.*s", (int)text.len, text.at);
    log_error("worker: Redis refuses %s (%s). What to do: %s", command, err.text,
              relay_advice(err.text)->advice);
    r->refused = command;
}

// `what` is a literal.
static const struct redis_reply *
take_reply(struct worker_redis *r, const char *what, const struct redis_reply *reply,
           const struct err *err)
{
    if (!reply) {
        fail(r, true, err);
        return NULL;
    }
    if (redis_value(reply).kind == REDIS_ERROR) {
        report_refused(r, what, redis_value(reply).text);
        if (reply_of(redis_value(reply).text, false, NULL) == REPLY_ELSEWHERE)
            worker_redis_close(r); // after a failover the next command finds the master
        return NULL;
    }
    if (r->refused && strcmp(r->refused, what) == 0)
        r->refused = NULL;
    return reply;
}

// Whether to send it once more: the slot of the keys moves to another node (ASK, TRYAGAIN), or is
// there (MOVED), and nothing was executed.
static bool
is_moving(struct worker_redis *r, struct span error)
{
    bool moved = redis_find_follow(&r->find, error);

    if (!moved && !span_starts(error, SPAN("ASK ")) &&
        !span_starts(error, SPAN("TRYAGAIN")))
        return false;
    if (moved)
        worker_redis_close(r);
    clock_sleep_ms(MOVING_MS);
    return true;
}

const struct redis_reply *
worker_redis_send(struct worker_redis *r, const char *what, const struct span *head,
                  size_t n, const struct redis_args *more)
{
    const struct redis_reply *reply = NULL;
    struct err err = {0};

    for (int tries = 1; worker_redis_connect(r); tries++) {
        bool sent = redis_send(r->redis, head, n, more, &err) == 0;
        reply = sent ? redis_receive(r->redis, &err) : NULL;
        struct redis_value v = redis_value(reply);
        if (v.kind != REDIS_ERROR || tries == TRIES_MAX || !is_moving(r, v.text))
            return take_reply(r, what, reply, &err);
    }
    return NULL;
}

const struct redis_reply *
worker_redis_ask(struct worker_redis *r, const char *command, const char *key, ...)
{
    struct span args[ARGS_MAX] = {span_of(command)};
    char name[SCRIPT_KEY];
    size_t n = 1;
    va_list more;

    if (key)
        args[n++] = script_key(name, tag_of(r), span_of(key));
    va_start(more, key);
    for (const char *arg; n < ARGS_MAX && (arg = va_arg(more, const char *));)
        args[n++] = span_of(arg);
    va_end(more);
    return worker_redis_send(r, command, args, n, NULL);
}

const struct redis_reply *
worker_redis_eval(struct worker_redis *r, const char *what, const char *script,
                  const char *keys, ...)
{
    struct span args[ARGS_MAX] = {SPAN("EVAL"), span_of(script)}, rest = span_of(keys);
    char names[KEYS_MAX][SCRIPT_KEY], count[12];
    size_t n = 3;
    va_list more;

    for (size_t i = 0; rest.len && i < KEYS_MAX; i++)
        args[n++] = script_key(names[i], tag_of(r), span_cut(&rest, ' '));
    snprintf(count, sizeof count, "%zu", n - 3);
    args[2] = span_of(count);
    va_start(more, keys);
    for (const char *arg; n < ARGS_MAX && (arg = va_arg(more, const char *));)
        args[n++] = span_of(arg);
    va_end(more);
    return worker_redis_send(r, what, args, n, NULL);
}

// --- writing -------------------------------------------------------------------------------

// As a string: many programs read numbers as doubles. Without a name it goes into an array.
static void
add_number(cJSON *to, const char *name, uint64_t number, bool hex)
{
    char text[24];

    snprintf(text, sizeof text, hex ? "%016" PRIx64 : "%" PRIu64, number);
    if (name)
        cJSON_AddStringToObject(to, name, text);
    else
        cJSON_AddItemToArray(to, cJSON_CreateString(text));
}

static void
add_time(cJSON *to, const char *name, int64_t us)
{
    char text[CLOCK_TEXT];

    if (us == 0)
        return;
    clock_format_seconds(text, us);
    cJSON_AddStringToObject(to, name, text);
}

static cJSON *
add_entry(cJSON *root, const char *name, uint64_t id)
{
    cJSON *array = cJSON_GetObjectItemCaseSensitive(root, name),
          *entry = cJSON_CreateObject();

    if (!array)
        array = cJSON_AddArrayToObject(root, name);
    cJSON_AddItemToArray(array, entry);
    add_number(entry, "id", id, false);
    return entry;
}

static void
add_known(cJSON *root, const struct known *known, const char *name)
{
    cJSON *ids = cJSON_AddArrayToObject(root, "ids");

    for (size_t i = 0; i < known->len; i++) {
        const struct known_hook *e = &known->at[i];
        if (strcmp(e->name, name) != 0)
            continue;
        if (e->listed)
            add_number(ids, NULL, e->id, false);
        if (e->removed)
            continue;
        int64_t age_us = clock_boot_us() - e->since_us;
        if (!e->listed) {
            cJSON *o = add_entry(root, "created", e->id);
            add_number(o, "list", e->list, false);
            if (e->unclear)
                cJSON_AddNumberToObject(o, "unclear", e->unclear);
            add_time(o, "at", clock_now_us() - age_us);
            if (e->since_us > 0)
                add_number(o, "boot", (uint64_t)e->since_us / 1000000, false);
        }
        // For an hour a list may still show what was there before.
        if (e->written && (e->differs || age_us < INT64_C(3600) * 1000000)) {
            cJSON *o = add_entry(root, "stored", e->id);
            cJSON_AddBoolToObject(o, "differs", e->differs);
            add_number(o, "written", e->written, true);
            add_number(o, "as", e->stored, true);
        }
    }
}

// The lease is compared in the same step: a worker that was stopped, or cut off from Redis, may not
// know yet that another one leads, whose states these are now.
static bool
write_state(struct worker_redis *r, const char *name, const char *text)
{
    static const char script[] =
        "if KEYS[2] and redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end "
        "if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) "
        "else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end return 1";
    const struct redis_reply *reply = worker_redis_eval(
        r, "HSET of hook states", script, r->lease ? "hooks leader" : "hooks", name, text,
        r->lease, NULL);

    return redis_value(reply).number == 1;
}

bool
state_save(const struct state *state, const char *name, const struct known *known,
           struct worker_redis *r)
{
    if (!state)
        return write_state(r, name, "");
    cJSON *root = cJSON_CreateObject();
    if (state->name[0])
        cJSON_AddStringToObject(root, "state", state->name);
    add_time(root, "checked", state->checked_us);
    add_time(root, "last_event", state->last_us);
    add_time(root, "repaired", state->repaired_us);
    if (state->repaired_boot_us > 0) // else it was before this boot
        add_number(root, "repaired_boot", (uint64_t)state->repaired_boot_us / 1000000,
                   false);
    add_known(root, known, name);
    char *text = cJSON_PrintUnformatted(root);
    bool saved = strlen(text) <= JSON_MAX && write_state(r, name, text);
    free(text);
    cJSON_Delete(root);
    return saved;
}

void
known_save(const struct known *known, struct worker_redis *r, const char *name)
{
    const struct redis_reply *reply = worker_redis_ask(r, "HGET", "hooks", name, NULL);
    struct state state;

    if (!reply)
        return;
    state_read(&state, redis_value(reply).text);
    (void)state_save(&state, name, known, r); // else monitor_check does
}

// --- reading -------------------------------------------------------------------------------

static struct span
text_of(const cJSON *object, const char *name)
{
    const char *text =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

    return span_of(text ? text : "");
}

static bool
number_of(uint64_t *to, const cJSON *object, const char *name)
{
    return text_number(to, text_of(object, name), INT64_MAX);
}

static int64_t
time_of(const cJSON *object, const char *name)
{
    int64_t us;

    return clock_parse(&us, text_of(object, name)) ? us : 0;
}

// 0 for anything else.
static uint64_t
digest_of(const cJSON *object, const char *name)
{
    uint64_t digest = 0;
    struct span text = text_of(object, name);

    return text.len == 16 && sscanf(text.at, "%16" SCNx64, &digest) == 1 ? digest : 0;
}

static struct known_hook *
add_new(struct known *known, const char *name, uint64_t id)
{
    bool knows = known_find(known, id); // this process knows better

    return knows || known->len >= KNOWN_MAX ? NULL : known_add(known, id, name);
}

// Of the clocks the one that shows less time counts: the wall clock may have been set since, and the
// boot clock be of another boot. What is too young is created again later, what is too old twice.
static int64_t
since_of(const cJSON *entry)
{
    int64_t at = time_of(entry, "at"), age = at ? clock_now_us() - at : 0,
            now = clock_boot_us();
    uint64_t boot_s;

    if (number_of(&boot_s, entry, "boot"))
        age = MIN(age, now - MIN(now, (int64_t)MIN(boot_s, INT32_MAX) * 1000000));
    return now - MAX(age, 0);
}

static void
read_created(struct known *known, const char *name, const cJSON *entry)
{
    const cJSON *unclear = cJSON_GetObjectItemCaseSensitive(entry, "unclear");
    struct known_hook *e;
    uint64_t id, list;

    if (!number_of(&id, entry, "id") ||
        !text_number(&list, text_of(entry, "list"), UINT64_MAX) ||
        !(e = add_new(known, name, id)))
        return;
    e->list = list;
    if (cJSON_IsNumber(unclear) && unclear->valueint > 0)
        e->unclear = (unsigned)unclear->valueint;
    e->since_us = since_of(entry);
}

static void
read_stored(struct known *known, const cJSON *entry)
{
    uint64_t id = 0;

    (void)number_of(&id, entry, "id");
    struct known_hook *e = known_find(known, id);
    if (!e || e->written)
        return;
    e->written = digest_of(entry, "written");
    e->stored = digest_of(entry, "as");
    e->differs = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(entry, "differs"));
}

void
known_read(struct known *known, const char *name, struct span json)
{
    cJSON *root = cJSON_ParseWithLength(json.at, json.len);
    const cJSON *item;
    struct known_hook *e;
    uint64_t id;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(root, "created"))
        read_created(known, name, item);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(root, "ids"))
    {
        if (cJSON_IsString(item) &&
            text_number(&id, span_of(item->valuestring), INT64_MAX) &&
            (e = add_new(known, name, id))) {
            e->listed = true;
            e->list = HOOK_LIST_UNREADABLE; // the next list says
        }
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(root, "stored"))
        read_stored(known, item);
    cJSON_Delete(root);
}

void
state_read(struct state *to, struct span json)
{
    cJSON *root = cJSON_ParseWithLength(json.at, json.len);
    uint64_t boot_s;

    *to = (struct state){0};
    text_escape(to->name, sizeof to->name, text_of(root, "state"));
    to->checked_us = time_of(root, "checked");
    to->last_us = time_of(root, "last_event");
    to->repaired_us = time_of(root, "repaired");
    if (text_number(&boot_s, text_of(root, "repaired_boot"), INT32_MAX))
        to->repaired_boot_us = (int64_t)boot_s * 1000000;
    cJSON_Delete(root);
}
