// What is known of hooks at AC beside what a list says just now, here and in Redis.
//
// AC's lists may be late, lose rows, and store what was written differently, so nothing is
// created, written again or held to be gone because one list says so: where it differs from what
// is known here, GET /webhooks/{id} decides. One thread.
#ifndef ACRELAY_WORKER_KNOWN_H
#define ACRELAY_WORKER_KNOWN_H

#include "config/config.h"
#include "hook/ac_client.h"

struct known_hook {
    uint64_t id;          // 0: the answer to its creation did not say
    char name[HOOK_NAME]; // in our URLs
    uint64_t list;        // that was asked for; HOOK_LIST_UNREADABLE: not known
    bool listed;          // a list has shown it; of a removed one: the last list did
    // Neither a list nor GET shows it, though it was just created; or a list does not any more,
    // and GET does not say. `listed` is false.
    bool gone;
    bool lost;    // so for longer than AC may be late: once, another may be created
    bool removed; // we deleted it: not again for an hour, whatever AC shows
    bool forget;
    unsigned
        unclear; // creations in a row that failed and may have been done; its id is 0
    int64_t since_us; // the last write, by clock_boot_us
    // Digests (hook_digest) of what was written last, what was there before, what AC answered to
    // it and what AC made of it; 0: nothing, not known yet.
    uint64_t written, before, answered, stored;
    bool differs; // what AC made of it differs from what was written
    bool again;   // the same was written the last time
};

enum {
    KNOWN_LAG_MS = 2000,     // between lists that do not show yet what was done
    KNOWN_GONE_MS = 15000,   // until an accepted one that is shown nowhere is repeated
    KNOWN_UNCLEAR_MS = 15000 // until an unclear creation is repeated
};

struct known {
    struct known_hook *at;
    size_t len;
    bool loaded;
    bool quiet; // of doctor, which shows what it finds in its own way: nothing is logged
};

// known_forget forgets everything; only_unlisted: what was created and never shown, so that it
// may be created again (a file was loaded).
void known_forget(struct known *k, bool only_unlisted);

// known_wrote is called right after AC accepted that `found` became `wanted`; NULL as in
// ac_client_write. A creation that failed and may have been done (answer->unclear) is repeated when
// lists have not shown it for KNOWN_UNCLEAR_MS, and each time later.
void known_wrote(struct known *k, const struct hook *found, const struct hook *wanted,
                 const struct ac_client_answer *answer);

// known_settle makes of a list what is there: adds what it lacks, drops what it shows too long,
// and sets `written` and `settled`. Reports once what AC stores differently.
int known_settle(struct known *k, struct ac_client *client, const struct hooks *wanted,
                 struct hooks *found, struct err *err);

// known_find finds an entry; NULL: there is none, or its id is 0.
static inline struct known_hook *
known_find(const struct known *k, uint64_t id)
{
    for (size_t i = 0; id && i < k->len; i++)
        if (k->at[i].id == id)
            return &k->at[i];
    return NULL;
}

// known_is_of says whether it may be one of this list.
static inline bool
known_is_of(const struct known_hook *e, uint64_t list)
{
    return e->list == list || e->list == HOOK_LIST_UNREADABLE;
}

// known_add gives a new entry in place of that of this id; valid until the next one is added.
struct known_hook *known_add(struct known *k, uint64_t id, const char *name);

// --- Redis (known_json.c) ------------------------------------------------------------------

// Redis as the worker uses it: connected when needed; that it is away, refuses a command or is
// back is logged once, and once more if the first attempt to connect again explains it better. One thread.
struct worker_redis {
    const struct config *config;
    char tag[CONFIG_TAG]; // of the keys, as config_tag gives it; "": redis.namespace
    bool quiet; // of a command that can do without: nothing is logged, and once Redis did
                // not answer it is not asked again
    const char *lease;   // must be in {tag}:leader for a state to be written; NULL: any
    struct redis *redis; // NULL: not connected, or away
    struct redis_find find;
    unsigned connections; // that were made
    bool lost; // since the last answer, and no attempt to connect again has failed yet
    const char *away;    // what to do about it; NULL: it is not away
    const char *refused; // the command whose refusal was logged, NULL: none
};

void worker_redis_close(struct worker_redis *r); // it may be used on, with another config

// worker_redis_ask sends one command: after it "{tag}:<key>", when `key` is not NULL, and
// further arguments, ended by NULL. NULL when Redis is away or refuses it.
const struct redis_reply *worker_redis_ask(struct worker_redis *r, const char *command,
                                           const char *key, ...)
    __attribute__((sentinel));

// worker_redis_eval runs a script with the keys "{tag}:<key>" (blanks between them) and further
// arguments, as worker_redis_ask does; `what` is for people.
const struct redis_reply *worker_redis_eval(struct worker_redis *r, const char *what,
                                            const char *script, const char *keys, ...)
    __attribute__((sentinel));

// worker_redis_connect connects where it is not: false, Redis is away. worker_redis_send sends one
// command, `head` and `more` (may be NULL), as worker_redis_ask does; `what` is for people.
bool worker_redis_connect(struct worker_redis *r);
const struct redis_reply *worker_redis_send(struct worker_redis *r, const char *what,
                                            const struct span *head, size_t n,
                                            const struct redis_args *more);

// known_read adds what Redis has of the hooks of one name; known_save writes it, beside the state
// that is there, unless Redis is away.
void known_read(struct known *k, const char *name, struct span json);
void known_save(const struct known *k, struct worker_redis *r, const char *name);

// A state is what {namespace}:hooks has for one hook, as JSON without URL and token:
// {"state":"registered","ids":["7"],"checked":T,"last_event":T,"repaired":T,
// "repaired_boot":"<seconds of the boot clock>"}, times RFC 3339 UTC or absent. States:
// registered, pending (changes wait), silent (no event for longer than expect_every), left (the
// file does not name it any more, and AC still posts to it). What is known of its hooks beside,
// only where there is something:
// "created":[{"id":"7","list":"0","at":T,"boot":"<seconds>"}] AC accepted, no list has shown it yet;
// "stored":[{"id":"7","differs":true,"written":"<16 hex>","as":"<16 hex>"}] digests of what was
// written and of what AC made of it; where they do not differ, for an hour.
struct state {
    char name[24];                            // "registered"; "": none
    int64_t checked_us, last_us, repaired_us; // 0: never
    int64_t repaired_boot_us;                 // the same by the boot clock
};

// state_save writes the state of a hook, and what is known of those of this name; without a state it
// deletes both. False: not done, Redis is away or another worker leads. state_read reads the state
// alone.
bool state_save(const struct state *state, const char *name, const struct known *known,
                struct worker_redis *r);
void state_read(struct state *to, struct span json);

#endif
