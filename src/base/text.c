#include "base/text.h"

#include <ctype.h>
#include <stdio.h>

static const char hex_digits[] = "0123456789abcdef";

// Format controls (Unicode's Cf) can make a line read as something it is not.
bool
text_is_printable(uint32_t code)
{
    static const uint32_t not_shown[][2] = {
        {0, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},       {0x61c, 0x61c},
        {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},
        {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
    };

    for (size_t i = 0; i < sizeof not_shown / sizeof *not_shown; i++)
        if (code >= not_shown[i][0] && code <= not_shown[i][1])
            return false;
    return true;
}

size_t
text_escape(char *to, size_t size, struct span s)
{
    size_t len = 0, cut = 0; // there "..." had room

    while (s.len > 0) {
        uint32_t code = 0;
        char hex[sizeof "\\x00"];
        size_t step = text_utf8(s, &code);
        struct span piece = span_to(s, step);

        if (step == 0 || !text_is_printable(code)) {
            step = 1;
            snprintf(hex, sizeof hex, "\\x%02x", (unsigned char)s.at[0]);
            piece = span_of(hex);
        }
        if (len + sizeof "..." <= size)
            cut = len;
        if (len + piece.len >= size) {
            if (size >= sizeof "...") {
                memcpy(to + cut, "...", 3);
                len = cut + 3;
            }
            break;
        }
        memcpy(to + len, piece.at, piece.len);
        len += piece.len;
        s = span_from(s, step);
    }
    if (size > 0)
        to[len] = '\0';
    return len;
}

size_t
text_quote(char *to, size_t size, struct span s)
{
    char text[1024];
    size_t n = 0, len = text_escape(text, sizeof text, s);

    for (size_t i = 0; i < len && n + 3 < size; i++) {
        if (text[i] == '"' || text[i] == '\\')
            to[n++] = '\\';
        to[n++] = text[i];
    }
    to[n] = '\0';
    return n;
}

size_t
text_hex(char *to, size_t size, const void *bytes, size_t len)
{
    const unsigned char *from = bytes;
    size_t n = 0;

    for (size_t i = 0; i < len && n + 3 <= size; i++) {
        to[n++] = hex_digits[from[i] >> 4];
        to[n++] = hex_digits[from[i] & 15];
    }
    if (size)
        to[n] = '\0';
    return n;
}

static int
digit_value(char c)
{
    const char *at = c ? strchr(hex_digits, tolower((unsigned char)c)) : NULL;

    return at ? (int)(at - hex_digits) : -1;
}

bool
text_unhex(void *bytes, size_t len, struct span s)
{
    unsigned char *to = bytes;

    if (s.len != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = digit_value(s.at[2 * i]), low = digit_value(s.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

size_t
text_base64(char *to, size_t size, const void *bytes, size_t len, bool url)
{
    const char *digits =
        url ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *from = bytes;
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;

    if (size == 0)
        return 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | from[i];
        have += 8;
        while (have >= 6 && n + 1 < size) {
            have -= 6;
            to[n++] = digits[bits >> have & 63];
        }
    }
    if (have > 0 && n + 1 < size)
        to[n++] = digits[bits << (6 - have) & 63];
    while (!url && n % 4 > 0 && n + 1 < size)
        to[n++] = '=';
    to[n] = '\0';
    return n;
}

bool
text_number(uint64_t *number, struct span s, uint64_t max)
{
    uint64_t n = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.at[i] - '0');
        if (n > (max - digit) / 10 || digit > max)
            return false;
        n = n * 10 + digit;
    }
    *number = n;
    return true;
}

char *
text_digits(char *to, uint64_t value, int digits)
{
    memset(to, '0', (size_t)digits);
    for (char *at = to + digits; at > to && value > 0; value /= 10)
        *--at = (char)('0' + value % 10);
    return to + digits;
}

static bool
is_continuation(struct span s, size_t i)
{
    return i < s.len && ((unsigned char)s.at[i] & 0xc0) == 0x80;
}

size_t
text_utf8(struct span s, uint32_t *code)
{
    if (s.len == 0)
        return 0;
    unsigned char first = (unsigned char)s.at[0];
    if (first < 0x80) {
        *code = first;
        return 1;
    }
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    uint32_t value = first & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (!is_continuation(s, i))
            return 0;
        value = value << 6 | ((unsigned char)s.at[i] & 0x3f);
    }
    static const uint32_t min[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < min[len] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 0;
    *code = value;
    return len;
}

char *
text_put_utf8(char *to, uint32_t code)
{
    static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;

    *to++ = (char)(first[more] | code >> (6 * more));
    while (more-- > 0)
        *to++ = (char)(0x80 | (code >> (6 * more) & 0x3f));
    return to;
}

bool
text_is_utf8(struct span s)
{
    uint32_t code;
    size_t step = 1;

    for (; s.len > 0 && step > 0; s = span_from(s, step))
        step = text_utf8(s, &code);
    return step > 0;
}

static size_t
format_amount(char *to, size_t size, double amount, const char *unit)
{
    bool whole = amount >= 100 || amount - (double)(int64_t)amount < 0.05;
    int n = snprintf(to, size, whole ? "%.0f %s" : "%.1f %s", amount, unit);

    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

size_t
text_bytes(char *to, size_t size, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double amount = (double)bytes;
    size_t unit = 0;

    while (amount >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        amount /= 1024;
        unit++;
    }
    return format_amount(to, size, amount, units[unit]);
}

size_t
text_duration(char *to, size_t size, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } steps[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}};

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (ms >= steps[i].ms)
            return format_amount(to, size, (double)ms / (double)steps[i].ms,
                                 steps[i].unit);
    return format_amount(to, size, (double)ms, "ms");
}

// --- the nearest word --------------------------------------------------------------------

// The number of single-byte edits between a and b (Levenshtein); inputs over 63 bytes
// give 64.
static size_t
distance_of(struct span a, struct span b)
{
    enum { LIMIT = 64 };
    size_t row[LIMIT];

    if (a.len >= LIMIT || b.len >= LIMIT)
        return LIMIT;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t up = row[j];
            size_t best = corner + (a.at[i - 1] != b.at[j - 1]);
            if (up + 1 < best)
                best = up + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            corner = up;
            row[j] = best;
        }
    }
    return row[b.len];
}

struct nearest
nearest_start(struct span asked)
{
    return (struct nearest){asked, {0}, asked.len < 4 ? 2 : 2 + asked.len / 4};
}

void
nearest_try(struct nearest *n, struct span word)
{
    size_t distance = distance_of(n->asked, word);

    if (distance < n->distance) {
        n->distance = distance;
        n->word = word;
    }
}
