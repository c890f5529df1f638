#include "worker/refusal.h"

#include <inttypes.h>
#include <stdio.h>

int
refusal_set(const struct step *s, struct err *err)
{
    struct hook_url url;
    bool parsed = hook_url_parse(&url, s->found->url);

    if (s->why == WHY_UNREADABLE)
        return err_exit(
            err, EXIT_CODE_CONFIG,
            "not created: ActiveCampaign has a webhook to our URL whose id cannot "
            "be read: remove it there, then apply");
    return err_exit(
        err, EXIT_CODE_CONFIG,
        "not created: webhook #%" PRIu64 " at %s looks like ours, and every event "
        "would come twice. Add that address to previous_public_urls, or remove "
        "the webhook (if it is another acrelay's: give this hook another label, "
        "and that one too)",
        s->found->id, parsed ? url.host : "an address that cannot be read");
}

void
refusal_report_doubles(const struct hooks *wanted, const struct hooks *found,
                       void (*report)(const char *text, void *context), void *context)
{
    char text[300];
    bool certain;

    for (size_t i = 0; i < found->len; i++) {
        const struct hook *h = &found->at[i], *like = plan_alike(wanted, h, &certain);
        if (!like || !certain || h->id == like->adopt)
            continue;
        snprintf(text, sizeof text,
                 "hook %s: webhook #%" PRIu64
                 " posts to another address with our token; where "
                 "that leads here too, every event comes twice. Add the address to "
                 "previous_public_urls, or remove the webhook",
                 like->name, h->id);
        report(text, context);
    }
}
