// LD_PRELOAD: clocks that are ahead by the seconds in a file, read at each call. WALL_FILE names
// the file for a wall clock that is wrong, SUSPEND_FILE the one for a machine that was suspended:
// CLOCK_BOOTTIME and the wall clock went on. CLOCK_MONOTONIC is left alone.
// redis-server reads the clock in its allocator, so nothing here allocates.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t
seconds_in(const char *variable)
{
    const char *name = getenv(variable);
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    char text[32];

    if (fd < 0)
        return 0;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
    return (time_t)strtoll(text, NULL, 10);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);

    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += seconds_in("WALL_FILE") + seconds_in("SUSPEND_FILE");
    if (result == 0 && clock == CLOCK_BOOTTIME)
        now->tv_sec += seconds_in("SUSPEND_FILE");
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
