// A line is formatted into a stack buffer and written with one write(2), so that lines of
// several threads never mix and no lock is held. What does not fit is cut.
#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static enum log_form form_now = LOG_FORM_TEXT;
static enum log_level least_now = LOG_LEVEL_INFO;

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
log_start(enum log_form form, enum log_level least)
{
    if (form == LOG_FORM_AUTO)
        form = stderr_is_journal() ? LOG_FORM_JOURNAL : LOG_FORM_TEXT;
    form_now = form;
    least_now = least;
}

static const char *
level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ALARM:
        return "alarm";
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARN:
        return "warning";
    case LOG_LEVEL_DEBUG:
        return "debug";
    case LOG_LEVEL_INFO:
        break;
    }
    return "info";
}

static int
format_line(char *line, size_t size, enum log_level level, const char *message)
{
    char time[CLOCK_TEXT], quoted[2048];

    if (form_now == LOG_FORM_JOURNAL)
        return snprintf(line, size, "<%d>%s\n", (int)level, message);
    clock_format_us(time, clock_now_us());
    if (form_now != LOG_FORM_JSON)
        return snprintf(line, size, "%s %-7s %s\n", time, level_name(level), message);
    text_quote(quoted, sizeof quoted, span_of(message));
    return snprintf(line, size, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"%s\"}\n",
                    time, level_name(level), quoted);
}

void
log_write(enum log_level level, const char *format, ...)
{
    char raw[1024], message[1024], line[2304];
    va_list args;

    if (level > least_now)
        return;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(message, sizeof message, span_of(raw));
    int len = format_line(line, sizeof line, level, message);
    // A log that cannot be written has nowhere to say so.
    if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
        return;
}
