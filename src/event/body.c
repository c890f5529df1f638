#include "event/event.h"

// The media type without parameters, e.g. "application/json".
static struct span
media_type(struct span type)
{
    return span_trim(span_to(type, span_find(type, ';')));
}

static bool
is_json_type(struct span type)
{
    return span_is_nocase(type, "application/json") ||
           span_is_nocase(type, "text/json") ||
           (type.len > 5 && span_is_nocase(span_from(type, type.len - 5), "+json"));
}

static bool
starts_with_brace(struct span body)
{
    while (body.len > 0 && memchr(" \t\r\n", body.at[0], 4))
        body = span_from(body, 1);
    return body.len > 0 && body.at[0] == '{';
}

// The codings of RFC 9110, section 8.4.1, and newer ones, that make of a body other
// bytes. Any other word is no coding: senders put a charset there.
static bool
is_compressed(struct span encoding)
{
    static const char *const codings[] = {"gzip", "x-gzip",   "deflate",   "br",
                                          "zstd", "compress", "x-compress"};

    while (encoding.len > 0) {
        struct span word = span_trim(span_cut(&encoding, ','));
        for (size_t i = 0; i < sizeof codings / sizeof *codings; i++)
            if (span_is_nocase(word, codings[i]))
                return true;
    }
    return false;
}

enum event_body
event_body_of(const struct delivery *d)
{
    struct span media = media_type(d->type);

    if (is_compressed(d->encoding))
        return EVENT_BODY_ENCODED;
    if (media.len >= 10 && span_is_nocase(span_to(media, 10), "multipart/"))
        return EVENT_BODY_MULTIPART;
    if (is_json_type(media))
        return EVENT_BODY_JSON;
    if (span_is_nocase(media, "application/x-www-form-urlencoded"))
        return EVENT_BODY_FORM;
    return starts_with_brace(d->body) ? EVENT_BODY_EITHER : EVENT_BODY_FORM;
}
