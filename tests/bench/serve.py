#!/usr/bin/env python3
"""acrelayd, which syncs before every 200, beside others on the same machine, in one run with
the rounds interleaved: a bare civetweb server (null), the same with acrelayd's neighbours
(plain: a client beside it sends Redis pipelines of 64 XADDs of the entry that acrelayd writes,
at acrelayd's rate), a naive one (one XADD for each request), and, where they are installed,
webdis and nginx with Lua. Servers and the plain client are pinned to core 0, load and Redis to
core 1.

What a delivery costs depends on who shares the cores: a Redis beside the load makes both dearer,
and so the server that they leave waiting. So acrelayd has its bounds against plain, where the same
three share the same two cores; the ratio to a null that has them alone stands beside it.

Usage: serve.py [--rounds N] [--seconds S] [--only CASE]

Prints the ratios that have a bound, then a table of medians; a line on stderr for each case
that is measured. Ends with 1 when the figures are not honest: an answer that is no 200, a
connection that was not served, a 200 without its entry.
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

CORES = sorted(os.sched_getaffinity(0))
SERVER, OTHER = str(CORES[0]), str(CORES[-1])
TICK = os.sysconf("SC_CLK_TCK")
# name, connections, threads, words for load, servers
CASES = [
    ("64 keep-alive", 64, 96, [],
     ["null", "acrelayd", "plain", "naive", "webdis", "nginx-lua"]),
    ("256 keep-alive", 256, 352, [], ["null", "acrelayd", "plain", "naive"]),
    ("64 close", 64, 96, ["close"], ["null", "acrelayd", "naive", "webdis", "nginx-lua"]),
    ("500/s open loop", 64, 96, ["rate", "500"], ["null", "acrelayd"]),
]
# acrelayd's figure, of which other's, case, bound: at most, or at least for a rate
BOUNDS = [
    ("server_cpu", "null", "64 keep-alive", 1.7), ("server_cpu", "plain", "64 keep-alive", 1.7),
    ("server_cpu", "null", "256 keep-alive", 2.0), ("server_cpu", "plain", "256 keep-alive", 2.0),
    ("server_cpu", "null", "500/s open loop", 3.0),
    ("redis_cpu", "plain", "64 keep-alive", 1.3), ("redis_cpu", "plain", "256 keep-alive", 1.3),
    ("rate", "naive", "64 keep-alive", 1.0), ("rate", "naive", "256 keep-alive", 1.0),
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
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


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
        self.keeps = kind == "naive"

    def entries(self, redis):
        return redis.client.xlen("events") if self.keeps else None

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
        self.path, self.keeps = "/", True
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

    def entries(self, redis):
        self.receiver.wait_shipped(120)
        return redis.client.xlen("{ac}:events")

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
        self.path, self.keeps = "/hook/contacts/x", True
        config = directory / "nginx.conf"
        config.write_text(NGINX % {"dir": directory, "port": self.port,
                                   "lua": LUA % redis.port})
        self.process = subprocess.Popen(["taskset", "-c", SERVER, "nginx", "-c", config],
                                        stdout=subprocess.PIPE, text=True)
        harness.wait_for("nginx", lambda: is_listening(self.port))


KINDS = {"null": Plain, "plain": Plain, "naive": Plain, "webdis": Webdis, "nginx-lua": NginxLua, "acrelayd": Acrelayd}


def load(server, body, connections, seconds, words):
    done = subprocess.run(
        ["taskset", "-c", OTHER, harness.BUILD / "bench/load", str(server.port), server.path,
         body, str(connections), str(seconds), *words],
        stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(kind, connections, threads, words, seconds, like=None):
    with tempfile.TemporaryDirectory(prefix="acrelay-bench-") as text:
        directory = pathlib.Path(text)
        body = directory / "body"
        posted = sample()
        if kind == "webdis":  # the command is the body, '/' between its words
            posted = b"XADD/events/*/raw/" + posted.replace(b"/", b"%2f")
        body.write_bytes(posted)
        redis = harness.Redis(directory)
        pin(redis.process.pid, OTHER)
        server = KINDS[kind](kind, directory, redis, threads)
        try:
            with feeding(redis, like) if like else contextlib.nullcontext():
                first = load(server, body, connections, min(1, seconds / 2), words)
                pin(server.process.pid, SERVER)  # threads that were started since
                before = cpu(server.process.pid), cpu(redis.process.pid)
                had, began = server.entries(redis), added(redis)
                result = load(server, body, connections, seconds, words)
                entries, stored = server.entries(redis), added(redis) - began
            spent = cpu(server.process.pid) - before[0], cpu(redis.process.pid) - before[1]
            answered = first["ok"] + result["ok"]
            return {**result, "rate": result["ok"] / result["seconds"],
                    "server_cpu": spent[0] / result["ok"] * 1e5,
                    "redis_cpu": spent[1] / stored * 1e5 if stored else 0.0,
                    "peak": peak_mib(server.process.pid), "entry": newest(kind, redis),
                    "lost": None if had is None else answered - entries}
        finally:
            server.stop()
            redis.kill()


def added(redis):
    return redis.client.xlen("events") + redis.client.xlen("{ac}:events")


def newest(kind, redis):
    return redis.client.xrevrange("{ac}:events", count=1)[0][1] if kind == "acrelayd" else None


def command_of(words):
    """As redis-cli would send it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def feed(redis, like, done):
    """What the same entries cost Redis by XADD alone, at the rate of the run before."""
    pipeline, due = 64, time.monotonic()
    words = [b"XADD", b"{ac}:events", b"*", *(w for pair in like["entry"].items() for w in pair)]
    batch = command_of(words) * pipeline
    os.sched_setaffinity(0, [CORES[0]])  # of this thread
    with socket.create_connection(("127.0.0.1", redis.port)) as s:
        while not done.is_set():
            s.sendall(batch)
            lines = 0
            while lines < 2 * pipeline:
                lines += s.recv(65536).count(b"\n")
            due += pipeline / like["rate"]
            done.wait(max(0, due - time.monotonic()))


