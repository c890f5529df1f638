// Property: whatever AC answers, reading it neither crashes nor gives a hook that, written in
// AC's dialect and read again, is another; what is said about an error may stand in a log.
#include "base/text.h"
#include "hook/hook_json.h"

#include <stdint.h>
#include <stdlib.h>

static void
require_same(const struct hook *a, const struct hook *b)
{
    if (!span_equal(span_of(a->url), span_of(b->url)) ||
        hook_differs(a, b) & (DIFFERS_EVENTS | DIFFERS_SOURCES | DIFFERS_LIST))
        abort();
}

// AC's answer to what we write is the same with an id in front.
static void
write_and_read(const struct hook *hook)
{
    struct span start = SPAN("{\"webhook\":{");
    struct hook again = {0};
    struct buf text, answer;
    struct err err;

    if (hook->list > INT32_MAX) // never wanted (config), so never written
        return;
    buf_init(&text, 16 << 20);
    buf_init(&answer, 17 << 20);
    hook_json_write(&text, hook);
    if (text.full || !span_starts(buf_span(&text), start))
        abort();
    buf_add_text(&answer, "{\"webhook\":{\"id\":\"7\",");
    buf_add(&answer, span_from(buf_span(&text), start.len));
    if (hook_json_read_one(&again, buf_span(&answer), &err) < 0)
        abort();
    require_same(hook, &again);
    hook_release(&again);
    buf_release(&text);
    buf_release(&answer);
}

// What is the same to us stays so in other spellings; nothing of others is ours by accident.
static void
require_names(const struct hook *hook)
{
    struct hook_url url;

    if (hook_differs(hook, hook) != 0)
        abort();
    if (hook_url_parse(&url, hook->url) && url.name[0] && !strstr(hook->url, "/"))
        abort();
}

static void
require_printable(struct span s)
{
    char escaped[1024];

    text_escape(escaped, sizeof escaped, s);
    if (!span_is(s, escaped))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct span body = span_make(bytes, len);
    struct hooks hooks = {0};
    struct hook events = {0};
    struct hook one = {0};
    struct err err;
    uint64_t total;
    size_t count;
    char told[512];

    if (hook_json_read_page(&hooks, &total, &count, body, &err) == 0) {
        if (count < hooks.len) // one that comes twice is kept once
            abort();
        for (size_t i = 0; i < hooks.len; i++)
            require_names(&hooks.at[i]), write_and_read(&hooks.at[i]);
    }
    if (hook_json_read_one(&one, body, &err) == 0)
        write_and_read(&one);
    (void)hook_json_read_events(&events.events, body, &err);
    (void)hook_json_explain(told, sizeof told, body);
    require_printable(span_of(told));
    hooks_release(&hooks);
    hook_release(&events);
    hook_release(&one);
    return 0;
}
