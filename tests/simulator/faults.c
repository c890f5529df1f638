#include "sim.h"

#include "base/clock.h"

#include <stdio.h>
#include <time.h>

const char *const fault_names[FAULTS] = {
    [FAULT_NONE] = "",
    [FAULT_CUT_BEFORE] = "cut_before",
    [FAULT_CUT_AFTER] = "cut_after",
    [FAULT_TRUNCATE] = "truncate",
    [FAULT_HTML] = "html",
    [FAULT_524] = "html_524",
    [FAULT_EMPTY] = "empty_ok",
    [FAULT_SLOW] = "slow",
};

int *
switches_find(const char *name)
{
    struct switches *s = &sim.switches;
    const struct {
        const char *name;
        int *at;
    } table[] = {{"cut_before", &s->cut_before},
                 {"cut_after", &s->cut_after},
                 {"truncate", &s->truncate},
                 {"html", &s->html},
                 {"empty_400", &s->empty_400},
                 {"reject_422", &s->reject_422},
                 {"throttle", &s->throttle},
                 {"busy", &s->busy},
                 {"slow", &s->slow},
                 {"slow_ms", &s->slow_ms},
                 {"forbid", &s->forbid},
                 {"reject_absent", &s->reject_absent},
                 {"forbid_next", &s->forbid_next},
                 {"forbid_writes", &s->forbid_writes},
                 {"me_status", &s->me_status},
                 {"me_html", &s->me_html},
                 {"absent_403", &s->absent_403},
                 {"put_partial", &s->put_partial},
                 {"total_number", &s->total_number},
                 {"shuffle", &s->shuffle},
                 {"repeat", &s->repeat},
                 {"limit", &s->limit},
                 {"limit_503", &s->limit_503},
                 {"retry_after", &s->retry_after},
                 {"chaos", &s->chaos},
                 {"seed", &s->seed},
                 {"entities", &s->entities},
                 {"trim_name", &s->trim_name},
                 {"upper_name", &s->upper_name},
                 {"lower_host", &s->lower_host},
                 {"drop_port", &s->drop_port},
                 {"add_slash", &s->add_slash},
                 {"escape_dash", &s->escape_dash},
                 {"escape_slash", &s->escape_slash},
                 {"plain_http", &s->plain_http},
                 {"drop_sms", &s->drop_sms},
                 {"add_update", &s->add_update},
                 {"drop_api", &s->drop_api},
                 {"drop_list", &s->drop_list},
                 {"keep_removed", &s->keep_removed},
                 {"answer_as_sent", &s->answer_as_sent},
                 {"lag_ms", &s->lag_ms},
                 {"lag_get", &s->lag_get},
                 {"empty_list", &s->empty_list},
                 {"lose_rows", &s->lose_rows},
                 {"page_max", &s->page_max},
                 {"double_rows", &s->double_rows},
                 {"shift", &s->shift},
                 {"no_total", &s->no_total},
                 {"add_to_total", &s->add_to_total},
                 {"fail_offset", &s->fail_offset},
                 {"endless", &s->endless},
                 {"no_id", &s->no_id},
                 {"other_id", &s->other_id},
                 {"ids", &s->ids},
                 {"html_522", &s->html_522},
                 {"html_524", &s->html_524},
                 {"page_writes", &s->page_writes},
                 {"empty_ok", &s->empty_ok},
                 {"retry_dates", &s->retry_dates}};

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].at;
    return NULL;
}

// xorshift64*, from the seed.
uint64_t
random_next(void)
{
    if (sim.random == 0)
        sim.random = (uint64_t)sim.switches.seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    sim.random ^= sim.random >> 12;
    sim.random ^= sim.random << 25;
    sim.random ^= sim.random >> 27;
    return (sim.random * UINT64_C(0x2545f4914f6cdd1d)) >> 33;
}

static bool
takes(int *count)
{
    if (*count <= 0)
        return false;
    --*count;
    return true;
}

static void
refuse(struct answer *a, int status, const char *text)
{
    a->status = status;
    a->text = text;
}

static void
write_date(char *to, size_t size, int seconds)
{
    time_t when = time(NULL) + seconds;
    struct tm utc;

    gmtime_r(&when, &utc);
    strftime(to, size, "%a, %d %b %Y %H:%M:%S GMT", &utc);
}

// The proxy before AC did not reach it.
static void
refuse_522(struct answer *a)
{
    refuse(a, 522,
           "<!DOCTYPE html><html><title>522: Connection timed out</title></html>");
}

static void
refuse_later(struct answer *a, int status)
{
    int seconds = (int)(sim.switches.retry_after / sim.time_factor);
    char now[40], then[40];

    refuse(a, status, status == 429 ? "{\"message\":\"Too Many Requests\"}" : "");
    if (sim.switches.retry_dates == 0 ||
        (int)(random_next() % 1000) >= sim.switches.retry_dates) {
        snprintf(a->headers, sizeof a->headers, "Retry-After: %d\r\n", seconds);
        return;
    }
    write_date(now, sizeof now, 0);
    write_date(then, sizeof then, seconds);
    snprintf(a->headers, sizeof a->headers, "Date: %s\r\nRetry-After: %s\r\n", now, then);
}

