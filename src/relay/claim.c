// Whose cursor it is. The owner is the place, not the process: a restart must not fence
// itself off, a copy of the volume on another machine must.
#include "relay/relay.h"

#include "base/file.h"
#include "base/text.h"
#include "edge/digest.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void
add_machine(struct digest *d)
{
    static const char *const files[] = {"/etc/machine-id", "/var/lib/dbus/machine-id"};
    char host[256] = "";
    struct buf id;

    buf_init(&id, 256);
    for (size_t i = 0; i < 2 && span_trim(buf_span(&id)).len == 0; i++) {
        buf_clear(&id);
        if (access(files[i], R_OK) == 0)
            (void)file_read(files[i], &id, NULL); // without it the next one stands in
    }
    struct span text = buf_span(&id);
    text = span_cut(&text, '\n');
    if (text.len == 0 && gethostname(host, sizeof host - 1) == 0)
        text = span_of(host);
    digest_add(d, text);
    buf_release(&id);
}

void
relay_owner(char to[SCRIPT_OWNER], const char *directory)
{
    unsigned char sum[DIGEST_BYTES];
    struct digest *d = digest_open();
    char *real = realpath(directory, NULL);

    add_machine(d);
    digest_add(d, SPAN("\n"));
    digest_add(d, span_of(real ? real : directory));
    digest_take(d, sum);
    text_hex(to, SCRIPT_OWNER, sum, (SCRIPT_OWNER - 1) / 2);
    digest_close(d);
    free(real);
}

int
relay_claim(const struct redis_options *redis, const char *namespace,
            const char *journal_id, const char *directory, uint64_t *cursor,
            struct err *err)
{
    char key[SCRIPT_KEY], name[7 + JOURNAL_ID_TEXT], owner[SCRIPT_OWNER];
    struct redis *r = redis_open(redis, err);
    const struct redis_reply *reply;
    int result = -1;

    if (!r)
        return -1;
    snprintf(name, sizeof name, "cursor:%s", journal_id);
    script_key(key, namespace, span_of(name));
    relay_owner(owner, directory);
    reply = redis_ask(r, err, "HSET", key, "owner", owner, "check", "", NULL);
    if (reply && redis_reply_kind(reply) != REDIS_ERROR)
        reply = redis_ask(r, err, "HGET", key, "sequence", NULL);
    struct span text = redis_reply_text(reply);
    if (redis_reply_kind(reply) == REDIS_ERROR)
        err_set(err, ERR_INPUT, "Redis says: %.*s", (int)text.len, text.at);
    else if (reply)
        result = 0;
    *cursor = 0;
    if (result == 0)
        (void)entry_sequence(cursor, text); // stays 0 when there is none
    redis_close(r);
    return result;
}
