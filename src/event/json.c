#include "event/json.h"

#include "base/text.h"

// Bytes that are, or may begin, what is escaped.
__extension__ static const bool is_special[256] = {
    [0 ... 0x1f] = true, ['"'] = true, ['\\'] = true, [0xe2] = true};

static void
add_escape(struct buf *to, unsigned char c)
{
    static const char short_ones[] = "btn\0fr"; // 0x08 to 0x0d, 0x0b has none

    if (c == '"' || c == '\\')
        buf_add(to, span_make((char[]){'\\', (char)c}, 2));
    else if (c >= 0x08 && c <= 0x0d && short_ones[c - 8])
        buf_add(to, span_make((char[]){'\\', short_ones[c - 8]}, 2));
    else
        buf_add(to, span_make((char[]){'\\', 'u', '0', '0', c >> 4 ? '1' : '0',
                                       "0123456789abcdef"[c & 15]},
                              6));
}

static bool
is_plain(struct span s)
{
    size_t i = 0;

    while (i < s.len && !is_special[(unsigned char)s.at[i]])
        i++;
    return i == s.len;
}

static void
add_escaped(struct buf *to, struct span s)
{
    size_t from = 0;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (!is_special[c])
            continue;
        bool separator = c == 0xe2 && s.len - i > 2 && s.at[i + 1] == '\x80' &&
                         (s.at[i + 2] == '\xa8' || s.at[i + 2] == '\xa9');
        if (c == 0xe2 && !separator)
            continue;
        buf_add(to, span_make(s.at + from, i - from));
        if (separator) {
            buf_add_text(to, s.at[i + 2] == '\xa8' ? "\\u2028" : "\\u2029");
            i += 2;
        } else {
            add_escape(to, c);
        }
        from = i + 1;
    }
    if (from < s.len)
        buf_add(to, span_from(s, from));
}

// A failed add leaves the buf full; the caller checks that once, at the end.
void
json_add_string(struct buf *to, struct span s, bool plain, char after)
{
    char *at = plain || is_plain(s) ? buf_room(to, s.len + 3) : NULL;

    if (at) {
        to->len += (size_t)(json_put_plain(at, s, after) - at);
        return;
    }
    buf_add_byte(to, '"');
    add_escaped(to, s);
    buf_add_byte(to, '"');
    buf_add_byte(to, after);
}

// --- checking and compacting ------------------------------------------------------------

struct parser {
    struct span rest;
    struct buf *to;
    size_t members;
    const char *error;
};

static bool
fail(struct parser *p, const char *error)
{
    if (!p->error)
        p->error = error;
    return false;
}

static char
peek(struct parser *p)
{
    while (p->rest.len > 0 && memchr(" \t\r\n", p->rest.at[0], 4))
        p->rest = span_from(p->rest, 1);
    return p->rest.len ? p->rest.at[0] : '\0';
}

static void
pass(struct parser *p, size_t n)
{
    buf_add(p->to, span_to(p->rest, n));
    p->rest = span_from(p->rest, n);
}

// The length of the escape at the start of s, 0 when it is none.
static size_t
escape_len(struct parser *p, struct span s)
{
    unsigned char code[2];

    if (s.len < 2)
        return 0;
    if (s.at[1] != 'u')
        return strchr("\"\\/bfnrt", s.at[1]) && s.at[1] ? 2 : 0;
    if (!text_unhex(code, 2, span_to(span_from(s, 2), 4)))
        return 0;
    if (code[0] == 0 && code[1] == 0)
        fail(p, "it holds \\u0000");
    return 6;
}

static bool
parse_string(struct parser *p)
{
    size_t i = 1;

    for (;;) {
        if (i >= p->rest.len)
            return fail(p, "a string does not end");
        unsigned char c = (unsigned char)p->rest.at[i];
        if (c == '"')
            break;
        if (c < 0x20)
            return fail(p, "a control character in a string");
        size_t len = c == '\\' ? escape_len(p, span_from(p->rest, i)) : 1;
        if (len == 0)
            return fail(p, "a broken escape");
        i += len;
    }
    pass(p, i + 1);
    return !p->error;
}

static size_t
digits(struct span s, size_t at)
{
    size_t n = 0;

    while (at + n < s.len && s.at[at + n] >= '0' && s.at[at + n] <= '9')
        n++;
    return n;
}

static bool
parse_number(struct parser *p)
{
    struct span s = p->rest;
    size_t i = s.at[0] == '-', n = digits(s, i);

    if (n == 0 || (n > 1 && s.at[i] == '0'))
        return fail(p, "not valid JSON");
    i += n;
    if (i < s.len && s.at[i] == '.') {
        n = digits(s, i + 1);
        if (n == 0)
            return fail(p, "a broken number");
        i += 1 + n;
    }
    if (i < s.len && (s.at[i] == 'e' || s.at[i] == 'E')) {
        size_t sign = i + 1 < s.len && (s.at[i + 1] == '+' || s.at[i + 1] == '-');
        n = digits(s, i + 1 + sign);
        if (n == 0)
            return fail(p, "a broken number");
        i += 1 + sign + n;
    }
    pass(p, i);
    return true;
}

static bool
parse_word(struct parser *p)
{
    static const char *const words[] = {"true", "false", "null"};

    for (size_t i = 0; i < 3; i++)
        if (span_starts(p->rest, span_of(words[i]))) {
            pass(p, strlen(words[i]));
            return true;
        }
    return fail(p, "not valid JSON");
}

static bool parse_value(struct parser *p, int depth);

