// The same entry once more, on an operator's word: marked, so that nobody takes it for the
// one that the promise is about.
#include "relay/relay.h"

#include "base/clock.h"

static size_t
event_fields(struct span *to, const struct entry *e)
{
    const struct event *v = &e->event;
    const struct span fields[] = {
        SPAN("ce_specversion"),
        SPAN("1.0"),
        SPAN("ce_id"),
        v->id,
        SPAN("ce_source"),
        v->source,
        SPAN("ce_type"),
        v->type,
        SPAN("ce_subject"),
        v->subject,
        SPAN("ce_time"),
        v->time,
        SPAN("ce_recordedtime"),
        v->recorded,
        SPAN("ce_sequence"),
        v->sequence,
        SPAN("ce_dataschema"),
        SPAN("urn:acrelay:event:v1"),
        SPAN("ce_fingerprint"),
        span_of(e->print_text),
        SPAN("ce_repeat"),
        SPAN("0"),
        SPAN("content-type"),
        SPAN("application/json"),
        SPAN("data"),
        v->data,
        SPAN("query"),
        v->query,
        SPAN("raw"),
        v->raw,
    };

    memcpy(to, fields, sizeof fields);
    return sizeof fields / sizeof *fields;
}

static size_t
dead_fields(struct span *to, const struct entry *e)
{
    const struct event *v = &e->event;
    const struct span fields[] = {
        SPAN("ce_id"),
        v->id,
        SPAN("ce_source"),
        v->source,
        SPAN("hook"),
        e->delivery.hook,
        SPAN("reason"),
        span_of(event_reason_name(e->reason)),
        SPAN("detail"),
        v->detail,
        SPAN("ce_recordedtime"),
        v->recorded,
        SPAN("content-type"),
        e->delivery.type,
        SPAN("query"),
        v->query,
        SPAN("raw"),
        v->raw,
    };

    memcpy(to, fields, sizeof fields);
    return sizeof fields / sizeof *fields;
}

int
relay_replay(struct redis *r, const char *namespace, const struct entry *e,
             struct err *err)
{
    bool good = e->reason == EVENT_GOOD;
    char key[SCRIPT_KEY], now[CLOCK_TEXT];
    struct span args[40];
    size_t n = 0;

    script_key(key, namespace, good ? e->delivery.stream : SPAN("dead"));
    clock_format_us(now, clock_now_us());
    args[n++] = SPAN("XADD");
    args[n++] = span_of(key);
    args[n++] = SPAN("*");
    n += good ? event_fields(args + n, e) : dead_fields(args + n, e);
    args[n++] = SPAN("ce_replay");
    args[n++] = span_of(now);
    const struct redis_reply *reply = redis_command(r, args, n, err);
    if (!reply)
        return -1;
    struct span text = redis_reply_text(reply);
    if (redis_reply_kind(reply) == REDIS_ERROR)
        return err_set(err, ERR_INPUT, "Redis says: %.*s", (int)text.len, text.at);
    // So that it is trimmed, if no hook names it any more. No right to say so is no failure.
    script_key(key, namespace, SPAN("streams"));
    if (good)
        (void)redis_command(
            r, (struct span[]){SPAN("SADD"), span_of(key), e->delivery.stream}, 3, err);
    return 0;
}
