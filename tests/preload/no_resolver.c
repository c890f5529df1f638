// A name server that never answers: getaddrinfo(3) does not come back.
#include <netdb.h>
#include <unistd.h>

int
getaddrinfo(const char *restrict node, const char *restrict service,
            const struct addrinfo *restrict hints, struct addrinfo **restrict result)
{
    (void)node;
    (void)service;
    (void)hints;
    (void)result;
    for (;;)
        pause();
}
