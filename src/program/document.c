#include "program/document.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

// JSON has UTF-16 in its escapes.
static void
add_code(struct buf *to, uint32_t code)
{
    if (code < 0x10000) {
        buf_add_format(to, "\\u%04x", (unsigned)code);
        return;
    }
    code -= 0x10000;
    buf_add_format(to, "\\u%04x\\u%04x", (unsigned)(0xd800 + (code >> 10)),
                   (unsigned)(0xdc00 + (code & 0x3ff)));
}

// How many bytes at the start of s stand for themselves, whatever is around them.
static size_t
plain_len(struct span s)
{
    size_t len = 0;

    while (len < s.len && s.at[len] >= ' ' && s.at[len] <= '~' && s.at[len] != '"' &&
           s.at[len] != '\\')
        len++;
    return len;
}

// Outside of strings JSON is ASCII, so what is not printable stands in one. A byte that is no
// UTF-8 cannot be in JSON; it becomes U+FFFD.
static void
add_escaped(struct buf *to, struct span s, bool is_string)
{
    for (size_t step; s.len > 0; s = span_from(s, step ? step : 1)) {
        uint32_t code = 0xfffd;
        step = plain_len(s);
        buf_add(to, span_to(s, step));
        if (step > 0)
            continue;
        step = text_utf8(s, &code);
        if (step == 0 || !text_is_printable(code))
            add_code(to, code);
        else if (is_string && (code == '"' || code == '\\'))
            buf_add_format(to, "\\%c", (char)code);
        else
            buf_add(to, span_to(s, step));
    }
}

// Starts a member, or an element of an array, and the document with its first one.
static void
add_name(struct buf *to, const char *name, const char *suffix)
{
    if (to->len == 0 && name)
        buf_add_byte(to, '{');
    else if (to->len > 0 && !strchr("{[", to->at[to->len - 1]))
        buf_add_byte(to, ',');
    if (name)
        buf_add_format(to, "\"%s%s\":", name, suffix);
}

void
document_text(struct buf *to, const char *name, struct span value)
{
    bool text = text_is_utf8(value);
    size_t size = (value.len + 2) / 3 * 4 + 1; // of base64
    char *room;

    add_name(to, name, text ? "" : "_base64");
    buf_add_byte(to, '"');
    if (text)
        add_escaped(to, value, true);
    else if ((room = buf_room(to, size)))
        to->len += text_base64(room, size, value.at, value.len, false);
    buf_add_byte(to, '"');
}

void
document_shown(struct buf *to, const char *name, struct span value)
{
    size_t size = 4 * value.len + 1;
    char *text = memory_get(size);

    document_text(to, name, span_make(text, text_escape(text, size, value)));
    free(text);
}

void
document_word(struct buf *to, const char *name, const char *word)
{
    if (word)
        document_shown(to, name, span_of(word));
    else
        document_value(to, name, SPAN("null"));
}

void
document_time(struct buf *to, const char *name, int64_t us)
{
    char time[CLOCK_TEXT];

    clock_format_us(time, us);
    document_word(to, name, us ? time : NULL);
}

void
document_number(struct buf *to, const char *name, bool known, int64_t value)
{
    document_json(to, name, known ? "%lld" : "null", (long long)value);
}

void
document_flag(struct buf *to, const char *name, bool value)
{
    document_value(to, name, value ? SPAN("true") : SPAN("false"));
}

void
document_value(struct buf *to, const char *name, struct span json)
{
    add_name(to, name, "");
    add_escaped(to, json, false);
}

void
document_json(struct buf *to, const char *name, const char *format, ...)
{
    char *value;
    va_list args;

    va_start(args, format);
    if (vasprintf(&value, format, args) < 0)
        memory_none();
    va_end(args);
    document_value(to, name, span_of(value));
    free(value);
}

void
document_open(struct buf *to, const char *name, char bracket)
{
    add_name(to, name, "");
    buf_add_byte(to, bracket);
}

void
document_close(struct buf *to, char bracket)
{
    buf_add_byte(to, bracket == '{' ? '}' : ']');
}

void
document_end(struct buf *to)
{
    if (to->len == 0) // without a member
        buf_add_byte(to, '{');
    buf_add_byte(to, '}');
}
