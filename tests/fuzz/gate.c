// Property: whatever the head of a request, the gate answers with one of its codes, the same
// twice, and lets in only a POST whose path is, byte for byte, that of a hook. An input is
// method, path, query and headers, a line each.
#include "config/config.h"
#include "receiver/receiver.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct snapshot *snapshot;

static const char *
file_of(const char *text, char path[64])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ||
        fchmod(fd, 0600) < 0)
        abort();
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return path;
}

static void
make_snapshot(void)
{
    char secret[64], file[64], text[512];
    struct problems problems = {0};
    struct err err;

    file_of("0123456789abcdef0123456789abcdef", secret);
    snprintf(text, sizeof text,
             "account: {name: acme}\n"
             "public_url: https://hooks.acme.example\nsecret_files: [%s]\n"
             "receiver: {body_max: 1MiB}\n"
             "hooks:\n  - {name: contacts, events: [subscribe]}\n"
             "  - {name: a, events: [sent]}\n",
             secret);
    struct config *config = config_read(file_of(text, file), NULL, &problems);
    if (!config) {
        problems_print(&problems, PROBLEMS_STDERR);
        abort();
    }
    snapshot = snapshot_make(config, NULL, NULL, &err);
    if (!snapshot) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    free(problems.at);
}

static bool
is_path_of(struct span path, struct span hook)
{
    char token[SECRET_TOKEN_TEXT], want[256];

    secrets_token(snapshot->secrets, 0, hook, token);
    snprintf(want, sizeof want, "/hook/%.*s/%s", (int)hook.len, hook.at, token);
    return span_is(path, want);
}

// A line "T" in the path's place stands for a good path: no fuzzer finds a token.
static struct span
path_of(struct span line, char good[256])
{
    char token[SECRET_TOKEN_TEXT];
    struct span rest = line;

    if (!span_starts(line, SPAN("T")))
        return line;
    secrets_token(snapshot->secrets, 0, SPAN("contacts"), token);
    rest = span_to(span_from(line, 1), 64);
    int len = snprintf(good, 256, "/hook/contacts/%s%.*s", token, (int)rest.len, rest.at);
    return span_make(good, (size_t)len);
}

static bool
is_answer(int code)
{
    static const int codes[] = {0, 404, 405, 400, 411, 414, 431, 413};

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (code == codes[i])
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct span rest = span_make(bytes, len);
    struct http_request r = {0};
    char good[256];

    if (!snapshot)
        make_snapshot();
    r.method = span_cut(&rest, '\n');
    r.path = path_of(span_cut(&rest, '\n'), good);
    r.query = span_cut(&rest, '\n');
    r.is_http_11 = r.method.len % 2 == 0;
    r.is_whole = r.query.len % 7 != 1;
    while (rest.len > 0 && r.headers_len < HTTP_HEADERS_MAX) {
        struct span value = span_cut(&rest, '\n');
        struct span name = span_cut(&value, ':');
        r.headers[r.headers_len++] = (struct http_header){name, span_trim(value)};
    }
    struct gate_verdict a = gate_judge(snapshot, &r), b = gate_judge(snapshot, &r);
    if (a.code != b.code || a.hook != b.hook || a.length != b.length ||
        !is_answer(a.code))
        abort();
    if (a.hook != SIZE_MAX &&
        (a.hook >= snapshot->hooks_len || !snapshot->hooks[a.hook].config ||
         !is_path_of(r.path, span_of(snapshot->hooks[a.hook].name))))
        abort();
    if (a.code == 0 &&
        (a.hook == SIZE_MAX || !span_is(r.method, "POST") || r.query.len > 1024 ||
         (!a.chunked && a.length > snapshot->config->body_max)))
        abort();
    return 0;
}
