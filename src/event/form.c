// One pass over the body finds the pieces, decodes them into one block of the arena
// (decoded is never longer) and records what bytes were met, so that nobody has to read a
// piece again: only one with bytes above 0x7f is checked as UTF-8, only one with bytes
// that JSON escapes is written the slow way. Tried and slower: not copying pieces without
// '%' (a second pass costs more than the copy), and eight bytes at a time (runs are
// short).
#include "event/form.h"

#include "base/text.h"

#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

// --- arena ------------------------------------------------------------------------------

enum { BLOCK = 256 << 10 };

struct arena_block {
    struct arena_block *before;
    size_t size;
    _Alignas(max_align_t) char bytes[];
};

void *
arena_get_slow(struct arena *a, size_t bytes)
{
    size_t size = bytes > BLOCK ? bytes : BLOCK;
    struct arena_block *fresh = memory_get(sizeof *fresh + size);

    *fresh = (struct arena_block){.before = a->now, .size = size};
    *a = (struct arena){fresh, fresh->bytes + bytes, size - bytes};
    return fresh->bytes;
}

// frees the blocks that the one which is kept does not need: all of a large event's but one.
static void
free_blocks(struct arena *a, bool keep)
{
    while (a->now && !(keep && !a->now->before && a->now->size == BLOCK)) {
        struct arena_block *before = a->now->before;
        free(a->now);
        a->now = before;
    }
}

void
arena_reset(struct arena *a)
{
    free_blocks(a, true);
    *a = a->now ? (struct arena){a->now, a->now->bytes, BLOCK} : (struct arena){0};
}

void
arena_release(struct arena *a)
{
    free_blocks(a, false);
    *a = (struct arena){0};
}

// --- text ---------------------------------------------------------------------------------

// WHATWG Encoding, index windows-1252, 0x80 to 0x9f.
static const uint16_t windows_1252[32] = {
    0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
    0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
    0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
    0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};

// The value of a hex digit and DIGIT; 0 for anything else.
enum { DIGIT = 0x10 };
static const unsigned char hex_of[256] = {
    ['0'] = 0x10, ['1'] = 0x11, ['2'] = 0x12, ['3'] = 0x13, ['4'] = 0x14, ['5'] = 0x15,
    ['6'] = 0x16, ['7'] = 0x17, ['8'] = 0x18, ['9'] = 0x19, ['a'] = 0x1a, ['b'] = 0x1b,
    ['c'] = 0x1c, ['d'] = 0x1d, ['e'] = 0x1e, ['f'] = 0x1f, ['A'] = 0x1a, ['B'] = 0x1b,
    ['C'] = 0x1c, ['D'] = 0x1d, ['E'] = 0x1e, ['F'] = 0x1f};

static struct span
read_as_1252(struct span s, struct arena *arena)
{
    char *start = arena_get(arena, s.len * 3), *to = start;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char byte = (unsigned char)s.at[i];
        bool other = byte >= 0x80 && byte < 0xa0; // than in Latin-1
        to = text_put_utf8(to, other ? windows_1252[byte - 0x80] : byte);
    }
    return span_make(start, (size_t)(to - start));
}

// --- pieces -------------------------------------------------------------------------------

// What a byte means to a decoder, and what a piece was seen to hold.
enum {
    PLAIN = 0,
    HIGH = 1,    // above 0x7f
    NUL = 2,     // makes the body a dead letter
    SPECIAL = 4, // JSON may have to escape it
    ENDS_KEY = 8,
    ENDS_VALUE = 16,
    STOP = 32, // a wide copy would mostly end here at once: it is not begun
};

__extension__ static const unsigned char class_of[256] = {[0] = NUL,
                                                          [1 ... 0x1f] = SPECIAL,
                                                          ['"'] = SPECIAL,
                                                          ['\\'] = SPECIAL,
                                                          ['%'] = STOP,
                                                          ['='] = ENDS_KEY | STOP,
                                                          ['&'] = ENDS_KEY | ENDS_VALUE,
                                                          [0x80 ... 0xe1] = HIGH,
                                                          [0xe2] = HIGH | SPECIAL,
                                                          [0xe3 ... 0xff] = HIGH};