@contextlib.contextmanager
def feeding(redis, like):
    done = threading.Event()
    feeder = threading.Thread(target=feed, args=(redis, like, done))
    feeder.start()
    try:
        yield
    finally:
        done.set()
        feeder.join()


def honest(kind, r):
    return r["other"] == 0 and r["errors"] == 0 and r["least"] > 0 and not r["lost"]


def print_ratios(middle):
    print("acrelayd beside others: figure, ratio, bound")
    for key, other, case, bound in BOUNDS:
        if (case, "acrelayd") not in middle:
            continue
        ratio = middle[case, "acrelayd"][key] / (middle[case, other][key] or 1)
        word, kept = ("over", ratio > bound) if key == "rate" else ("at most", ratio <= bound)
        print(f"{NAMES[key]:26} {case:16} {ratio:5.2f} of {other + chr(39) + 's':9} "
              f"{word} {bound}{'' if kept else '  NOT KEPT'}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    has = {"webdis": shutil.which("webdis"), "nginx-lua": has_lua()}
    for kind in (k for k in has if not has[k]):
        print(f"{kind} is not installed: not measured", file=sys.stderr)
    good, table, middle = True, [], {}
    for name, connections, threads, words, kinds in CASES:
        if given.only not in name:
            continue
        kinds = [k for k in kinds if has.get(k, True)]
        rounds = {kind: [] for kind in kinds}
        print(f"measuring {name}: {given.rounds} rounds", file=sys.stderr, flush=True)
        for _ in range(given.rounds):
            for kind in kinds:
                like = rounds["acrelayd"][-1] if kind == "plain" else None
                rounds[kind].append(
                    measure(kind, connections, threads, words, given.seconds, like))
        for kind in kinds:
            mid = middle[name, kind] = {
                key: statistics.median(r[key] for r in rounds[kind])
                for key in ("rate", "p50_ms", "p99_ms", "server_cpu", "redis_cpu", "peak")}
            bad = sum(not honest(kind, r) for r in rounds[kind])
            lost = [r["lost"] for r in rounds[kind]]
            table.append(
                f"{name:16} {kind:9} {mid['rate']:8.0f} {mid['rate'] / middle[name, 'null']['rate']:6.2f}"
                f" {mid['p50_ms']:7.2f} {mid['p99_ms']:7.2f} {mid['server_cpu']:7.2f}"
                f" {mid['redis_cpu']:6.2f} {mid['peak']:5.0f}"
                f" {'-' if lost[0] is None else sum(lost):>5}"
                f" {min(r['least'] for r in rounds[kind]):6}"
                f"{f'  {bad} rounds not clean' if bad else ''}")
            good = good and (bad == 0 or kind != "acrelayd")
    print_ratios(middle)
    print(f"\n{len(sample())}-byte body, {given.rounds} rounds of {given.seconds:g} s, medians")
    print(f"{'case':16} {'server':9} {'2xx/s':>8} {'ratio':>6} {'p50 ms':>7} {'p99 ms':>7} "
          f"{'server':>7} {'redis':>6} {'MiB':>5} {'lost':>5} {'least':>6}")
    print(*table, sep="\n")
    print("server, redis: CPU seconds for 100,000 deliveries; least: posts of the least served "
          "connection in a round")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
