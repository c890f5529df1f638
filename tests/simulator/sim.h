// acsim, a simulator of ActiveCampaign (AC): an account in a process, for tests and for people
// without an account. It behaves as AC's documents say, quirks included; what goes wrong is
// set by switches (faults.c), and control.c lists what a test can ask. Everything is under one
// lock; nothing is kept on disk.
#ifndef ACRELAY_TESTS_SIMULATOR_SIM_H
#define ACRELAY_TESTS_SIMULATOR_SIM_H

#include "base/buf.h"
#include "edge/http_client.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdint.h>

struct sim_hook {
    uint64_t id, list;
    char *name, *url;
    cJSON *events, *sources;
    bool dead; // switched off by a 410: does not fire, looks as before
};

// What is asked for by POST /sim/switch. Counts go down by one each time they act.
struct switches {
    int cut_before, cut_after; // writes: the connection ends before or after it is done
    int truncate, html, empty_400, reject_422, throttle, busy; // answers
    int slow, slow_ms; // answers that take so long
    int forbid;        // webhooks are 403 for this user, /users/me is not
    int reject_absent; // a count: the list that a write names is not there
    int forbid_next,
        forbid_writes; // counts: a 403 that means nothing, of any or of writes
    int me_status;     // what /users/me answers, 0: 200
    int me_html;       // /users/me answers 403 with a page of somebody else
    int absent_403;    // absent hooks are 403 instead of 404
    int put_partial;   // a PUT without a field leaves it; else it empties it
    int total_number;  // meta.total of the list is a number
    int shuffle;       // lists in another order each time
    int repeat;        // pages overlap by one
    int limit;         // requests a second, 0: no limit
    int limit_503;     // over the limit: 503, as in 2021, instead of 429
    int retry_after;   // seconds
    int chaos;         // so many of 1,000 requests go wrong at random
    int seed;          // of chaos and shuffle
    // what AC stores in other words (stored.c)
    int entities;   // & < > " ' of a name as HTML entities
    int trim_name;  // names are cut to so many bytes, blanks at the ends dropped
    int upper_name; // names in capitals
    int lower_host, drop_port, add_slash, escape_dash, escape_slash, plain_http; // URLs
    int drop_sms, add_update; // events: those that begin with sms go, "update" comes
    int drop_api;             // sources: api goes
    int drop_list;            // listid is always 0
    int keep_removed;         // a deletion is accepted and has no effect
    int answer_as_sent;       // answers to writes repeat what was sent; lists do not
    // what lists show (rows.c)
    int lag_ms;      // lists show what was there so long ago
    int lag_get;     // GET of one webhook too
    int empty_list;  // a count: no webhooks, total 0
    int lose_rows;   // a count: every other webhook is missing, and total fits
    int page_max;    // at most so many rows on a page, whatever is asked
    int double_rows; // each row twice; total counts webhooks
    int shift; // a count: between two pages one is removed and one made (move to the end)
    int no_total, add_to_total;
    int fail_offset; // pages that begin behind so many rows are 500
    int endless;     // a page is always full of new rows
    int no_id;       // a count: a 201 without a body
    int other_id;    // 201s show the webhook of that id, whatever was created
    // what the operations meet (operations.c)
    int ids; // objects with numbers from 1 to this are there from the start
    int html_522,
        html_524,    // counts: pages of the proxy before AC: not done, and done (writes)
        page_writes; // count: the same with 200, not done
    int empty_ok;    // a count: writes that are done are answered 200 without a body
    int retry_dates; // so many of 1,000 Retry-After are dates
};

struct figures {
    uint64_t requests, writes, refused_token, throttled, fired, doubled, ok, other,
        caused, waiting; // events by changes; those not posted yet
};

// What the next `count` API requests are answered, whatever they ask, or those of one path; or
// what becomes of them: POST /sim/answer.
enum { CANNED_MAX = 16 };

struct canned {
    int count, status, fault, slow_ms;
    char path[200], body[1024], headers[256];
};

struct sim {
    pthread_mutex_t lock;
    char *token;
    struct sim_hook *hooks;
    size_t hooks_len;
    cJSON *odd; // rows of others that are added to every list as they are
    uint64_t next_id, next_number, random;
    struct switches switches;
    struct figures figures;
    int64_t started_us, lately_us[64]; // times of the last requests
    size_t lately;
    struct buf log; // JSON lines
    double time_factor;
    size_t remaining; // of the limit, after the request under way
    struct socket_address deliver;
    struct canned canned[CANNED_MAX];
};

