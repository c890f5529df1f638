// One delivery, as `acrelay show` finds it.
#include "cli/inspect.h"
#include "cli/show.h"

int
one_page(struct inspect *i, const struct http_request *r, struct buf *to, struct err *err,
         bool reveals)
{
    char id_text[EVENT_ID_TEXT + 1], key_text[SCRIPT_KEY], entry[COMMANDS_ENTRY] = "";
    const char *id = inspect_parameter(r, "ce_id", id_text, sizeof id_text);
    const char *key = inspect_parameter(r, "key", key_text, sizeof key_text);
    struct tags tags = i->tags;
    struct show s = {
        .tags = &tags, .directory = i->config->state_dir, .reveals = reveals};
    int k = -1;

    if (!key || !inspect_parameter(r, "entry", entry, sizeof entry) || !key[0])
        k = window_find(i->window, span_of(id), entry);
    if (k >= 0)
        key = i->keys[k].key;
    int result = show_find(&s, id ? id : "", key ? key : "", entry, err);
    if (result == 0) {
        show_add(to, &s);
        document_end(to);
    }
    show_release(&s);
    tags_close(&tags);
    return result == 0 ? 200 : err->exit == EXIT_CODE_USAGE ? 400 : 404;
}
