// From bytes to finished JSON, on the samples: nanoseconds per event, and for callgrind a way
// to run a given number of rounds. Usage: normal ROUNDS ours|cjson [WHAT]; WHAT is the name of
// one sample, or a number: one body of about that many bytes, made of many custom fields.
// "cjson" is what one would write first: each pair decoded into a string of its own, hung
// into a tree of cJSON objects by its brackets, and printed.
#include "base/clock.h"
#include "base/text.h"
#include "event/event.h"
#include "event/samples.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t make_all(const struct sample *samples, size_t len, uint64_t rounds);

// --- cJSON --------------------------------------------------------------------------------

static char *
decode_copy(struct span s)
{
    char *copy = malloc(s.len + 1), *to = copy;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char byte;
        if (s.at[i] == '%' && s.len - i > 2 &&
            text_unhex(&byte, 1, span_make(s.at + i + 1, 2))) {
            *to++ = (char)byte;
            i += 2;
        } else {
            *to++ = s.at[i] == '+' ? ' ' : s.at[i];
        }
    }
    *to = '\0';
    return copy;
}

static cJSON *
child_of(cJSON *parent, const char *name)
{
    cJSON *child = cJSON_GetObjectItemCaseSensitive(parent, name);

    return child ? child : cJSON_AddObjectToObject(parent, name);
}

static void
hang(cJSON *root, char *key, const char *value)
{
    char *open = strchr(key, '[');
    cJSON *at = root;

    while (open) {
        *open = '\0';
        at = child_of(at, key);
        key = open + 1;
        char *end = strchr(key, ']');
        if (!end)
            break;
        *end = '\0';
        open = end[1] == '[' ? end + 1 : NULL;
    }
    cJSON_AddStringToObject(at, key, value);
}

static uint64_t
make_all_cjson(const struct sample *samples, size_t len, uint64_t rounds)
{
    uint64_t bytes = 0;

    for (uint64_t n = 0; n < rounds; n++)
        for (size_t i = 0; i < len; i++) {
            struct span body = samples[i].body;
            cJSON *root = cJSON_CreateObject();
            while (body.len > 0) {
                struct span value = span_cut(&body, '&');
                char *key_text = decode_copy(span_cut(&value, '='));
                char *value_text = decode_copy(value);
                hang(root, key_text, value_text);
                free(key_text);
                free(value_text);
            }
            char *text = cJSON_PrintUnformatted(root);
            bytes += strlen(text);
            free(text);
            cJSON_Delete(root);
        }
    return bytes;
}

// --- ours ---------------------------------------------------------------------------------

static uint64_t
make_all_events(const struct sample *samples, size_t len, uint64_t rounds)
{
    struct event_maker *m = event_maker_open();
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
            if (event_make(m, &origin, &d, &e) != EVENT_OK)
                abort();
            bytes += e.data.len;
        }
    event_maker_close(m);
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
    const char *what = argc > 3 ? argv[3] : NULL;
    make_all *make =
        argc > 2 && strcmp(argv[2], "cjson") == 0 ? make_all_cjson : make_all_events;
    size_t len = 0, in = 0;
    struct sample samples[64];
    struct buf large = {0};

    if (!what)
        for (size_t at = 0; len < 64 && samples_next(&samples[len], &at);)
            len++;
    else if (strtoull(what, NULL, 10) > 0)
        samples[len++] = make_large(&large, strtoull(what, NULL, 10));
    else if (!samples_find(&samples[len++], span_of(what)))
        return 64;
    for (size_t i = 0; i < len; i++)
        in += samples[i].body.len;
    int64_t start = clock_mono_us();
    uint64_t out = make(samples, len, rounds);
    double ns = (double)(clock_mono_us() - start) * 1000;
    printf("{\"bodies\": %zu, \"bytes\": %zu, \"ns\": %.1f, \"out\": %.1f}\n", len,
           in / len, ns / (double)(rounds * len), (double)out / (double)(rounds * len));
    buf_release(&large);
    return 0;
}
