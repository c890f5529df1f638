// ${NAME} and ${NAME:-text} in a value are taken from the environment, after YAML was read: what
// stands in a variable is text and never structure. $${ is ${ itself.
#ifndef ACRELAY_CONFIG_EXPAND_H
#define ACRELAY_CONFIG_EXPAND_H

#include "base/buf.h"

// expand_value appends the text with its variables replaced. NULL, or what is wrong with it.
const char *expand_value(const char *text, struct buf *to);

#endif
