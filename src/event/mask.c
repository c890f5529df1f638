#include "event/mask.h"

#include "event/event.h"
#include "event/form.h"
#include "event/json.h"

#include <ctype.h>
#include <stdlib.h>

enum {
    TOKEN_MIN = 43, // base64url of 32 bytes
    PHONE_MIN = 7,
    PHONE_MAX = 15,
    PHONE_TEXT = 40,
    WORD_MAX = 64
};

// --- by the key -------------------------------------------------------------------------------

// CUSTOM: a field of the account's own, which may be a phone number.
enum level { PLAIN, CUSTOM, PERSONAL };

// '*': wherever it stands in a word; '=': the whole word; '?': the same, and CUSTOM.
static const char *const words[] = {
    "*email",      "*phone",       "*mobile",       "*mobil",    "*telefon",
    "*fax",        "*address",     "*adress",       "*street",   "*postal",
    "*zipcode",    "*postcode",    "*whatsapp",     "*latitude", "*longitude",
    "=mail",       "=tel",         "=cell",         "=ip",       "=ip4",
    "=ip6",        "=city",        "=town",         "=zip",      "=sendercity",
    "=senderzip",  "=senderaddr1", "=senderaddr2",  "?field",    "?fields",
    "?fieldvalue", "?fieldvalues", "?customfields", "?value"};

static enum level
level_of_word(const char *word)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *listed = words[i] + 1;
        if (words[i][0] == '*' ? strstr(word, listed) != NULL : strcmp(word, listed) == 0)
            return words[i][0] == '?' ? CUSTOM : PERSONAL;
    }
    return PLAIN;
}

// The highest of its segments: "contact[e-mail][0]". Only letters and digits count.
static enum level
level_of(struct span key)
{
    enum level level = PLAIN;
    char word[WORD_MAX + 1];
    size_t len = 0;

    for (size_t i = 0; i <= key.len; i++) {
        char c = i < key.len ? key.at[i] : ']';
        if (isalnum((unsigned char)c) && len < WORD_MAX)
            word[len++] = (char)tolower((unsigned char)c);
        if (!strchr("[].", c) || c == '\0')
            continue;
        word[len] = '\0';
        enum level of_word = level_of_word(word);
        level = of_word > level ? of_word : level;
        len = 0;
    }
    return level;
}

// --- by itself --------------------------------------------------------------------------------

// How many bytes at the start of s stand for an at sign.
static size_t
at_sign(struct span s)
{
    static const char *const forms[] = {"@",        "%40",          "%2540",
                                        "\\u0040",  "&#64;",        "&#x40;",
                                        "&commat;", "\xef\xbc\xa0", "\xef\xb9\xab"};

    if (!strchr("@%\\&\xef", s.at[0]))
        return 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (span_is_nocase(span_to(s, strlen(forms[i])), forms[i]))
            return strlen(forms[i]);
    return 0;
}

static bool
is_mail(char c)
{
    return (unsigned char)c > ' ' && !strchr("<>(){},;:\"\\\x7f", c);
}

// The e-mail address at the start of s, where no word goes on: an at sign that is neither first
// nor last. What stands in quotes may have blanks: "Ann B"@example.com. 0: there is none.
static size_t
mail_at(struct span s, bool quoted)
{
    size_t quote = quoted ? span_find(s, '"') + 1 : s.len;
    size_t end = quote < s.len && at_sign(span_from(s, quote)) ? quote : 0;
    bool found = false;

    for (size_t last = 0; end < s.len; end += last ? last : 1) {
        struct span rest = span_from(s, end);
        size_t sign = at_sign(rest);
        bool closes = rest.at[0] == '"' && rest.len > 1 && at_sign(span_from(rest, 1));
        if (sign == 0 && !closes && !is_mail(rest.at[0]))
            break;
        found |= last > 0 && end > last;
        last = sign;
    }
    return found ? end : 0;
}

