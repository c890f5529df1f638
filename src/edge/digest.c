// libcrypto, and only its calls that OpenSSL 3 does not deprecate. Fetching an algorithm
// costs more than hashing a small body with it, so it is fetched once per process. These
// calls fail only when memory is out or libcrypto has no SHA-256: both end the program.
#include "edge/digest.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/text.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>

struct digest {
    EVP_MD_CTX *context;
};

static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;

static void
must(bool done)
{
    if (done)
        return;
    log_alarm(
        "digest: libcrypto cannot compute SHA-256: no memory, or not installed whole");
    abort();
}

static void
fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    must(sha256 != NULL);
}

static void
begin(struct digest *d)
{
    must(EVP_DigestInit_ex2(d->context, sha256, NULL) == 1);
}

struct digest *
digest_open(void)
{
    struct digest *d = memory_get(sizeof *d);

    must(pthread_once(&sha256_once, fetch_sha256) == 0);
    d->context = EVP_MD_CTX_new();
    must(d->context != NULL);
    begin(d);
    return d;
}

void
digest_close(struct digest *d)
{
    if (!d)
        return;
    EVP_MD_CTX_free(d->context);
    free(d);
}

void
digest_add(struct digest *d, struct span s)
{
    must(EVP_DigestUpdate(d->context, s.at, s.len) == 1);
}

void
digest_take(struct digest *d, unsigned char sum[DIGEST_BYTES])
{
    must(EVP_DigestFinal_ex(d->context, sum, NULL) == 1);
    begin(d);
}

void
digest_of(struct span s, unsigned char sum[DIGEST_BYTES])
{
    must(pthread_once(&sha256_once, fetch_sha256) == 0);
    must(EVP_Digest(s.at, s.len, sum, NULL, sha256, NULL) == 1);
}

void
digest_hmac(struct span key, struct span message, unsigned char sum[DIGEST_BYTES])
{
    const unsigned char *bytes = (const unsigned char *)message.at;

    // An empty key must still be a pointer: NULL would mean "the key of last time".
    must(HMAC(EVP_sha256(), key.len ? key.at : "", (int)key.len, bytes, message.len, sum,
              NULL) != NULL);
}

void
digest_sha1_text(struct span s, char to[DIGEST_SHA1_TEXT])
{
    unsigned char sum[20];

    must(EVP_Digest(s.at, s.len, sum, NULL, EVP_sha1(), NULL) == 1);
    text_hex(to, DIGEST_SHA1_TEXT, sum, sizeof sum);
}

bool
digest_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
