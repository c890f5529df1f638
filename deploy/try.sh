#!/bin/sh
# Tries acrelay: a private redis-server and acrelayd in a throw-away directory, sample
# deliveries, and the events as they reach the stream. Everything it starts, it ends.
#
#   deploy/try.sh run    until Ctrl-C
#   deploy/try.sh demo   every sample once and some on purpose wrong, then a summary;
#                        exit code 0 only if the figures agree
set -eu
mode=${1:-run}
build=${BUILD:-build}
samples=src/event/samples.txt

dir=$(mktemp -d /tmp/acrelay-try-XXXXXX)
redis_pid= relay_pid=
finish() {
    trap - EXIT INT TERM
    [ -z "$relay_pid" ] || kill "$relay_pid" 2>/dev/null || true
    [ -z "$relay_pid" ] || wait "$relay_pid" 2>/dev/null || true
    [ -z "$redis_pid" ] || kill "$redis_pid" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'finish; exit 130' INT TERM

head -c 32 /dev/urandom | base64 >"$dir/hook-secret"
chmod 600 "$dir/hook-secret"

redis-server --port 0 --unixsocket "$dir/redis.sock" --save '' --dir "$dir" \
    --logfile "$dir/redis.log" &
redis_pid=$!
redis() { redis-cli -s "$dir/redis.sock" "$@"; }

write_config() {
    cat >"$dir/acrelay.yaml" <<END
account: {name: acme, time_zone: America/Chicago}
public_url: https://hooks.acme.example
secret_files: [hook-secret]
redis: {url: 'unix://$dir/redis.sock'}
receiver: {listen: ['127.0.0.1:$port'], admin: '127.0.0.1:$admin', state_dir: $dir/state}
hooks:
  - {name: contacts, events: [subscribe]}
END
}

# 0 when acrelayd got ready, else its exit code.
start_relay() {
    write_config
    "$build/acrelayd" --config "$dir/acrelay.yaml" 2>"$dir/log" &
    relay_pid=$!
    tries=0
    until curl -sf -o /dev/null --max-time 2 "http://127.0.0.1:$admin/readyz"; do
        tries=$((tries + 1))
        if ! kill -0 "$relay_pid" 2>/dev/null; then
            code=0
            wait "$relay_pid" || code=$?
            relay_pid=
            return "$code"
        fi
        [ $tries -le 200 ] || return 1
        sleep 0.05
    done
}

# Exit code 71 says that a port is in use: then the next ones are tried.
port=8080 admin=9180
while true; do
    code=0
    start_relay || code=$?
    [ $code != 0 ] || break
    if [ $code != 71 ] || [ $port -gt 8180 ]; then
        echo "acrelayd did not get ready:" >&2
        cat "$dir/log" >&2
        exit 1
    fi
    port=$((port + 1)) admin=$((admin + 1))
done

# The token as anyone can compute it: HMAC-SHA-256 under the secret, base64url.
token=$(printf 'acrelay hook v1\ncontacts' |
    openssl dgst -sha256 -hmac "$(cat "$dir/hook-secret")" -binary | base64 | tr '+/' '-_' |
    tr -d '=')
url=http://127.0.0.1:$port/hook/contacts/$token

post() { # body -> status code
    printf '%s' "$1" | curl -s -o /dev/null -w '%{http_code}' --data-binary @- "$url"
}

sent=0 good=0
count() {
    sent=$((sent + 1))
    [ "$1" != 200 ] || good=$((good + 1))
}
post_samples() {
    tab=$(printf '\t')
    while IFS= read -r line; do
        case $line in '#'* | '') continue ;; esac
        count "$(post "${line#*"$tab"}")"
    done <"$samples"
}

show() { # first and last id, prints type, subject and data of entries
    redis --raw XRANGE '{ac}:events' "$1" + COUNT 1000 | awk '
        want { value = $0; want = 0
               if (name == "ce_type") type = substr(value, 20)
               if (name == "ce_subject") subject = value
               if (name == "data") printf "%-22s %-14s %.110s\n", type, subject, value
               next }
        /^[0-9]+-[0-9]+$/ { next }
        { name = $0; want = 1 }'
}

if [ "$mode" = demo ]; then
    post_samples
    count "$(post 'type=subscribe&contact[id]=1')"
    count "$(post 'type=subscribe&contact[id]=1')" # a repeat
    count "$(post 'a=%00')"                        # a dead letter
    tries=0
    until [ $(($(redis XLEN '{ac}:events') + $(redis XLEN '{ac}:dead'))) -ge "$sent" ]; do
        tries=$((tries + 1))
        [ $tries -le 200 ] || break
        sleep 0.05
    done
    show -
    events=$(redis XLEN '{ac}:events') dead=$(redis XLEN '{ac}:dead')
    repeats=$(redis --raw XRANGE '{ac}:events' - + | grep -A1 '^ce_repeat$' | grep -c '^1$' || true)
    echo
    echo "sent $sent, answered 200 $good, in the stream $events, repeats $repeats," \
        "dead letters $dead"
    [ "$good" = "$sent" ] && [ $((events + dead)) = "$sent" ] && [ "$repeats" = 1 ] &&
        [ "$dead" = 1 ] || exit 1
    exit 0
fi

echo "acrelay is running. Stop it with Ctrl-C."
echo "  hook    $url"
echo "  try     curl -d 'type=subscribe&contact[id]=7&contact[email]=ann@example.com' $url"
echo "  stream  redis-cli -s $dir/redis.sock XRANGE '{ac}:events' - +"
echo "  figures http://127.0.0.1:$admin/metrics"
echo
post_samples
last=-
while kill -0 "$relay_pid" 2>/dev/null; do
    newest=$(redis --raw XREVRANGE '{ac}:events' + - COUNT 1 | head -n 1)
    if [ -n "$newest" ] && [ "($newest" != "$last" ]; then
        show "$last"
        last="($newest"
    fi
    sleep 0.3
done
echo "acrelayd has ended:" >&2
cat "$dir/log" >&2
exit 1