// A scan is how far a body is read, and where the next decoded byte goes. A key mostly
// begins like the one before it: `raw_prefix` is the last key up to its last '[' as it
// was sent, `prefix` the same decoded (both empty when there is no such bracket).
struct scan {
    const char *at, *end;
    const char *wide_end; // below it, WIDE bytes may be read
    char *to;             // has room for what is left of the body
    struct span raw_prefix, prefix;
    struct arena *arena;
};

// read_escape reads the byte that `%XX` stands for; false when two digits do not follow.
static inline bool
read_escape(const char *at, const char *end, unsigned char *c)
{
    if (end - at < 3)
        return false;
    unsigned high = hex_of[(unsigned char)at[1]], low = hex_of[(unsigned char)at[2]];
    if (!(high & low & DIGIT))
        return false;
    *c = (unsigned char)(high << 4 | (low & 0xf));
    return true;
}

// copy_wide copies WIDE bytes, and '+' as the blank it stands for. Returns how many of them,
// from the first on, mean nothing else.
#ifdef __SSE2__
enum { WIDE = sizeof(__m128i) };

static inline size_t
copy_wide(char *to, const char *at, bool in_key)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i plus = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('+'));
    // As signed bytes, those above 0x7f are below '+' like most that mean something.
    __m128i stops = _mm_cmplt_epi8(bytes, _mm_set1_epi8('+'));

    stops = _mm_or_si128(stops, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
    if (in_key) {
        stops = _mm_or_si128(stops, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('=')));
        stops = _mm_or_si128(stops, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('[')));
    }
    bytes = _mm_xor_si128(bytes, _mm_and_si128(plus, _mm_set1_epi8('+' ^ ' ')));
    _mm_storeu_si128((__m128i *)(void *)to, bytes);
    return (size_t)__builtin_ctz((unsigned)_mm_movemask_epi8(stops) | 1U << WIDE);
}
#else
enum { WIDE = 1 };

static inline size_t
copy_wide(char *to, const char *at, bool in_key)
{
    (void)to, (void)at, (void)in_key;
    return 0;
}
#endif

// take_bytes decodes from s->at to s->to, up to a byte of class `ends` or the end, and says
// what it saw. In a key, *open is what is decoded and *raw what is read up to the last '['.
// Where s->at has room to be read, s->to has room to be written.
static inline __attribute__((always_inline)) unsigned
take_bytes(struct scan *s, unsigned ends, char **open, const char **raw)
{
    const char *at = s->at, *const end = s->end;
    char *to = s->to;
    unsigned seen = PLAIN;

    for (;;) {
        if (at < s->wide_end && !(class_of[(unsigned char)*at] & STOP)) {
            size_t plain = copy_wide(to, at, ends == ENDS_KEY);
            at += plain;
            to += plain;
            if (plain == WIDE)
                continue;
        } else if (at == end) {
            break;
        }
        unsigned char c = (unsigned char)*at;
        if (c == '%' && read_escape(at, end, &c)) {
            at += 3;
        } else if (class_of[c] & ends) {
            break;
        } else {
            at++;
            c = c == '+' ? ' ' : c;
        }
        seen |= class_of[c];
        *to++ = (char)c;
        if (ends == ENDS_KEY && c == '[') {
            *open = to;
            *raw = at;
        }
    }
    s->at = at;
    s->to = to;
    return seen;
}

// as_utf8 reads a piece that is not UTF-8 as Windows-1252; false: it was UTF-8.
static bool
as_utf8(struct scan *s, unsigned seen, struct span *piece)
{
    if (!(seen & HIGH) || text_is_utf8(*piece))
        return false;
    *piece = read_as_1252(*piece, s->arena);
    return true;
}

