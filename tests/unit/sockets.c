#include "edge/sockets.h"

#include <criterion/criterion.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
    int listener, connection; // accepted
};

// A listener on all addresses, IPv6 or both, and a connection to it.
static struct pair
connect_pair(int from_family)
{
    struct sockaddr_in6 all = {.sin6_family = AF_INET6};
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 here6 = {.sin6_family = AF_INET6,
                                 .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct pair p = {.listener = socket(AF_INET6, SOCK_STREAM, 0)};
    int from = socket(from_family, SOCK_STREAM, 0), off = 0;
    socklen_t len = sizeof all;

    setsockopt(p.listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    cr_assert(bind(p.listener, (struct sockaddr *)&all, sizeof all) == 0);
    cr_assert(listen(p.listener, 1) == 0);
    cr_assert(getsockname(p.listener, (struct sockaddr *)&all, &len) == 0);
    here.sin_port = here6.sin6_port = all.sin6_port;
    cr_assert(from_family == AF_INET
                  ? connect(from, (struct sockaddr *)&here, sizeof here) == 0
                  : connect(from, (struct sockaddr *)&here6, sizeof here6) == 0);
    p.connection = accept(p.listener, NULL, NULL);
    cr_assert(p.connection >= 0);
    close(from);
    return p;
}

Test(sockets, an_ipv6_listener_holds_its_connections_ipv4_ones_too)
{
    static const int families[] = {AF_INET, AF_INET6};

    for (size_t i = 0; i < 2; i++) {
        struct pair p = connect_pair(families[i]);
        cr_assert(sockets_have_connections(&p.listener, 1));
        close(p.connection);
        cr_assert_not(sockets_have_connections(&p.listener, 1));
        close(p.listener);
    }
}

Test(sockets, what_cannot_be_looked_at_counts_as_held)
{
    struct pair p = connect_pair(AF_INET6);
    struct rlimit none = {3, 3};

    close(p.connection);
    cr_assert_not(sockets_have_connections(&p.listener, 1));
    cr_assert(setrlimit(RLIMIT_NOFILE, &none) == 0);
    cr_assert(sockets_have_connections(&p.listener, 1));
}
