// Property: whatever the bytes, what is masked shows no e-mail address and no token of a hook;
// an object stays an object, a form one of as many pairs; and where there is no token, nothing is
// changed that is to be revealed. The first byte picks what the rest is read as.
#include "event/form.h"
#include "event/json.h"
#include "event/mask.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>

enum { TOKEN = 43, GROWTH = 64 };

static void
expect(bool ok)
{
    if (!ok)
        abort();
}

// An address as everybody writes it: what the code takes for one is wider.
static bool
has_mail(struct span s)
{
    for (size_t i = 1; i + 1 < s.len; i++)
        if (s.at[i] == '@' && s.at[i - 1] && s.at[i + 1] &&
            (isalnum((unsigned char)s.at[i - 1]) || strchr("._-+", s.at[i - 1])) &&
            isalnum((unsigned char)s.at[i + 1]))
            return true;
    return false;
}

static bool
has_token(struct span s)
{
    size_t len = 0;
    bool large = false, small = false;

    for (size_t i = 0; i < s.len; i++) {
        bool is_byte =
            isalnum((unsigned char)s.at[i]) || s.at[i] == '-' || s.at[i] == '_';
        large = is_byte && (large || isupper((unsigned char)s.at[i]));
        small = is_byte && (small || islower((unsigned char)s.at[i]));
        len = is_byte ? len + 1 : 0;
        if (len >= TOKEN && large && small)
            return true;
    }
    return false;
}

static void
check_shown(struct span shown, bool reveals)
{
    expect(!has_token(shown));
    expect(reveals || !has_mail(shown));
}

static void
check_text(struct span text, struct buf *to, bool reveals)
{
    mask_text(to, text, reveals);
    check_shown(buf_span(to), reveals);
    if (reveals && !has_token(text))
        expect(span_equal(text, buf_span(to)));
}

// The strings of an object, decoded.
static void
check_object(struct span object, struct buf *to, bool reveals)
{
    struct buf text;

    expect(mask_object(to, object, reveals) == json_is_object(object));
    if (to->len == 0)
        return;
    expect(json_is_object(buf_span(to)));
    buf_init(&text, to->len);
    for (struct span rest = buf_span(to); rest.len > 0;) {
        struct span token = json_token(&rest);
        buf_clear(&text);
        if (token.at[0] == '"')
            json_unescape(&text, token);
        check_shown(buf_span(&text), reveals);
    }
    buf_release(&text);
}

static size_t
count(struct span s, char c)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += s.at[i] == c;
    return n;
}

static void
check_form(struct span form, struct buf *to, bool reveals)
{
    mask_form(to, form, reveals);
    size_t ends = form.len > 0 && form.at[form.len - 1] == '&';
    expect(count(buf_span(to), '&') == count(form, '&') - ends);
    for (struct span rest = buf_span(to); rest.len > 0;) {
        struct span value = span_cut(&rest, '&'), name = span_cut(&value, '=');
        char *memory = malloc(value.len + 1), *of_name = malloc(name.len + 1);
        expect(memory && of_name);
        struct span shown = form_decode(memory, value);
        if (count(shown, '{') + count(shown, '[') == 0) // JSON in it is checked as such
            check_shown(shown, reveals);
        check_shown(form_decode(of_name, name), reveals);
        free(memory);
        free(of_name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct span s = span_make(bytes + 1, len ? len - 1 : 0);
    struct buf to;

    if (len < 1)
        return 0;
    bool reveals = bytes[0] & 1;
    buf_init(&to, (len + 1) * GROWTH);
    if (bytes[0] & 2)
        check_object(s, &to, reveals);
    else if (bytes[0] & 4)
        check_form(s, &to, reveals);
    else
        check_text(s, &to, reveals);
    expect(!to.full);
    buf_release(&to);
    return 0;
}
