// The log: one escaped line to stderr for each change of state (not heartbeats). A line
// names its module, then says a sentence with numbers and units. Never bodies, addresses,
// tokens or secrets: a caller does not pass them. Any thread may log; a line is one write.
//
// Where stderr is the journal of systemd ($JOURNAL_STREAM names it), lines start with
// <n>, the priority of sd-daemon(3), and the journal adds the time; elsewhere they start
// with time and level; `json` writes objects {"time","level","message"}.
#ifndef ACRELAY_BASE_LOG_H
#define ACRELAY_BASE_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_ALARM = 2, // a person must act now
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARN = 4,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7,
};

enum log_form { LOG_FORM_AUTO, LOG_FORM_TEXT, LOG_FORM_JOURNAL, LOG_FORM_JSON };

// log_start sets the form of lines and the least important level (the highest number)
// that is written. Called before the first thread; without it: LOG_FORM_TEXT,
// LOG_LEVEL_INFO.
void log_start(enum log_form form, enum log_level max);

void log_write(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define log_alarm(...) log_write(LOG_LEVEL_ALARM, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

// A once logs a lasting problem in one line: when it first occurs and when its text
// changes, and again only after once_clear. Zeroed, nothing was reported. One thread.
struct once {
    uint64_t reported; // made of the checksum of the text reported last, 0 for none
};

// once_report logs the line unless it was the last one reported, or nobody reads the log: then the
// next call does. Returns whether it logged.
bool once_report(struct once *o, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// once_clear: the problem is over. Returns whether one was reported, for a line that says
// so.
bool once_clear(struct once *o);

// A log limit lets one line through, and the next one only after a pause: what happens a
// thousand times a second must not write a thousand lines. Any thread.
struct log_limit {
    pthread_mutex_t lock;
    int64_t pause_ms, next_ms;
    uint64_t held_back; // events without a line
};

// clang-format off
#define LOG_LIMIT(PAUSE_MS)                                                              \
    {.lock = PTHREAD_MUTEX_INITIALIZER, .pause_ms = (PAUSE_MS), .next_ms = INT64_MIN}
// clang-format on

// log_limit_pass counts `events` (0: only asks whether some are due) and gives how many a line now
// (clock_mono_ms; INT64_MAX at the end) is about: these, and those that went without one before,
// which are forgotten. 0: there may be none.
uint64_t log_limit_pass(struct log_limit *l, uint64_t events, int64_t now_ms);

#endif
