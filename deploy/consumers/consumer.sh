#!/bin/sh
# Reads events with redis-cli as a consumer group, over all partitions, prints a line for each and then
# acknowledges it: to look at, and for scripts. Other connections: REDISCLI_AUTH, or REDIS='redis-cli
# -h HOST -p PORT --user NAME'. It ends when nothing has come for WAIT seconds (default: never).
#
#     consumer.sh [GROUP [NAME [PARTITIONS]]]
#     consumer.sh shop-sh one 4
set -eu
group=${1:-shop-sh} name=${2:-one} partitions=${3:-1}
redis=${REDIS:-redis-cli} wait=${WAIT:-0} quiet=0

streams='{ac}:events'
if [ "$partitions" -gt 1 ]; then
    streams=$(seq -f '{ac.%g}:events' 0 $((partitions - 1)))
fi
for stream in $streams; do # BUSYGROUP: it exists already
    $redis XGROUP CREATE "$stream" "$group" 0 MKSTREAM >/dev/null 2>&1 || true
done

# What this consumer took and did not acknowledge (0), then what is new (>). An entry is printed as the
# key, its id, and then a line for each name and each value, in which lines are escaped.
read_one() {
    $redis --raw XREADGROUP GROUP "$group" "$name" COUNT 1 STREAMS "$1" "$2" | sed 1d
}
value() {
    echo "$entry" | sed -n "/^$1\$/{n;p;q}"
}
while [ "$wait" -eq 0 ] || [ "$quiet" -lt $((wait * 10)) ]; do
    found=
    for stream in $streams; do
        entry=$(read_one "$stream" 0)
        [ -n "$entry" ] || entry=$(read_one "$stream" '>')
        [ -n "$entry" ] || continue
        found=yes
        id=$(echo "$entry" | head -n 1)
        echo "$stream $id $(value ce_id) $(value ce_type) $(value ce_subject)"
        $redis XACK "$stream" "$group" "$id" >/dev/null
    done
    if [ -n "$found" ]; then quiet=0; else sleep 0.1 && quiet=$((quiet + 1)); fi
done
