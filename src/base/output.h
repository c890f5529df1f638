// JSON on stdout, for all three programs.
#ifndef ACRELAY_BASE_OUTPUT_H
#define ACRELAY_BASE_OUTPUT_H

#include "base/buf.h"

// output_json prints a line of JSON as it is; on a terminal what is not printable (C1 controls,
// format controls) as \u009b, which is the same JSON. output_json_escape is what it does there.
void output_json(struct span line);
void output_json_escape(struct buf *to, struct span json);

#endif
