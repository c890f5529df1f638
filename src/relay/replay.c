// The same entry once more, on an operator's word: marked, so that nobody takes it for the
// one that the promise is about.
#include "relay/relay.h"

#include "base/clock.h"

int
relay_replay(struct redis *r, const char *namespace, const struct entry *e,
             struct err *err)
{
    bool event = e->reason == EVENT_GOOD;
    char key[SCRIPT_KEY], now[CLOCK_TEXT];
    struct span values[ENTRY_EVENT_FIELDS], args[3 + 2 * ENTRY_EVENT_FIELDS + 2];
    size_t len, n = 0;
    const struct entry_field *fields = entry_fields(e, values, &len);

    script_key(key, namespace, event ? e->delivery.stream : SPAN("dead"));
    clock_format_us(now, clock_now_us());
    args[n++] = SPAN("XADD");
    args[n++] = span_of(key);
    args[n++] = SPAN("*");
    for (size_t i = 0; i < len; i++) {
        args[n++] = span_of(fields[i].name);
        args[n++] = values[i];
    }
    args[n++] = SPAN("ce_replay");
    args[n++] = span_of(now);
    const struct redis_reply *reply = redis_command(r, args, n, err);
    if (!reply)
        return -1;
    struct span text = redis_reply_text(reply);
    if (redis_reply_kind(reply) == REDIS_ERROR)
        return err_set(err, ERR_INPUT, "Redis says: %.*s", (int)text.len, text.at);
    // So that it is trimmed, if no hook names it any more. No right to do so is no failure.
    script_key(key, namespace, SPAN("streams"));
    if (event)
        (void)redis_command(
            r, (struct span[]){SPAN("SADD"), span_of(key), e->delivery.stream}, 3, err);
    return 0;
}
