// A line is formatted into a stack buffer and written with one write(2), so that lines of
// several processes never mix. What does not fit is cut. Who reads the log, a pipe's reader that has
// stopped say, must hold up nobody: after WAIT_MS without room lines are lost, and the next one that
// is not says how many. One thread writes at a time: of two that find the last page of a pipe free
// the second would block. (So it still does after another process; but O_NONBLOCK would be theirs,
// and the shell's, too.) Signals wait as well, whose handlers may log.
#include "base/log.h"

#include "base/clock.h"
#include "base/crc.h"
#include "base/text.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MESSAGE_MAX = 1024, WAIT_MS = 1000, TURN_MS = 10 };

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
write_line(enum log_level level, const char *raw)
{
    char message[MESSAGE_MAX], line[2304];

    text_escape(message, sizeof message, span_of(raw));
    int len = format_line(line, sizeof line, level, message);
    return write(STDERR_FILENO, line, (size_t)len) == len;
}

// write_if_room, with the lock: what the poll has seen is one page at least, and two lines fit there.
static bool
write_if_room(enum log_level level, const char *raw)
{
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
    char notice[96];

    if (poll(&log, 1, lost ? 0 : WAIT_MS) == 0)
        return false;
    unsigned gone = atomic_exchange(&lost, 0);
    snprintf(notice, sizeof notice,
             "log: %u line%s before this were lost: nobody read the log, or its disk was "
             "full",
             gone, PLURAL(gone));
    if (gone && max_now >= LOG_LEVEL_WARN && !write_line(LOG_LEVEL_WARN, notice)) {
        lost += gone;
        return false;
    }
    return write_line(level, raw);
}

// log_line returns false where the line is lost. It tries again and again for the lock, because Debian
// 12's TSan does not know pthread_mutex_clocklock.
static bool
log_line(enum log_level level, const char *raw)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int left_ms = TURN_MS + (lost ? 0 : WAIT_MS);
    sigset_t all, before;
    bool locked;

    if (level > max_now)
        return true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (!(locked = pthread_mutex_trylock(&lock) == 0) && left_ms-- > 0)
        clock_sleep_ms(1);
    bool written = locked && write_if_room(level, raw);
    lost += !written;
    if (locked)
        pthread_mutex_unlock(&lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return written;
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
    log_line(level, raw);
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
    if (text == o->reported || !log_line(level, raw))
        return false;
    o->reported = text;
    return true;
}

bool
once_clear(struct once *o)
{
    bool was_reported = o->reported != 0;

    o->reported = 0;
    return was_reported;
}

uint64_t
log_limit_pass(struct log_limit *l, uint64_t events, int64_t now_ms)
{
    pthread_mutex_lock(&l->lock);
    uint64_t all = l->held_back + events;
    bool pass = now_ms >= l->next_ms && all > 0;
    if (pass && events > 0)
        l->next_ms = now_ms + l->pause_ms;
    l->held_back = pass ? 0 : all;
    pthread_mutex_unlock(&l->lock);
    return pass ? all : 0;
}
