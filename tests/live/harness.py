"""Real processes for live tests: a private redis-server, acrelayd on a socket that outlives
it (as a service manager would hold it), and clients. Everything in a directory of its own, on
free loopback ports; readiness is awaited, processes are ended by pid."""
import atexit
import base64
import fcntl
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import redis

from certificates import Certificates

# A thousand clients of one test are descriptors of this process.
_, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(HARD, 65536), HARD))

# A journal belongs on a disk: /tmp is memory on many machines. pytest's tmp_path follows.
tempfile.tempdir = "/var/tmp"

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Where the proxies are, which a user's PATH does not name on Debian.
os.environ["PATH"] += ":/usr/sbin:/sbin"
# Another server, as Valkey or a Redis of another version; unit programs read it too.
REDIS_SERVER = os.environ.get("ACRELAY_REDIS_SERVER", "redis-server")
FULL = bool(os.environ.get("ACRELAY_FULL"))  # the scale of `make test-long`
BUILD = pathlib.Path(os.environ.get("ACRELAY_BUILD", ROOT / "build"))
# As make spells it: by another path it would not know what depends on which header.
MAKE_BUILD = f"BUILD={os.path.relpath(BUILD, ROOT)}"


def make_tls():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="acrelay-tls-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)  # for receivers of other users
    # Valid at every time that a test sets a clock to.
    ever = {"before": ("faketime", "1970-01-02"), "days": 40000}
    tls = Certificates(directory, **ever)
    tls.pair = tls.issue(
        "server", "DNS:localhost,DNS:only-ipv6,DNS:stack_redis,IP:127.0.0.1,IP:::1",
        usage="serverAuth,clientAuth", **ever)  # nodes of a cluster are clients of each other
    return tls


# With ACRELAY_REDIS_TLS=1 ours speak TLS to Redis and to the fault proxy, tests speak plain.
TLS = make_tls() if os.environ.get("ACRELAY_REDIS_TLS") else None
TLS_PORTS = {}  # of each server's port or socket
SECRET = b"a secret of at least thirty-two bytes"


def wait_for(what, condition, seconds=30):
    """Asks at once, then ever less often, up to 20 times a second; a last time at the end."""
    start = time.monotonic()
    while not (result := condition()):
        passed = time.monotonic() - start
        if passed > seconds:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(min(max(passed / 10, 0.005), 0.05))
    return result


def without_progress(text):
    """What a program says on stderr, but for what it waits for: it says that where it takes long."""
    return "".join(line for line in text.splitlines(True) if not line.endswith(" ...\n"))


