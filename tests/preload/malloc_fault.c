// LD_PRELOAD: the nth allocation after main has begun fails, once, with n from MALLOC_FAULT
// (0: none, only counted). Says so on stderr when it fires, and the count at the end. libc's
// own startup and constructors come before and are left alone. glibc only: its allocator
// is reached by the names it exports for this, since dlsym allocates itself.
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);

typedef int main_function(int, char **, char **);
int __libc_start_main(main_function *, int, char **, void (*)(void), void (*)(void),
                      void (*)(void), void *);

static main_function *real_main;
static atomic_long calls, fails_at;
static atomic_bool armed;

static void
say(const char *what, long count)
{
    char line[64];
    int len = snprintf(line, sizeof line, "malloc_fault: %s %ld\n", what, count);

    if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
        return; // a test that misses the line fails
}

static int
fails(void)
{
    if (!armed)
        return 0;
    long n = ++calls;
    if (n != fails_at)
        return 0;
    say("fired", n);
    errno = ENOMEM;
    return 1;
}

void *
malloc(size_t bytes)
{
    return fails() ? NULL : __libc_malloc(bytes);
}

void *
calloc(size_t n, size_t bytes)
{
    return fails() ? NULL : __libc_calloc(n, bytes);
}

void *
realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __libc_realloc(old, bytes);
}

static int
armed_main(int argc, char **argv, char **environment)
{
    const char *n = getenv("MALLOC_FAULT");

    fails_at = n ? atol(n) : 0;
    armed = 1;
    return real_main(argc, argv, environment);
}

int
__libc_start_main(main_function *program, int argc, char **argv, void (*init)(void),
                  void (*fini)(void), void (*rtld_fini)(void), void *stack_end)
{
    int (*start)(main_function *, int, char **, void (*)(void), void (*)(void),
                 void (*)(void), void *);
    void *found = dlsym(RTLD_NEXT, "__libc_start_main");

    real_main = program;
    memcpy(&start, &found, sizeof start);
    return start(armed_main, argc, argv, init, fini, rtld_fini, stack_end);
}

__attribute__((destructor)) static void
tell(void)
{
    armed = 0;
    say("calls", calls);
}

// acrelayd's way out, which runs no destructor.
void
_exit(int code)
{
    tell();
    syscall(SYS_exit_group, code);
    __builtin_unreachable();
}
