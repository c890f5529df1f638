// The relay with four partitions, and so with a feed: threads append while it publishes, its settings
// are loaded again, Redis cuts its connections, and metrics are read. Under TSan: no race. Always: each
// record is in a stream once. Ends with "N passed, N failed".
#include "../unit/relay_scene.h"

enum { WRITERS = 4, EACH = 500, ALL = WRITERS * EACH, CUTS = 20 };

static atomic_bool over;

static void *
write_on(void *unused)
{
    char body[64];

    for (int i = 0; i < EACH; i++) {
        snprintf(body, sizeof body, "type=subscribe&contact[id]=%d", i);
        post_to("events", DELIVERY_KEEP, body);
    }
    return unused;
}

static void *
read_on(void *unused)
{
    while (!over) {
        struct buf page;
        buf_init(&page, 1 << 20);
        cr_assert(metric_write(&page) == 0);
        buf_release(&page);
    }
    return unused;
}

static int64_t
entries(void)
{
    return redis_value(ask("XLEN {t.0}:events")).number +
           redis_value(ask("XLEN {t.1}:events")).number +
           redis_value(ask("XLEN {t.2}:events")).number +
           redis_value(ask("XLEN {t.3}:events")).number;
}

int
main(void)
{
    pthread_t threads[WRITERS + 1];

    log_start(LOG_FORM_TEXT, LOG_LEVEL_ERROR);
    set_up();
    config.redis_partitions = 4;
    relay_up();
    for (int i = 0; i <= WRITERS; i++)
        cr_assert(!pthread_create(&threads[i], NULL, i ? write_on : read_on, NULL));
    struct config *settings = snapshot();
    for (int i = 0; i < CUTS; i++) {
        cr_assert(relay_reload(relay, settings, NULL) == 0);
        command("CLIENT KILL TYPE normal");
        clock_sleep_ms(20);
    }
    until(s.cursor == ALL);
    over = true;
    for (int i = 0; i <= WRITERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert(entries() == ALL);
    tear_down();
    printf("1 passed, 0 failed\n");
    return 0;
}