// AC allows 5 requests in any second for the whole account.
static bool
is_over_limit(void)
{
    int64_t now = clock_mono_us(), second = (int64_t)(1e6 / sim.time_factor);
    size_t limit = (size_t)sim.switches.limit, keep = sizeof sim.lately_us / 8, used = 0;

    if (limit == 0 || limit >= keep)
        return false;
    for (size_t i = 0; i < keep; i++)
        used += sim.lately_us[i] != 0 && sim.lately_us[i] > now - second;
    sim.remaining = used < limit ? limit - used - 1 : 0;
    if (used >= limit)
        return true;
    sim.lately_us[sim.lately++ % keep] = now;
    return false;
}

static enum fault
chaos(bool is_write, struct answer *a, int *slow_ms)
{
    if ((int)(random_next() % 1000) >= sim.switches.chaos)
        return FAULT_NONE;
    if (sim.switches.slow_ms && random_next() % 8 == 0) {
        *slow_ms = sim.switches.slow_ms; // done, but answered too late
        return FAULT_NONE;
    }
    switch (random_next() % (is_write ? 9 : 6)) {
    case 0:
        refuse_later(a, 429);
        return FAULT_NONE;
    case 1:
        refuse(a, 503, "");
        return FAULT_NONE;
    case 2:
        return FAULT_TRUNCATE;
    case 3:
        return FAULT_HTML;
    case 4:
        refuse(a, 500, "{}");
        return FAULT_NONE;
    case 5:
        refuse_522(a);
        return FAULT_NONE;
    case 6:
        return FAULT_CUT_BEFORE;
    case 7:
        return FAULT_CUT_AFTER;
    default:
        return FAULT_524;
    }
}

static struct canned *
find_canned(const char *path)
{
    for (size_t i = 0; i < CANNED_MAX; i++)
        if ((*sim.canned[i].path == '\0' || strcmp(sim.canned[i].path, path + 1) == 0) &&
            takes(&sim.canned[i].count))
            return &sim.canned[i];
    return NULL;
}

static enum fault
answer_canned(struct answer *a, const struct canned *c, int *slow_ms)
{
    *slow_ms = c->slow_ms;
    if (c->fault)
        return (enum fault)c->fault;
    refuse(a, c->status, c->body);
    snprintf(a->headers, sizeof a->headers, "%s", c->headers);
    return FAULT_NONE;
}

enum fault
faults_pick(const struct request *r, struct answer *a, int *slow_ms)
{
    struct switches *s = &sim.switches;
    const struct canned *canned = find_canned(r->path);
    bool is_write = r->is_write;

    *slow_ms = takes(&s->slow) ? s->slow_ms : 0;
    if (canned) {
        return answer_canned(a, canned, slow_ms);
    } else if (is_over_limit()) {
        sim.figures.throttled++;
        refuse_later(a, s->limit_503 ? 503 : 429);
    } else if (takes(&s->throttle)) {
        refuse_later(a, 429);
    } else if (takes(&s->busy)) {
        refuse_later(a, 503);
    } else if (is_write && takes(&s->reject_absent)) {
        refuse(a, 403, "{\"message\":\"No Result found for List with id 5\"}");
    } else if (takes(&s->forbid_next) || (is_write && takes(&s->forbid_writes))) {
        refuse(a, 403, "{\"message\":\"Forbidden\"}");
    } else if (takes(&s->empty_400)) {
        refuse(a, 400, "{}");
    } else if (is_write && takes(&s->reject_422)) {
        refuse(a, 422,
               "{\"errors\":[{\"title\":\"The name is not accepted\",\"detail\":\"\","
               "\"code\":\"field_invalid\",\"source\":{\"pointer\":"
               "\"/data/attributes/name\"}}]}");
    } else if (takes(&s->html_522)) {
        refuse_522(a);
    } else if (is_write && takes(&s->page_writes)) {
        refuse(a, 200, "<!DOCTYPE html><html>Scheduled maintenance</html>");
    } else if (is_write && takes(&s->html_524)) {
        return FAULT_524;
    } else if (is_write && takes(&s->empty_ok)) {
        return FAULT_EMPTY;
    } else if (is_write && takes(&s->cut_before)) {
        return FAULT_CUT_BEFORE;
    } else if (is_write && takes(&s->cut_after)) {
        return FAULT_CUT_AFTER;
    } else if (takes(&s->truncate)) {
        return FAULT_TRUNCATE;
    } else if (takes(&s->html)) {
        return FAULT_HTML;
    } else {
        return chaos(is_write, a, slow_ms);
    }
    return FAULT_NONE;
}
