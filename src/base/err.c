#include "base/err.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 4, 0))) static void
fill(struct err *err, enum err_kind kind, enum exit_code exit, const char *format,
     va_list args)
{
    char raw[sizeof err->text];

    if (!err)
        return;
    vsnprintf(raw, sizeof raw, format, args);
    err->kind = kind;
    err->exit = exit;
    err->error = 0;
    text_escape(err->text, sizeof err->text, span_of(raw));
}

int
err_write(struct err *err, enum err_kind kind, enum exit_code exit, const char *format,
          ...)
{
    va_list args;

    va_start(args, format);
    fill(err, kind, exit, format, args);
    va_end(args);
    return -1;
}

int
err_errno(struct err *err, const char *format, ...)
{
    char reason[128];
    int error = errno;
    va_list args;

    const char *known = strerror_r(error, reason, sizeof reason);
    va_start(args, format);
    fill(err, ERR_FATAL, EXIT_CODE_FAILURE, format, args);
    va_end(args);
    if (err) {
        size_t used = strlen(err->text);
        err->error = error;
        snprintf(err->text + used, sizeof err->text - used, ": %s", known);
    }
    return -1;
}

int
err_context(struct err *err, const char *format, ...)
{
    char context[200], joined[sizeof context + 2 + sizeof err->text];
    va_list args;

    if (!err)
        return -1;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
    snprintf(joined, sizeof joined, "%s: %s", context, err->text);
    text_escape(err->text, sizeof err->text, span_of(joined)); // never cut inside UTF-8
    return -1;
}
