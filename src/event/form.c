// One pass decodes a piece into the arena; only a piece with bytes above 0x7f is then looked
// at as UTF-8. A piece without '%' and '+' is not copied at all: its span points into the
// body, which outlives the event.
#include "event/form.h"

#include "base/bytes.h"
#include "base/text.h"

#include <stdlib.h>

// WHATWG Encoding, index windows-1252, 0x80 to 0x9f.
static const uint16_t windows_1252[32] = {
    0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
    0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
    0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
    0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};

// 1 + the value of a hex digit, 0 for anything else.
static const signed char hex_of[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,
    ['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
    ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12,
    ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16};

static inline int
hex_value(char c)
{
    return hex_of[(unsigned char)c] - 1;
}

static char *
put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

static struct span
read_as_1252(struct span s, struct arena *arena)
{
    char *start = arena_get(arena, s.len * 3), *to = start;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char byte = (unsigned char)s.at[i];
        uint32_t code = byte;
        if (byte >= 0x80 && byte < 0xa0)
            code = windows_1252[byte - 0x80];
        to = put_utf8(to, code);
    }
    return span_make(start, (size_t)(to - start));
}

// What a byte means to a decoder, and what a piece was seen to hold.
enum { PLAIN = 0, ESCAPE = 1, HIGH = 2, NUL = 4 };

__extension__ static const unsigned char class_of[256] = {
    [0] = NUL, ['%'] = ESCAPE, ['+'] = ESCAPE, [0x80 ... 0xff] = HIGH};

// unescape decodes s from `at`, the first byte that is not plain, into the arena.
static struct span
unescape(struct span s, size_t at, struct arena *arena, unsigned *seen)
{
    char *start = arena_get(arena, s.len), *to = start + at;

    memcpy(start, s.at, at);
    for (size_t i = at; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && s.len - i > 2) {
            int high = hex_value(s.at[i + 1]), low = hex_value(s.at[i + 2]);
            if (high >= 0 && low >= 0) {
                c = (unsigned char)(high << 4 | low);
                i += 2;
            }
        }
        *seen |= class_of[c];
        *to++ = (char)c;
    }
    return span_make(start, (size_t)(to - start));
}

static bool
decode(struct span *s, struct arena *arena)
{
    unsigned seen = PLAIN;
    size_t at = 0;

    for (; s->len - at >= 8; at += 8) {
        uint64_t word = bytes_load(s->at + at);
        if (bytes_are(word, '%') | bytes_are(word, '+') | bytes_below(word, 1) |
            bytes_high(word))
            break;
    }
    while (at < s->len && class_of[(unsigned char)s->at[at]] != ESCAPE)
        seen |= class_of[(unsigned char)s->at[at++]];
    if (at < s->len)
        *s = unescape(*s, at, arena, &seen);
    if (seen & NUL)
        return false;
    if (seen & HIGH && !text_is_utf8(*s))
        *s = read_as_1252(*s, arena);
    return true;
}

static struct form_pair *
add_pair(struct form *f)
{
    if (f->len == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 128;
        f->pairs = memory_grow(f->pairs, f->cap * sizeof *f->pairs);
    }
    return &f->pairs[f->len++];
}

enum form_result
form_parse(struct form *f, struct span body, size_t pairs_max, struct arena *arena)
{
    f->len = 0;
    while (body.len > 0) {
        struct span value = span_cut(&body, '&');
        if (value.len == 0)
            continue;
        if (f->len == pairs_max)
            return FORM_TOO_MANY;
        struct form_pair *p = add_pair(f);
        p->key = span_cut(&value, '=');
        p->value = value;
        if (!decode(&p->key, arena) || !decode(&p->value, arena))
            return FORM_NUL;
    }
    return FORM_GOOD;
}

void
form_release(struct form *f)
{
    free(f->pairs);
    *f = (struct form){0};
}

// The segment that opens at key[at] == '[' ends at the first ']' that another '[' or the end
// follows. Returns its end, or 0 when there is none.
static size_t
segment_end(struct span key, size_t at)
{
    for (size_t i = at + 1; i < key.len; i++)
        if (key.at[i] == ']' && (i + 1 == key.len || key.at[i + 1] == '['))
            return i;
    return 0;
}

bool
form_path_parse(struct form_path *path, struct span key)
{
    size_t at = span_find(key, '[');
    bool too_deep = false;

    path->root = span_to(key, at);
    path->len = 0;
    while (at < key.len) {
        size_t end = segment_end(key, at);
        if (end == 0) {
            path->root = key;
            path->len = 0;
            return true;
        }
        if (path->len < FORM_SEGMENTS_MAX)
            path->segments[path->len++] = span_make(key.at + at + 1, end - at - 1);
        else
            too_deep = true;
        at = end + 1;
    }
    return path->root.len > 0 && !too_deep;
}
