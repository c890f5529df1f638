// LD_PRELOAD: a machine that was suspended. CLOCK_BOOTTIME and the wall clock are ahead by the
// seconds in the file that SUSPEND_FILE names, read at each call; CLOCK_MONOTONIC stands still
// in a suspend, and is left alone.
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t
suspended_s(void)
{
    const char *name = getenv("SUSPEND_FILE");
    FILE *file = name ? fopen(name, "re") : NULL;
    long long seconds = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%lld", &seconds) != 1)
        seconds = 0;
    fclose(file);
    return (time_t)seconds;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);

    if (result == 0 && (clock == CLOCK_BOOTTIME || clock == CLOCK_REALTIME ||
                        clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += suspended_s();
    return result;
}

time_t
time(time_t *to)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (to)
        *to = now.tv_sec;
    return now.tv_sec;
}

int
gettimeofday(struct timeval *restrict to, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *to = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}