static bool
parse_member(struct parser *p, bool in_object, int depth)
{
    if (++p->members > JSON_MEMBERS_MAX)
        return fail(p, "more than 10000 members");
    if (in_object) {
        if (peek(p) != '"')
            return fail(p, "a member without a name");
        if (!parse_string(p))
            return false;
        if (peek(p) != ':')
            return fail(p, "a member without a value");
        pass(p, 1);
    }
    return parse_value(p, depth + 1);
}

static bool
parse_container(struct parser *p, int depth)
{
    bool in_object = p->rest.at[0] == '{';
    char end = in_object ? '}' : ']';

    if (depth > JSON_DEPTH_MAX)
        return fail(p, "deeper than 32 levels");
    pass(p, 1);
    if (peek(p) == end) {
        pass(p, 1);
        return true;
    }
    while (parse_member(p, in_object, depth)) {
        char c = peek(p);
        if (c != ',' && c != end)
            return fail(p, "not valid JSON");
        pass(p, 1);
        if (c == end)
            return true;
    }
    return false;
}

static bool
parse_value(struct parser *p, int depth)
{
    char c = peek(p);

    if (c == '{' || c == '[')
        return parse_container(p, depth);
    if (c == '"')
        return parse_string(p);
    if (c == '-' || (c >= '0' && c <= '9'))
        return parse_number(p);
    return parse_word(p);
}

const char *
json_compact(struct buf *to, struct span body)
{
    struct parser p = {.rest = body, .to = to};

    if (!text_is_utf8(body))
        return "it is not UTF-8";
    if (peek(&p) != '{')
        return "the top is not an object";
    if (parse_value(&p, 1) && (peek(&p) != '\0' || p.rest.len > 0))
        fail(&p, "there is more after the object");
    return p.error;
}

bool
json_is_object(struct span s)
{
    struct buf compact;

    buf_init(&compact, s.len);
    bool ok = json_compact(&compact, s) == NULL;
    buf_release(&compact);
    return ok;
}

// --- reading a compact object -----------------------------------------------------------

static size_t
string_end(struct span s, size_t at)
{
    for (at++; s.at[at] != '"'; at++)
        if (s.at[at] == '\\')
            at++;
    return at + 1;
}

struct span
json_token(struct span *rest)
{
    struct span s = *rest;
    size_t len = s.at[0] == '"' ? string_end(s, 0) : 1;

    if (s.at[0] != '"' && !strchr(JSON_SIGNS, s.at[0]))
        while (len < s.len && !strchr(JSON_SIGNS, s.at[len]))
            len++;
    *rest = span_from(s, len);
    return span_to(s, len);
}

// The length of the value at the start of s: up to the ',', '}' or ']' that ends it.
static size_t
value_len(struct span s)
{
    int depth = 0;
    size_t i = 0;

    while (i < s.len) {
        char c = s.at[i];
        if (c == '"') {
            i = string_end(s, i);
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            break;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        i++;
    }
    return i;
}

bool
json_next(struct span *rest, struct span *name, struct span *value)
{
    struct span s = span_from(*rest, 1); // after '{' or ','

    if (rest->len < 2 || s.at[0] != '"')
        return false;
    *name = span_to(s, string_end(s, 0));
    s = span_from(s, name->len + 1);
    *value = span_to(s, value_len(s));
    *rest = span_from(s, value->len);
    return true;
}

static bool
is_whole_number(struct span s)
{
    size_t sign = s.len > 0 && s.at[0] == '-';

    return s.len > sign && digits(s, sign) == s.len - sign;
}

// decode_escape reads the escape at the start of s, a unit of UTF-16, and says how long it is.
static size_t
decode_escape(struct span s, uint32_t *unit)
{
    static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    unsigned char bytes[2];

    if (s.at[1] != 'u') {
        *unit = (unsigned char)means[strchr(names, s.at[1]) - names];
        return 2;
    }
    text_unhex(bytes, 2, span_make(s.at + 2, 4));
    *unit = (uint32_t)bytes[0] << 8 | bytes[1];
    return 6;
}

// decode_code reads one escape, or two that are a surrogate pair.
static size_t
decode_code(struct span s, uint32_t *code)
{
    size_t len = decode_escape(s, code), more = 0;
    uint32_t low = 0;

    if (*code >> 11 != 0xd800 >> 11)
        return len;
    if (span_starts(span_from(s, len), SPAN("\\u")))
        more = decode_escape(span_from(s, len), &low);
    bool pair = *code >> 10 == 0xd800 >> 10 && low >> 10 == 0xdc00 >> 10;
    *code = pair ? 0x10000 + ((*code & 0x3ff) << 10 | (low & 0x3ff)) : 0xfffd;
    return pair ? len + more : len;
}

void
json_unescape(struct buf *to, struct span string)
{
    struct span s = span_make(string.at + 1, string.len - 2);
    char utf8[4];
    uint32_t code;

    for (;;) {
        size_t plain = span_find(s, '\\');
        buf_add(to, span_to(s, plain));
        if (plain == s.len)
            return;
        s = span_from(s, plain);
        s = span_from(s, decode_code(s, &code));
        buf_add(to, span_make(utf8, (size_t)(text_put_utf8(utf8, code) - utf8)));
    }
}

bool
json_text(struct span value, char *to, size_t size, struct span *text)
{
    bool is_string = value.len > 0 && value.at[0] == '"';
    struct span s = is_string ? span_make(value.at + 1, value.len - 2) : value;
    size_t len = 0;

    if (!is_string && !is_whole_number(value))
        return false;
    while (s.len > 0 && len < size) {
        uint32_t unit = (unsigned char)s.at[0];
        size_t step = unit == '\\' ? decode_escape(s, &unit) : 1;
        to[len++] = unit < 0x80 ? (char)unit : '\xff';
        s = span_from(s, step);
    }
    *text = span_make(to, len);
    return true;
}
