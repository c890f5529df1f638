#include "worker/state_json.h"

#include "base/clock.h"
#include "base/text.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { KNOWN_MAX = 10000 }; // each may cost a request

static void
add_time(cJSON *to, const char *name, int64_t us)
{
    char text[CLOCK_TEXT];

    if (us == 0)
        return;
    clock_format_seconds(text, us);
    cJSON_AddStringToObject(to, name, text);
}

static cJSON *
add_entry(cJSON *root, const char *name, uint64_t id)
{
    cJSON *array = cJSON_GetObjectItemCaseSensitive(root, name), *entry;
    char text[24];

    if (!array)
        array = cJSON_AddArrayToObject(root, name);
    cJSON_AddItemToArray(array, entry = cJSON_CreateObject());
    snprintf(text, sizeof text, "%" PRIu64, id);
    cJSON_AddStringToObject(entry, "id", text);
    return entry;
}

static void
add_digest(cJSON *to, const char *name, uint64_t digest)
{
    char text[24];

    snprintf(text, sizeof text, "%016" PRIx64, digest);
    cJSON_AddStringToObject(to, name, text);
}

// A list may still show what was there before.
static bool
is_fresh(const struct known_hook *e)
{
    return clock_boot_us() - e->since_us < INT64_C(3600) * 1000000;
}

static void
add_known(cJSON *root, const struct known *known, const char *name)
{
    for (size_t i = 0; i < known->len; i++) {
        const struct known_hook *e = &known->at[i];
        char list[24];
        if (strcmp(e->name, name) != 0 || e->removed)
            continue;
        if (!e->listed) {
            cJSON *o = add_entry(root, "created", e->id);
            snprintf(list, sizeof list, "%" PRIu64, e->list);
            cJSON_AddStringToObject(o, "list", list);
            if (e->unclear)
                cJSON_AddNumberToObject(o, "unclear", e->unclear);
            add_time(o, "at", clock_now_us() - (clock_boot_us() - e->since_us));
        }
        if (e->written && (e->differs || is_fresh(e))) {
            cJSON *o = add_entry(root, "stored", e->id);
            cJSON_AddBoolToObject(o, "differs", e->differs);
            add_digest(o, "written", e->written);
            add_digest(o, "as", e->stored);
        }
    }
}

static void
print(struct buf *to, cJSON *root)
{
    char *text = cJSON_PrintUnformatted(root);

    buf_add_text(to, text);
    free(text);
    cJSON_Delete(root);
}

void
state_json_write(struct buf *to, const struct state *state, const char *name,
                 const struct hooks *found, const struct known *known)
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
    if (state->repaired_boot_us) {
        snprintf(id, sizeof id, "%" PRId64, state->repaired_boot_us / 1000000);
        cJSON_AddStringToObject(root, "repaired_boot", id);
    }
    add_known(root, known, name);
    print(to, root);
}

void
state_json_merge_known(struct buf *to, struct span text, const struct known *known,
                       const char *name)
{
    cJSON *root = cJSON_ParseWithLength(text.at, text.len), *ids;
    char id[24];

    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        root = cJSON_CreateObject();
    }
    cJSON_DeleteItemFromObjectCaseSensitive(root, "ids");
    cJSON_DeleteItemFromObjectCaseSensitive(root, "created");
    cJSON_DeleteItemFromObjectCaseSensitive(root, "stored");
    ids = cJSON_AddArrayToObject(root, "ids");
    for (size_t i = 0; i < known->len; i++) {
        const struct known_hook *e = &known->at[i];
        if (strcmp(e->name, name) != 0 || e->removed || !e->listed)
            continue;
        snprintf(id, sizeof id, "%" PRIu64, e->id);
        cJSON_AddItemToArray(ids, cJSON_CreateString(id));
    }
    add_known(root, known, name);
    print(to, root);
}

// --- reading -------------------------------------------------------------------------------

static struct span
text_of(const cJSON *object, const char *name)
{
    const char *text =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

    return span_of(text ? text : "");
}

static uint64_t
digest_of(const cJSON *object, const char *name)
{
    unsigned char bytes[8];
    uint64_t digest = 0;

    if (text_unhex(bytes, sizeof bytes, text_of(object, name)))
        for (size_t i = 0; i < sizeof bytes; i++)
            digest = digest << 8 | bytes[i];
    return digest;
}

static struct known_hook *
find_or_add(struct known *known, const char *name, uint64_t id)
{
    for (size_t i = 0; i < known->len; i++)
        if (id && known->at[i].id == id)
            return NULL; // this process knows better
    if (known->len >= KNOWN_MAX)
        return NULL;
    return known_add(known, id, name);
}

// By the wall clock, since this is of another process: where that is wrong, the list and GET
// still have to agree that the hook is not there before it is created.
static int64_t
since_of(struct span at)
{
    int64_t us, age = 0;

    if (clock_parse(&us, at) && clock_now_us() > us)
        age = clock_now_us() - us;
    return clock_boot_us() - age;
}

static void
read_created(struct known *known, const char *name, const cJSON *entry)
{
    struct known_hook *e;
    uint64_t id, list;

    if (!text_number(&id, text_of(entry, "id"), INT64_MAX) ||
        !text_number(&list, text_of(entry, "list"), INT64_MAX))
        return;
    if ((e = find_or_add(known, name, id))) {
        e->list = list;
        const cJSON *unclear = cJSON_GetObjectItemCaseSensitive(entry, "unclear");
        e->unclear = cJSON_IsNumber(unclear) && unclear->valueint > 0
                         ? (unsigned)unclear->valueint
                         : 0;
        e->since_us = since_of(text_of(entry, "at"));
    }
}

static void
read_stored(struct known *known, const cJSON *entry)
{
    uint64_t id;

    if (!text_number(&id, text_of(entry, "id"), INT64_MAX))
        return;
    for (size_t i = 0; i < known->len; i++) {
        struct known_hook *e = &known->at[i];
        if (e->id != id || e->written)
            continue;
        e->written = digest_of(entry, "written");
        e->stored = digest_of(entry, "as");
        e->differs = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(entry, "differs"));
    }
}

void
state_json_read_known(struct known *known, const char *name, struct span text)
{
    cJSON *root = cJSON_ParseWithLength(text.at, text.len);
    const cJSON *item;
    struct known_hook *e;
    uint64_t id;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(root, "created"))
        read_created(known, name, item);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(root, "ids"))
    {
        if (cJSON_IsString(item) &&
            text_number(&id, span_of(item->valuestring), INT64_MAX) &&
            (e = find_or_add(known, name, id)))
            e->listed = true;
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(root, "stored"))
        read_stored(known, item);
    cJSON_Delete(root);
}

void
state_json_repaired(struct state *to, struct span text)
{
    cJSON *root = cJSON_ParseWithLength(text.at, text.len);
    uint64_t boot_s = 0;

    if (!clock_parse(&to->repaired_us, text_of(root, "repaired")))
        to->repaired_us = 0;
    if (!text_number(&boot_s, text_of(root, "repaired_boot"), INT32_MAX))
        boot_s = 0;
    to->repaired_boot_us = (int64_t)boot_s * 1000000;
    cJSON_Delete(root);
}

void
state_json_word(char *word, size_t size, struct span text)
{
    cJSON *root = cJSON_ParseWithLength(text.at, text.len);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "state");

    text_escape(word, size, span_of(cJSON_IsString(item) ? item->valuestring : ""));
    cJSON_Delete(root);
}
