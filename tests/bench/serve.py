#!/usr/bin/env python3
"""acrelayd, which syncs before every 200, beside others on the same machine: a bare civetweb server
(null), the same with acrelayd's neighbours (plain: a client beside it sends Redis pipelines of 64
XADDs of the entry that acrelayd writes, at acrelayd's rate), a naive one (one XADD for each
request), and, where they are installed, webdis and nginx with Lua. Servers and the plain client are
pinned to one core, load and Redis to another. The servers' core is the one that takes the disk's
interrupts: their time is charged to whoever runs there, and the syncs are acrelayd's.

All posts of a case have one body, which acrelayd marks as a duplicate; numbered, each is another,
and Redis has to remember it, in a hash that soon is larger than the machine's caches.

A case's servers, each with a Redis of its own, stay up; each is loaded in turn for a short round.
What a delivery costs changes with the machine from one second to the next, for all of them: so a
ratio is made within a round, and the median of these is what has a bound.

What a delivery costs depends on who shares the cores: a Redis beside the load makes both dearer,
and so the server that they leave waiting. So acrelayd has its bounds against plain, where the same
three share the same two cores; the ratio to a null that has them alone stands beside it.

Usage: serve.py [--rounds N] [--seconds S] [--only CASE]

Prints the ratios that have a bound, with their quartiles, then a table of medians. Ends with 1 when
the figures are not honest: an answer that is no 200, a connection that was not served, a 200
without its entry.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
import harness  # noqa: E402


def interrupts(core):
    """How many interrupts of devices this core has taken."""
    names, *lines = pathlib.Path("/proc/interrupts").read_text().splitlines()
    column = 1 + names.split().index(f"CPU{core}")
    return sum(int(words[column]) for words in map(str.split, lines) if words[0][:-1].isdigit())


def disk_first(cores):
    """The cores, first the one that takes the disk's interrupts."""
    before = {core: interrupts(core) for core in cores}
    with tempfile.TemporaryFile() as f:
        for n in range(200):
            os.pwrite(f.fileno(), b"x" * 4096, n * 4096)
            os.fsync(f.fileno())
    return sorted(cores, key=lambda core: before[core] - interrupts(core))


CORES = disk_first(sorted(os.sched_getaffinity(0)))
SERVER, OTHER = str(CORES[0]), str(CORES[-1])
KEPT = 1000  # entries of a stream between two rounds
# name, connections, threads, words for load, servers
CASES = [
    ("64 keep-alive", 64, 96, [],
     ["null", "acrelayd", "plain", "naive", "webdis", "nginx-lua"]),
    ("64 numbered", 64, 96, ["numbered"], ["null", "acrelayd", "plain", "naive"]),
    ("256 keep-alive", 256, 352, [], ["null", "acrelayd", "plain", "naive"]),
    ("64 close", 64, 96, ["close"], ["null", "acrelayd", "naive", "webdis", "nginx-lua"]),
    ("500/s open loop", 64, 96, ["rate", "500"], ["null", "acrelayd"]),
]
# So few deliveries need a longer round: each begins with connections, which are dear beside these.
LONGER = {"500/s open loop": 4}
# acrelayd's figure, of which other's, case, bound: at most, or at least for a rate
BOUNDS = [
    ("server_cpu", "null", "64 keep-alive", 1.7), ("server_cpu", "plain", "64 keep-alive", 1.7),
    ("server_cpu", "plain", "64 numbered", None),
    ("server_cpu", "null", "256 keep-alive", 2.0), ("server_cpu", "plain", "256 keep-alive", 2.0),
    ("server_cpu", "null", "500/s open loop", 3.0),
    ("redis_cpu", "plain", "64 keep-alive", 1.3), ("redis_cpu", "plain", "64 numbered", None),
    ("redis_cpu", "plain", "256 keep-alive", 1.3),
    ("rate", "naive", "64 keep-alive", 1.0), ("rate", "naive", "64 numbered", None),
    ("rate", "naive", "256 keep-alive", 1.0),
    ("rate", "naive", "64 close", 1.0),
]
NAMES = {"server_cpu": "server CPU for a delivery", "redis_cpu": "Redis CPU for a delivery",
         "rate": "2xx/s"}


