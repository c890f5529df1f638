// What the worker's commands print: lines for people, or one JSON document. URLs are never
// shown as they are, ours as /hook/<name>/-, others as their host; nor those in labels of
// others. What AC sent is escaped.
#ifndef ACRELAY_WORKER_SHOW_H
#define ACRELAY_WORKER_SHOW_H

#include "config/config.h"
#include "hook/plan.h"

struct show {
    bool json, color;
};

void show_plan(const struct show *s, const struct plan *plan, const struct hooks *found);
// Hooks of others that look like one of ours are marked.
void show_hooks(const struct show *s, const struct hooks *found,
                const struct hooks *wanted);

// show_import prints the lines for the file that adopt a hook.
void show_import(const struct show *s, const struct hook *found);
// show_recreated prints how many of a hook were made anew.
void show_recreated(const struct show *s, const char *name, size_t created,
                    size_t removed);

// show_secrets prints how many hooks of ours use each secret; `none` of the last count are
// under no secret we have.
void show_secrets(const struct show *s, const struct config *c, const size_t *uses,
                  size_t len, size_t none);

// The words for steps and reasons, for people and JSON.
const char *show_kind(enum step_kind kind);
const char *show_why(enum step_why why);
// show_url masks a URL, show_label one in the label of another's hook.
void show_url(char *to, size_t size, const struct hook *hook);
void show_label(char *to, size_t size, const struct hook *hook);

enum { SHOW_NAME = 40, SHOW_LABEL = 240 };
// show_make_name makes a name of ours out of a label: letters, digits and dashes.
void show_make_name(char to[SHOW_NAME], const char *label);

// show_json.c
void show_plan_json(const struct plan *plan, const struct hooks *found);
void show_hooks_json(const struct hooks *found, const struct hooks *wanted);
void show_import_json(const struct hook *found);

#endif
