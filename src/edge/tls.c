// libssl over two memory BIOs. So the socket's side is the same with and without TLS, SIGPIPE and
// partial writes are known in one place, and what a read needs to send (a key update) comes out like
// everything else.
#include "edge/tls.h"

#include "base/clock.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { KEY_BYTES_MAX = 65536, HOST_TEXT = 256 };

struct tls {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out; // the SSL's
    struct buf outgoing;
    X509 *refused; // what did not count of the server's chain, or NULL; and why
    int why;
    char name[256];
};

// --- what went wrong ---------------------------------------------------------------------------

// The newest of OpenSSL's errors, in its words.
static const char *
last_words(void)
{
    const char *words = ERR_reason_error_string(ERR_peek_last_error());

    return words ? words : "no reason is given";
}

static void
format_time(char to[CLOCK_TEXT], const ASN1_TIME *time)
{
    struct tm tm = {0};

    *to = '\0';
    if (ASN1_TIME_to_tm(time, &tm) == 1)
        strftime(to, CLOCK_TEXT, "%Y-%m-%d %H:%M UTC", &tm);
}

// The names that a certificate is for, as "a, b".
static void
format_names(X509 *certificate, char *to, size_t size)
{
    GENERAL_NAMES *names =
        X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    size_t len = 0;

    snprintf(to, size, "no name at all");
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && len < size; i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        const char *gap = len ? ", " : "";
        char address[INET6_ADDRSTRLEN];
        if (n->type == GEN_DNS)
            len +=
                (size_t)snprintf(to + len, size - len, "%s%.*s", gap,
                                 n->d.dNSName->length, (const char *)n->d.dNSName->data);
        else if (n->type == GEN_IPADD &&
                 (n->d.iPAddress->length == 4 || n->d.iPAddress->length == 16) &&
                 inet_ntop(n->d.iPAddress->length == 4 ? AF_INET : AF_INET6,
                           n->d.iPAddress->data, address, sizeof address))
            len += (size_t)snprintf(to + len, size - len, "%s%s", gap, address);
    }
    GENERAL_NAMES_free(names);
}

static void
format_name(const X509_NAME *name, char to[TLS_NAME])
{
    BIO *bio = BIO_new(BIO_s_mem());
    int len = 0;

    if (bio &&
        X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        len = BIO_read(bio, to, TLS_NAME - 1);
    to[len > 0 ? len : 0] = '\0';
    BIO_free(bio);
}

// Keeps what is wrong for refuse_certificate, and lets nothing pass.
static int
note_refusal(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *t = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);

    if (ok || t->refused || !certificate)
        return ok;
    X509_up_ref(certificate);
    t->refused = certificate;
    t->why = X509_STORE_CTX_get_error(store);
    return 0;
}

// Why the server's certificate does not count.
static int
refuse_certificate(const struct tls *t, struct err *err)
{
    X509 *certificate = t->refused;
    char text[300] = "", when[CLOCK_TEXT];

    switch (t->why) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        format_time(when, X509_get0_notAfter(certificate));
        return err_set(err, ERR_INPUT,
                       "the certificate of %s has expired (%s): renew it there", t->name,
                       when);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        format_time(when, X509_get0_notBefore(certificate));
        return err_set(
            err, ERR_INPUT,
            "the certificate of %s is valid only from %s on: is this machine's "
            "clock right?",
            t->name, when);
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        format_names(certificate, text, sizeof text);
        return err_set(
            err, ERR_INPUT,
            "the certificate is not for %s but for %s: use a name that it has, "
            "or set redis.tls.server_name",
            t->name, text);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        format_name(X509_get_issuer_name(certificate), text);
        return err_set(
            err, ERR_INPUT,
            "the certificate of %s is signed by an authority that is not trusted "
            "here (%s): name the file with that authority's certificate in "
            "redis.tls.ca_file",
            t->name, text);
    default:
        return err_set(err, ERR_INPUT, "the certificate of %s cannot be verified: %s",
                       t->name, X509_verify_cert_error_string(t->why));
    }
}

