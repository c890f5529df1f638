#include "program/output.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool
output_has_color(bool json)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return !json && isatty(STDOUT_FILENO) && !(no && *no) &&
           !(term && strcmp(term, "dumb") == 0);
}

int
output_end(const char *program, int code)
{
    bool ok = fflush(stdout) == 0 && !ferror(stdout);

    if (ok || (code != EXIT_CODE_OK && code != EXIT_CODE_CHANGES))
        return code;
    fprintf(stderr, "%s: cannot write its output\n", program);
    return EXIT_CODE_FAILURE;
}
