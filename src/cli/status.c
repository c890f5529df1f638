// status: everything on one screen, from the admin listeners' metrics and from Redis. What
// does not answer is said, and the rest is shown.
#include "cli/status.h"

#include <stdio.h>
#include <unistd.h>

static void
show_redis(struct status *s)
{
    const struct config *c = s->cli->config;
    char answers[sizeof s->redis_err.text], many[40] = "";

    if (config_partitions(c) > 1)
        snprintf(many, sizeof many, ", %d partitions", config_partitions(c));
    snprintf(answers, sizeof answers, "%s answers%s", c->redis_url.text, many);
    status_part(s, "redis", s->redis != NULL, s->redis ? answers : s->redis_err.text);
    s->healthy = s->healthy && s->redis;
}

// What is lost on the way is said once; nothing more is asked of it then.
static bool
is_up(const struct status *s)
{
    return s->redis && !s->redis->dead;
}

// Without a valid file the programs are shown, by the addresses that it still shows.
static void
show_all(struct status *s, bool is_valid)
{
    char line[PROBLEM_LINE];

    if (!is_valid || s->cli->is_last_good) // people have it on stderr
        document_text(s->to, "configuration",
                      span_of(problems_first(&s->cli->problems, line)));
    if (!is_valid && s->prints)
        printf("what answers on %s and %s, as the file still shows or by default:\n",
               s->cli->config->receiver_admin.text, s->cli->config->worker_admin.text);
    s->healthy = status_programs(s);
    if (is_valid)
        show_redis(s);
    if (s->redis) {
        status_streams(s);
        status_dead(s);
        status_groups(s);
        status_receivers(s);
    }
    if (is_up(s) && s->cli->config->services_len > 0) {
        status_commands(s);
        status_commands_dead(s);
    }
    if (is_up(s))
        status_hooks(s);
    s->healthy = s->healthy && is_valid && !s->cli->is_last_good;
    document_flag(s->to, "healthy", s->healthy);
}

static int
run_status(void *cli, struct err *err)
{
    struct status s = {.cli = cli, .to = &output.document, .prints = !output.json};

    bool is_valid = cli_read_config(s.cli, true, err) == 0;
    if (!is_valid && access(s.cli->file, F_OK) < 0)
        return -1; // nothing runs yet
    if (!is_valid)
        s.cli->config = config_read_shown(s.cli->file);
    s.results = options_has(s.cli->options, "results");
    admin_json_fetch(s.cli);
    if (is_valid) {
        output_wait("asking Redis (%s)", s.cli->config->redis_url.text);
        status_connect(&s);
    }
    if (s.redis)
        (void)tags_open(&s.tags, s.cli, err); // what is away is shown with its streams
    output_wait_end();
    show_all(&s, is_valid);
    if (output.json)
        output_line(stdout);
    redis_close(s.redis);
    tags_close(&s.tags);
    if (!is_valid)
        return -1;
    return s.healthy ? EXIT_CODE_OK : EXIT_CODE_UNAVAILABLE;
}

const struct subcommand cli_status_commands[] = {
    {"status", "", "show receiver, streams, hooks, commands and worker on one screen", 0,
     0,
     OPTIONS(OPTION_IS_FLAG("results", "show the last 20 results of each service, too")),
     run_status, false, NULL},
    {0},
};
