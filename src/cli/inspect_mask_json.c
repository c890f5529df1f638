// What is masked stands in names, notes and bodies that anybody may have written, so it is looked
// for in what the bytes mean: forms are decoded, strings of JSON unescaped, JSON inside a value
// is read as such. What cannot be read is masked whole.
#include "cli/inspect.h"

#include "base/text.h"
#include "event/json.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <stdlib.h>

enum {
    TOKEN_MIN = SECRET_TOKEN,
    PHONE_MIN = 7,
    PHONE_MAX = 15,
    PHONE_TEXT = 40,
    WORD_MAX = 64
};

// --- by the key -------------------------------------------------------------------------------

// CUSTOM: a field of the account's own, which may be a phone number.
enum level { PLAIN, CUSTOM, PERSONAL };

static bool
is_listed(const char *word, const char *const *list, bool inside)
{
    for (; *list; list++)
        if (inside ? strstr(word, *list) != NULL : strcmp(word, *list) == 0)
            return true;
    return false;
}

static enum level
level_of_word(const char *word)
{
    static const char *const inside[] = {"email",    "phone",    "mobile",    "mobil",
                                         "telefon",  "fax",      "address",   "adress",
                                         "street",   "postal",   "zipcode",   "postcode",
                                         "whatsapp", "latitude", "longitude", NULL};
    static const char *const whole[] = {
        "mail", "tel", "cell",       "ip",        "ip4",         "ip6",         "city",
        "town", "zip", "sendercity", "senderzip", "senderaddr1", "senderaddr2", NULL};
    static const char *const custom[] = {
        "field", "fields", "fieldvalue", "fieldvalues", "customfields", "value", NULL};

    return is_listed(word, inside, true) || is_listed(word, whole, false) ? PERSONAL
           : is_listed(word, custom, false)                               ? CUSTOM
                                                                          : PLAIN;
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
        if (s.len >= strlen(forms[i]) &&
            strncasecmp(s.at, forms[i], strlen(forms[i])) == 0)
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

// "2026-11-24", "24.11.2026": digits and separators too.
static bool
is_date(struct span s)
{
    static const char *const shapes[] = {"dddd-dd-dd", "dddd/dd/dd", "dd.dd.dddd",
                                         "dd/dd/dddd", "dd-dd-dddd"};

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t n = 0;
        while (n < 10 && n < s.len &&
               (shapes[i][n] == 'd' ? isdigit((unsigned char)s.at[n]) != 0
                                    : s.at[n] == shapes[i][n]))
            n++;
        if (n == 10)
            return true;
    }
    return false;
}

// The phone number at the start of s: with a +, or of groups of digits. 0: there is none.
static size_t
phone_at(struct span s)
{
    size_t digits = 0, end = 0, separators = 0;

    s = span_to(s, PHONE_TEXT);
    for (size_t i = 0; i < s.len && memchr("0123456789 ()./-+", s.at[i], 17); i++) {
        if (!isdigit((unsigned char)s.at[i]))
            continue;
        separators += digits > 0 && end != i;
        digits++;
        end = i + 1;
    }
    if (digits < PHONE_MIN || digits > PHONE_MAX || is_date(s))
        return 0;
    return s.at[0] == '+' || (separators > 0 && digits > PHONE_MIN) ? end : 0;
}

// How much is masked at s.at[i].
static size_t
found_at(struct span s, size_t i, bool reveals)
{
    struct span rest = span_from(s, i);
    char before = i > 0 ? s.at[i - 1] : ' ';
    bool is_phone =
        !reveals && (isdigit((unsigned char)s.at[i]) || strchr("+(", s.at[i]));
    size_t len = reveals || is_mail(before) ? 0 : mail_at(rest, before == '"');

    if (len > 0 || is_token_byte(before))
        return len;
    len = token_at(rest);
    return len == 0 && is_phone ? phone_at(rest) : len;
}

void
mask_text(struct buf *to, struct span s, bool reveals)
{
    size_t len;

    for (size_t i = 0; i < s.len; i += len ? len : 1) {
        len = s.at[i] ? found_at(s, i, reveals) : 0;
        buf_add(to, len ? SPAN(MASK) : span_make(s.at + i, 1));
    }
}

static bool
is_digits(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!isdigit((unsigned char)s.at[i]))
            return false;
    return s.len >= PHONE_MIN && s.len <= PHONE_MAX;
}

static void
mask_by_level(struct buf *to, enum level level, struct span value, bool reveals)
{
    struct span start = value;

    while (start.len > 0 && isspace((unsigned char)start.at[0]))
        start = span_from(start, 1);
    if (!reveals && value.len > 0 &&
        (level == PERSONAL || (level == CUSTOM && is_digits(value))))
        buf_add(to, SPAN(MASK));
    else if (reveals || start.len == 0 || (start.at[0] != '{' && start.at[0] != '['))
        mask_text(to, value, reveals);
    else if (!mask_object(to, value, false))
        buf_add(to, SPAN(MASK));
}

// A name that is no plain word may hold what it is about: {"phone":"5551234"} as a form's key.
static void
mask_key(struct buf *to, enum level level, struct span key, bool reveals)
{
    bool is_word = true;

    for (size_t i = 0; i < key.len; i++)
        is_word &= isalnum((unsigned char)key.at[i]) || memchr("[]_-.", key.at[i], 5);
    if (!reveals && level == PERSONAL && !is_word)
        buf_add(to, SPAN(MASK));
    else
        mask_by_level(to, PLAIN, key, reveals);
}

