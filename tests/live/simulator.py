"""The simulator of ActiveCampaign and the worker, as processes for live tests."""
import json
import os
import pathlib
import subprocess
import urllib.request

import harness

TOKEN = "0123456789abcdef-simulated-token"
SOURCES = ["admin", "api", "public", "system"]


class Simulator:
    """A second of its limit takes `second` ms, and the times of its switches are shorter by as much:
    slow_ms, lag_ms, retry_after. Those of its answers are not."""

    def __init__(self, directory, *words, deliver_to=1, second=1000):
        self.second = second
        self.token = pathlib.Path(directory) / "api-token"
        self.token.write_text(TOKEN + "\n")
        self.token.chmod(0o600)
        self.process = subprocess.Popen(
            [harness.BUILD / "acsim", "--token-file", self.token, "--deliver-to",
             str(deliver_to), "--time-factor",
             str(1000 // second), *words], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert "http://" in line, "acsim did not start"
        self.url = line.split()[-1]

    def call(self, path, value=None, method=None):
        data = None if value is None else json.dumps(value).encode()
        with urllib.request.urlopen(urllib.request.Request(
                self.url + path, data, method=method), timeout=60) as answer:
            return answer.read().decode()

    def api(self, method, path, value=None, token=TOKEN, headers=None):
        """status, headers and parsed or raw body of an API request."""
        data = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(self.url + "/api/3" + path, data, method=method,
                                         headers={"Api-Token": token,
                                                  "Content-Type": "application/json",
                                                  **(headers or {})})
        try:
            answer = urllib.request.urlopen(request, timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        text = answer.read().decode()
        try:
            return answer.status, answer.headers, json.loads(text)
        except ValueError:
            return answer.status, answer.headers, text

    def switch(self, **switches):
        self.call("/sim/switch", {name: int(value) for name, value in switches.items()})

    def answer(self, status, body="", count=1, path="", **headers):
        """What the next requests are answered, whatever they ask, or those of a path."""
        self.call("/sim/answer", {
            "status": status, "body": body, "count": count, "path": path, "headers": "".join(
                f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())})

    def fail(self, fault, path="", count=1, slow_ms=0):
        """What becomes of the next requests, or of those of a path: "cut_before", "cut_after",
        "truncate", "html", "html_524", "empty_ok", "slow"."""
        self.call("/sim/answer", {"fault": fault, "path": path, "count": count,
                                  "slow_ms": slow_ms})

    def figures(self):
        return json.loads(self.call("/sim/figures"))

    def hooks(self):
        return json.loads(self.call("/sim/hooks"))

    def log(self):
        return [json.loads(line) for line in self.call("/sim/log").splitlines()]

    def objects(self):
        """What the PUT operations changed, by path: {"contacts/66": {...}}."""
        return json.loads(self.call("/sim/objects"))

    def set_object(self, path, fields):
        self.call("/sim/objects/" + path, fields, "PUT")

    def remove_object(self, path):
        self.call("/sim/objects/" + path, method="DELETE")

    def calls(self):
        """Requests by operation, and the most in any second."""
        return json.loads(self.call("/sim/calls"))

    def writes(self):
        """The operations that were done, in order."""
        return [json.loads(line) for line in self.call("/sim/writes").splitlines()]

    def forget_calls(self):
        self.call("/sim/calls", method="DELETE")

    def add(self, name, url, events=("subscribe",), sources=("public",), list=0):
        return json.loads(self.call("/sim/hooks", {
            "name": name, "url": url, "events": events, "sources": sources, "listid": list}))

    def odd(self, *rows):
        """Rows that every list holds as they are."""
        self.call("/sim/odd", rows)

    def fire(self, kind, **more):
        return json.loads(self.call("/sim/fire", {"type": kind, **more}))["posts"]

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Worker:
    """acrelay-worker with a configuration of its own. Its seconds are those of the simulator."""

    def __init__(self, directory, simulator, hooks, redis_port=1, rate=5, worker="", extra="",
                 public_url="https://hooks.acme.example"):
        self.directory = pathlib.Path(directory)
        self.second = simulator.second
        secret = self.directory / "hook-secret"
        if not secret.exists():
            secret.write_bytes(harness.SECRET + b"\n")
            secret.chmod(0o600)
        self.config = self.directory / "worker.yaml"
        self.admin = harness.free_port()
        # Where none runs: at the default ports somebody else's receiver would be asked.
        extra = extra if "receiver: {" in extra else "receiver: {body_max: 1MiB}\n" + extra
        for name, value in (("admin", f"'127.0.0.1:{harness.free_port()}'"),
                            ("listen", f"['127.0.0.1:{harness.free_port()}']"),
                            ("state_dir", self.directory / "journal")):
            if f"{name}:" not in extra:
                extra = extra.replace("receiver: {", f"receiver: {{{name}: {value}, ", 1)
        self.config.write_text(
            f"account: {{name: acme, api_url: '{simulator.url}', api_token_file: api-token}}\n"
            f"public_url: {public_url}\n"
            "secret_files: [hook-secret]\n"
            f"redis: {harness.redis_settings(redis_port)}\n"
            f"worker: {{api_rate: {rate}, admin: '127.0.0.1:{self.admin}'{worker}}}\n"
            + extra + "hooks:\n" + hooks)

    def command(self, *words):
        return [harness.BUILD / "acrelay-worker", *words, "--config", self.config]

    def environment(self, times=""):
        """With times of ours: of two for one name the first counts."""
        more = os.environ.get("ACRELAY_TEST_TIMES", "")
        return {**os.environ,
                "ACRELAY_TEST_TIMES": f"{times} {more} api-second={self.second}"}

    def ran(self, *words, code=0, seconds=240):
        done = subprocess.run(self.command(*words), capture_output=True, text=True,
                              timeout=seconds, env=self.environment())
        if code is not None:
            assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def run(self, *words, **more):
        """All that a command prints."""
        done = self.ran(*words, **more)
        return done.stdout + done.stderr

    def json(self, *words, **more):
        """The object that a command prints with --json."""
        return json.loads(self.ran(*words, "--json", **more).stdout)

    def apply(self, **more):
        """How many hooks apply created, changed and removed."""
        sums = self.json("apply", **more)
        return sums["created"], sums["changed"], sums["removed"]

    def metric(self, series):
        """A figure of the running worker; None while it has none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics") as page:
                lines = page.read().decode().splitlines()
        except OSError:
            return None
        return next((float(line.split()[-1]) for line in lines
                     if line.startswith(series + " ")), None)

    def reloads(self, result="ok"):
        """How many reloads ended so: "ok", "refused"."""
        return self.metric(f'acrelay_config_reloads_total{{result="{result}"}}')

    def start(self, log, times="file-still=500 worker_lag=300"):
        with open(log, "ab") as out:
            return subprocess.Popen(self.command("run"), stderr=out, env=self.environment(times))


def url(name, base="https://hooks.acme.example"):
    return f"{base}/hook/{name}/{harness.token(name)}"


def stanza(name, events="[subscribe]", more=""):
    return f"  - {{name: {name}, events: {events}{more}}}\n"


def as_set(hook):
    """A hook without its id and what has no order."""
    return (hook["name"], hook["url"], frozenset(hook["events"]),
            frozenset(hook["sources"]), hook["listid"])


def wanted(name, events=("subscribe",), sources=SOURCES, list="0"):
    return (f"acrelay {name}", url(name), frozenset(events), frozenset(sources), list)
