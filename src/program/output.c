#include "program/output.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/thread.h"
#include "program/options.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum { DOCUMENT_MAX = 1 << 30 };

struct output output = {.document.max = DOCUMENT_MAX};

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

static bool is_cut; // a document was larger than the ceiling

void
output_line(FILE *to)
{
    struct buf *document = &output.document;

    document_end(document);
    buf_add_byte(document, '\n');
    fwrite(document->at, 1, document->len, to);
    is_cut |= document->full;
    buf_clear(document);
}

void
output_say(const char *format, ...)
{
    va_list args;

    if (output.json) {
        output_line(stdout);
        return;
    }
    buf_clear(&output.document);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
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

bool
output_is_unread(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};

    return poll(&out, 1, 0) == 1 && out.revents & POLLERR;
}

int
program_run(const struct options *o, void *context)
{
    struct err err = {0};
    int code = o->command->run(context, &err);

    if (code < 0)
        code = output_fail(&err);
    buf_release(&output.document);
    bool is_whole = fflush(stdout) == 0 && !ferror(stdout) && !is_cut;
    if (is_whole || output_is_unread() ||
        (code != EXIT_CODE_OK && code != EXIT_CODE_CHANGES))
        return code;
    fprintf(stderr, "%s: cannot write its output\n", output.program);
    return EXIT_CODE_FAILURE;
}