extern struct sim sim;

struct request {
    const char *method, *path, *query; // the path after /api/3
    struct span body;
    bool is_write, validate_only;
};

// An answer under construction.
struct answer {
    int status;
    cJSON *json;      // taken, or NULL
    const char *text; // used when json is NULL
    char headers[400];
    bool is_trial; // accepted, and nothing changed
};

enum fault {
    FAULT_NONE,
    FAULT_CUT_BEFORE,
    FAULT_CUT_AFTER,
    FAULT_TRUNCATE,
    FAULT_HTML,
    FAULT_524,   // done, answered by the proxy before AC
    FAULT_EMPTY, // done, answered without a body
    FAULT_SLOW,  // done, answered late
    FAULTS
};

extern const char *const fault_names[FAULTS];

// faults.c, with the lock
int *switches_find(const char *name);
uint64_t random_next(void);
// faults_pick says what goes wrong with this request; may fill *a with a refusal.
enum fault faults_pick(const struct request *r, struct answer *a, int *slow_ms);

// account.c, with the lock
struct sim_hook *account_find(uint64_t id);
struct sim_hook *account_add(const cJSON *webhook);
void account_change(struct sim_hook *h, const cJSON *webhook, bool partial);
void account_remove(struct sim_hook *h);
cJSON *account_hook_json(const struct sim_hook *h);

// stored.c, with the lock: what AC makes of a webhook that was sent
void stored_change(struct sim_hook *h);

// rows.c, with the lock
void rows_changed(void);      // remembers what is there now, for lists that lag
cJSON *rows_listed(void);     // what a list shows
cJSON *rows_one(uint64_t id); // what GET of one shows, NULL: nothing
void rows_page(cJSON *root, cJSON *rows, size_t offset, size_t limit);

// operations.c, with the lock: the PUT operations. A row of operations.txt, and how often it
// was asked for and done.
struct operation {
    struct span id, path, codes, event, parameters;
    char *envelope;
    bool needs_envelope;
    uint64_t requests, accepted;
};

extern struct operation operations[];
extern size_t operations_len;
void operations_load(void);
struct operation *operations_find(const char *path); // NULL: none has this path
void operations_answer(struct answer *a, const struct request *r,
                       const struct operation *op, const cJSON *root);

// objects.c, with the lock
bool objects_has(const char *path);
cJSON *objects_get(const char *path); // a copy; empty when nothing was changed yet
void objects_set(const char *path, cJSON *fields); // NULL: removed
// objects_move sets the member of all below the prefix that have `from`, and shows them.
cJSON *objects_move(const char *prefix, const char *member, struct span from,
                    const cJSON *to);
cJSON *objects_json(void);

// calls.c, with the lock: what was asked for, how fast, and what was done
struct operation *calls_count(const struct request *r);
void calls_answered(struct operation *op, const struct request *r, const struct answer *a,
                    enum fault fault);
cJSON *calls_json(void);
void calls_forget(void);
extern struct buf calls_writes; // JSON lines

// changes.c, with the lock: a change fires the event ("update:id") at the hooks that ask for
// it from source api, after the answer and in order. `fields` is the object, `sent` the change.
void changes_cause(struct span event, const cJSON *fields, const cJSON *sent);
void changes_start(void);

// api.c, control.c: answer a request, with the lock
void api_answer(struct answer *a, const struct request *r);
void say(struct answer *a, int status, const char *text);
void refuse_field(struct answer *a, const char *field, const char *title);
// The value of a query parameter, not decoded; empty when it is not there.
struct span parameter(const char *query, const char *name);
void control_answer(struct answer *a, const char *method, const char *path,
                    struct span body);

// fire.c, without the lock: fires an event as AC would; returns how many posts were made.
struct firing {
    const char *type, *source;
    uint64_t list;
    int double_per_mille;
    struct span body; // empty: that of the type's sample
};
size_t fire(const struct firing *f);
bool words_have(const cJSON *words, const char *word);
void fire_start(double rate); // for ever, in a thread

#endif