def sample():
    """A body near to 640 bytes, the mean of what is posted in life."""
    lines = (harness.ROOT / "src/event/samples.txt").read_text().splitlines()
    bodies = [line.split("\t")[1] for line in lines if line and line[0] != "#"]
    return min(bodies, key=lambda body: abs(len(body) - 640)).encode()


def cpu(pid):
    """Seconds of all its threads, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def peak_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0


def pin(pid, core):
    subprocess.run(["taskset", "-a", "-cp", core, str(pid)], check=True,
                   stdout=subprocess.DEVNULL)


class Plain:
    """null and naive."""

    def __init__(self, kind, directory, redis, threads):
        words = [str(redis.port)] if kind == "naive" else []
        self.process = subprocess.Popen(
            ["taskset", "-c", SERVER, harness.BUILD / "bench/server", kind, str(threads), *words],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.path = "/hook/contacts/x"
        self.stream = "{ac}:events" if kind == "plain" else "events"
        self.keeps = kind == "naive"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def is_listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Webdis(Plain):
    def __init__(self, kind, directory, redis, threads):
        self.port = harness.free_port()
        self.path, self.stream, self.keeps = "/", "events", True
        config = directory / "webdis.json"
        config.write_text(json.dumps({
            "redis_host": "127.0.0.1", "redis_port": redis.port, "http_host": "127.0.0.1",
            "http_port": self.port, "threads": 1, "pool_size": 16, "daemonize": False,
            "websockets": False, "verbosity": 0, "logfile": str(directory / "webdis.log")}))
        self.process = subprocess.Popen(["taskset", "-c", SERVER, "webdis", config],
                                        stdout=subprocess.PIPE, text=True)

        harness.wait_for("webdis", lambda: is_listening(self.port))


class Acrelayd:
    def __init__(self, kind, directory, redis, threads):
        self.receiver = harness.Receiver(directory, redis.port,
                                         receiver=f", threads: {threads}")
        self.process = self.receiver.process
        pin(self.process.pid, SERVER)
        self.port, self.path = self.receiver.port, self.receiver.path()
        self.stream, self.keeps = "{ac}:events", True

    def stop(self):
        self.receiver.kill()
        self.receiver.socket.close()


LUA = """
ngx.req.read_body()
local store = require("nginx.redis")
store.add_commands("xadd")
local r = store:new()
local ok = r:connect("127.0.0.1", %d)
local id = ok and r:xadd("events", "*", "raw", ngx.req.get_body_data())
if not id then return ngx.exit(503) end
r:set_keepalive(60000, 300)
ngx.print("ok")
"""
NGINX = """
load_module modules/ndk_http_module.so;
load_module modules/ngx_http_lua_module.so;
daemon off; master_process off; worker_processes 1; error_log stderr crit; pid %(dir)s/pid;
events { worker_connections 2048; }
http {
    access_log off; keepalive_requests 1000000000; client_body_buffer_size 1m;
    client_body_temp_path %(dir)s/body; proxy_temp_path %(dir)s/proxy;
    fastcgi_temp_path %(dir)s/fcgi; uwsgi_temp_path %(dir)s/uwsgi; scgi_temp_path %(dir)s/scgi;
    server { listen 127.0.0.1:%(port)d backlog=1024;
             location / { content_by_lua_block { %(lua)s } } }
}
"""


def has_lua():
    return (shutil.which("nginx") and pathlib.Path("/usr/share/lua/5.1/nginx/redis.lua").exists()
            and pathlib.Path("/usr/lib/nginx/modules/ngx_http_lua_module.so").exists())


class NginxLua(Plain):
    """One XADD for each request, from nginx's Lua over kept connections."""

    def __init__(self, kind, directory, redis, threads):
        self.port = harness.free_port()
        self.path, self.stream, self.keeps = "/hook/contacts/x", "events", True
        config = directory / "nginx.conf"
        config.write_text(NGINX % {"dir": directory, "port": self.port,
                                   "lua": LUA % redis.port})
        self.process = subprocess.Popen(["taskset", "-c", SERVER, "nginx", "-c", config],
                                        stdout=subprocess.PIPE, text=True)
        harness.wait_for("nginx", lambda: is_listening(self.port))


