// What civetweb's reader of request heads lets pass and RFC 9112 has refused: a blank before a
// header's colon (5.1), a folded line (5.2), a line without a name. At the last two it stops
// reading, so that headers behind them go unseen, which is how requests are smuggled.
#ifndef ACRELAY_EDGE_HEAD_H
#define ACRELAY_EDGE_HEAD_H

#include "edge/http.h"

// head_is_whole looks at the bytes between and behind the headers, which civetweb (1.15) reads in
// place: it writes NULs over what ends a name or a value and leaves the rest as it came.
bool head_is_whole(const struct http_header *headers, size_t len);

#endif
