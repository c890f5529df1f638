// What the admin listeners of our programs answer.
#include "cli/cli.h"

#include "base/text.h"
#include "edge/admin.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

enum { PAGE_MAX = 1 << 16 };

static void
take_text(char *to, size_t size, const cJSON *in, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, name);

    text_escape(to, size, span_of(cJSON_IsString(item) ? item->valuestring : ""));
}

static uint64_t
number_of(const cJSON *in, const char *name)
{
    double n = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(in, name));

    return n > 0 ? (uint64_t)n : 0; // NaN where there is none
}

// Posts to what never was a hook stand under hook="-".
static double
sum_left(const struct buf *page)
{
    struct span rest = buf_span(page);
    double left = 0;

    while (rest.len > 0) {
        char line[256];
        struct span text = span_cut(&rest, '\n');
        snprintf(line, sizeof line, "%.*s", (int)text.len, text.at);
        if (span_starts(text, SPAN("acrelay_requests_total{hook=\"")) &&
            strstr(line, "code=\"404\"} ") && !strstr(line, "hook=\"-\""))
            left += strtod(strrchr(line, ' ') + 1, NULL);
    }
    return left;
}

void
admin_json_fetch(struct admin_state *to, const struct socket_address *admin,
                 bool with_metrics)
{
    struct buf page;
    struct err err = {0};

    *to = (struct admin_state){.reload_ok = true};
    buf_init(&page, PAGE_MAX);
    int code = admin_fetch(admin, false, "/readyz", &page, &err);
    cJSON *root = code < 0 ? NULL : cJSON_ParseWithLength(page.at, page.len);
    const cJSON *details = cJSON_GetObjectItemCaseSensitive(root, "details");
    const cJSON *reload = cJSON_GetObjectItemCaseSensitive(root, "reload");
    if (code < 0) {
        text_escape(to->reason, sizeof to->reason, span_of(err.text));
    } else if (!cJSON_GetObjectItemCaseSensitive(root, "ready")) {
        text_escape(to->reason, sizeof to->reason,
                    SPAN("another program answers there, not acrelay"));
    } else {
        to->code = code;
        take_text(to->redis_error, sizeof to->redis_error, details, "redis");
        take_text(to->activecampaign, sizeof to->activecampaign, details,
                  "activecampaign");
        take_text(to->reload, sizeof to->reload, reload, "message");
        to->reloads_done = number_of(reload, "done");
        to->reload_ok = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reload, "ok"));
        to->last_good =
            cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reload, "last_good"));
        if (with_metrics)
            admin_fetch_metrics(&to->metrics, admin);
        to->left_posts = sum_left(&to->metrics);
    }
    cJSON_Delete(root);
    buf_release(&page);
}

int
admin_json_reload(uint64_t *number, const struct socket_address *admin, struct err *err)
{
    struct buf page;

    buf_init(&page, PAGE_MAX);
    int code = admin_fetch(admin, true, "/reload", &page, err);
    cJSON *root = code == 202 ? cJSON_ParseWithLength(page.at, page.len) : NULL;
    *number = number_of(root, "reload");
    if (code >= 0 && *number == 0)
        err_set(err, ERR_AGAIN,
                "the program there does not support reload (%d): is it an older acrelay?",
                code);
    cJSON_Delete(root);
    buf_release(&page);
    return *number ? 0 : -1;
}