static bool
take_value(struct scan *s, struct form_pair *p)
{
    char *start = s->to;
    unsigned seen = take_bytes(s, ENDS_VALUE, NULL, NULL);

    p->value = span_make(start, (size_t)(s->to - start));
    p->value_is_plain = !(seen & (SPECIAL | NUL));
    if (as_utf8(s, seen, &p->value))
        p->value_is_plain = false; // it may have gained the first byte of U+2028
    return !(seen & NUL);
}

static bool
take_key(struct scan *s, struct form_pair *p)
{
    const char *from = s->at, *raw = NULL;
    char *start = s->to, *open = NULL;
    bool begins_same = s->raw_prefix.len > 0 &&
                       (size_t)(s->end - from) > s->raw_prefix.len &&
                       memcmp(from, s->raw_prefix.at, s->raw_prefix.len) == 0;

    if (begins_same) {
        memcpy(start, s->prefix.at, s->prefix.len);
        s->to += s->prefix.len;
        s->at += s->raw_prefix.len;
    }
    unsigned seen = take_bytes(s, ENDS_KEY, &open, &raw);
    p->key = span_make(start, (size_t)(s->to - start));
    p->key_is_plain = !(seen & (SPECIAL | HIGH | NUL));
    p->same_prefix = 0;
    p->has_segments = begins_same || open;
    (void)as_utf8(s, seen, &p->key);
    if (!p->key_is_plain || !p->has_segments) {
        s->raw_prefix.len =
            0; // what begins like one that is not plain must be read again
    } else if (open) {
        s->raw_prefix = span_make(from, (size_t)(raw - from));
        s->prefix = span_make(start, (size_t)(open - start));
    } else if (s->to[-1] == ']') {
        p->same_prefix = s->prefix.len;
    }
    return !(seen & NUL);
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

// A pair is what stands between two '&'; *p is not kept when there is nothing.
static bool
take_pair(struct scan *s, struct form_pair *p)
{
    if (!take_key(s, p))
        return false;
    p->value = span_make(s->to, 0);
    p->value_is_plain = true;
    if (s->at < s->end && *s->at == '=') {
        s->at++;
        return take_value(s, p);
    }
    return true;
}

enum form_result
form_parse(struct form *f, struct span body, size_t pairs_max, struct arena *arena)
{
    struct scan s = {.at = body.at,
                     .end = body.at + body.len,
                     .wide_end =
                         body.len < WIDE ? body.at : body.at + body.len - WIDE + 1,
                     .to = arena_get(arena, body.len),
                     .arena = arena};

    for (f->len = 0; s.at < s.end; s.at += s.at < s.end) {
        if (*s.at == '&')
            continue;
        if (f->len == pairs_max)
            return FORM_TOO_MANY;
        if (!take_pair(&s, add_pair(f)))
            return FORM_NUL;
    }
    return FORM_OK;
}

void
form_release(struct form *f)
{
    free(f->pairs);
    *f = (struct form){0};
}

struct span
form_decode(char *to, struct span piece)
{
    const char *at = piece.at, *end = at + piece.len;
    size_t len = 0;

    while (at < end) {
        unsigned char c = (unsigned char)(*at == '+' ? ' ' : *at);
        at += c == '%' && read_escape(at, end, &c) ? 3 : 1;
        to[len++] = (char)c;
    }
    return span_make(to, len);
}

const char *
form_find(struct span form, const char *key, char *to, size_t size)
{
    to[0] = '\0';
    while (form.len > 0) {
        struct span value = span_cut(&form, '&'), name = span_cut(&value, '=');
        if (!span_is(name, key))
            continue;
        if (value.len >= size)
            return NULL;
        size_t len = form_decode(to, value).len;
        to[len] = '\0';
        return strlen(to) == len ? to : NULL;
    }
    return to;
}
