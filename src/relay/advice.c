// What an operator can do about what Redis, the way to it or the relay says.
#include "relay/relay.h"

#include "base/file.h"

#include <string.h>

#define CONFIG EXIT_CODE_CONFIG
#define RIGHTS EXIT_CODE_PERMISSION
#define AWAY EXIT_CODE_UNAVAILABLE
#define GRANT "grant the rights that deploy/redis/acrelay.acl lists"
#define TLS_PAGE "see \"A hosted Redis, and TLS\" in OPERATING.md"

// The first that fits counts. "Start Redis" is for a Redis that does not answer: one that
// answers an error is there.
static const struct relay_advice advice[] = {
    {FILE_DENIED, RIGHTS, "Redis was not contacted"},
    {"redis.password_file: ", CONFIG,
     "Redis was not contacted: correct that file or its mode, or redis.password_file"},
    {"redis.url_file: ", CONFIG,
     "Redis was not contacted: correct that file, or redis.url_file"},
    {"redis.tls is set", CONFIG, "Redis was not contacted"},
    {"redis.tls.ca_file: ", CONFIG, "Redis was not contacted: correct that file"},
    {"redis.tls.cert_file: ", CONFIG, "Redis was not contacted: correct that file"},
    {"redis.tls.key_file: ", CONFIG, "Redis was not contacted: correct that file"},
    // What is this machine's, not Redis's.
    {"open files", EXIT_CODE_FAILURE,
     "raise the limit of open files (LimitNOFILE= of the unit)"},
    {"segment ", EXIT_CODE_FAILURE,
     "check the disk (dmesg), and see \"The journal is damaged\" in OPERATING.md"},
    {"body of a refused record", EXIT_CODE_FAILURE,
     "make room in state_dir, or make its directory bad writable"},
    {"refuses the record", AWAY,
     "wait: a record that is refused five times becomes a dead letter, and those "
     "after it are published"},
    {"refuses even a dead letter", AWAY,
     "check Redis's log and its limits on the size of a request (proto-max-bulk-len, "
     "client-query-buffer-limit)"},
    {"certificate", AWAY, TLS_PAGE},
    {"TLS", AWAY, TLS_PAGE},
    {"NOAUTH", RIGHTS,
     "set redis.password_file (and redis.user), then restart acrelayd and "
     "acrelay-worker: Redis requires a password"},
    {"WRONGPASS", RIGHTS,
     "correct redis.user or the password in redis.password_file, then restart acrelayd "
     "and acrelay-worker; ACL LIST shows whether the user exists and is enabled"},
    {"invalid password", RIGHTS,
     "correct the password in redis.password_file, then restart acrelayd and "
     "acrelay-worker"},
    {"without any password configured", CONFIG,
     "set a password for this user in Redis, or remove redis.password_file"},
    {"NOPERM", RIGHTS, GRANT},
    {"ACL failure", RIGHTS, GRANT},
    {"The user executing the script", RIGHTS, GRANT},
    {"DENIED", RIGHTS,
     "set a password and bind in Redis: in protected mode it accepts only loopback "
     "connections"},
    {"max number of clients", AWAY,
     "raise maxclients in Redis, or find out what uses its connections (CLIENT LIST)"},
    {"DB index", CONFIG,
     "correct redis.url: it names a database that this Redis does not have (its setting "
     "databases)"},
    {"unknown command", CONFIG,
     "undo the renaming of this command (rename-command), or use a newer Redis: acrelay "
     "needs it"},
    {"LOADING", AWAY, "wait: Redis is loading its data from disk"},
    {"BUSY", AWAY, "wait, or run SCRIPT KILL: a script is keeping Redis busy"},
    {"MASTERDOWN", AWAY,
     "point redis.url to the master: this is a replica that has lost its own"},
    {"READONLY", AWAY, "point redis.url to the master: this is a replica"},
    {"not the master", AWAY, "point redis.url to the master: this is a replica"},
    {"OOM", AWAY,
     "raise maxmemory in Redis, or lower redis.retain: Redis is out of memory"},
    {"MISCONF", AWAY,
     "check Redis's log and disk: it cannot write to its disk and refuses writes"},
    {"NOREPLICAS", AWAY,
     "bring the replicas back: too few are connected for min-replicas-to-write"},
    {"does not know a master named", CONFIG,
     "correct the name after the hosts in redis.url (SENTINEL MASTERS shows the names)"},
    {"MOVED", EXIT_CODE_OK,
     "write redis.url as redis+cluster:// to have the node checked that has the keys; "
     "the relay follows the redirection"},
    {"ASK", AWAY, "wait: the slot of the keys is being moved to another node"},
    {"TRYAGAIN", AWAY, "wait: the slot of the keys is being moved to another node"},
    {"CLUSTERDOWN", AWAY,
     "restore the Redis Cluster (CLUSTER NODES): no node serves the slot of the keys"},
    {"CROSSSLOT", CONFIG,
     "find out whether a proxy rewrites keys: all keys of a namespace must be in one "
     "slot"},
    {"WRONGTYPE", CONFIG,
     "rename that key, or choose another redis.namespace: another program uses one of "
     "acrelay's keys"},
    {"may evict any key", CONFIG, "set maxmemory-policy noeviction in Redis"},
    {"is not a sequence number", EXIT_CODE_FAILURE,
     "find out what wrote to that key, and delete it: all that the journal has is then "
     "published, some perhaps for the second time"},
    {"belongs to account", CONFIG,
     "choose another redis.namespace (and restart); if the account was renamed, run "
     "acrelay journal claim --namespace"},
    {"/partitions", CONFIG, "see \"Partitions\" in OPERATING.md"},
    {"redis.partitions has changed", CONFIG, "see \"Partitions\" in OPERATING.md"},
    {"redis.confirm", CONFIG, "see \"redis.confirm\" in OPERATING.md"},
    {"belongs to another machine", EXIT_CODE_LOCK,
     "if nothing publishes it from there any more, run acrelay journal claim"},
    {"copy of this journal", EXIT_CODE_FAILURE,
     "see \"A backup of the journal was restored\" in OPERATING.md"},
    {"no answer in time", AWAY,
     "find out why that server hangs: is it stopped, swapping, or waiting for its disk?"},
    {"timed out", AWAY,
     "check redis.url, the network and firewalls: nothing answers at that address"},
    {"Permission denied", RIGHTS,
     "put the user into the group of Redis's socket: under systemd "
     "SupplementaryGroups=redis in a drop-in of acrelayd.service and "
     "acrelay-worker.service"},
    {"Address family not supported", CONFIG,
     "add AF_INET6 (or AF_UNIX) to the unit's RestrictAddressFamilies= in a drop-in"},
    {"a reply has more than", CONFIG,
     "check redis.url and any proxy before Redis: no reply to acrelay is that large, "
     "unless another program writes to its keys (redis-cli --memkeys shows the largest)"},
    {"Protocol error, got", CONFIG, "correct redis.url: the server there is not Redis"},
    {"not known", AWAY, "check DNS: the host in redis.url has no address"},
    {"name resolution", AWAY,
     "check DNS: no name server answers for the host in redis.url"},
    {"Connection refused", AWAY, "start Redis; acrelay then continues by itself"},
    {"No such file", AWAY, "start Redis, or correct the path of the socket in redis.url"},
    {"closed the connection", AWAY,
     "see Redis's log: it exited or closed this connection"},
    {"", AWAY, "check Redis's log"},
};

const struct relay_advice *
relay_advice(const char *text)
{
    size_t i = 0;

    while (!strstr(text, advice[i].in))
        i++;
    return &advice[i];
}
