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

struct hook *
hooks_find_row(const struct hooks *hooks, uint64_t row)
{
    for (size_t i = 0; i < hooks->len; i++)
        if (hooks->at[i].row == row)
            return &hooks->at[i];
    return NULL;
}

void
hooks_drop(struct hooks *hooks, struct hook *hook)
{
    hook_release(hook);
    *hook = hooks->at[--hooks->len];
}

void
hook_release(struct hook *hook)
{
    free(hook->name);
    free(hook->label);
    free(hook->url);
    hook_words_release(&hook->events);
    hook_words_release(&hook->sources);
    hook_words_release(&hook->tokens);
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

static void
copy_words(struct hook_words *to, const struct hook_words *from)
{
    *to = (struct hook_words){0};
    for (size_t i = 0; i < from->len; i++)
        hook_words_add(to, span_of(from->at[i]));
}

void
hook_copy(struct hook *to, const struct hook *from)
{
    *to = *from;
    to->name = copy_text(from->name);
    to->label = copy_text(from->label);
    to->url = copy_text(from->url);
    copy_words(&to->events, &from->events);
    copy_words(&to->sources, &from->sources);
    copy_words(&to->tokens, &from->tokens);
}

static void
digest_add(uint64_t *digest, struct span s) // FNV-1a, with the end of each piece
{
    for (size_t i = 0; i < s.len; i++)
        *digest = (*digest ^ (unsigned char)s.at[i]) * UINT64_C(0x100000001b3);
    *digest = (*digest ^ 0x100) * UINT64_C(0x100000001b3);
}

static void
digest_words(uint64_t *digest, const struct hook_words *words)
{
    for (size_t i = 0; i < words->len; i++)
        digest_add(digest, span_of(words->at[i]));
    digest_add(digest, SPAN(""));
}

uint64_t
hook_digest(const struct hook *hook)
{
    uint64_t digest = UINT64_C(0xcbf29ce484222325);

    digest_add(&digest, span_of(hook->label));
    digest_add(&digest, span_of(hook->url));
    digest_words(&digest, &hook->events);
    digest_words(&digest, &hook->sources);
    digest_add(&digest, span_make(&hook->list, sizeof hook->list));
    return digest ? digest : 1; // 0 is none
}
