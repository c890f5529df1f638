#include "cli/findings.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const words[] = {"good", "warning", "WRONG"};

static void
print_json(enum finding finding, const char *what, const char *text, const char *advice)
{
    output_text("result", span_of(words[finding]));
    output_text("what", span_of(what));
    output_text("text", span_of(text));
    if (advice)
        output_text("do", span_of(advice));
    output_print_line();
}

void
findings_tell(struct findings *f, enum finding finding, enum exit_code code,
              const char *what, const char *advice, const char *format, ...)
{
    static const enum output_color colors[] = {OUTPUT_OK, OUTPUT_WARNING, OUTPUT_BAD};
    char raw[1024], text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, span_of(raw));
    output_wipe();
    f->counts[finding]++;
    if (finding == WRONG && f->code == EXIT_CODE_OK)
        f->code = code;
    if (output.json) {
        print_json(finding, what, text, advice);
        return;
    }
    printf("%s%-8s%s %-14s %s\n", output_color(colors[finding]), words[finding],
           output_color(OUTPUT_PLAIN), what, text);
    if (advice)
        printf("%-23s -> %s\n", "", advice);
    fflush(stdout); // what comes next may take a while
}

void
findings_run(struct findings *f, const struct check *checks, size_t len)
{
    for (size_t i = 0; i < len && (i == 0 || f->cli->config); i++) {
        output_wait("%s", checks[i].asks);
        checks[i].run(f);
        output_wait_end();
    }
}

int
findings_end(struct findings *f)
{
    buf_release(&f->receiver_page);
    buf_release(&f->worker_page);
    if (!output.json)
        printf("%zu wrong, %zu warning%s\n", f->counts[WRONG], f->counts[WARNING],
               f->counts[WARNING] == 1 ? "" : "s");
    return (int)f->code;
}
