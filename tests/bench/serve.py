#!/usr/bin/env python3
"""acrelayd, which syncs before every 200, beside others on the same machine, in one run with
the rounds interleaved: a bare civetweb server (null), a naive one (one XADD for each request),
and, where they are installed, webdis and nginx with Lua. The server is pinned to core 0, load and Redis to core 1.

Usage: serve.py [--rounds N] [--seconds S] [--only CASE]

Prints a table of medians, and ratios to the bare server. Ends with 1 when the figures are not
honest: an answer that is no 200, a connection that was not served, a 200 without its entry.
"""
import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
import harness  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))
SERVER, OTHER = str(CORES[0]), str(CORES[-1])
TICK = os.sysconf("SC_CLK_TCK")
# name, connections, threads, words for load, servers
CASES = [
    ("64 keep-alive", 64, 96, [], ["null", "acrelayd", "naive", "webdis", "nginx-lua"]),
    ("256 keep-alive", 256, 352, [], ["null", "acrelayd", "naive"]),
    ("64 close", 64, 96, ["close"], ["null", "acrelayd", "naive", "webdis", "nginx-lua"]),
    ("500/s open loop", 64, 96, ["rate", "500"], ["null", "acrelayd"]),
]


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


KINDS = {"null": Plain, "naive": Plain, "webdis": Webdis, "nginx-lua": NginxLua, "acrelayd": Acrelayd}


def load(server, body, connections, seconds, words):
    done = subprocess.run(
        ["taskset", "-c", OTHER, harness.BUILD / "bench/load", str(server.port), server.path,
         body, str(connections), str(seconds), *words],
        stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(kind, connections, threads, words, seconds):
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
            first = load(server, body, connections, min(1, seconds / 2), words)
            pin(server.process.pid, SERVER)  # threads that were started since
            before = cpu(server.process.pid), cpu(redis.process.pid)
            had = server.entries(redis)
            result = load(server, body, connections, seconds, words)
            entries = server.entries(redis)
            spent = cpu(server.process.pid) - before[0], cpu(redis.process.pid) - before[1]
            answered = first["ok"] + result["ok"]
            return {**result, "rate": result["ok"] / result["seconds"],
                    "server_cpu": spent[0] / result["ok"] * 1e5,
                    "redis_cpu": spent[1] / result["ok"] * 1e5 if entries else 0.0,
                    "peak": peak_mib(server.process.pid),
                    "lost": None if had is None else answered - entries}
        finally:
            server.stop()
            redis.kill()


def honest(kind, r):
    return r["other"] == 0 and r["errors"] == 0 and r["least"] > 0 and not r["lost"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    has = {"webdis": shutil.which("webdis"), "nginx-lua": has_lua()}
    for kind in (k for k in has if not has[k]):
        print(f"{kind} is not installed: not measured")
    print(f"{len(sample())}-byte body, {given.rounds} rounds of {given.seconds:g} s, medians")
    print(f"{'case':16} {'server':9} {'2xx/s':>8} {'ratio':>6} {'p50 ms':>7} {'p99 ms':>7} "
          f"{'server':>7} {'redis':>6} {'MiB':>5} {'lost':>5} {'least':>6}")
    good = True
    for name, connections, threads, words, kinds in CASES:
        if given.only not in name:
            continue
        kinds = [k for k in kinds if has.get(k, True)]
        rounds = {kind: [] for kind in kinds}
        for _ in range(given.rounds):
            for kind in kinds:
                rounds[kind].append(measure(kind, connections, threads, words, given.seconds))
        for kind in kinds:
            def mid(key, of=kind):
                return statistics.median(r[key] for r in rounds[of])
            bad = sum(not honest(kind, r) for r in rounds[kind])
            lost = [r["lost"] for r in rounds[kind]]
            print(f"{name:16} {kind:9} {mid('rate'):8.0f} {mid('rate') / mid('rate', 'null'):6.2f}"
                  f" {mid('p50_ms'):7.2f} {mid('p99_ms'):7.2f} {mid('server_cpu'):7.2f}"
                  f" {mid('redis_cpu'):6.2f} {mid('peak'):5.0f}"
                  f" {'-' if lost[0] is None else sum(lost):>5}"
                  f" {min(r['least'] for r in rounds[kind]):6}"
                  f"{f'  {bad} rounds not clean' if bad else ''}", flush=True)
            good = good and (bad == 0 or kind != "acrelayd")
    print("server, redis: CPU seconds for 100,000 deliveries; least: posts of the least served "
          "connection in a round")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
