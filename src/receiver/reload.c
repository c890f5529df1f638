#include "base/log.h"
#include "config/config.h"
#include "edge/admin.h"
#include "edge/reloads.h"
#include "receiver/receiver.h"

#include <stdio.h>

// The hooks, and their streams, each once.
static void
list_hooks(struct receiver *r, const struct config *c)
{
    for (size_t i = 0; i < c->hooks_len; i++)
        r->hooks[i] = c->hooks[i].name;
    for (size_t i = 0; i < c->streams.len; i++)
        r->streams[i] = c->streams.at[i];
    r->streams[c->streams.len] = r->hooks[c->hooks_len] = NULL;
}

int
receiver_relay_options(struct receiver *r, const struct config *c,
                       struct relay_options *o, struct err *err)
{
    *o = (struct relay_options){.namespace = c->redis_namespace,
                                .account = c->account_name,
                                .directory = c->state_dir,
                                .streams = r->streams,
                                .hooks = r->hooks,
                                .repeats_window_us = c->duplicates_window_us,
                                .repeats_max = c->duplicates_max,
                                .retain_age_us = c->redis_retain_age_us,
                                .retain_dead_us = c->redis_retain_dead_us,
                                .retain_entries = c->redis_retain_entries};
    buf_wipe(&r->password); // of the options before these
    if (config_redis_options(&o->redis, c, &r->password, err) < 0)
        return -1;
    list_hooks(r, c);
    return 0;
}

static int
take_over(struct receiver *r, struct rules *fresh, struct buf *removed, struct err *err)
{
    struct relay_options options;

    if (receiver_relay_options(r, fresh->config, &options, err) < 0)
        return -1;
    relay_reload(r->relay, &options);
    admin_set_hosts(fresh->config->admin_hosts.at, fresh->config->admin_hosts.len);
    rules_log_removed(fresh, r->rules->config, removed);
    intake_replace(r->intake, fresh);
    r->rules = fresh;
    return 0;
}

// Reads the file and takes it over; all or nothing. The names of hooks that are gone with it are
// appended to *removed (NULL: not).
static int
read_anew(struct receiver *r, bool *restart, struct buf *removed, struct err *err)
{
    struct rules *fresh = source_read(&r->source, r->rules, err);

    *restart =
        fresh && config_check_reload(r->rules->config, fresh->config, NULL, err) < 0;
    if (fresh && !*restart && take_over(r, fresh, removed, err) == 0) {
        source_keep(&r->source);
        return 0;
    }
    rules_drop(fresh);
    // A secret that is missing may come by itself; a change that needs a restart gets one.
    if (r->source.is_last_good && r->source.is_valid)
        r->source.judged = false;
    return -1;
}

// The file is still not valid, but another one than before: what it removes is not accepted.
static void
narrow(struct receiver *r, const struct err *why)
{
    struct err err = {0};
    struct rules *fresh = source_narrow(&r->source, r->rules, &err);

    if (!fresh || take_over(r, fresh, NULL, &err) < 0) {
        rules_drop(fresh);
        log_error("config: it stays as it was: %s", err.text);
    }
    reloads_use_last_good(why->text);
}

void
receiver_reload(struct receiver *r)
{
    struct err err = {0};
    struct buf removed;
    bool restart;

    buf_init(&removed, 300);
    reloads_begin();
    sockets_notify("RELOADING=1");
    if (read_anew(r, &restart, &removed, &err) < 0) {
        log_error("receiver: the configuration stays as it was: %s", err.text);
        reloads_report(false, err.text);
        if (r->source.is_last_good && !r->source.is_valid)
            narrow(r, &err);
    } else {
        char text[400];
        snprintf(text, sizeof text, "reloaded, %zu hooks, %zu secrets%s%s%s",
                 r->rules->config->hooks_len, r->rules->secrets->len,
                 removed.len ? "; no longer answered: " : "", buf_text(&removed),
                 removed.full ? ", and others" : "");
        log_info("receiver: %s", text);
        reloads_report(true, text);
    }
    buf_release(&removed);
    sockets_notify("READY=1");
}

bool
receiver_follow_file(struct receiver *r)
{
    struct err err = {0};
    bool restart;

    if (!source_is_due(&r->source))
        return false;
    if (read_anew(r, &restart, NULL, &err) == 0) {
        log_info("receiver: the configuration was read again: %zu hooks, %zu secrets",
                 r->rules->config->hooks_len, r->rules->secrets->len);
        return false;
    }
    if (strcmp(err.text, r->said) != 0)
        log_error("receiver: the configuration stays as it was: %s", err.text);
    snprintf(r->said, sizeof r->said, "%s", err.text);
    if (!r->source.is_last_good)
        reloads_report(false, err.text);
    else if (!r->source.is_valid)
        narrow(r, &err);
    return restart && r->source.is_last_good;
}
