#include "worker/state_json.h"

#include "base/clock.h"
#include "base/text.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void
add_time(cJSON *to, const char *name, int64_t us)
{
    char text[CLOCK_TEXT];

    if (us == 0)
        return;
    clock_format_seconds(text, us);
    cJSON_AddStringToObject(to, name, text);
}

void
state_json_write(struct buf *to, const struct state *state, const char *name,
                 const struct hooks *found)
{
    cJSON *root = cJSON_CreateObject();
    char id[24];

    cJSON_AddStringToObject(root, "state", state->word);
    cJSON *ids = cJSON_AddArrayToObject(root, "ids");
    for (size_t i = 0; i < found->len; i++) {
        if (!found->at[i].name || strcmp(found->at[i].name, name) != 0)
            continue;
        snprintf(id, sizeof id, "%" PRIu64, found->at[i].id);
        cJSON_AddItemToArray(ids, cJSON_CreateString(id));
    }
    add_time(root, "checked", state->checked_us);
    add_time(root, "last_event", state->last_us);
    add_time(root, "repaired", state->repaired_us);
    char *text = cJSON_PrintUnformatted(root);
    buf_add_text(to, text);
    free(text);
    cJSON_Delete(root);
}

int64_t
state_json_repaired(struct span text)
{
    cJSON *root = cJSON_ParseWithLength(text.at, text.len);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "repaired");
    int64_t us = 0;

    if (cJSON_IsString(item) && !clock_parse(&us, span_of(item->valuestring)))
        us = 0;
    cJSON_Delete(root);
    return us;
}

void
state_json_word(char *word, size_t size, struct span text)
{
    cJSON *root = cJSON_ParseWithLength(text.at, text.len);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "state");

    text_escape(word, size, span_of(cJSON_IsString(item) ? item->valuestring : ""));
    cJSON_Delete(root);
}
