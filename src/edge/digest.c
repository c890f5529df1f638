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

static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;

static void
must(bool done)
{
    if (done)
        return;
    log_alarm("digest: libcrypto cannot compute SHA-256: out of memory, or an incomplete "
              "installation");
    abort();
}

static void *
get(size_t bytes, const char *file, int line)
{
    (void)file, (void)line;
    return memory_get(bytes);
}

static void *
grow(void *old, size_t bytes, const char *file, int line)
{
    (void)file, (void)line;
    return memory_grow(old, bytes);
}

static void
let_go(void *old, const char *file, int line)
{
    (void)file, (void)line;
    free(old);
}

// A failed allocation of libcrypto or libssl ends the program, as one of ours does: after one they
// can lack an algorithm for good, and every TLS handshake fails. They take these functions only
// before their first allocation.
__attribute__((constructor)) static void
use_our_memory(void)
{
    CRYPTO_set_mem_functions(get, grow, let_go);
}

static void
fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    must(sha256 != NULL);
}

void
digest_of(const struct span *pieces, size_t len, unsigned char sum[DIGEST_BYTES])
{
    must(pthread_once(&sha256_once, fetch_sha256) == 0);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    must(context && EVP_DigestInit_ex2(context, sha256, NULL) == 1);
    for (size_t i = 0; i < len; i++)
        must(EVP_DigestUpdate(context, pieces[i].at, pieces[i].len) == 1);
    must(EVP_DigestFinal_ex(context, sum, NULL) == 1);
    EVP_MD_CTX_free(context);
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