KINDS = {"null": Plain, "plain": Plain, "naive": Plain, "webdis": Webdis,
         "nginx-lua": NginxLua, "acrelayd": Acrelayd}


def load(server, body, connections, seconds, words):
    done = subprocess.run(
        ["taskset", "-c", OTHER, harness.BUILD / "bench/load", str(server.port), server.path,
         body, str(connections), str(seconds), *words],
        stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


class Side:
    """One server of a case, its Redis, and its rounds."""

    def __init__(self, kind, case, stack):
        name, self.connections, threads, self.words, kinds = case
        directory = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="acrelay-bench-")))
        self.kind, self.rounds, self.body = kind, [], directory / "body"
        posted = sample()
        if kind == "webdis":  # the command is the body, '/' between its words
            posted = b"XADD/events/*/raw/" + posted.replace(b"/", b"%2f")
        self.body.write_bytes(posted)
        self.redis = harness.Redis(directory)
        stack.callback(self.redis.kill)
        pin(self.redis.process.pid, OTHER)
        self.server = KINDS[kind](kind, directory, self.redis, threads)
        stack.callback(self.server.stop)

    def entries(self):
        return self.redis.client.xlen(self.server.stream)

    def newest(self):
        return self.redis.client.xrevrange(self.server.stream, count=1)[0][1]

    def spent(self):
        return cpu(self.server.process.pid), cpu(self.redis.process.pid)

    def warm_up(self, seconds):
        had, result = self.entries(), self.load(seconds)
        self.rate = result["ok"] / result["seconds"]
        self.wait_stored(had + result["ok"])
        pin(self.server.process.pid, SERVER)  # threads that were started since

    def load(self, seconds):
        return load(self.server, self.body, self.connections, seconds, self.words)

    def wait_stored(self, entries):
        if self.server.keeps:  # asks Redis, which costs the server nothing
            with contextlib.suppress(AssertionError):  # what is missing is counted
                harness.wait_for("all entries", lambda: self.entries() >= entries, 60)

    def round(self, seconds, like):
        self.redis.client.xtrim(self.server.stream, maxlen=KEPT, approximate=False)
        had, before = self.entries(), self.spent()
        with feeding(self.redis, *like) if like else contextlib.nullcontext():
            result = self.load(seconds)
        self.wait_stored(had + result["ok"])
        server, redis = (now - then for now, then in zip(self.spent(), before))
        stored, ok = self.entries() - had, result["ok"]
        self.rate = ok / result["seconds"]
        self.rounds.append({**result, "rate": self.rate, "server_cpu": server / ok * 1e6,
                            "redis_cpu": redis / stored * 1e6 if stored else 0.0,
                            "lost": ok - stored if self.server.keeps else 0})

    def median(self, key):
        return statistics.median(r[key] for r in self.rounds)

    def is_honest(self):
        return all(r["other"] == 0 and r["errors"] == 0 and r["least"] > 0 and not r["lost"]
                   for r in self.rounds)


