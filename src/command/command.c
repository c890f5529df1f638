#include "command/command.h"

#include "base/text.h"
#include "edge/rest.h"
#include "event/event.h"
#include "event/json.h"

#include <stdio.h>

const char *const command_fields[COMMAND_FIELDS] = {
    [COMMAND_SPECVERSION] = "ce_specversion",
    [COMMAND_SOURCE] = "ce_source",
    [COMMAND_ID] = "ce_id",
    [COMMAND_TYPE_FIELD] = "ce_type",
    [COMMAND_SUBJECT] = "ce_subject",
    [COMMAND_CONTENT_TYPE] = "content-type",
    [COMMAND_PRIORITY] = "priority",
    [COMMAND_NOT_AFTER] = "not_after",
    [COMMAND_QUERY] = "query",
    [COMMAND_REPLACE] = "replace",
    [COMMAND_VALIDATE_ONLY] = "validateOnly",
    [COMMAND_DATA] = "data",
};
const char *const command_priorities[] = {"high", "normal", "low", NULL};
const char *const command_outcomes[] = {"ok", "failed", "refused", "superseded",
                                        "expired"};

#define refuse(err, ...) err_set(err, ERR_INPUT, __VA_ARGS__)

// --- the envelope of the entry -------------------------------------------------------------

static int
read_identity(struct command *c, const struct span *fields, struct err *err)
{
    struct span version = fields[COMMAND_SPECVERSION], id = fields[COMMAND_ID];

    c->id = span_to(id, COMMAND_ID_MAX);
    if (version.len && !span_is(version, "1.0"))
        return refuse(err, "ce_specversion is not 1.0");
    if (id.len < 1 || id.len > COMMAND_ID_MAX)
        return refuse(err, "ce_id has %zu bytes; expected 1 to %d", id.len,
                      COMMAND_ID_MAX);
    return 0;
}

static int
read_operation(struct command *c, struct span type, struct err *err)
{
    bool is_command = span_starts(type, SPAN(COMMAND_TYPE));
    struct span id = span_from(type, sizeof COMMAND_TYPE - 1);

    c->operation = is_command ? operation_find(id) : NULL;
    if (!c->operation)
        return refuse(err,
                      "ce_type %.*s names no operation; expected " COMMAND_TYPE
                      "OPERATION, as `acrelay put --list` shows them",
                      (int)span_to(type, 100).len, type.at);
    return c->operation->refused ? refuse(err, "%s", c->operation->refused) : 0;
}

static int
read_subject(struct command *c, struct span subject, struct err *err)
{
    const struct operation *o = c->operation;

    c->subject = span_to(subject, OPERATION_SUBJECT_MAX);
    if (operation_match(subject) != o)
        return refuse(err,
                      "ce_subject %.*s does not fit %s; expected %s, an id of 1 to %d "
                      "letters, digits, '.', '_', '~' and '-'",
                      (int)span_to(subject, 100).len, subject.at, o->id, o->path,
                      OPERATION_ID_MAX);
    return 0;
}

static int
check_allowed(const struct operation *o, char *const *allow, struct err *err)
{
    bool allowed = !allow;

    for (; allow && *allow && !allowed; allow++)
        allowed = operation_is_allowed(o, *allow);
    if (!allowed)
        return refuse(err,
                      "this service may not use %s (%s): commands.services in the "
                      "configuration says what it may",
                      o->id, o->path);
    return 0;
}

// --- how it is to be carried out -----------------------------------------------------------

static int
read_priority(struct command *c, struct span word, struct err *err)
{
    c->priority = COMMAND_NORMAL;
    if (word.len == 0)
        return 0;
    for (int i = 0; i < COMMAND_PRIORITIES; i++)
        if (span_is(word, command_priorities[i])) {
            c->priority = (enum command_priority)i;
            return 0;
        }
    return refuse(err, "priority is not high, normal or low");
}

static int
read_not_after(struct command *c, struct span time, struct err *err)
{
    if (time.len && !ac_time_parse(&c->not_after_us, time))
        return refuse(err, "not_after is not a time of RFC 3339 with its offset, like "
                           "2026-03-02T11:20:00Z");
    return 0;
}

// "", "0" and "false", or "1" and "true".
static int
read_switch(bool *to, struct span word, const char *name, struct err *err)
{
    *to = span_is(word, "1") || span_is(word, "true");
    if (!*to && word.len && !span_is(word, "0") && !span_is(word, "false"))
        return refuse(err, "%s is neither 1 nor 0", name);
    return 0;
}

