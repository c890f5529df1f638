// What `systemctl status` shows of the receiver: one line, what is wrong first.
#include "receiver/receiver.h"

#include "edge/sockets.h"

#include <inttypes.h>

static void
add_troubles(struct buf *to, const struct receiver *r, const struct journal_status *j)
{
    if (j->failing)
        buf_add_format(to, "ANSWERING 503, deliveries are lost: %s; ", j->reason);
    if (r->source.is_last_good)
        buf_add_text(to,
                     "the configuration file is not valid, running with the last good "
                     "one; ");
}

static void
add_places(struct buf *to, const struct receiver *r)
{
    char place[SOCKETS_TEXT];

    for (size_t i = 0; i < r->sockets_len; i++) {
        union address at = sockets_address(r->sockets[i]);
        sockets_format(&at, place);
        buf_add_format(to, "%s%s", i ? ", " : "accepting posts on ", place);
    }
}

// Until Redis has said what is published, all that is kept may wait.
static void
add_waiting(struct buf *to, const struct relay_status *r)
{
    if (r->waiting == 0) {
        buf_add_text(to, "none waits");
        return;
    }
    buf_add_format(to, "%s%" PRIu64 " wait%s in the journal", r->known ? "" : "at most ",
                   r->waiting, r->waiting == 1 ? "s" : "");
    if (r->message[0])
        buf_add_format(to, ": %s", r->message);
}

void
status_notify(const struct receiver *r, const struct journal_status *j,
              const struct relay_status *relay)
{
    struct buf text;

    buf_init(&text, 2000);
    add_troubles(&text, r, j);
    add_places(&text, r);
    buf_add_format(&text, "; %" PRIu64 " stored, %" PRIu64 " published since the start; ",
                   j->records, relay->entries);
    add_waiting(&text, relay);
    sockets_notify_status(buf_text(&text));
    buf_release(&text);
}
