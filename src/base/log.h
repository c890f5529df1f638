// The log: one escaped line to stderr for each change of state (not heartbeats). A line
// names its module, then says a sentence with numbers and units. Never bodies, addresses,
// tokens or secrets: a caller does not pass them. Any thread may log; a line is one write.
//
// Where stderr is the journal of systemd ($JOURNAL_STREAM names it), lines start with <n>, the
// priority of sd-daemon(3), and the journal adds the time; elsewhere they start with time
// and level; `json` writes objects {"time","level","message"}.
#ifndef ACRELAY_BASE_LOG_H
#define ACRELAY_BASE_LOG_H

#include <stdint.h>

enum log_level {
    LOG_LEVEL_ALARM = 2, // a person must act now
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARN = 4,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7,
};

enum log_form { LOG_FORM_AUTO, LOG_FORM_TEXT, LOG_FORM_JOURNAL, LOG_FORM_JSON };

// log_start sets how lines look and the least important level that is written. Called
// before the first thread; without it: LOG_FORM_TEXT, LOG_LEVEL_INFO.
void log_start(enum log_form form, enum log_level least);

void log_write(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define log_alarm(...) log_write(LOG_LEVEL_ALARM, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
