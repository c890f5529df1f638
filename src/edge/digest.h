// Digests: SHA-256 of pieces, HMAC-SHA-256, and a comparison that takes the same time
// whatever it finds.
#ifndef ACRELAY_EDGE_DIGEST_H
#define ACRELAY_EDGE_DIGEST_H

#include "base/span.h"

enum { DIGEST_BYTES = 32, DIGEST_TEXT = 65 };

// A digest takes pieces and gives the SHA-256 of all of them. It belongs to one thread and
// may be used again and again: nothing is allocated after digest_open.
struct digest;
struct digest *digest_open(void);
void digest_close(struct digest *d); // NULL is fine

// digest_add continues with s; digest_take writes the sum and begins anew.
void digest_add(struct digest *d, struct span s);
void digest_take(struct digest *d, unsigned char sum[DIGEST_BYTES]);

// digest_of is the SHA-256 of one span; any thread.
void digest_of(struct span s, unsigned char sum[DIGEST_BYTES]);

// digest_hmac is HMAC-SHA-256 (RFC 2104) of message under key; any thread.
void digest_hmac(struct span key, struct span message, unsigned char sum[DIGEST_BYTES]);

// digest_sha1_text is the SHA-1 in hex, the name EVALSHA knows a script by. Nothing else.
enum { DIGEST_SHA1_TEXT = 41 };
void digest_sha1_text(struct span s, char to[DIGEST_SHA1_TEXT]);

// digest_equal compares len bytes in a time that depends on len only.
bool digest_equal(const void *a, const void *b, size_t len);

#endif
