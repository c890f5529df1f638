#include "event/samples.h"

#include "base/embed.h"

EMBED(samples_text, "src/event/samples.txt");

bool
samples_next(struct sample *s, size_t *at)
{
    struct span text = span_make(samples_text, (size_t)(samples_text_end - samples_text));
    struct span rest = span_from(text, *at);

    while (rest.len > 0) {
        struct span line = span_cut(&rest, '\n');
        *at = text.len - rest.len;
        if (line.len == 0 || line.at[0] == '#')
            continue;
        s->name = span_cut(&line, '\t');
        s->body = line;
        return true;
    }
    return false;
}

bool
samples_find(struct sample *s, struct span name)
{
    for (size_t at = 0; samples_next(s, &at);)
        if (span_equal(s->name, name))
            return true;
    return false;
}

static bool
is_json(const struct sample *s)
{
    return span_starts(s->body, SPAN("{"));
}

struct span
samples_type(const struct sample *s)
{
    return is_json(s) ? SPAN("application/json")
                      : SPAN("application/x-www-form-urlencoded");
}

int
samples_vary(struct buf *to, const struct sample *s, uint64_t n)
{
    if (is_json(s)) {
        buf_add_format(to, "{\"sample\": \"%llu\", ", (unsigned long long)n);
        return buf_add(to, span_from(s->body, 1));
    }
    buf_add(to, s->body);
    return buf_add_format(to, "&sample=%llu", (unsigned long long)n);
}