static bool
is_token_byte(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

// A token of a hook has 43 such bytes, large and small letters among them; what may hold one is
// as long or longer.
static size_t
token_at(struct span s)
{
    size_t len = 0;
    bool large = false, small = false;

    for (; len < s.len && is_token_byte(s.at[len]); len++) {
        large |= isupper((unsigned char)s.at[len]) != 0;
        small |= islower((unsigned char)s.at[len]) != 0;
    }
    return len >= TOKEN_MIN && large && small ? len : 0;
}

// Dates, and seconds of a time with their fraction: digits and separators too.
static bool
is_time(struct span s, char before)
{
    static const char *const shapes[] = {"dd.dddddd",  "dddd-dd-dd", "dddd/dd/dd",
                                         "dd.dd.dddd", "dd/dd/dddd", "dd-dd-dddd"};

    for (size_t i = before == ':' ? 0 : 1; i < sizeof shapes / sizeof *shapes; i++) {
        size_t n = 0;
        while (shapes[i][n] && n < s.len &&
               (shapes[i][n] == 'd' ? isdigit((unsigned char)s.at[n]) != 0
                                    : s.at[n] == shapes[i][n]))
            n++;
        if (!shapes[i][n])
            return true;
    }
    return false;
}

// The phone number at the start of s: with a +, or of groups of digits; `in_text`, also digits
// alone. 0: there is none.
static size_t
phone_at(struct span s, bool in_text)
{
    size_t digits = 0, end = 0, separators = 0;
    struct span start = span_to(s, PHONE_TEXT);

    for (size_t i = 0; i < start.len && memchr("0123456789 ()./-+", s.at[i], 17); i++) {
        if (!isdigit((unsigned char)s.at[i]))
            continue;
        separators += digits > 0 && end != i;
        digits++;
        end = i + 1;
    }
    if (digits < PHONE_MIN || digits > PHONE_MAX)
        return 0;
    if (separators == 0 && s.at[0] != '+')
        return in_text && (end == s.len || !is_token_byte(s.at[end])) ? end : 0;
    return s.at[0] == '+' || digits > PHONE_MIN ? end : 0;
}

static bool
is_digits(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!isdigit((unsigned char)s.at[i]))
            return false;
    return s.len >= PHONE_MIN && s.len <= PHONE_MAX;
}

// How much is masked at s.at[i], after the byte `before`.
static size_t
found_at(struct span s, size_t i, char before, bool reveals)
{
    struct span rest = span_from(s, i);
    size_t len = 0;

    if (!reveals && before == '"')
        len = mail_at(rest, true);
    if (!reveals && !is_mail(before) && len == 0)
        len = mail_at(rest, false);
    if (len > 0 || is_token_byte(before))
        return len;
    len = token_at(rest);
    if (len > 0 || reveals || is_time(rest, before) ||
        !(isdigit((unsigned char)s.at[i]) || strchr("+(", s.at[i])))
        return len;
    return phone_at(rest, strchr(" \t\r\n:(,;", before) && !is_digits(s));
}

void
mask_text(struct buf *to, struct span s, bool reveals)
{
    char before = ' ';
    size_t len;

    for (size_t i = 0; i < s.len; i += len ? len : 1) {
        len = s.at[i] ? found_at(s, i, before, reveals) : 0;
        buf_add(to, len ? SPAN(MASK) : span_make(s.at + i, 1));
        before = len ? ' ' : s.at[i]; // what follows a number may be an address
    }
}

// --- by both ----------------------------------------------------------------------------------

// A masker goes over the parts of a text, names and values, each decoded.
struct masker {
    struct buf *to;
    bool reveals;
    enum level level; // of what comes: its names have raised it
};

// The first byte that is no blank; NUL where there is none.
static char
first_of(struct span s)
{
    size_t i = 0;

    while (i < s.len && isspace((unsigned char)s.at[i]))
        i++;
    return i < s.len ? s.at[i] : '\0';
}

static void
mask_by_level(struct buf *to, struct span value, enum level level, bool reveals)
{
    char first = first_of(value);

    if (!reveals && value.len > 0 &&
        (level == PERSONAL || (level == CUSTOM && is_digits(value))))
        buf_add(to, SPAN(MASK));
    else if (reveals || (first != '{' && first != '['))
        mask_text(to, value, reveals);
    else if (!mask_object(to, value, false))
        buf_add(to, SPAN(MASK));
}

// A name that is no plain word may hold what it is about: {"phone":"5551234"} as a form's key.
static bool
is_word(struct span name)
{
    size_t i = 0;

    while (i < name.len &&
           (isalnum((unsigned char)name.at[i]) || memchr("[]_-.", name.at[i], 5)))
        i++;
    return i == name.len;
}

