// Dead letters, as `acrelay dead` lists, replays and drops them.
#include "cli/inspect.h"
#include "cli/letters.h"

enum { LETTERS = 50 };

static int
add_letter(struct letters *l, struct err *err)
{
    (void)err;
    document_open(l->to, NULL, '{');
    letters_add(l->to, l, letters_field(l, "raw"), false);
    document_close(l->to, '{');
    return 0;
}

int
dead_page(struct inspect *i, struct buf *to, struct err *err)
{
    struct letters l;
    int result = letters_open(&l, i->cli, false, err);

    l.max = LETTERS;
    l.masks = l.newest_first = l.quiet = true;
    l.to = to;
    document_open(to, NULL, '{');
    document_open(to, "letters", '[');
    if (result == 0)
        letters_walk(&l, false, add_letter);
    document_close(to, '[');
    document_end(to);
    if (l.err.text[0])
        *err = l.err;
    return letters_close(&l, result) == 0 ? 200 : 503;
}

// `id` as `acrelay dead list` has it.
int
dead_write(struct inspect *i, const struct http_request *r, struct buf *to,
           struct err *err, letters_fn *act)
{
    char id_text[CONFIG_TAG + LETTERS_ID];
    const char *id = inspect_parameter(r, "id", id_text, sizeof id_text);
    struct letters l;
    int result = letters_open(&l, i->cli, false, err);

    if (result == 0)
        result = letters_find(&l, id ? id : "", err);
    if (result == 0)
        result = act(&l, err);
    document_flag(to, "done", true);
    document_end(to);
    return letters_close(&l, result) == 0 ? 200 : 400;
}
