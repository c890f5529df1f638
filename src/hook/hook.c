#include "hook/hook.h"

#include <stdlib.h>

void
hook_words_add(struct hook_words *words, struct span word)
{
    char *copy = memory_copy(word);
    size_t i = 0;

    while (i < words->len && strcmp(words->at[i], copy) < 0)
        i++;
    if (i < words->len && strcmp(words->at[i], copy) == 0) {
        free(copy);
        return;
    }
    words->at = memory_grow(words->at, (words->len + 1) * sizeof *words->at);
    memmove(words->at + i + 1, words->at + i, (words->len - i) * sizeof *words->at);
    words->at[i] = copy;
    words->len++;
}

bool
hook_words_equal(const struct hook_words *a, const struct hook_words *b)
{
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++)
        if (strcmp(a->at[i], b->at[i]) != 0)
            return false;
    return true;
}

void
hook_words_release(struct hook_words *words)
{
    for (size_t i = 0; i < words->len; i++)
        free(words->at[i]);
    free(words->at);
    *words = (struct hook_words){0};
}

struct hook *
hooks_add(struct hooks *hooks)
{
    if (hooks->len == hooks->cap) {
        hooks->cap = hooks->cap ? hooks->cap * 2 : 16;
        hooks->at = memory_grow(hooks->at, hooks->cap * sizeof *hooks->at);
    }
    hooks->at[hooks->len] = (struct hook){0};
    return &hooks->at[hooks->len++];
}

struct hook *
hooks_find(const struct hooks *hooks, uint64_t id)
{
    for (size_t i = 0; i < hooks->len; i++)
        if (hooks->at[i].id == id)
            return &hooks->at[i];
    return NULL;
}

void
hook_release(struct hook *hook)
{
    free(hook->name);
    free(hook->label);
    free(hook->url);
    hook_words_release(&hook->events);
    hook_words_release(&hook->sources);
    *hook = (struct hook){0};
}

void
hooks_release(struct hooks *hooks)
{
    for (size_t i = 0; i < hooks->len; i++)
        hook_release(&hooks->at[i]);
    free(hooks->at);
    *hooks = (struct hooks){0};
}

static char *
copy_text(const char *text)
{
    return text ? memory_copy(span_of(text)) : NULL;
}

void
hook_copy(struct hook *to, const struct hook *from)
{
    *to = (struct hook){.id = from->id, .list = from->list, .adopt = from->adopt};
    to->name = copy_text(from->name);
    to->label = copy_text(from->label);
    to->url = copy_text(from->url);
    for (size_t i = 0; i < from->events.len; i++)
        hook_words_add(&to->events, span_of(from->events.at[i]));
    for (size_t i = 0; i < from->sources.len; i++)
        hook_words_add(&to->sources, span_of(from->sources.at[i]));
}

// As the configuration gives them: others in a URL like ours are not ours.
static bool
is_name(struct span name)
{
    if (name.len == 0 || name.len > 63 || name.at[0] == '-')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

struct span
hook_name_in(const char *url, const char *const *bases, size_t bases_len)
{
    for (size_t i = 0; i < bases_len; i++) {
        struct span rest = span_of(url), base = span_of(bases[i]);
        if (!span_starts(rest, base))
            continue;
        rest = span_from(rest, base.len);
        if (!span_starts(rest, SPAN("/hook/")))
            continue;
        rest = span_from(rest, 6);
        size_t len = span_find(rest, '/');
        if (len < rest.len && is_name(span_to(rest, len)))
            return span_to(rest, len);
    }
    return (struct span){0};
}
