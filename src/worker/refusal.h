// Why a hook is not created beside what is at AC already, and what to do: sentences.
#ifndef ACRELAY_WORKER_REFUSAL_H
#define ACRELAY_WORKER_REFUSAL_H

#include "base/err.h"
#include "hook/plan.h"

// refusal_set says why a step is STEP_REFUSE; -1, EXIT_CODE_CONFIG.
int refusal_set(const struct step *s, struct err *err);

// refusal_report_doubles reports hooks of others that post with a token of ours.
void refusal_report_doubles(const struct hooks *wanted, const struct hooks *found,
                            void (*report)(const char *text, void *context),
                            void *context);

#endif
