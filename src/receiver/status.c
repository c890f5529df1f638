// What `systemctl status` shows of the receiver: one line, what is wrong first. And what a start that
// failed means for posts.
#include "receiver/receiver.h"

#include "edge/sockets.h"
#include "journal/verify.h"

#include <errno.h>
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

// Sockets that the service manager passed go on queueing, whatever failed here. Whoever holds the
// journal is a receiver that began before, and none receives for this one where nobody does; the
// journal is opened after receiver.listen.
const char *
status_after_failed_start(struct receiver *r, const struct err *err)
{
    (void)sockets_inherited(r->sockets, SOCKETS_MAX, &r->sockets_len, &(struct err){0});
    bool queues = r->sockets_len > 0;

    if (err->exit == EXIT_CODE_LOCK)
        return queues
                   ? ". That process receives, or posts wait in the queue of the socket"
                   : ". That process receives at its own addresses; posts to the "
                     "addresses of this one are refused and lost";
    if (err->error == EADDRINUSE && !r->journal)
        return journal_is_held(r->snapshot->config->state_dir)
                   ? "; the acrelayd that holds this journal receives as before (acrelay "
                     "status shows how it is): stop it before another is started"
                   : "; no acrelayd holds this journal, so posts to that address go to "
                     "another program and are lost: stop that one, or change "
                     "receiver.listen";
    return queues
               ? "; until that is fixed nothing is received: posts wait in the queue of "
                 "the socket, and are refused and lost when it is full"
               : "; until that is fixed nothing is received: posts are refused and "
                 "lost, because ActiveCampaign sends each only once";
}
