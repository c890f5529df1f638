#include "cli/redis_words.h"

#include <string.h>

// The first that fits counts. "Bring Redis back" is for a Redis that does not answer: one that
// answers an error is there.
static const struct redis_words all[] = {
    {"redis.password_file: ", EXIT_CODE_CONFIG,
     "Redis was not asked: make that file readable, or correct redis.password_file"},
    {"NOAUTH", EXIT_CODE_PERMISSION,
     "Redis asks for a password: set redis.password_file (and redis.user)"},
    {"WRONGPASS", EXIT_CODE_PERMISSION,
     "correct redis.user or the password in redis.password_file; ACL LIST shows whether "
     "the "
     "user is there and on"},
    {"invalid password", EXIT_CODE_PERMISSION,
     "correct the password in redis.password_file"},
    {"without any password configured", EXIT_CODE_CONFIG,
     "Redis has no password for this user: set one there, or remove redis.password_file"},
    {"NOPERM", EXIT_CODE_PERMISSION,
     "grant what deploy/redis/acrelay.acl lists for the receiver"},
    {"ACL failure", EXIT_CODE_PERMISSION,
     "grant what deploy/redis/acrelay.acl lists for the receiver"},
    {"The user executing the script", EXIT_CODE_PERMISSION,
     "grant what deploy/redis/acrelay.acl lists for the receiver"},
    {"DENIED", EXIT_CODE_PERMISSION,
     "Redis runs in protected mode and takes loopback only: set a password and bind "
     "there"},
    {"max number of clients", EXIT_CODE_UNAVAILABLE,
     "raise maxclients of Redis, or find who holds its connections (CLIENT LIST)"},
    {"DB index", EXIT_CODE_CONFIG,
     "redis.url names a database that this Redis does not have: see its setting "
     "databases"},
    {"unknown command", EXIT_CODE_CONFIG,
     "this Redis has the command renamed or removed (rename-command), or is too old; "
     "acrelay needs it"},
    {"LOADING", EXIT_CODE_UNAVAILABLE, "Redis is reading its data from disk: wait"},
    {"BUSY", EXIT_CODE_UNAVAILABLE,
     "somebody's script keeps Redis busy: wait, or SCRIPT KILL"},
    {"MASTERDOWN", EXIT_CODE_UNAVAILABLE,
     "this is a replica that lost its master: redis.url must name the master"},
    {"READONLY", EXIT_CODE_UNAVAILABLE,
     "this is a replica: redis.url must name the master"},
    {"not the master", EXIT_CODE_UNAVAILABLE,
     "this is a replica: redis.url must name the master"},
    {"OOM", EXIT_CODE_UNAVAILABLE,
     "Redis's memory is full: raise its maxmemory, or lower redis.retain; deliveries "
     "wait in "
     "the journal"},
    {"MISCONF", EXIT_CODE_UNAVAILABLE,
     "Redis cannot write its disk and refuses writes: look at its log and disk"},
    {"NOREPLICAS", EXIT_CODE_UNAVAILABLE,
     "too few replicas are connected for min-replicas-to-write: bring them back"},
    {"MOVED", EXIT_CODE_OK,
     "the relay follows to that node; name it in redis.url to have it looked at"},
    {"CLUSTERDOWN", EXIT_CODE_UNAVAILABLE, "bring the Redis cluster's slots back"},
    {"CROSSSLOT", EXIT_CODE_CONFIG,
     "the keys of a namespace must share a slot: is a proxy between that rewrites keys?"},
    {"WRONGTYPE", EXIT_CODE_CONFIG,
     "another program uses one of acrelay's keys: choose another redis.namespace"},
    {"may evict any key", EXIT_CODE_CONFIG, "set maxmemory-policy noeviction in Redis"},
    {"another place", EXIT_CODE_LOCK,
     "another machine or directory ships this journal; when it does no more: acrelay "
     "journal claim"},
    {"copy of this journal", EXIT_CODE_FAILURE,
     "see \"A backup of the journal was restored\" in OPERATING.md"},
    {"no answer in time", EXIT_CODE_UNAVAILABLE,
     "Redis hangs: is it stopped, swapping, or waiting for its disk?"},
    {"timed out", EXIT_CODE_UNAVAILABLE,
     "nothing answers at that address: look at redis.url, the network, a firewall"},
    {"Permission denied", EXIT_CODE_PERMISSION,
     "the user must be in the group of Redis's socket: under systemd "
     "SupplementaryGroups=redis in a drop-in of acrelayd.service and "
     "acrelay-worker.service"},
    {"Address family not supported", EXIT_CODE_CONFIG,
     "the unit's RestrictAddressFamilies= lacks the family: add AF_INET6 (or AF_UNIX) in "
     "a "
     "drop-in"},
    {"Protocol error, got", EXIT_CODE_CONFIG,
     "what answers at redis.url is no Redis, or wants TLS"},
    {"not known", EXIT_CODE_UNAVAILABLE,
     "the host in redis.url has no address: look at DNS"},
    {"name resolution", EXIT_CODE_UNAVAILABLE,
     "no name server answers for the host in redis.url: look at DNS"},
    {"Connection refused", EXIT_CODE_UNAVAILABLE,
     "bring Redis back; the journal is sent by itself then"},
    {"No such file", EXIT_CODE_UNAVAILABLE,
     "bring Redis back, or correct the socket's path in redis.url"},
    {"cannot make a socket", EXIT_CODE_FAILURE, "raise the limit of descriptors"},
    {"closed the connection", EXIT_CODE_UNAVAILABLE,
     "Redis ended, or cut this connection: its log says why"},
    {"", EXIT_CODE_UNAVAILABLE, "look at Redis's log"},
};

const struct redis_words *
redis_words_find(const char *text)
{
    size_t i = 0;

    while (!strstr(text, all[i].in))
        i++;
    return &all[i];
}
