#include "worker/told.h"

#include "base/log.h"

enum { LINES_MAX = 1 << 20 };

void
told_init(struct told *t)
{
    buf_init(&t->now, LINES_MAX);
    buf_init(&t->before, LINES_MAX);
}

static bool
has_line(const struct buf *lines, const char *text)
{
    struct span rest = buf_span(lines);

    while (rest.len)
        if (span_is(span_cut(&rest, '\n'), text))
            return true;
    return false;
}

void
told_note(struct told *t, const char *text)
{
    buf_add_format(&t->now, "%s\n", text);
    if (!has_line(&t->before, text))
        log_alarm("worker: %s", text);
}

bool
told_has(const struct told *t, const char *text)
{
    return has_line(&t->now, text);
}

void
told_end(struct told *t)
{
    struct buf last = t->before;

    t->before = t->now;
    t->now = last;
    buf_clear(&t->now);
}
