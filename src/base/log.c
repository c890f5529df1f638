// A line is formatted into a stack buffer and written with one write(2), so that lines of
// several threads never mix and no lock is held. What does not fit is cut. Who reads the log, a
// pipe's reader that has stopped say, must hold up nobody: after WAIT_MS without room lines are lost,
// and the next one that is not says how many.
#include "base/log.h"

#include "base/clock.h"
#include "base/crc.h"
#include "base/text.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MESSAGE_MAX = 1024, WAIT_MS = 1000 };

static enum log_form form_now = LOG_FORM_TEXT;
static enum log_level max_now = LOG_LEVEL_INFO;
static atomic_uint lost; // lines since one was written

// systemd.exec(5): $JOURNAL_STREAM is device and inode of the stream to the journal. Where
// stderr was redirected it is inherited all the same.
static bool
stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char mine[64];
    struct stat st;

    if (!stream || fstat(STDERR_FILENO, &st) < 0)
        return false;
    snprintf(mine, sizeof mine, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, mine) == 0;
}

void
log_start(enum log_form form, enum log_level max)
{
    if (form == LOG_FORM_AUTO)
        form = stderr_is_journal() ? LOG_FORM_JOURNAL : LOG_FORM_TEXT;
    form_now = form;
    max_now = max;
}

static const char *const level_names[] = {[LOG_LEVEL_ALARM] = "alarm",
                                          [LOG_LEVEL_ERROR] = "error",
                                          [LOG_LEVEL_WARN] = "warning",
                                          [LOG_LEVEL_INFO] = "info",
                                          [LOG_LEVEL_DEBUG] = "debug"};

static int
format_line(char *line, size_t size, enum log_level level, const char *message)
{
    char time[CLOCK_TEXT], quoted[2048];

    if (form_now == LOG_FORM_JOURNAL)
        return snprintf(line, size, "<%d>%s\n", (int)level, message);
    clock_format_us(time, clock_now_us());
    if (form_now != LOG_FORM_JSON)
        return snprintf(line, size, "%s %-7s %s\n", time, level_names[level], message);
    text_quote(quoted, sizeof quoted, span_of(message));
    return snprintf(line, size, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"%s\"}\n",
                    time, level_names[level], quoted);
}

static bool
has_room(void)
{
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&log, 1, atomic_load(&lost) ? 0 : WAIT_MS) != 0;
}

static void
write_line(enum log_level level, const char *raw)
{
    char message[MESSAGE_MAX], line[2304];

    if (level > max_now)
        return;
    if (!has_room()) {
        lost++;
        return;
    }
    unsigned gone = atomic_exchange(&lost, 0);
    if (gone)
        log_warn("log: %u line%s before this were lost: nobody read the log", gone,
                 PLURAL(gone));
    text_escape(message, sizeof message, span_of(raw));
    int len = format_line(line, sizeof line, level, message);
    // A log that cannot be written has nowhere to say so.
    if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
        return;
}

void
log_write(enum log_level level, const char *format, ...)
{
    char raw[MESSAGE_MAX];
    va_list args;

    if (level > max_now) // a debug line of each commit costs nothing where nobody sees it
        return;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    write_line(level, raw);
}

bool
once_report(struct once *o, enum log_level level, const char *format, ...)
{
    char raw[MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    uint64_t text = UINT64_C(1) << 32 | crc_of(0, raw, strlen(raw));
    if (text == o->reported)
        return false;
    o->reported = text;
    write_line(level, raw);
    return true;
}

bool
once_clear(struct once *o)
{
    bool was_reported = o->reported != 0;

    o->reported = 0;
    return was_reported;
}

bool
log_limit_pass(struct log_limit *l, uint64_t events, int64_t now_ms, uint64_t *held_back)
{
    pthread_mutex_lock(&l->lock);
    bool pass = now_ms >= l->next_ms && events + l->held_back > 0;
    *held_back = l->held_back;
    if (pass && events > 0)
        l->next_ms = now_ms + l->pause_ms;
    l->held_back = pass ? 0 : l->held_back + events;
    pthread_mutex_unlock(&l->lock);
    return pass;
}
