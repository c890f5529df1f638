#include "relay/script.h"

#include <criterion/criterion.h>

// Each row as Redis 7.0 words it.
Test(reply, classes_every_reply_by_its_consequence)
{
    static const struct {
        const char *text;
        enum reply outside, inside;
    } rows[] = {
        {"OK", REPLY_DONE, REPLY_DONE},
        {"AT", REPLY_AT, REPLY_AT},
        {"FENCED", REPLY_FENCED, REPLY_FENCED},
        {"NOSCRIPT No matching script. Please use EVAL.", REPLY_NOSCRIPT, REPLY_NOSCRIPT},
        {"LOADING Redis is loading the dataset in memory", REPLY_WAIT, REPLY_WAIT},
        {"BUSY Redis is busy running a script.", REPLY_WAIT, REPLY_WAIT},
        {"OOM command not allowed when used memory > 'maxmemory'.", REPLY_WAIT,
         REPLY_WAIT},
        {"MISCONF Redis is configured to save RDB snapshots", REPLY_WAIT, REPLY_WAIT},
        {"NOREPLICAS Not enough good replicas to write.", REPLY_ELSEWHERE,
         REPLY_ELSEWHERE},
        {"CLUSTERDOWN The cluster is down", REPLY_WAIT, REPLY_WAIT},
        {"TRYAGAIN Multiple keys request during rehashing", REPLY_WAIT, REPLY_WAIT},
        {"ASK 3999 127.0.0.1:6381", REPLY_WAIT, REPLY_WAIT},
        {"READONLY You can't write against a read only replica.", REPLY_ELSEWHERE,
         REPLY_ELSEWHERE},
        {"-READONLY You can't write against a read only replica.", REPLY_ELSEWHERE,
         REPLY_ELSEWHERE},
        {"MASTERDOWN Link with MASTER is down", REPLY_ELSEWHERE, REPLY_ELSEWHERE},
        {"MOVED 3999 127.0.0.1:6381", REPLY_MOVED, REPLY_MOVED},
        {"NOAUTH Authentication required.", REPLY_STOP, REPLY_STOP},
        {"WRONGPASS invalid username-password pair", REPLY_STOP, REPLY_STOP},
        {"NOPERM this user has no permissions", REPLY_STOP, REPLY_STOP},
        {"WRONGTYPE Operation against a key", REPLY_STOP, REPLY_STOP},
        {"CROSSSLOT Keys in request don't hash", REPLY_STOP, REPLY_STOP},
        {"ERR unknown command 'EVALSHA'", REPLY_STOP, REPLY_STOP},
        {"ERR The user executing the script can't run this command or subcommand",
         REPLY_STOP, REPLY_STOP},
        {"ERR ACL failure in script: User acrelay has no permissions to run the 'xadd' "
         "command",
         REPLY_STOP, REPLY_STOP},
        {"ERR ACL failure in script: No permissions to access a key", REPLY_STOP,
         REPLY_STOP},
        {"ERR Unknown Redis command called from script script: 1f", REPLY_STOP,
         REPLY_STOP},
        {"ERR Unknown command called from script script: 1f", REPLY_STOP, REPLY_STOP},
        {"ERR This Redis command is not allowed from script", REPLY_STOP, REPLY_STOP},
        {"DENIED Redis is running in protected mode", REPLY_STOP, REPLY_STOP},
        {"ERR max number of clients reached", REPLY_WAIT, REPLY_WAIT},
        {"ERR Protocol error: invalid bulk length", REPLY_UNKNOWN, REPLY_REFUSED},
        {"ERR The ID specified in XADD is equal or smaller", REPLY_UNKNOWN,
         REPLY_REFUSED},
        {"EXECABORT Transaction discarded", REPLY_UNKNOWN, REPLY_UNKNOWN},
        {"UNKILLABLE Sorry", REPLY_UNKNOWN, REPLY_UNKNOWN},
        {"OKAY", REPLY_UNKNOWN, REPLY_UNKNOWN},
        {"", REPLY_UNKNOWN, REPLY_UNKNOWN},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(reply_of(span_of(rows[i].text), false, NULL), rows[i].outside, "%s",
                     rows[i].text);
        cr_expect_eq(reply_of(span_of(rows[i].text), true, NULL), rows[i].inside, "%s",
                     rows[i].text);
    }
}

Test(reply, word_is_safe_to_count_by)
{
    char word[REPLY_WORD];

    reply_of(SPAN("OOM command not allowed"), false, word);
    cr_expect_str_eq(word, "OOM");
    reply_of(SPAN("evil\nword"), false, word);
    cr_expect_str_eq(word, "other");
    reply_of(SPAN(""), false, word);
    cr_expect_str_eq(word, "other");
    reply_of(SPAN("ABCDEFGHIJABCDEFGHIJABCDEFGHIJAB"), false, word);
    cr_expect_str_eq(word, "other");
}
