#include "cli/setup.h"

#include "edge/rest.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static int
call(struct rest *r, const char *method, uint64_t id, struct span body,
     struct rest_answer *answer, struct err *err)
{
    char path[64];

    snprintf(path, sizeof path, "/api/3/contacts/%llu", (unsigned long long)id);
    if (rest_call(r, method, path, body, answer, err) < 0)
        return -1;
    return answer->status == 200
               ? 0
               : err_exit(
                     err, EXIT_CODE_FAILURE,
                     "ActiveCampaign answers %d to %s %s: name a contact of your own "
                     "by its id, or leave out --contact",
                     answer->status, method, path);
}

// What it is sent is what it has: nothing of the contact changes.
static char *
make_body(struct span shown)
{
    cJSON *root = cJSON_ParseWithLength(shown.at, shown.len);
    const cJSON *contact = cJSON_GetObjectItemCaseSensitive(root, "contact");
    const char *name =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(contact, "firstName"));
    char *text = NULL;

    if (name) {
        cJSON *update = cJSON_CreateObject();
        cJSON_AddStringToObject(cJSON_AddObjectToObject(update, "contact"), "firstName",
                                name);
        text = cJSON_PrintUnformatted(update);
        cJSON_Delete(update);
    }
    cJSON_Delete(root);
    return text;
}

int
contact_touch(struct rest *r, uint64_t id, struct err *err)
{
    struct rest_answer answer;

    if (call(r, "GET", id, (struct span){"", 0}, &answer, err) < 0)
        return -1;
    char *body = make_body(answer.body);
    if (!body)
        return err_exit(
            err, EXIT_CODE_FAILURE,
            "contact %llu has no first name that could be written again: name "
            "another, or leave out --contact",
            (unsigned long long)id);
    int result = call(r, "PUT", id, span_of(body), &answer, err);
    cJSON_free(body);
    return result;
}
