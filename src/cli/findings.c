#include "cli/findings.h"

#include "base/text.h"
#include "cli/show.h"
#include "cli/waiting.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const words[] = {"good", "warning", "WRONG"};

static void
print_json(enum finding finding, const char *what, const char *text, const char *advice)
{
    struct buf object;

    buf_init(&object, 8192);
    show_add_member(&object, "result", span_of(words[finding]));
    show_add_member(&object, "what", span_of(what));
    show_add_member(&object, "text", span_of(text));
    if (advice)
        show_add_member(&object, "do", span_of(advice));
    show_end(&object);
    buf_release(&object);
}

void
findings_tell(struct findings *f, enum finding finding, enum exit_code code,
              const char *what, const char *advice, const char *format, ...)
{
    static const enum show_color colors[] = {SHOW_GOOD, SHOW_WARNING, SHOW_BAD};
    const struct cli *c = f->cli;
    char raw[1024], text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, span_of(raw));
    waiting_wipe();
    f->counts[finding]++;
    if (finding == WRONG && f->code == EXIT_CODE_OK)
        f->code = code;
    if (c->json) {
        print_json(finding, what, text, advice);
        return;
    }
    printf("%s%-8s%s %-14s %s\n", show_color(c, colors[finding]), words[finding],
           show_plain(c), what, text);
    if (advice)
        printf("%-23s -> %s\n", "", advice);
    fflush(stdout); // what comes next may take a while
}

void
findings_run(struct findings *f, const struct check *checks, size_t len)
{
    for (size_t i = 0; i < len && (i == 0 || f->cli->config); i++) {
        waiting_for("%s", checks[i].asks);
        checks[i].run(f);
        waiting_end();
    }
}

int
findings_end(struct findings *f)
{
    buf_release(&f->receiver_page);
    buf_release(&f->worker_page);
    if (!f->cli->json)
        printf("%zu wrong, %zu warning%s\n", f->counts[WRONG], f->counts[WARNING],
               f->counts[WARNING] == 1 ? "" : "s");
    return (int)f->code;
}
