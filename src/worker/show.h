// What the worker's commands print: lines for people, or one JSON document. URLs are never
// shown as they are, ours as /hook/<name>/-, others as their host.
#ifndef ACRELAY_WORKER_SHOW_H
#define ACRELAY_WORKER_SHOW_H

#include "config/secret.h"
#include "hook/plan.h"

struct show {
    bool json, color;
};

void show_plan(const struct show *s, const struct plan *plan, const struct hooks *found);
void show_hooks(const struct show *s, const struct hooks *found);

// show_import prints the lines for the file that adopt a hook.
void show_import(const struct hook *found);

// show_secrets prints how many hooks of ours use each secret; `none` of the last count are
// under no secret we have.
void show_secrets(const struct show *s, const struct config *c, const size_t *uses,
                  size_t len, size_t none);

// The words for steps and reasons, for people and JSON.
const char *show_kind(enum step_kind kind);
const char *show_why(enum step_why why);
// show_url masks a URL.
void show_url(char *to, size_t size, const struct hook *hook);

// show_json.c
void show_plan_json(const struct plan *plan, const struct hooks *found);
void show_hooks_json(const struct hooks *found);

#endif
