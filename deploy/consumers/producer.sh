#!/bin/sh
# One command with redis-cli, and its result. Other connections: REDISCLI_AUTH, or REDIS='redis-cli
# -h HOST -p PORT --user NAME'.
#
#     producer.sh SERVICE ID OPERATION SUBJECT BODY
#     producer.sh crm order-4711 Contact_updateContact contacts/66 '{"contact":{"firstName":"Ann"}}'
#
# Run it again with the same ID if it was interrupted: the command is carried out once.
set -eu
[ $# = 5 ] || { echo 'usage: producer.sh SERVICE ID OPERATION SUBJECT BODY' >&2; exit 64; }
service=$1 id=$2 operation=$3 subject=$4 body=$5
redis=${REDIS:-redis-cli}

after=$($redis --raw XREVRANGE "{ac}:results:$service" + - COUNT 1 | head -n 1)
entry=$($redis --raw XADD "{ac}:commands:$service" '*' ce_specversion 1.0 ce_id "$id" \
    ce_source producer.sh ce_type "com.activecampaign.command.$operation" ce_subject "$subject" \
    content-type application/json data "$body")
case $entry in
[0-9]*-[0-9]*) ;;
*) echo "$entry" >&2 && exit 1 ;;
esac

# A result is printed as the key, its entry id, and then a line for each name and each value.
command=
while [ "$command" != "$entry" ]; do
    result=$($redis --raw XREAD COUNT 1 BLOCK 5000 STREAMS "{ac}:results:$service" "${after:-0}")
    [ -n "$result" ] || continue
    after=$(echo "$result" | sed -n 2p)
    command=$(echo "$result" | sed -n '/^ce_command$/{n;p;q}')
done
echo "$result" | sed 1,2d | paste - -
[ "$(echo "$result" | sed -n '/^outcome$/{n;p;q}')" = ok ]
