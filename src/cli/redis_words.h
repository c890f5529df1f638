// What an operator can do about the words of Redis, of hiredis and of the relay. Pure.
#ifndef ACRELAY_CLI_REDIS_WORDS_H
#define ACRELAY_CLI_REDIS_WORDS_H

#include "base/err.h"

struct redis_words {
    const char *in;      // stands in the text
    enum exit_code code; // EXIT_CODE_OK: it is no fault
    const char *advice;
};

// redis_words_find finds what is known of a text; there is always something.
const struct redis_words *redis_words_find(const char *text);

#endif
