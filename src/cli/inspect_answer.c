#include "cli/inspect.h"

#include "base/text.h"
#include "event/form.h"

#include <stdlib.h>

// --- what is asked ----------------------------------------------------------------------------

const char *
inspect_parameter(const struct http_request *r, const char *name, char *to, size_t size)
{
    struct span rest = r->query;

    to[0] = '\0';
    while (rest.len > 0) {
        struct span value = span_cut(&rest, '&'), key = span_cut(&value, '=');
        if (!span_is(key, name))
            continue;
        if (value.len >= size)
            return NULL;
        size_t len = form_decode(to, value).len;
        to[len] = '\0';
        return strlen(to) == len ? to : NULL;
    }
    return to;
}
