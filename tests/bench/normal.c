// From bytes to finished event, on the samples: nanoseconds per event, and for callgrind a
// way to run a given number of rounds. Usage: normal [ROUNDS] [BYTES]; with BYTES one body of
// about that size, made of many custom fields, instead of the samples.
#include "base/clock.h"
#include "event/event.h"
#include "event/samples.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t
make_all(struct event_maker *m, const struct sample *samples, size_t len, uint64_t rounds)
{
    struct event_origin origin = {.account = SPAN("acme"),
                                  .journal_id = SPAN("00112233445566778899aabbccddeeff"),
                                  .received_us = INT64_C(1700000000000042)};
    uint64_t bytes = 0;

    for (uint64_t n = 0; n < rounds; n++)
        for (size_t i = 0; i < len; i++) {
            struct delivery d = {.hook = SPAN("contacts"),
                                 .stream = SPAN("events"),
                                 .body = samples[i].body};
            struct event e;
            origin.sequence++;
            if (event_make(m, &origin, &d, &e) != EVENT_GOOD)
                abort();
            bytes += e.data.len;
        }
    return bytes;
}

static struct sample
make_large(struct buf *b, size_t bytes)
{
    buf_init(b, bytes + 4096);
    buf_add_text(b, "type=update&contact%5Bid%5D=7");
    for (unsigned n = 0; b->len < bytes; n++)
        buf_add_format(b,
                       "&contact%%5Bfields%%5D%%5B%u%%5D=a+value+of+some+length+%u+"
                       "and+a+little+more+so+that+a+large+body+stays+below+the+bound+"
                       "of+ten+thousand+pairs+and+so+on",
                       n, n);
    return (struct sample){.name = SPAN("large"), .body = buf_span(b)};
}

int
main(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000;
    size_t len = 0, in = 0;
    struct sample samples[64];
    struct buf large = {0};

    if (argc > 2)
        samples[len++] = make_large(&large, strtoull(argv[2], NULL, 10));
    else
        for (size_t at = 0; len < 64 && samples_next(&samples[len], &at);)
            len++;
    for (size_t i = 0; i < len; i++)
        in += samples[i].body.len;
    struct event_maker *m = event_maker_open();
    int64_t start = clock_mono_us();
    uint64_t out = make_all(m, samples, len, rounds);
    double ns = (double)(clock_mono_us() - start) * 1000;
    printf("%zu bodies, %zu bytes each on average: %.0f ns per event, %.2f ns per byte, "
           "%.0f bytes out\n",
           len, in / len, ns / (double)(rounds * len), ns / (double)(rounds * in),
           (double)out / (double)(rounds * len));
    event_maker_close(m);
    buf_release(&large);
    return 0;
}
