#include "config/kind.h"

#include <stdlib.h>

bool
kind_is_made_of(const char *text, const char *first, const char *rest, size_t most)
{
    size_t len = strlen(text);

    return len >= 1 && len <= most && strchr(first, text[0]) && strspn(text, rest) == len;
}

void
kind_set_text(void *field, const char *text)
{
    char **at = field;

    free(*at);
    *at = memory_copy(span_of(text));
}

void
kind_release_text(void *field)
{
    free(*(char **)field);
}

const char *
kind_add_text(void *field, const char *text)
{
    struct config_list *list = field;

    if (list->len == CONFIG_LIST_MAX)
        return "one more than 64 values";
    for (size_t i = 0; i < list->len; i++)
        if (strcmp(list->at[i], text) == 0)
            return "there twice";
    list->at = memory_grow(list->at, (list->len + 2) * sizeof *list->at);
    list->at[list->len++] = memory_copy(span_of(text));
    list->at[list->len] = NULL;
    return NULL;
}

void
kind_release_list(void *field)
{
    struct config_list *list = field;

    for (size_t i = 0; i < list->len; i++)
        free(list->at[i]);
    free(list->at);
    *list = (struct config_list){0};
}