// What the other side's alert means, as far as it is about us.
static const struct alert {
    int reason;
    const char *meaning;
} alerts[] = {
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
     "requires a client certificate: set redis.tls.cert_file and key_file"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
     "refuses the connection: it may require a client certificate "
     "(redis.tls.cert_file and key_file), or share no cipher with this machine"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA,
     "does not trust the authority that signed redis.tls.cert_file"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
     "refuses redis.tls.cert_file, which has expired: renew it"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "refuses redis.tls.cert_file"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
     "refuses redis.tls.cert_file: is it a client certificate?"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "speaks no TLS of version 1.2 or later"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "speaks no TLS of version 1.2 or later"},
    {0, NULL}};

static int
refuse(const struct tls *t, struct err *err)
{
    int reason = ERR_GET_REASON(ERR_peek_last_error());
    const struct alert *a = alerts;

    if (t->refused)
        return refuse_certificate(t, err);
    while (a->meaning && a->reason != reason)
        a++;
    if (a->meaning)
        return err_set(err, ERR_INPUT, "the server %s", a->meaning);
    return err_set(err, ERR_INPUT, "TLS with %s failed: %s", t->name, last_words());
}

// --- opening ----------------------------------------------------------------------------------

static int
refuse_file(const char *setting, const char *file, struct err *err)
{
    return err_write(err, ERR_INPUT, EXIT_CODE_CONFIG, "%s: %s cannot be used: %s",
                     setting, file, last_words());
}

// A key is never asked for its passphrase on a terminal.
static int
no_passphrase(char *to, int size, int writing, void *context)
{
    (void)to, (void)size, (void)writing, (void)context;
    return -1;
}

static int
use_key(SSL_CTX *c, const char *file, struct err *err)
{
    struct buf pem;
    EVP_PKEY *key = NULL;

    buf_init(&pem, KEY_BYTES_MAX);
    int result = file_read_key(file, &pem, err);
    if (result == 0) {
        BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
        key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
        BIO_free(bio);
        if (SSL_CTX_use_PrivateKey(c, key) != 1)
            result = refuse_file("redis.tls.key_file", file, err);
        EVP_PKEY_free(key);
    } else {
        err->kind = ERR_INPUT;
        err->exit = err->exit == EXIT_CODE_PERMISSION ? err->exit : EXIT_CODE_CONFIG;
        err_context(err, "redis.tls.key_file");
    }
    buf_wipe(&pem);
    return result;
}

static int
use_files(SSL_CTX *c, const struct tls_files *f, struct err *err)
{
    if (f->ca_file && SSL_CTX_load_verify_file(c, f->ca_file) != 1)
        return refuse_file("redis.tls.ca_file", f->ca_file, err);
    if (!f->ca_file && SSL_CTX_set_default_verify_paths(c) != 1)
        return refuse_file("the system's certificate authorities", "", err);
    if (f->cert_file && SSL_CTX_use_certificate_chain_file(c, f->cert_file) != 1)
        return refuse_file("redis.tls.cert_file", f->cert_file, err);
    return f->key_file ? use_key(c, f->key_file, err) : 0;
}

