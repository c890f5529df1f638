// What keeps a log short: a trouble reported once, and a limit of lines.
#include "base/clock.h"
#include "base/log.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
init(void)
{
    cr_redirect_stderr();
    log_start(LOG_FORM_JOURNAL, LOG_LEVEL_INFO);
}

static void
expect(const char *text)
{
    fflush(stderr);
    cr_assert_stderr_eq_str(text);
}

Test(once, reports_a_trouble_once_until_it_is_over, .init = init)
{
    struct once away = {0};

    for (int i = 0; i < 3; i++)
        cr_assert_eq(once_report(&away, LOG_LEVEL_WARN, "Redis is %s", "away"), i == 0);
    cr_assert(once_clear(&away));
    cr_assert_not(once_clear(&away), "nothing was reported since");
    cr_assert(once_report(&away, LOG_LEVEL_WARN, "Redis is away"));
    expect("<4>Redis is away\n<4>Redis is away\n");
}

Test(once, reports_another_text_at_once, .init = init)
{
    struct once o = {0};

    once_report(&o, LOG_LEVEL_ERROR, "%s", "no route");
    once_report(&o, LOG_LEVEL_ERROR, "%s", "no route");
    once_report(&o, LOG_LEVEL_ERROR, "%s", "refused");
    expect("<3>no route\n<3>refused\n");
}

// full_log makes stderr a pipe without room, and gives its end for reading.
static int
full_log(void)
{
    int ends[2];

    cr_assert(pipe(ends) == 0 && fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    while (write(ends[1], (char[4096]){0}, 4096) > 0)
        continue;
    cr_assert(fcntl(ends[1], F_SETFL, 0) == 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    log_start(LOG_FORM_JOURNAL, LOG_LEVEL_INFO);
    return ends[0];
}

Test(once, reports_again_what_nobody_could_read)
{
    static char text[1 << 20];
    struct once away = {0};
    int log = full_log();

    cr_assert_not(once_report(&away, LOG_LEVEL_WARN, "Redis is away"));
    cr_assert_not(once_clear(&away));
    cr_assert(read(log, text, sizeof text) > 0);
    cr_assert(once_report(&away, LOG_LEVEL_WARN, "Redis is away"));
    cr_assert_not(once_report(&away, LOG_LEVEL_WARN, "Redis is away"));
    ssize_t len = read(log, text, sizeof text - 1);
    text[len > 0 ? len : 0] = '\0';
    cr_assert(strstr(text, "<4>log: 1 line before this were lost") == text);
    cr_assert(strstr(text, "<4>Redis is away\n"));
}

static atomic_bool races, interrupts;
static atomic_int saw_room; // threads

// Who has seen room in the log waits for another one to see it too.
int poll_of_a_race(struct pollfd *fds, nfds_t len, int wait_ms) __asm__("poll");
int
poll_of_a_race(struct pollfd *fds, nfds_t len, int wait_ms)
{
    int found = (int)syscall(SYS_poll, fds, len, wait_ms);

    saw_room += races && found > 0;
    if (interrupts) {
        interrupts = false;
        raise(SIGUSR1);
    }
    for (int i = 0; races && found > 0 && saw_room < 2 && i < 300; i++)
        clock_sleep_ms(1);
    return found;
}

static void *
log_half_a_page(void *unused)
{
    char quotes[1001];

    memset(quotes, '"', 1000); // two bytes each, as JSON
    quotes[1000] = '\0';
    log_warn("%s", quotes);
    return unused;
}

Test(log, does_not_block_two_threads_that_find_the_same_last_page)
{
    pthread_t threads[2];
    struct timespec end;
    int log = full_log();

    log_start(LOG_FORM_JSON, LOG_LEVEL_INFO);
    cr_assert(read(log, (char[4096]){0}, 4096) == 4096);
    races = true;
    for (int i = 0; i < 2; i++)
        cr_assert(pthread_create(&threads[i], NULL, log_half_a_page, NULL) == 0);
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    for (int i = 0; i < 2; i++)
        cr_assert(pthread_timedjoin_np(threads[i], NULL, &end) == 0, "it is blocked");
}

static void
log_a_signal(int signal)
{
    log_info("signal %d", signal);
}

Test(log, writes_the_line_of_a_signal_handler_after_the_one_that_it_interrupts,
     .init = init)
{
    char both[64];

    signal(SIGUSR1, log_a_signal);
    interrupts = true;
    log_info("interrupted");
    snprintf(both, sizeof both, "<6>interrupted\n<6>signal %d\n", SIGUSR1);
    expect(both);
}

enum { PAUSE_MS = 1000 };

Test(log_limit, lets_the_first_through_and_counts_the_others)
{
    struct log_limit l = LOG_LIMIT(PAUSE_MS);

    cr_assert_eq(log_limit_pass(&l, 1, 5), 1);
    for (int i = 1; i < 500; i++)
        cr_assert_eq(log_limit_pass(&l, 1, 5 + i), 0);
    cr_assert_eq(log_limit_pass(&l, 0, 5 + PAUSE_MS - 1), 0, "too soon");
    cr_assert_eq(log_limit_pass(&l, 0, 5 + PAUSE_MS), 499);
    cr_assert_eq(log_limit_pass(&l, 0, 5 + 2 * PAUSE_MS), 0, "nothing is left");
}

Test(log_limit, gives_the_number_with_the_next_one_or_at_the_end)
{
    struct log_limit l = LOG_LIMIT(PAUSE_MS);

    log_limit_pass(&l, 1, 5);
    log_limit_pass(&l, 1, 5);
    cr_assert_eq(log_limit_pass(&l, 1, 5 + PAUSE_MS), 2);
    log_limit_pass(&l, 1, 5 + PAUSE_MS);
    cr_assert_eq(log_limit_pass(&l, 0, INT64_MAX), 1);
}
