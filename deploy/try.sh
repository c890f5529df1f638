#!/bin/sh
# Tries acrelay: a private redis-server, acrelayd, a simulated ActiveCampaign account, and the
# worker that registers the hooks there; events are fired and shown as they reach the stream.
# Everything is in a throw-away directory, and everything that is started here is ended here.
#
#   deploy/try.sh run    until Ctrl-C, which ends it with exit code 0 (and `make run` with 130)
#   deploy/try.sh demo   every type once and some malformed posts, then a summary;
#                        exit code 0 only if the counts agree
set -eu
mode=${1:-run}
build=${BUILD:-build}
case $build in /*) ;; *) build=$PWD/$build ;; esac

dir=$(mktemp -d /var/tmp/acrelay-try-XXXXXX)
pids=
# A child that has just been forked is this shell for a moment, and would lose the signal.
is_shell() { [ "$(readlink "/proc/$1/exe")" = "$(readlink "/proc/$$/exe")" ]; }
end() {
    for pid; do
        while is_shell "$pid"; do sleep 0.01; done
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
finish() {
    trap '' INT TERM HUP PIPE
    trap - EXIT
    end $pids
    # One that was started a moment ago may not be in $pids yet; the shell knows it.
    jobs >/dev/null # forgets those that have ended
    jobs -p >"$dir/jobs" || true
    end $(cat "$dir/jobs")
    rm -rf "$dir"
}
stop() {
    echo
    say "Stopping all of it and removing $dir"
    finish
    echo "stopped; nothing is left"
    exit "$1"
}
trap finish EXIT
if [ "$mode" = run ]; then trap 'stop 0' INT; else trap 'stop 130' INT; fi
trap 'stop 143' TERM HUP PIPE

say() { printf '\n==> %s\n' "$*"; }
# Starts a program whose output goes to $dir/NAME.log, and ends it before those that are there. It has
# a session of its own, so that Ctrl-C and a closed terminal reach only this script, which then ends
# one after the other.
# start NAME COMMAND...
start() {
    log=$dir/$1.log
    shift
    setsid "$@" >"$log" 2>&1 </dev/null &
    started=$!
    pids="$started $pids"
}
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
fail() {
    echo "$1:" >&2
    cat "$log" >&2
    exit 1
}
get() { curl -sf --max-time 5 "$@"; }

secret() {
    head -c 32 /dev/urandom | base64 >"$dir/$1"
    chmod 600 "$dir/$1"
}
secret hook-secret
secret api-token

say "Starting a Redis of its own, on the socket $dir/redis.sock"
start redis redis-server --port 0 --unixsocket "$dir/redis.sock" --save '' --dir "$dir"
redis() { redis-cli -s "$dir/redis.sock" "$@"; }
wait_for "$started" redis ping || fail "redis-server did not become ready"

events=$(sed -n 's/^\([a-z_]*\)\t.*/\1/p' src/event/samples.txt | grep -v '^automation$' |
    sort -u | tr '\n' ',' | sed 's/,$//')
