// An err says what went wrong, named by what the caller should do about it. It is set
// where the failure is found, given context on the way up, and logged or printed once by
// the one who decides. Its text is already escaped: it may go to a log line as it is.
#ifndef ACRELAY_BASE_ERR_H
#define ACRELAY_BASE_ERR_H

enum err_kind {
    ERR_NONE,
    ERR_INPUT, // the same bytes will always fail: report it to the sender
    ERR_AGAIN, // later may work: wait and try again
    ERR_FATAL, // nothing can continue: stop
};

// Exit codes of all three programs, stable (sysexits.h where it has one).
enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILURE = 1,
    EXIT_CODE_CHANGES = 2, // changes pending, or damage found
    EXIT_CODE_USAGE = 64,  // the command line is wrong
    EXIT_CODE_UNAVAILABLE =
        69,              // Redis, ActiveCampaign or a program of ours does not answer
    EXIT_CODE_PORT = 71, // a port is in use
    EXIT_CODE_DIRECTORY = 73, // a directory cannot be written
    EXIT_CODE_LOCK =
        75, // another process holds the journal or leads, or a restart is due
    EXIT_CODE_PERMISSION = 77, // refused: a token, a secret's mode, a right
    EXIT_CODE_CONFIG = 78,     // the configuration is wrong
};

struct err {
    enum err_kind kind;
    enum exit_code exit; // of a program that stops because of it; 1 unless set
    int error;           // errno of the system call that failed (err_errno), else 0
    char text[504];
};

// err_set writes kind and sentence and returns -1, so that `return err_set(...)` reads
// well. The formatted text is escaped as text_escape() does (bytes from outside may be
// among the arguments) and cut at the end of `text`. err may be NULL: nothing is kept.
#define err_set(err, kind, ...) err_write(err, kind, EXIT_CODE_FAILURE, __VA_ARGS__)

// err_exit is err_set with kind ERR_FATAL and an exit code.
#define err_exit(err, exit, ...) err_write(err, ERR_FATAL, exit, __VA_ARGS__)
int err_write(struct err *err, enum err_kind kind, enum exit_code exit,
              const char *format, ...) __attribute__((format(printf, 4, 5)));

// err_errno adds ": " and strerror(errno), keeps errno in `error`, and is ERR_FATAL.
int err_errno(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// err_context puts "<context>: " before the text, keeps the rest, and returns -1.
int err_context(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
