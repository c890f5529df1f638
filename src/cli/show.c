#include "cli/show.h"

#include "base/clock.h"
#include "base/output.h"
#include "base/text.h"
#include "event/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *
show_color(const struct cli *c, enum show_color color)
{
    static const char *const codes[] = {"\033[32m", "\033[33m", "\033[31m", "\033[2m",
                                        "\033[1m"};

    return c->color ? codes[color] : "";
}

const char *
show_plain(const struct cli *c)
{
    return c->color ? "\033[0m" : "";
}

static void
add_base64(struct buf *to, struct span s)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (; s.len > 0; s = span_from(s, 3)) {
        uint32_t bits = 0;
        for (size_t i = 0; i < 3; i++)
            bits = bits << 8 | (i < s.len ? (unsigned char)s.at[i] : 0);
        for (size_t i = 0; i < 4; i++)
            buf_add_byte(to, i <= s.len ? digits[bits >> (18 - 6 * i) & 63] : '=');
    }
}

void
show_add_member(struct buf *to, const char *name, struct span value)
{
    bool text = text_is_utf8(value);

    if (to->len == 0)
        buf_add_byte(to, '{');
    buf_add_format(to, "\"%s%s\":", name, text ? "" : "_base64");
    if (text) {
        json_add_string(to, value);
    } else {
        buf_add_byte(to, '"');
        add_base64(to, value);
        buf_add_byte(to, '"');
    }
    buf_add_byte(to, ',');
}

void
show_end(struct buf *object)
{
    if (object->len == 0)
        buf_add_text(object, "{,");
    object->at[object->len - 1] = '}';
    buf_add_byte(object, '\n');
    output_json(buf_span(object));
}

void
show_text(struct span s, size_t width)
{
    size_t size = 4 * s.len + 1;
    char *text = memory_get(size);

    text_escape(text, width && width + 1 < size ? width + 1 : size, s);
    fputs(text, stdout);
    free(text);
}

// `data` is JSON by contract; what somebody else put there goes out as a string.
static bool
is_json(struct span s)
{
    struct buf unused;

    buf_init(&unused, s.len + 1);
    bool good = json_compact(&unused, s) == NULL;
    buf_release(&unused);
    return good;
}

void
show_add_fields(struct buf *object, struct span id, const struct redis_reply *fields,
                struct span raw)
{
    buf_init(object, 64 << 20);
    show_add_member(object, "id", id);
    for (size_t i = 0; i + 1 < redis_reply_len(fields); i += 2) {
        char name[64];
        struct span value = redis_reply_text(redis_reply_at(fields, i + 1));
        struct span field = redis_reply_text(redis_reply_at(fields, i));
        text_escape(name, sizeof name, field);
        if (span_is(field, "raw") && raw.len > 0)
            value = raw;
        if (span_is(field, "data") && is_json(value)) {
            buf_add_text(object, "\"data\":");
            buf_add(object, value);
            buf_add_byte(object, ',');
        } else if (!strpbrk(name, "\"\\")) {
            show_add_member(object, name, value);
        }
    }
}

void
show_fields(struct span id, const struct redis_reply *fields, struct span raw)
{
    struct buf object;

    show_add_fields(&object, id, fields, raw);
    show_end(&object);
    buf_release(&object);
}

struct span
show_field(const struct redis_reply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < redis_reply_len(fields); i += 2)
        if (span_is(redis_reply_text(redis_reply_at(fields, i)), name))
            return redis_reply_text(redis_reply_at(fields, i + 1));
    return (struct span){"", 0};
}

void
show_progress(struct show_progress *p, uint64_t done, uint64_t total)
{
    int64_t now = clock_mono_ms();

    if (p->start_ms == 0)
        p->start_ms = p->said_ms = now;
    if (!isatty(STDERR_FILENO) && !p->shown && now - p->start_ms >= 1500) {
        fprintf(stderr, "acrelay: %s %llu, going on ...\n", p->what,
                (unsigned long long)done);
        p->shown = true;
    }
    if (now - p->said_ms < 1000 || !isatty(STDERR_FILENO))
        return;
    double rate = (double)done * 1000 / (double)(now - p->start_ms);
    fprintf(stderr, "\r%s %llu", p->what, (unsigned long long)done);
    if (total)
        fprintf(stderr, " of %llu (%llu %%)", (unsigned long long)total,
                (unsigned long long)(done * 100 / total));
    fprintf(stderr, ", %.0f/s \033[K", rate);
    p->said_ms = now;
    p->shown = true;
}

void
show_progress_end(struct show_progress *p)
{
    if (p->shown && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    p->shown = false;
}
