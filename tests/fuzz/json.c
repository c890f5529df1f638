// Property: what is taken as an object reads alike whichever way it is read. Its tokens, one
// after the other, are its bytes; made compact once more it is the same; its members and signs
// make the compact text again; and a string that is decoded and written again means the same.
#include "base/text.h"
#include "event/json.h"

#include <stdint.h>
#include <stdlib.h>

static void
expect(bool ok)
{
    if (!ok)
        abort();
}

static void
check_string(struct span string)
{
    struct buf meant, written, again;
    struct span text;
    char start[16];

    buf_init(&meant, string.len);
    buf_init(&written, 6 * string.len + 3);
    buf_init(&again, string.len);
    json_unescape(&meant, string);
    expect(text_is_utf8(buf_span(&meant)));
    json_add_string(&written, buf_span(&meant), false, ' ');
    written.len--;
    json_unescape(&again, buf_span(&written));
    expect(span_equal(buf_span(&meant), buf_span(&again)));
    expect(json_text(string, start, sizeof start, &text) && text.len <= sizeof start);
    expect(!meant.full && !written.full && !again.full);
    buf_release(&meant);
    buf_release(&written);
    buf_release(&again);
}

static void
check_tokens(struct span object)
{
    for (struct span rest = object; rest.len > 0;) {
        const char *at = rest.at;
        struct span token = json_token(&rest);
        expect(token.at == at && token.len > 0 && rest.at == at + token.len);
        bool is_sign = strchr(JSON_SIGNS, token.at[0]) != NULL;
        expect(!is_sign || token.len == 1);
        if (token.at[0] == '"')
            check_string(token);
    }
}

static void
check_members(struct span compact)
{
    struct span name, value, rest = compact;
    const char *at = compact.at + 1;

    while (json_next(&rest, &name, &value)) {
        expect(name.at == at && name.len >= 2 && name.at[name.len - 1] == '"');
        expect(value.at == at + name.len + 1 && value.at[-1] == ':' && value.len > 0);
        at = value.at + value.len + 1;
        expect(value.at[0] != '{' || json_is_object(value));
    }
    expect(rest.at[0] == '}' || compact.len == 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct span body = span_make(bytes, len);
    struct buf compact, again;

    buf_init(&compact, len);
    buf_init(&again, len);
    bool taken = json_compact(&compact, body) == NULL;
    expect(taken == json_is_object(body));
    if (taken) {
        expect(!compact.full);
        expect(json_compact(&again, buf_span(&compact)) == NULL);
        expect(span_equal(buf_span(&compact), buf_span(&again)));
        check_tokens(body);
        check_members(buf_span(&compact));
    }
    buf_release(&compact);
    buf_release(&again);
    return 0;
}