def command_of(words):
    """As redis-cli would send it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def feed(redis, entry, rate, done):
    """What the same entries cost Redis by XADD alone, at the rate of the round before."""
    pipeline, due = 64, time.monotonic()
    words = [b"XADD", b"{ac}:events", b"*", *(w for pair in entry.items() for w in pair)]
    batch = command_of(words) * pipeline
    os.sched_setaffinity(0, [CORES[0]])  # of this thread
    with socket.create_connection(("127.0.0.1", redis.port)) as s:
        while not done.is_set():
            s.sendall(batch)
            lines = 0
            while lines < 2 * pipeline:
                lines += s.recv(65536).count(b"\n")
            due += pipeline / rate
            done.wait(max(0, due - time.monotonic()))


@contextlib.contextmanager
def feeding(redis, entry, rate):
    done = threading.Event()
    feeder = threading.Thread(target=feed, args=(redis, entry, rate, done))
    feeder.start()
    try:
        yield
    finally:
        done.set()
        feeder.join()


def measure(case, kinds, rounds, seconds):
    """The sides of a case, by kind, after all their rounds. The order turns around each time."""
    with contextlib.ExitStack() as stack:
        sides = {kind: Side(kind, case, stack) for kind in kinds}
        for side in sides.values():
            side.warm_up(min(1, seconds))
        ours = sides["acrelayd"]
        for n in range(rounds):
            for kind in kinds if n % 2 else reversed(kinds):
                like = (ours.newest(), ours.rate) if kind == "plain" else None
                sides[kind].round(seconds, like)
        for side in sides.values():
            side.peak = peak_mib(side.server.process.pid)
        metric = ours.server.receiver.metric
        groups = metric("acrelay_journal_commits_total")
        print(f"{case[0]}: a group had {metric('acrelay_journal_records_total') / groups:.0f} records, "
              f"its sync took {metric('acrelay_journal_sync_seconds_total') / groups * 1e3:.2f} ms",
              file=sys.stderr)
    return sides


def judge(key, ratio, bound):
    if bound is None:
        return "no bound"
    word, kept = ("over", ratio > bound) if key == "rate" else ("at most", ratio <= bound)
    return f"{word} {bound}{'' if kept else '  NOT KEPT'}"


def print_ratios(cases):
    print("acrelayd beside others: figure, case, median of the ratios (their quartiles), bound")
    for key, other, case, bound in BOUNDS:
        if case not in cases:
            continue
        pairs = zip(cases[case]["acrelayd"].rounds, cases[case][other].rounds)
        low, ratio, high = statistics.quantiles((a[key] / (b[key] or 1) for a, b in pairs), n=4)
        print(f"{NAMES[key]:26} {case:16} {ratio:5.2f} ({low:.2f} to {high:.2f})"
              f" of {other + chr(39) + 's':9} {judge(key, ratio, bound)}")


def row(name, side, null):
    return (f"{name:16} {side.kind:9} {side.median('rate'):8.0f}"
            f" {side.median('rate') / null.median('rate'):6.2f} {side.median('p50_ms'):7.2f} {side.median('p99_ms'):7.2f} {side.median('server_cpu'):7.1f}"
            f" {side.median('redis_cpu'):6.1f} {side.peak:5.0f}"
            f" {sum(r['lost'] for r in side.rounds) if side.server.keeps else '-':>5}"
            f" {min(r['least'] for r in side.rounds):6}"
            f"{'' if side.is_honest() else '  not honest'}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    has = {"webdis": shutil.which("webdis"), "nginx-lua": has_lua()}
    for kind in (k for k in has if not has[k]):
        print(f"{kind} is not installed: not measured", file=sys.stderr)
    cases = {}
    for case in (c for c in CASES if given.only in c[0]):
        kinds = [k for k in case[-1] if has.get(k, True)]
        seconds = given.seconds * LONGER.get(case[0], 1)
        print(f"measuring {case[0]}: {given.rounds} rounds of {seconds:g} s for each of "
              f"{', '.join(kinds)}", file=sys.stderr, flush=True)
        cases[case[0]] = measure(case, kinds, given.rounds, seconds)
    print_ratios(cases)
    print(f"\n{len(sample())}-byte body, {given.rounds} rounds of {given.seconds:g} s (500/s: of 4 times that), medians")
    print(f"{'case':16} {'server':9} {'2xx/s':>8} {'ratio':>6} {'p50 ms':>7} {'p99 ms':>7} "
          f"{'server':>7} {'redis':>6} {'MiB':>5} {'lost':>5} {'least':>6}")
    for name, sides in cases.items():
        for side in sides.values():
            print(row(name, side, sides["null"]))
    print("server, redis: CPU of a delivery in microseconds; least: posts of the least served "
          "connection in a round")
    sys.exit(0 if all(sides["acrelayd"].is_honest() for sides in cases.values()) else 1)


if __name__ == "__main__":
    main()
