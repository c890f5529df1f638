// Property: whatever the body, making an event neither crashes nor gives anything but one
// valid JSON object in UTF-8, and a second maker gives the same bytes. The first byte picks
// the content type.
#include "base/text.h"
#include "event/event.h"
#include "event/json.h"

#include <stdint.h>
#include <stdlib.h>

static enum event_reason
make(struct event_maker *m, const uint8_t *bytes, size_t len, struct event *e)
{
    static const char *const types[] = {"application/x-www-form-urlencoded",
                                        "application/json", "", "multipart/mixed"};
    struct event_origin origin = {.account = SPAN("acme"),
                                  .journal_id = SPAN("00112233445566778899aabbccddeeff"),
                                  .sequence = 1,
                                  .received_us = INT64_C(1700000000000042)};
    struct delivery d = {.hook = SPAN("contacts"),
                         .stream = SPAN("events"),
                         .type = span_of(types[bytes[0] % 4]),
                         .body = span_make(bytes + 1, len - 1)};

    return event_make(m, &origin, &d, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct event_maker *first, *second;
    static struct buf again;
    struct event a, b;

    if (len < 1)
        return 0;
    if (!first) {
        first = event_maker_open();
        second = event_maker_open();
        buf_init(&again, EVENT_DATA_MAX);
    }
    enum event_reason reason = make(first, bytes, len, &a);
    if (make(second, bytes, len, &b) != reason || !span_equal(a.data, b.data))
        abort();
    if (reason != EVENT_OK)
        return 0;
    if (!text_is_utf8(a.data) || !text_is_utf8(a.type) || !text_is_utf8(a.subject))
        abort();
    // The tree may be 17 deep, the checker takes 32; more members than it takes are fine.
    buf_clear(&again);
    const char *wrong = json_compact(&again, a.data);
    if (wrong && !strstr(wrong, "members"))
        abort();
    if (!wrong && !span_equal(buf_span(&again), a.data))
        abort();
    return 0;
}
