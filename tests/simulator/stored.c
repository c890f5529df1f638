// What AC stores in other words than it was sent: each a switch. Nobody has documented which of
// these the real one does; a client must bear them all.
#include "sim.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static void
store_name(struct sim_hook *h)
{
    static const struct {
        char c;
        const char *entity;
    } entities[] = {
        {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#039;"}};
    struct span name = span_of(h->name);
    struct buf to;

    buf_init(&to, 1 << 16);
    if (sim.switches.trim_name > 0)
        name = span_trim(span_to(name, (size_t)sim.switches.trim_name));
    for (size_t i = 0; i < name.len; i++) {
        const char *entity = NULL;
        for (size_t k = 0; sim.switches.entities && k < 5; k++)
            if (entities[k].c == name.at[i])
                entity = entities[k].entity;
        if (entity)
            buf_add_text(&to, entity);
        else
            buf_add_byte(&to, sim.switches.upper_name
                                  ? (char)toupper((unsigned char)name.at[i])
                                  : name.at[i]);
    }
    free(h->name);
    h->name = memory_copy(buf_span(&to));
    buf_release(&to);
}

static void
store_url(struct sim_hook *h)
{
    const struct switches *s = &sim.switches;
    char *host = strstr(h->url, "://");
    struct buf to;

    if (!host)
        return;
    host += 3;
    size_t len = strcspn(host, "/?#");
    buf_init(&to, 1 << 16);
    buf_add_text(&to, s->plain_http ? "http://" : "https://");
    for (size_t i = 0; i < len; i++)
        buf_add_byte(&to,
                     s->lower_host ? (char)tolower((unsigned char)host[i]) : host[i]);
    if (s->drop_port && to.len > 4 && memcmp(to.at + to.len - 4, ":443", 4) == 0)
        to.len -= 4;
    for (const char *at = host + len; *at; at++)
        if (s->escape_dash && *at == '-')
            buf_add_text(&to, "%2D");
        else if (s->escape_slash && *at == '/')
            buf_add_text(&to, "&#x2F;");
        else
            buf_add_byte(&to, *at);
    if (s->add_slash && to.at[to.len - 1] != '/')
        buf_add_byte(&to, '/');
    if (strncmp(h->url, "https:", 6) != 0 && !s->plain_http) { // stays http
        buf_release(&to);
        return;
    }
    free(h->url);
    h->url = memory_copy(buf_span(&to));
    buf_release(&to);
}

static void
drop_words(cJSON *words, const char *prefix)
{
    cJSON *item, *next;

    for (item = words->child; item; item = next) {
        next = item->next;
        if (cJSON_IsString(item) &&
            strncmp(item->valuestring, prefix, strlen(prefix)) == 0)
            cJSON_Delete(cJSON_DetachItemViaPointer(words, item));
    }
}

void
stored_change(struct sim_hook *h)
{
    const struct switches *s = &sim.switches;

    if (s->entities || s->trim_name || s->upper_name)
        store_name(h);
    if (s->lower_host || s->drop_port || s->add_slash || s->escape_dash ||
        s->plain_http || s->escape_slash)
        store_url(h);
    if (s->drop_sms)
        drop_words(h->events, "sms");
    if (s->drop_api)
        drop_words(h->sources, "api");
    if (s->add_update) {
        drop_words(h->events, "update");
        cJSON_AddItemToArray(h->events, cJSON_CreateString("update"));
    }
    if (s->drop_list)
        h->list = 0;
}