// A name or a value, decoded. A name raises the level of what follows.
static void
mask_part(struct buf *to, struct span text, bool is_name, enum level *level, bool reveals)
{
    enum level of_name = is_name ? level_of(text) : PLAIN;

    *level = of_name > *level ? of_name : *level;
    if (is_name)
        mask_key(to, *level, text, reveals);
    else
        mask_by_level(to, *level, text, reveals);
}

void
mask_value(struct buf *to, struct span key, struct span value, bool reveals)
{
    mask_by_level(to, level_of(key), value, reveals);
}

void
cli_add_masked(struct buf *to, const char *name, struct span value, bool reveals)
{
    struct buf masked;

    buf_init(&masked, INSPECT_BYTES);
    mask_value(&masked, span_of(name), value, reveals);
    document_shown(to, name, buf_span(&masked));
    buf_release(&masked);
}

// --- JSON -------------------------------------------------------------------------------------

// A string of JSON with its quotes, as what it means. *memory is to be freed.
static struct span
unescape(struct span string, char **memory)
{
    struct span inside = span_make(string.at + 1, string.len - 2);

    *memory = NULL;
    if (span_find(inside, '\\') == inside.len)
        return inside;
    cJSON *item = cJSON_ParseWithLength(string.at, string.len);
    *memory = memory_copy(span_of(cJSON_GetStringValue(item)));
    cJSON_Delete(item);
    return span_of(*memory);
}

static void
add_string(struct buf *to, struct span s)
{
    json_add_string(to, s, false, ' ');
    to->len -= to->len > 0;
}

static size_t
value_end(struct span s)
{
    size_t i = 1;

    if (s.at[0] != '"') {
        while (i < s.len && !strchr(",}]", s.at[i]))
            i++;
        return i;
    }
    for (; s.at[i] != '"'; i++)
        i += s.at[i] == '\\';
    return i + 1;
}

// A string, number or word; a name if a colon follows. What is not changed is copied as it was
// written.
static void
mask_scalar(struct buf *to, struct span written, bool is_name, enum level *level,
            bool reveals)
{
    struct buf masked;
    char *memory = NULL;
    struct span text = written.at[0] == '"' ? unescape(written, &memory) : written;

    buf_init(&masked, INSPECT_BYTES);
    if (isalpha((unsigned char)written.at[0])) // true, false, null
        buf_add(&masked, written);
    else
        mask_part(&masked, text, is_name, level, reveals);
    if (span_equal(text, buf_span(&masked)))
        buf_add(to, written);
    else
        add_string(to, buf_span(&masked));
    buf_release(&masked);
    free(memory);
}

static void
mask_compact(struct buf *to, struct span s, bool reveals)
{
    enum level of[JSON_DEPTH_MAX + 2] = {PLAIN},
                                   level = PLAIN; // of containers; of what comes
    int depth = 0;

    for (size_t i = 0, len; i < s.len; i += len) {
        char c = s.at[i];
        len = 1;
        if (strchr("{}[],:", c)) {
            buf_add_byte(to, c);
            depth -= c == '}' || c == ']';
            if (c == '{' || c == '[')
                of[++depth] = level;
            else if (c == ',')
                level = of[depth];
            continue;
        }
        len = value_end(span_from(s, i));
        bool is_name = i + len < s.len && s.at[i + len] == ':';
        mask_scalar(to, span_make(s.at + i, len), is_name, &level, reveals);
    }
}

bool
mask_object(struct buf *to, struct span object, bool reveals)
{
    struct buf compact;

    buf_init(&compact, object.len + 1);
    bool ok = json_compact(&compact, object) == NULL && !compact.full;
    if (ok)
        mask_compact(to, buf_span(&compact), reveals);
    buf_release(&compact);
    return ok;
}

// --- forms ------------------------------------------------------------------------------------

static void
add_escaped(struct buf *to, struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (isalnum((unsigned char)s.at[i]) || strchr("-_.~", s.at[i]) || s.at[i] & 0x80)
            buf_add_byte(to, s.at[i]);
        else
            buf_add_format(to, "%%%02X", (unsigned char)s.at[i]);
}

// One side of a pair: as it was sent if nothing in it is masked.
static void
mask_side(struct buf *to, struct buf *masked, struct span sent, enum level *level,
          bool is_key, bool reveals)
{
    char *memory = memory_get(sent.len + 1);
    struct span text = span_make(memory, form_decode(memory, sent));

    buf_init(masked, INSPECT_BYTES);
    mask_part(masked, text, is_key, level, reveals);
    if (span_equal(text, buf_span(masked)))
        buf_add(to, sent);
    else
        add_escaped(to, buf_span(masked));
    free(memory);
}

size_t
mask_form(struct buf *to, struct buf *pairs, size_t max, struct span body, bool reveals)
{
    struct buf key, value;
    size_t n = 0;

    for (const char *comma = ""; body.len > 0; comma = "&") {
        struct span right = span_cut(&body, '&'), left = span_cut(&right, '=');
        bool has_value = right.at > left.at + left.len;
        enum level level = PLAIN;
        buf_add_text(to, comma);
        mask_side(to, &key, left, &level, true, reveals);
        buf_add_text(to, has_value ? "=" : "");
        mask_side(to, &value, right, &level, false, reveals);
        if (pairs && left.len + right.len > 0 && n++ < max) {
            document_open(pairs, NULL, '[');
            document_shown(pairs, NULL, buf_span(&key));
            document_shown(pairs, NULL, buf_span(&value));
            document_close(pairs, '[');
        }
        buf_release(&key);
        buf_release(&value);
    }
    return n;
}