// The certificate must be for this name or address; SNI is for names only.
static bool
expect_name(SSL *ssl, const char *name)
{
    struct in6_addr any;
    char host[HOST_TEXT]; // OpenSSL's macro takes no const

    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (inet_pton(AF_INET, name, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    snprintf(host, sizeof host, "%s", name);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

// False: out of memory, or a library that cannot do what every one does.
static bool
make(struct tls *t, const char *name)
{
    t->ssl = SSL_new(t->context);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->in || !t->out) {
        BIO_free(t->in);
        BIO_free(t->out);
        return false;
    }
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_connect_state(t->ssl);
    SSL_set_app_data(t->ssl, t);
    return expect_name(t->ssl, name);
}

struct tls *
tls_open(const struct tls_files *files, const char *host, struct err *err)
{
    struct tls *t = memory_get(sizeof *t);
    const char *name = files->server_name ? files->server_name : host;

    ERR_clear_error();
    *t = (struct tls){.context = SSL_CTX_new(TLS_client_method())};
    snprintf(t->name, sizeof t->name, "%s", name);
    buf_init(&t->outgoing, SIZE_MAX / 2);
    if (!t->context || SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION) != 1) {
        err_set(err, ERR_AGAIN, "cannot begin TLS: %s", last_words());
        goto close;
    }
    SSL_CTX_set_verify(t->context, SSL_VERIFY_PEER, note_refusal);
    SSL_CTX_set_options(t->context, SSL_OP_NO_RENEGOTIATION);
    if (use_files(t->context, files, err) < 0)
        goto close;
    if (make(t, name))
        return t;
    err_set(err, ERR_AGAIN, "cannot begin TLS: %s", last_words());

close:
    tls_close(t);
    return NULL;
}

void
tls_close(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    SSL_CTX_free(t->context);
    X509_free(t->refused);
    buf_wipe(&t->outgoing);
    free(t);
}

// --- bytes -----------------------------------------------------------------------------------

struct span
tls_outgoing(struct tls *t)
{
    size_t waiting = BIO_ctrl_pending(t->out);

    buf_clear(&t->outgoing);
    char *to = buf_room(&t->outgoing, waiting);
    int len = waiting && to ? BIO_read(t->out, to, (int)waiting) : 0;
    t->outgoing.len = len > 0 ? (size_t)len : 0;
    return buf_span(&t->outgoing);
}

int
tls_feed(struct tls *t, struct span received, struct err *err)
{
    if (BIO_write(t->in, received.at, (int)received.len) != (int)received.len)
        return err_set(err, ERR_AGAIN, "TLS with %s failed: %s", t->name, last_words());
    return 0;
}

// What came of a call: `done`, or why not.
static int
outcome(struct tls *t, int result, struct err *err)
{
    if (result > 0)
        return result;
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return TLS_MORE;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_CLOSED;
    default:
        return refuse(t, err);
    }
}

int
tls_handshake(struct tls *t, struct err *err)
{
    ERR_clear_error();
    int result = outcome(t, SSL_do_handshake(t->ssl), err);
    return result == TLS_CLOSED ? refuse(t, err) : result;
}

int
tls_encrypt(struct tls *t, struct span bytes, struct err *err)
{
    ERR_clear_error();
    return SSL_write(t->ssl, bytes.at, (int)bytes.len) == (int)bytes.len ? 0
                                                                         : refuse(t, err);
}

int
tls_decrypt(struct tls *t, void *to, size_t size, struct err *err)
{
    ERR_clear_error();
    return outcome(t, SSL_read(t->ssl, to, (int)size), err);
}

int
tls_peek(struct tls *t, struct err *err)
{
    char byte;

    ERR_clear_error();
    return outcome(t, SSL_peek(t->ssl, &byte, 1), err);
}

// --- what to know -----------------------------------------------------------------------------

static int64_t
ends_at(const X509 *certificate)
{
    struct tm tm = {0};

    return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1 ? timegm(&tm) : 0;
}

void
tls_read_state(const struct tls *t, struct tls_state *state)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(t->ssl);

    *state = (struct tls_state){.version = SSL_get_version(t->ssl)};
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *certificate = sk_X509_value(chain, i);
        int64_t ends = ends_at(certificate);
        if (state->ends && ends >= state->ends)
            continue;
        state->ends = ends;
        format_name(X509_get_subject_name(certificate), state->whose);
    }
}

int64_t
tls_file_ends(const char *cert_file)
{
    BIO *bio = BIO_new_file(cert_file, "r");
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
    int64_t ends = certificate ? ends_at(certificate) : 0;

    X509_free(certificate);
    BIO_free(bio);
    ERR_clear_error();
    return ends;
}
