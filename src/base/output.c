#include "base/output.h"

#include "base/text.h"

#include <stdio.h>
#include <unistd.h>

// JSON has UTF-16 in its escapes.
static void
add_escape(struct buf *to, uint32_t code)
{
    if (code < 0x10000) {
        buf_add_format(to, "\\u%04x", (unsigned)code);
        return;
    }
    code -= 0x10000;
    buf_add_format(to, "\\u%04x\\u%04x", (unsigned)(0xd800 + (code >> 10)),
                   (unsigned)(0xdc00 + (code & 0x3ff)));
}

// Outside strings JSON is ASCII, and inside them all below U+0020 is escaped already: what is not
// printable here stands in a string, but for line breaks. A byte that is no UTF-8 cannot be in
// JSON; it becomes U+FFFD.
void
output_json_escape(struct buf *to, struct span json)
{
    while (json.len > 0) {
        uint32_t code = 0xfffd;
        size_t step = text_utf8(json, &code);
        if (step > 0 && (text_is_printable(code) || code == '\n'))
            buf_add(to, span_to(json, step));
        else
            add_escape(to, code);
        json = span_from(json, step ? step : 1);
    }
}

void
output_json(struct span line)
{
    struct buf escaped;

    if (!isatty(STDOUT_FILENO)) {
        fwrite(line.at, 1, line.len, stdout);
        return;
    }
    buf_init(&escaped, 6 * line.len + 64);
    output_json_escape(&escaped, line);
    fwrite(escaped.at, 1, escaped.len, stdout);
    buf_release(&escaped);
}
