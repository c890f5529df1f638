#include "program/output.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "base/thread.h"
#include "program/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct output output;

// --- lines for people -------------------------------------------------------------------

const char *
output_color(enum output_color color)
{
    static const char *const codes[] = {"\033[0m",  "\033[32m", "\033[33m",
                                        "\033[31m", "\033[2m",  "\033[1m"};

    return output.color ? codes[color] : "";
}

void
output_print(struct span s, size_t width)
{
    size_t size = 4 * s.len + 1;
    char *text = memory_get(size);

    text_escape(text, width && width + 1 < size ? width + 1 : size, s);
    fputs(text, stdout);
    free(text);
}

// --- JSON -------------------------------------------------------------------------------

enum { DOCUMENT_MAX = 1 << 30 };

static struct buf document = {.max = DOCUMENT_MAX};
static bool is_ended, is_cut; // is_cut: one was larger than the ceiling

// JSON has UTF-16 in its escapes.
static void
add_code(uint32_t code)
{
    if (code < 0x10000) {
        buf_add_format(&document, "\\u%04x", (unsigned)code);
        return;
    }
    code -= 0x10000;
    buf_add_format(&document, "\\u%04x\\u%04x", (unsigned)(0xd800 + (code >> 10)),
                   (unsigned)(0xdc00 + (code & 0x3ff)));
}

// Outside of strings JSON is ASCII, so what is not printable stands in one. A byte that is no
// UTF-8 cannot be in JSON; it becomes U+FFFD.
static void
add_escaped(struct span s, bool is_string)
{
    while (s.len > 0) {
        uint32_t code = 0xfffd;
        size_t step = text_utf8(s, &code);
        if (step == 0 || !text_is_printable(code))
            add_code(code);
        else if (is_string && (code == '"' || code == '\\'))
            buf_add_format(&document, "\\%c", (char)code);
        else
            buf_add(&document, span_to(s, step));
        s = span_from(s, step ? step : 1);
    }
}

// Starts a document where there is none, and a member or an element of an array.
static void
add_name(const char *name, const char *suffix)
{
    if (is_ended)
        buf_clear(&document);
    is_ended = false;
    if (document.len == 0)
        buf_add_byte(&document, '{');
    else if (!strchr("{[", document.at[document.len - 1]))
        buf_add_byte(&document, ',');
    if (name)
        buf_add_format(&document, "\"%s%s\":", name, suffix);
}

void
output_text(const char *name, struct span value)
{
    bool text = text_is_utf8(value);
    size_t size = (value.len + 2) / 3 * 4 + 1; // of base64
    char *to;

    add_name(name, text ? "" : "_base64");
    buf_add_byte(&document, '"');
    if (text)
        add_escaped(value, true);
    else if ((to = buf_room(&document, size)))
        document.len += text_base64(to, size, value.at, value.len, false);
    buf_add_byte(&document, '"');
}

void
output_json(const char *name, const char *format, ...)
{
    char *value;
    va_list args;

    va_start(args, format);
    if (vasprintf(&value, format, args) < 0)
        memory_none();
    va_end(args);
    add_name(name, "");
    add_escaped(span_of(value), false);
    free(value);
}

void
output_open(const char *name, char bracket)
{
    add_name(name, "");
    buf_add_byte(&document, bracket);
}

void
output_close(char bracket)
{
    buf_add_byte(&document, bracket == '{' ? '}' : ']');
}

static void
end_document(void)
{
    if (is_ended || document.len == 0) { // without a member
        buf_clear(&document);
        buf_add_byte(&document, '{');
    }
    buf_add_byte(&document, '}');
    is_ended = true;
    is_cut = is_cut || document.full;
}

void
output_line(FILE *to)
{
    end_document();
    buf_add_byte(&document, '\n');
    fwrite(document.at, 1, document.len, to);
}

void
output_take(struct buf *to)
{
    end_document();
    buf_add(to, buf_span(&document));
}

// --- what is waited for -----------------------------------------------------------------

