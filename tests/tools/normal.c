// Makes events of bodies for tests/reference: reads cases from stdin, each a line
// "TYPE-LENGTH BODY-LENGTH" and those bytes; answers each with a line
// "REASON TYPE SUBJECT TIME DATA-LENGTH" (tabs between) and the data. The zone is argv[1].
#include "event/event.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void
answer(struct event_maker *m, struct span type, struct span body)
{
    struct event_origin origin = {.account = SPAN("acme"),
                                  .journal_id = SPAN("00112233445566778899aabbccddeeff"),
                                  .sequence = 1,
                                  .received_us = INT64_C(1700000000000042)};
    struct delivery d = {
        .hook = SPAN("contacts"), .stream = SPAN("events"), .type = type, .body = body};
    struct event e;
    enum event_reason reason = event_make(m, &origin, &d, &e);

    printf("%s\t%.*s\t%.*s\t%.*s\t%zu\n%.*s", event_reason_name(reason), (int)e.type.len,
           e.type.at, (int)e.subject.len, e.subject.at, (int)e.time.len, e.time.at,
           e.data.len, (int)e.data.len, e.data.at);
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    struct event_maker *m = event_maker_open();
    size_t type_len, body_len;
    struct err err;

    if (event_zone_set(argc > 1 ? argv[1] : "", &err) < 0)
        return 64;
    while (scanf("%zu %zu", &type_len, &body_len) == 2 && getchar() == '\n') {
        char *bytes = malloc(type_len + body_len + 1);
        if (!bytes || fread(bytes, 1, type_len + body_len, stdin) != type_len + body_len)
            return 1;
        answer(m, span_make(bytes, type_len), span_make(bytes + type_len, body_len));
        free(bytes);
    }
    event_maker_close(m);
    return 0;
}