static int
read_manner(struct command *c, const struct span *fields, struct err *err)
{
    if (read_priority(c, fields[COMMAND_PRIORITY], err) < 0 ||
        read_not_after(c, fields[COMMAND_NOT_AFTER], err) < 0 ||
        read_switch(&c->replace, fields[COMMAND_REPLACE], "replace", err) < 0 ||
        read_switch(&c->validate_only, fields[COMMAND_VALIDATE_ONLY], "validateOnly",
                    err) < 0)
        return -1;
    if (c->validate_only && !c->operation->header)
        return refuse(err, "%s takes no validateOnly", c->operation->id);
    c->query = fields[COMMAND_QUERY];
    return operation_check_query(c->operation, c->query, err);
}

// --- the body ------------------------------------------------------------------------------

// A name that stands twice counts where it stands last, as JSON parsers take it.
static bool
has_envelope(struct span object, const char *envelope)
{
    struct span name, value;
    bool has = false;

    while (json_next(&object, &name, &value))
        if (span_is(span_make(name.at + 1, name.len - 2), envelope))
            has = value.at[0] == '{';
    return has;
}

static int
read_body(struct command *c, struct span type, struct span data, struct err *err)
{
    struct span rest = type, media = span_trim(span_cut(&rest, ';'));
    const char *envelope = c->operation->envelope;

    if (media.len && !span_is_nocase(media, "application/json"))
        return refuse(err, "content-type is not application/json");
    if (data.len > COMMAND_BODY_MAX)
        return refuse(err, "data is larger than 1 MiB");
    const char *error = json_compact(&c->body, data);
    if (error)
        return refuse(err, "data is not a JSON object: %s", error);
    if (envelope && !has_envelope(buf_span(&c->body), envelope))
        return refuse(err, "data lacks the envelope of %s; expected {\"%s\":{...}}",
                      c->operation->id, envelope);
    return 0;
}

static void
set_digest(struct command *c)
{
    struct span nul = SPAN("\0");
    const struct span pieces[] = {span_of(c->operation->id),
                                  nul,
                                  c->subject,
                                  nul,
                                  c->query,
                                  nul,
                                  c->validate_only ? SPAN("1") : SPAN("0"),
                                  buf_span(&c->body)};

    digest_of(pieces, sizeof pieces / sizeof *pieces, c->digest);
}

int
command_read(struct command *c, const struct span fields[COMMAND_FIELDS],
             char *const *allow, struct err *err)
{
    *c = (struct command){.priority = COMMAND_NORMAL};
    buf_init(&c->body, COMMAND_BODY_MAX);
    c->subject = span_to(fields[COMMAND_SUBJECT], OPERATION_SUBJECT_MAX);
    int identity = read_identity(c, fields, err);
    if (read_operation(c, fields[COMMAND_TYPE_FIELD], identity ? NULL : err) < 0 ||
        identity < 0)
        return -1;
    if (read_subject(c, fields[COMMAND_SUBJECT], err) < 0 ||
        check_allowed(c->operation, allow, err) < 0 || read_manner(c, fields, err) < 0 ||
        read_body(c, fields[COMMAND_CONTENT_TYPE], fields[COMMAND_DATA], err) < 0)
        return -1;
    set_digest(c);
    return 0;
}

void
command_release(struct command *c)
{
    buf_release(&c->body);
}

void
command_path(const struct command *c, struct buf *to)
{
    buf_add_format(to, "/api/3/%.*s%s%.*s", (int)c->subject.len, c->subject.at,
                   c->query.len ? "?" : "", (int)c->query.len, c->query.at);
}

// --- answers -------------------------------------------------------------------------------

enum command_verdict
command_judge(int status, struct span body)
{
    if (status >= 200 && status < 300)
        return rest_is_page(body) ? COMMAND_AGAIN : COMMAND_DONE;
    if (status == 400 || status == 404 || status == 422)
        return rest_is_json(body) ? COMMAND_FINAL : COMMAND_IN_DOUBT;
    if (status == 401 || status == 403)
        return rest_is_page(body) ? COMMAND_AGAIN : COMMAND_IN_DOUBT;
    return status == 429 || status == 503 ? COMMAND_BUSY : COMMAND_AGAIN;
}

void
command_answer(int status, struct span body, struct span *data,
               char detail[COMMAND_DETAIL_MAX])
{
    bool json = rest_is_json(body), fits = body.len <= COMMAND_ANSWER_MAX;

    *data = json && fits ? body : SPAN("");
    detail[0] = '\0';
    if (json && !fits)
        snprintf(detail, COMMAND_DETAIL_MAX,
                 "ActiveCampaign answers %d with %zu bytes, which are left out", status,
                 body.len);
    else if (!json && body.len)
        text_escape(detail, COMMAND_DETAIL_MAX, body);
    else if (status < 200 || status >= 300)
        snprintf(detail, COMMAND_DETAIL_MAX, "ActiveCampaign answers %d", status);
}