static void
mask_part(struct masker *m, struct buf *to, struct span text, bool is_name)
{
    enum level of_name = is_name ? level_of(text) : PLAIN;

    m->level = of_name > m->level ? of_name : m->level;
    bool shows = is_name && (m->level < PERSONAL || is_word(text));
    mask_by_level(to, text, shows ? PLAIN : m->level, m->reveals);
}

// Adds a part: as it was written if nothing in it is masked, else encoded again.
static void
add_part(struct masker *m, struct span written, struct span text, bool is_name,
         void encode(struct buf *to, struct span text))
{
    struct buf masked;

    buf_init(&masked, sizeof MASK * (text.len + 1));
    mask_part(m, &masked, text, is_name);
    if (span_equal(text, buf_span(&masked)))
        buf_add(m->to, written);
    else
        encode(m->to, buf_span(&masked));
    buf_release(&masked);
}

void
mask_value(struct buf *to, struct span key, struct span value, bool reveals)
{
    mask_by_level(to, value, level_of(key), reveals);
}

// --- JSON -------------------------------------------------------------------------------------

static void
add_string(struct buf *to, struct span s)
{
    json_add_string(to, s, false, ' ');
    to->len -= to->len > 0;
}

static void
mask_scalar(struct masker *m, struct span written, bool is_name)
{
    struct buf text;

    buf_init(&text, written.len);
    if (written.at[0] == '"')
        json_unescape(&text, written);
    else
        buf_add(&text, written);
    if (isalpha((unsigned char)written.at[0])) // true, false, null
        buf_add(m->to, written);
    else
        add_part(m, written, buf_span(&text), is_name, add_string);
    buf_release(&text);
}

static void
mask_tokens(struct masker *m, struct span rest)
{
    enum level of[JSON_DEPTH_MAX + 2] = {PLAIN}; // containers
    int depth = 0;

    while (rest.len > 0) {
        struct span token = json_token(&rest);
        char c = token.at[0];
        if (!strchr(JSON_SIGNS, c)) {
            mask_scalar(m, token, first_of(rest) == ':');
            continue;
        }
        buf_add(m->to, token);
        depth -= c == '}' || c == ']';
        if (c == '{' || c == '[')
            of[++depth] = m->level;
        else if (c == ',')
            m->level = of[depth];
    }
}

bool
mask_object(struct buf *to, struct span object, bool reveals)
{
    struct masker m = {.to = to, .reveals = reveals};

    if (!json_is_object(object))
        return false;
    mask_tokens(&m, object);
    return true;
}

// --- forms ------------------------------------------------------------------------------------

static void
add_escaped(struct buf *to, struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (isalnum((unsigned char)s.at[i]) || memchr("-_.~", s.at[i], 4) ||
            s.at[i] & 0x80)
            buf_add_byte(to, s.at[i]);
        else
            buf_add_format(to, "%%%02X", (unsigned char)s.at[i]);
}

static void
mask_side(struct masker *m, struct span sent, bool is_name)
{
    char *memory = memory_get(sent.len + 1);

    add_part(m, sent, form_decode(memory, sent), is_name, add_escaped);
    free(memory);
}

void
mask_form(struct buf *to, struct span form, bool reveals)
{
    for (const char *comma = ""; form.len > 0; comma = "&") {
        struct span value = span_cut(&form, '&'), name = span_cut(&value, '=');
        struct masker m = {.to = to, .reveals = reveals};
        buf_add_text(to, comma);
        mask_side(&m, name, true);
        buf_add_text(to, value.at > name.at + name.len ? "=" : "");
        mask_side(&m, value, false);
    }
}

void
mask_body(struct buf *to, const struct delivery *d, bool reveals)
{
    enum event_body as = event_body_of(d);
    bool json = as == EVENT_BODY_JSON || as == EVENT_BODY_EITHER;

    if (json && mask_object(to, d->body, reveals))
        return;
    if (as == EVENT_BODY_FORM || as == EVENT_BODY_EITHER)
        mask_form(to, d->body, reveals);
    else if (reveals)
        mask_text(to, d->body, true);
    else
        buf_add(to, SPAN(MASK));
}
