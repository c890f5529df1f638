// Hook tokens: what makes a hook's URL a password (DESIGN.md section 3). The token of a hook
// under a secret is base64url of HMAC-SHA-256(secret, "acrelay hook v1\n" + name), all 43
// characters.
#ifndef ACRELAY_CONFIG_SECRET_H
#define ACRELAY_CONFIG_SECRET_H

#include "config/config.h"

enum { SECRET_BYTES_LEAST = 32, SECRET_TOKEN = 43, SECRET_TOKEN_TEXT = 44 };

// All secrets of secret_files, newest first. Read-only once loaded; any thread.
struct secrets;

// secrets_load reads every file of c->secret_files; EXIT_CODE_PERMISSION for one that others
// can read, EXIT_CODE_CONFIG for one that is missing or too short.
struct secrets *secrets_load(const struct config *c, struct err *err);
void secrets_release(struct secrets *s); // overwrites them; NULL is fine
size_t secrets_len(const struct secrets *s);

// secret_wipe overwrites a buf that held a secret, and releases it.
void secret_wipe(struct buf *b);

// secrets_token writes the token of a hook under the i-th secret.
void secrets_token(const struct secrets *s, size_t i, struct span hook,
                   char token[SECRET_TOKEN_TEXT]);

// secrets_url appends the URL of a hook: <base>/hook/<name>/<token>.
int secrets_url(const struct secrets *s, size_t i, const char *base, struct span hook,
                struct buf *to);

#endif