// A thread of its own looks at the time: the one that waits is in a system call, and a signal
// would cut that short.
enum { POLL_MS = 100, AFTER_MS = 1500, AFTER_TERMINAL_MS = 300, REDRAW_MS = 1000 };

static struct {
    pthread_mutex_t lock;
    char text[300]; // "": nothing is waited for
    bool has_count;
    uint64_t done, total;
    int64_t since_ms, shown_ms; // shown_ms 0: not shown
    bool started;
} waiting = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool
is_due(int64_t now, bool terminal)
{
    if (waiting.shown_ms)
        return terminal && waiting.has_count && now - waiting.shown_ms >= REDRAW_MS;
    return now - waiting.since_ms >= (terminal ? AFTER_TERMINAL_MS : AFTER_MS);
}

static void
show(int64_t now, bool terminal)
{
    char count[128] = "";
    size_t len = 0;

    if (waiting.has_count)
        len = (size_t)snprintf(count, sizeof count, ": %llu",
                               (unsigned long long)waiting.done);
    if (waiting.total)
        snprintf(count + len, sizeof count - len, " of %llu (%llu %%)",
                 (unsigned long long)waiting.total,
                 (unsigned long long)(waiting.done * 100 / waiting.total));
    if (terminal && waiting.has_count)
        fprintf(stderr, "\r%s%s, %.0f/s \033[K", waiting.text, count,
                (double)waiting.done * 1000 / (double)(now - waiting.since_ms));
    else if (terminal)
        fprintf(stderr, "\r%s%s ... \033[K", waiting.text, count);
    else
        fprintf(stderr, "%s: %s%s ...\n", output.program, waiting.text, count);
    waiting.shown_ms = now;
}

static void *
run(void *unused)
{
    bool terminal = isatty(STDERR_FILENO);

    for (;;) {
        clock_sleep_ms(POLL_MS);
        pthread_mutex_lock(&waiting.lock);
        int64_t now = clock_mono_ms();
        if (waiting.text[0] && is_due(now, terminal))
            show(now, terminal);
        pthread_mutex_unlock(&waiting.lock);
    }
    return unused;
}

static void
wipe(void)
{
    if (waiting.shown_ms && isatty(STDERR_FILENO)) {
        fputs("\r\033[K", stderr);
        waiting.shown_ms = 0;
    }
}

void
output_wait(const char *format, ...)
{
    char raw[256];
    pthread_t thread;
    struct err err;
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    pthread_mutex_lock(&waiting.lock);
    wipe();
    text_escape(waiting.text, sizeof waiting.text, span_of(raw));
    waiting.since_ms = clock_mono_ms();
    waiting.shown_ms = 0;
    waiting.has_count = false;
    waiting.total = 0;
    // Without a thread nothing is shown, and all else is as it was.
    if (!waiting.started && raw[0]) {
        waiting.started = true;
        if (thread_start(&thread, "output", run, NULL, &err) == 0)
            pthread_detach(thread);
    }
    pthread_mutex_unlock(&waiting.lock);
}

void
output_count(uint64_t done, uint64_t total)
{
    pthread_mutex_lock(&waiting.lock);
    waiting.has_count = true;
    waiting.done = done;
    waiting.total = total;
    pthread_mutex_unlock(&waiting.lock);
}

void
output_wipe(void)
{
    pthread_mutex_lock(&waiting.lock);
    wipe();
    pthread_mutex_unlock(&waiting.lock);
}

int
output_fail(const struct err *err)
{
    output_wait_end();
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", output.program, err->text);
    return err->exit ? (int)err->exit : EXIT_CODE_FAILURE;
}

int
program_run(const struct options *o, void *context)
{
    struct err err = {0};
    int code = o->command->run(context, &err);

    if (code < 0)
        code = output_fail(&err);
    buf_release(&document);
    bool is_whole = fflush(stdout) == 0 && !ferror(stdout) && !is_cut;
    if (is_whole || (code != EXIT_CODE_OK && code != EXIT_CODE_CHANGES))
        return code;
    fprintf(stderr, "%s: cannot write its output\n", output.program);
    return EXIT_CODE_FAILURE;
}
