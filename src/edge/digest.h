// Digests: SHA-256, HMAC-SHA-256, and a comparison that takes the same time whatever it finds.
// Any thread.
#ifndef ACRELAY_EDGE_DIGEST_H
#define ACRELAY_EDGE_DIGEST_H

#include "base/span.h"

enum { DIGEST_BYTES = 32, DIGEST_TEXT = 65, DIGEST_SHA1_TEXT = 41 };

// digest_of is the SHA-256 of pieces, one after the other.
void digest_of(const struct span *pieces, size_t len, unsigned char sum[DIGEST_BYTES]);

// digest_hmac is HMAC-SHA-256 (RFC 2104) of message under key.
void digest_hmac(struct span key, struct span message, unsigned char sum[DIGEST_BYTES]);

// digest_sha1_text is the SHA-1 in hex, the name EVALSHA knows a script by. Nothing else.
void digest_sha1_text(struct span s, char to[DIGEST_SHA1_TEXT]);

// digest_equal compares len bytes in a time that depends on len only.
bool digest_equal(const void *a, const void *b, size_t len);

#endif
