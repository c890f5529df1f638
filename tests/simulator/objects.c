// What the operations change, by path below /api/3/: "contacts/66", "siteTracking". Kept in
// buckets of JSON objects; null stands for what was removed.
#include "sim.h"

#include "base/text.h"

#include <stdlib.h>

enum { BUCKETS = 1024 };

static cJSON *buckets[BUCKETS];

static cJSON *
bucket(const char *path)
{
    uint32_t hash = 2166136261;

    for (const char *at = path; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619;
    cJSON **b = &buckets[hash % BUCKETS];
    if (!*b)
        *b = cJSON_CreateObject();
    return *b;
}

static bool
is_there_from_the_start(const char *path)
{
    struct span rest = span_of(path);
    uint64_t n;

    while (rest.len)
        if (text_number(&n, span_cut(&rest, '/'), INT64_MAX) &&
            (n == 0 || n > (uint64_t)sim.switches.ids))
            return false;
    return true;
}

bool
objects_has(const char *path)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(bucket(path), path);

    return item ? !cJSON_IsNull(item) : is_there_from_the_start(path);
}

cJSON *
objects_get(const char *path)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(bucket(path), path);

    return cJSON_IsObject(item) ? cJSON_Duplicate(item, true) : cJSON_CreateObject();
}

void
objects_set(const char *path, cJSON *fields)
{
    cJSON_DeleteItemFromObjectCaseSensitive(bucket(path), path);
    cJSON_AddItemToObject(bucket(path), path, fields ? fields : cJSON_CreateNull());
}

static bool
says(const cJSON *item, struct span id)
{
    return (cJSON_IsString(item) && span_is(id, item->valuestring)) ||
           (cJSON_IsNumber(item) && item->valuedouble == strtod(id.at, NULL));
}

cJSON *
objects_move(const char *prefix, const char *member, struct span from, const cJSON *to)
{
    cJSON *moved = cJSON_CreateArray(), *object;
    size_t len = strlen(prefix);

    for (size_t i = 0; i < BUCKETS; i++)
        cJSON_ArrayForEach(object, buckets[i])
        {
            const char *path = object->string;
            if (strncmp(path, prefix, len) != 0 || path[len] != '/' ||
                strchr(path + len + 1, '/') ||
                !says(cJSON_GetObjectItemCaseSensitive(object, member), from))
                continue;
            cJSON_ReplaceItemInObjectCaseSensitive(object, member,
                                                   cJSON_Duplicate(to, true));
            cJSON *shown = cJSON_Duplicate(object, true);
            cJSON_AddStringToObject(shown, "id", path + len + 1);
            cJSON_AddItemToArray(moved, shown);
        }
    return moved;
}

cJSON *
objects_json(void)
{
    cJSON *all = cJSON_CreateObject(), *object;

    for (size_t i = 0; i < BUCKETS; i++)
        cJSON_ArrayForEach(object, buckets[i])
            cJSON_AddItemToObject(all, object->string, cJSON_Duplicate(object, true));
    return all;
}
