#include "base/times.h"

#include <stdlib.h>
#include <string.h>

int64_t
times_ms(const char *name, int64_t else_ms)
{
    const char *at = getenv("ACRELAY_TEST_TIMES");
    size_t len = strlen(name);

    for (; at && *at; at += strcspn(at, " ")) {
        at += strspn(at, " ");
        if (strncmp(at, name, len) == 0 && at[len] == '=')
            return strtoll(at + len + 1, NULL, 10);
    }
    return else_ms;
}