GIVEN_PORTS = set()
# Of all processes of this user: the byte of a port is locked by the one that it was given to.
PORT_LOCKS = os.open(f"/var/tmp/acrelay-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)


def free_port():
    """Below the ports that outgoing connections get, so that none of them takes it between
    a stop and the next start; and never one that was given before, since it is bound later."""
    while True:
        port = random.randrange(10000, 32000)
        if port in GIVEN_PORTS:
            continue
        with socket.socket() as s:
            try:
                fcntl.lockf(PORT_LOCKS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        GIVEN_PORTS.add(port)
        return port


def token(hook, secret=SECRET):
    mac = hmac.new(secret, b"acrelay hook v1\n" + hook.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


class Redis:
    """A private redis-server, in `directory` or in one of its own that goes with it.

        with Redis() as redis:
            redis.kill()                    # as a crash
            redis.start()
            redis.rollback(lambda: ...)     # what happens inside is forgotten by Redis
    """

    def __init__(self, directory=None, *options, password=None):
        self.is_ours = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="acrelay-redis-"))
        self.socket = self.directory / "redis.sock"
        self.port = free_port()
        self.options = options
        if self.is_ours:  # others may be too long for the path of a socket
            self.options += "--unixsocket", str(self.socket)
        if password:
            self.options += "--requirepass", password
        if TLS:
            TLS_PORTS[self.port] = TLS_PORTS[str(self.socket)] = free_port()
            self.options = (
                "--tls-port", str(TLS_PORTS[self.port]), "--tls-auth-clients", "no",
                "--tls-cert-file", str(TLS.pair[0]), "--tls-key-file", str(TLS.pair[1]),
                "--tls-ca-cert-file", str(TLS.ca), *self.options)  # the last one counts
        self.process = None
        self.client = redis.Redis("127.0.0.1", self.port, password=password, socket_timeout=30)
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self.client.close()
        if self.is_ours:
            shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        with open(self.directory / "redis.log", "ab") as log:
            self.process = subprocess.Popen(
                [REDIS_SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                 "--repl-diskless-sync-delay", "0", "--dir", str(self.directory),
                 "--enable-debug-command", "yes", *self.options], stdout=log, stderr=log)
        wait_for("redis-server", self.is_up)

    def is_up(self):
        assert self.process.poll() is None, (self.directory / "redis.log").read_text()
        try:
            return self.client.ping()
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.socket.unlink(missing_ok=True)

    def rollback(self, meanwhile):
        """Saves, lets things happen, and goes back to what was saved."""
        self.client.save()
        meanwhile()
        self.client.execute_command("DEBUG", "RELOAD", "NOSAVE")

    def add_user(self, name, password, *rules):
        self.client.execute_command("ACL", "SETUSER", name, "on", f">{password}", *rules)

    def entries(self, stream="{ac}:events"):
        found, after = [], "-"
        while True:
            page = self.client.xrange(stream, after, "+", count=5000)
            found += [{k.decode(): v for k, v in fields.items()} for _, fields in page]
            if len(page) < 5000:
                return found
            after = "(" + page[-1][0].decode()


def redis_url(port, form="redis://127.0.0.1:{port}/0"):
    """That of a server or proxy, which its plain port names."""
    if TLS:
        form = form.replace("redis://", "rediss://").replace("REDIS://", "REDISS://")
    return form.format(port=TLS_PORTS.get(port, port))


def url_settings(url):
    tls = f"tls: {{ca_file: '{TLS.ca}'}}, " if url.lower().startswith("rediss:") else ""
    return f"{{{tls}url: '{url}'}}"


def redis_settings(at, more=""):
    """Those of a port of this machine, or `at` as it is; with `more`."""
    settings = at if isinstance(at, str) else url_settings(redis_url(at))
    return settings[:-1] + more + "}"


class Receiver:
    """acrelayd. The listening socket is ours and passed as LISTEN_FDS says."""

    force = False  # a journal where it would be refused
    prefix = ""  # "env NAME=value", "prlimit --nofile=100"

    def __init__(self, directory, redis_port, hooks=None, extra="", receiver="",
                 redis=""):
        self.directory = pathlib.Path(directory)
        self.secret = self.directory / "hook-secret"
        self.secret.write_bytes(SECRET + b"\n")
        self.secret.chmod(0o600)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(4096)
        self.port = self.socket.getsockname()[1]
        self.admin = free_port()
        self.config = self.directory / "acrelay.yaml"
        hooks = hooks or "  - {name: contacts, events: [subscribe]}\n"
        if "worker: {" not in extra:  # at the default port the demo's may be
            extra += f"worker: {{admin: '127.0.0.1:{free_port()}'}}\n"
        self.config.write_text(
            "account: {name: acme, time_zone: America/Chicago}\n"
            "public_url: https://hooks.acme.example\n"
            "secret_files: [hook-secret]\n"
            f"redis: {redis_settings(redis_port, redis)}\n"
            f"receiver: {{listen: ['127.0.0.1:1025'], admin: '127.0.0.1:{self.admin}',"
            f" state_dir: '{self.directory}/state'{receiver}}}\n" + extra + "hooks:\n" + hooks)
        self.log = open(self.directory / "log", "ab")
        self.process = None
        self.start()

    def spawn(self):
        def pass_socket():
            os.dup2(self.socket.fileno(), 3)
            os.set_inheritable(3, True)  # dup2 leaves it as it is where it is 3 already

        return subprocess.Popen(
            ["sh", "-c", f"LISTEN_FDS=1 LISTEN_PID=$$ exec {self.prefix} {BUILD}/acrelayd -c {self.config}"
             + self.force * " --force"],
            stderr=self.log, preexec_fn=pass_socket, close_fds=False)

    def start(self):
        self.process = self.spawn()
        wait_for("acrelayd", self.is_ready, 60)  # a sanitizer makes many threads slow to start

    def is_ready(self):
        assert self.process.poll() is None, self.read_log()
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def get(self, page):
        c = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        c.request("GET", page)
        answer = c.getresponse()
        return answer.status, answer.read().decode()

    def metric(self, name):
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        raise AssertionError(f"no metric {name}")

    def reloads(self):
        """What became of the last reload, as /readyz tells it: count, ok, last_good, message."""
        return json.loads(self.get("/readyz")[1])["reload"]

    def reload(self):
        """SIGHUP; whether the file was taken over."""
        before = self.reloads()["count"]
        self.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: self.reloads()["count"] > before)
        return self.reloads()["ok"]

    def path(self, hook="contacts"):
        return f"/hook/{hook}/{token(hook)}"

    def post(self, body, hook="contacts", **headers):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        is_json = body[:1] in ("{", b"{")
        kind = {"Content-Type": "application/json" if is_json
                else "application/x-www-form-urlencoded"}
        try:
            c.request("POST", self.path(hook), body, {**kind, **headers})
            return c.getresponse().status
        finally:
            c.close()

    def raw(self, data, seconds=10):
        """Sends bytes as they are and returns all that is answered."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while piece := s.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass
            return answer

    def wait_shipped(self, seconds=60):
        def done():
            try:
                return self.metric("acrelay_journal_unpublished_records") == 0
            except OSError:
                return False
        wait_for("all records in their stream", done, seconds)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(40) == 0

    def read_log(self):
        return (self.directory / "log").read_text()
