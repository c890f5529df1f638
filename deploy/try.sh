#!/bin/sh
# Tries acrelay: a private redis-server, a simulated ActiveCampaign account, acrelayd, and the
# worker that registers the hooks there; events are fired and shown as they reach the stream.
# Everything is in a throw-away directory, and everything that is started here is ended here.
#
#   deploy/try.sh run    until Ctrl-C
#   deploy/try.sh demo   every type once and some posts wrong on purpose, then a summary;
#                        exit code 0 only if the figures agree
set -eu
mode=${1:-run}
build=${BUILD:-build}

# Ctrl-C on a terminal is for all its foreground processes, make among them, which would call it an
# error. Under job control this script is all there is in the foreground.
if [ "$mode" = run ] && [ -t 0 ] && [ -z "${ACRELAY_TRY-}" ]; then
    ACRELAY_TRY=1 exec sh -mc 'sh deploy/try.sh run; exit $?'
fi

dir=$(mktemp -d /var/tmp/acrelay-try-XXXXXX)
pids=
finish() {
    trap - EXIT INT TERM
    for pid in $pids; do # the last that was started first, so that none misses another
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap finish EXIT
trap 'finish; exit 143' TERM
trap 'finish; [ "$mode" = run ] || exit 130; echo; echo "stopped; nothing is left"; exit 0' INT

secret() {
    head -c 32 /dev/urandom | base64 >"$dir/$1"
    chmod 600 "$dir/$1"
}
secret hook-secret
secret api-token

# in a session of its own: Ctrl-C is not for it
setsid redis-server --port 0 --unixsocket "$dir/redis.sock" --save '' --dir "$dir" \
    --logfile "$dir/redis.log" &
pids="$pids $!"
redis() { redis-cli -s "$dir/redis.sock" "$@"; }

# Waits for a command to succeed, as long as the process lives. wait_for PID COMMAND...
wait_for() {
    pid=$1 tries=0
    shift
    until "$@" >"$dir/out" 2>/dev/null; do
        tries=$((tries + 1))
        kill -0 "$pid" 2>/dev/null && [ $tries -le 400 ] || return 1
        sleep 0.05
    done
}
get() { curl -sf --max-time 5 "$@"; }

events=$(sed -n 's/^\([a-z_]*\)\t.*/\1/p' src/event/samples.txt | grep -v '^automation$' |
    sort -u | tr '\n' ',' | sed 's/,$//')
write_config() {
    cat >"$dir/acrelay.yaml" <<END
account: {name: acme, api_url: '$account', api_token_file: api-token, time_zone: America/Chicago}
public_url: https://hooks.acme.example
secret_files: [hook-secret]
redis: {url: 'unix://$dir/redis.sock'}
receiver: {listen: ['127.0.0.1:$port'], admin: '127.0.0.1:$admin', state_dir: $dir/state}
hooks:
  - {name: contacts, events: [$events]}
END
}

# Exit code 71 says that a port is in use: then the next ones are tried.
account=http://127.0.0.1:1 port=8080 admin=9180
while true; do
    write_config
    "$build/acrelayd" --config "$dir/acrelay.yaml" 2>"$dir/log" &
    receiver=$!
    # Its own word: on the admin port another acrelayd may answer.
    if wait_for $receiver grep -q 'accepting posts' "$dir/log"; then break; fi
    code=0
    wait $receiver || code=$?
    if [ $code != 71 ] || [ $port -gt 8180 ]; then
        echo "acrelayd did not become ready:" >&2
        cat "$dir/log" >&2
        exit 1
    fi
    port=$((port + 1)) admin=$((admin + 2)) # 9181 is the worker's
done
pids="$receiver $pids"

rate=0
[ "$mode" = demo ] || rate=60
"$build/acsim" --token-file "$dir/api-token" --deliver-to "$port" --fire "$rate" >"$dir/acsim" &
pids="$! $pids"
wait_for $! grep -q http "$dir/acsim"
account=$(sed 's/.* //' "$dir/acsim")
write_config
acrelay() { "$build/acrelay" --config "$dir/acrelay.yaml" "$@"; }
worker() { "$build/acrelay-worker" --config "$dir/acrelay.yaml" "$@"; }
url=http://127.0.0.1:$port$(acrelay token contacts | sed 's|https://[^/]*||')

echo "The simulated ActiveCampaign runs on $account. What the worker would change there:"
worker plan
worker apply

if [ "$mode" = demo ]; then
    fire() { get -o "$dir/fired" -d "{\"type\":\"$1\",\"source\":\"admin\"}" "$account/sim/fire"; }
    post() { curl -s -o /dev/null -w '%{http_code}\n' --data-binary "$1" "$url"; }
    for type in $(echo "$events" | tr ',' ' '); do fire "$type"; done
    {
        post 'type=subscribe&contact[id]=1'
        post 'type=subscribe&contact[id]=1' # a repeat
        post 'seriesid=12&contact[id]=1'    # as an automation step posts
        post 'a=%00'                        # a dead letter
    } >"$dir/codes"
    figure() { get "$account/sim/figures" | sed "s/.*\"$1\":\([0-9]*\).*/\1/"; }
    sent=$(($(figure ok) + $(figure other) + $(wc -l <"$dir/codes")))
    good=$(($(figure ok) + $(grep -c 200 "$dir/codes")))
    length() { redis XLEN "{ac}:$1"; }
    all_there() { [ $(($(length events) + $(length dead))) -ge "$sent" ]; }
    wait_for "$receiver" all_there || true
    acrelay tail --from 0 --count "$(length events)" --data | cut -c1-150
    acrelay dead list
    in_stream=$(length events) dead=$(length dead)
    repeats=$(redis --raw XRANGE '{ac}:events' - + | grep -A1 '^ce_repeat$' | grep -c '^1$' || true)
    echo
    echo "sent $sent, answered 200 $good, in the stream $in_stream, duplicates $repeats," \
        "dead letters $dead"
    [ "$good" = "$sent" ] && [ $((in_stream + dead)) = "$sent" ] && [ "$repeats" = 1 ] &&
        [ "$dead" = 1 ] || exit 1
    exit 0
fi

echo
echo "acrelay is running. Stop it with Ctrl-C."
echo "  hook    $url"
echo "  try     curl -d 'type=subscribe&contact[id]=7&contact[email]=ann@example.com' $url"
echo "  stream  redis-cli -s $dir/redis.sock XRANGE '{ac}:events' - +"
echo "  figures http://127.0.0.1:$admin/metrics"
echo "  config  $dir/acrelay.yaml"
echo
"$build/acrelay" --config "$dir/acrelay.yaml" tail --from 0 --data & # not the function: its pid is wanted
pids="$! $pids"
wait $! || true
echo "it has exited:" >&2
cat "$dir/log" >&2
exit 1