account=http://127.0.0.1:1 port=8080 admin=9180 worker_admin=9181
write_config() {
    cat >"$dir/acrelay.yaml" <<END
account: {name: acme, api_url: '$account', api_token_file: api-token, time_zone: America/Chicago}
public_url: https://hooks.acme.example
secret_files: [hook-secret]
redis: {url: 'unix://$dir/redis.sock'}
receiver: {listen: ['127.0.0.1:$port'], admin: '127.0.0.1:$admin', state_dir: $dir/state}
worker: {admin: '127.0.0.1:$worker_admin'}
hooks:
  - {name: contacts, events: [$events]}
END
}
# Starts one of our programs, on the next ports where these are in use (exit code 71), and waits for
# its own log line: on its admin port another one may answer. start_ours NAME WORDS COMMAND...
start_ours() {
    name=$1 words=$2
    shift 2
    while true; do
        write_config
        start "$name" "$@" --config "$dir/acrelay.yaml"
        if wait_for "$started" grep -q "$words" "$log"; then return; fi
        code=0
        wait "$started" || code=$?
        if [ $code != 71 ] || [ $worker_admin -gt 9399 ] || [ $port -gt 8180 ]; then
            fail "$name did not become ready"; fi
        pids=${pids#"$started "}
        if [ "$name" = acrelayd ]; then
            port=$((port + 1)) admin=$((admin + 2))
        else
            worker_admin=$((worker_admin + 2))
        fi
    done
}

say "Starting the receiver: acrelayd, with its journal in $dir/state"
start_ours acrelayd 'accepting posts' "$build/acrelayd"
receiver=$started
echo "It accepts posts on 127.0.0.1:$port; its metrics are on http://127.0.0.1:$admin/metrics"

say "Starting a simulated ActiveCampaign account"
rate=0
[ "$mode" = demo ] || rate=60
start acsim "$build/acsim" --token-file "$dir/api-token" --deliver-to "$port" --fire "$rate"
wait_for "$started" grep -q http "$log" || fail "acsim did not become ready"
account=$(sed 's/.* //' "$log")
write_config
echo "Its API is on $account"
acrelay() { "$build/acrelay" --config "$dir/acrelay.yaml" "$@"; }

say "What the worker would change there: acrelay-worker plan"
"$build/acrelay-worker" plan --config "$dir/acrelay.yaml" | cut -c1-150

say "Starting the worker, which makes these changes and keeps them in place: acrelay-worker run"
start_ours worker 'hooks: [0-9]* created' "$build/acrelay-worker" run
sed -n 's/.*worker: \(hooks: .*\)/\1/p' "$log"
url=http://127.0.0.1:$port$(acrelay token contacts | sed 's|https://[^/]*||')

demo() {
    fire() { get -o "$dir/fired" -d "{\"type\":\"$1\",\"source\":\"admin\"}" "$account/sim/fire"; }
    post() { curl -s -o /dev/null -w '%{http_code}\n' --data-binary "$1" "$url"; }
    say "Firing each event type once; then a duplicate, an automation, and a post that cannot be parsed"
    for type in $(echo "$events" | tr ',' ' '); do fire "$type"; done
    {
        post 'type=subscribe&contact[id]=1'
        post 'type=subscribe&contact[id]=1' # a duplicate
        post 'seriesid=12&contact[id]=1'    # as an automation step posts
        post 'a=%00'                        # a dead letter
    } >"$dir/codes"
    figure() { get "$account/sim/figures" | sed "s/.*\"$1\":\([0-9]*\).*/\1/"; }
    sent=$(($(figure ok) + $(figure other) + $(wc -l <"$dir/codes")))
    good=$(($(figure ok) + $(grep -c 200 "$dir/codes")))
    length() { redis XLEN "{ac}:$1"; }
    all_there() { [ $(($(length events) + $(length dead))) -ge "$sent" ]; }
    wait_for "$receiver" all_there || true
    say "What consumers see in the stream: acrelay tail --from 0 --data"
    acrelay tail --from 0 --count "$(length events)" --data | cut -c1-150
    say "What could not be parsed: acrelay dead list"
    acrelay dead list
    in_stream=$(length events) dead=$(length dead)
    repeats=$(redis --raw XRANGE '{ac}:events' - + | grep -A1 '^ce_repeat$' | grep -c '^1$' || true)
    echo
    echo "sent $sent, answered 200 $good, in the stream $in_stream, duplicates $repeats," \
        "dead letters $dead"
    [ "$good" = "$sent" ] && [ $((in_stream + dead)) = "$sent" ] && [ "$repeats" = 1 ] &&
        [ "$dead" = 1 ]
}
if [ "$mode" = demo ]; then
    demo || exit 1
    exit 0
fi

say "Starting the page that shows all of it in a browser: acrelay inspect"
page=9190
while true; do
    start inspect "$build/acrelay" --config "$dir/acrelay.yaml" inspect --listen "127.0.0.1:$page"
    if wait_for "$started" grep -q token= "$log"; then break; fi
    [ $page -lt 9290 ] && grep -q 'choose another address' "$log" || fail "acrelay inspect did not become ready"
    pids=${pids#"$started "} page=$((page + 1))
done
address=$(head -n 1 "$log")
echo "$address"

say "acrelay is running; Ctrl-C stops it and removes everything. To look around, in another terminal:"
cat <<END
    export ACRELAY_CONFIG=$dir/acrelay.yaml PATH=$build:\$PATH
    acrelay status                            # the state of everything on one screen
    acrelay tail --from 0 --data              # the events
    acrelay send subscribe                    # post a sample
    acrelay-worker list                       # the webhooks at the account
    curl -s http://127.0.0.1:$admin/metrics     # the receiver's metrics
    curl -s http://127.0.0.1:$worker_admin/metrics     # the worker's
    redis-cli -s $dir/redis.sock XREVRANGE '{ac}:events' + - COUNT 1
    $PWD/deploy/consumers/consumer.py --url unix://$dir/redis.sock --database $dir/shop.db
    tail -f $dir/acrelayd.log $dir/worker.log
    curl -d 'type=subscribe&contact[id]=7&contact[email]=ann@example.com' $url
Or open this in a browser: $address

END
setsid "$build/acrelay" tail --config "$dir/acrelay.yaml" --from 0 --data &
pids="$! $pids"
all_live() {
    for pid in $pids; do kill -0 "$pid" 2>/dev/null || return 1; done
}
while all_live; do
    sleep 1 &
    wait $! || true
done
echo "one of the programs has exited; their logs:" >&2
cat "$dir"/*.log >&2
exit 1
