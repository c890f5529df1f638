// What a reading collects: memory, which is freed at once, and problems, which are data until
// somebody prints them.
#include "config/value.h"

#include "base/log.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

enum { PROBLEMS_MAX = 2000 }; // more of them say nothing new, and each takes memory

void *
reading_copy(struct reading *r, struct span bytes, size_t more)
{
    struct config_block *b = memory_get(sizeof *b + bytes.len + more);

    b->next = r->config->memory;
    r->config->memory = b;
    if (bytes.len)
        memcpy(b->bytes, bytes.at, bytes.len);
    memset(b->bytes + bytes.len, 0, more);
    return b->bytes;
}

void
problem_add(struct reading *r, enum problem_kind kind, struct place at,
            const char *format, ...)
{
    struct problems *list = r->problems;
    char raw[700];
    va_list args;

    r->errors += kind == ERROR;
    if (list->len == PROBLEMS_MAX)
        return;
    list->at = memory_grow(list->at, (list->len + 1) * sizeof *list->at);
    struct problem *p = &list->at[list->len++];
    p->file = r->file;
    p->line = at.line;
    p->column = at.column;
    p->warning = kind == WARNING;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(p->text, sizeof p->text, span_of(raw));
}

const char *
problem_line(const struct problem *p, char to[PROBLEM_LINE])
{
    const char *warning = p->warning ? "warning: " : "";

    if (p->line)
        snprintf(to, PROBLEM_LINE, "%.350s:%d:%d: %s%s", p->file, p->line, p->column,
                 warning, p->text);
    else
        snprintf(to, PROBLEM_LINE, "%.350s: %s%s", p->file, warning, p->text);
    return to;
}

void
problems_print(const struct problems *p, enum problems_to to)
{
    char line[PROBLEM_LINE];

    for (const struct problem *at = p->at; at < p->at + p->len; at++)
        if (to == PROBLEMS_LOG)
            log_write(at->warning ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "config: %s",
                      problem_line(at, line));
        else if (to == PROBLEMS_STDERR || !at->warning)
            fprintf(stderr, "%s\n", problem_line(at, line));
}
