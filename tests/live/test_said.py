"""What the command line says of things that go wrong: in Redis's own words, never "ok" without
a look, never waiting without a word."""
import contextlib
import json
import os
import pathlib
import pty
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import harness
from fault_proxy import FaultProxy
from harness import Redis


def run_acrelay(config, *words, code=0, **more):
    done = subprocess.run([f"{harness.BUILD}/acrelay", "-c", str(config), *words],
                          capture_output=True, text=True, timeout=60, **more)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def acrelay(receiver):
    text = receiver.config.read_text().replace("127.0.0.1:1025'", f"127.0.0.1:{receiver.port}'")
    receiver.config.write_text(text)
    return lambda *words, **more: run_acrelay(receiver.config, *words, **more)


def findings(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# --- reload ------------------------------------------------------------------------------

def test_reload_says_what_became_of_it(receiver):
    text = receiver.config.read_text()
    receiver.config.write_text(text + "  - {name: deals, events: [deal_add]}\n")
    [told] = findings(run_acrelay(receiver.config, "reload", "--json"))
    assert told["done"]
    assert receiver.post("type=deal_add", "deals") == 200
    # The file is taken over, and what check warns of is said here too.
    receiver.config.write_text(text + "  - {name: deals, events: [deal_ad]}\n")
    told = run_acrelay(receiver.config, "reload")
    assert told.count("warning: ") == 1 and "deal_ad" in told
    # A change that needs a restart: the receiver refuses, and the command fails.
    receiver.config.write_text(text.replace("127.0.0.1:1025'", "127.0.0.1:1026'"))
    assert "receiver.listen" in run_acrelay(receiver.config, "reload", code=78)
    # A secret that the receiver may not use, though the file is good.
    receiver.config.write_text(text)
    receiver.secret.chmod(0o644)
    assert "chmod 600" in run_acrelay(receiver.config, "reload", code=78)
    receiver.secret.chmod(0o600)
    run_acrelay(receiver.config, "reload")
    receiver.config.write_text(text.replace("secret_files", "secret_file"))
    assert "secret_file" in run_acrelay(receiver.config, "reload", code=78)
    assert receiver.get("/readyz")[0] == 200


def test_reload_is_not_satisfied_with_an_older_answer(receiver):
    """A receiver that hangs has answered other reloads before; nobody may take those for ours."""
    run_acrelay(receiver.config, "reload")
    receiver.process.send_signal(signal.SIGSTOP)
    try:
        told = run_acrelay(receiver.config, "reload", code=69)
    finally:
        receiver.process.send_signal(signal.SIGCONT)
    assert " ..." in told, "it says what it waits for"
    receiver.stop()
    run_acrelay(receiver.config, "reload", code=69)


def test_a_reload_after_which_no_earlier_secret_counts_says_so(receiver):
    """A new secret written over the old one: ActiveCampaign still posts to the URLs of that."""
    told = "no longer served: the URLs of all earlier secrets"
    receiver.secret.write_bytes(b"another secret of thirty-two bytes or more\n")
    assert told in run_acrelay(receiver.config, "reload")
    assert receiver.post("type=subscribe") == 404
    assert "acrelay-worker secrets" in receiver.read_log()
    # A rotation has one secret of before.
    other = receiver.directory / "hook-secret-2"
    other.write_bytes(harness.SECRET)
    other.chmod(0o600)
    text = receiver.config.read_text()
    receiver.config.write_text(text.replace("[hook-secret]", "[hook-secret-2, hook-secret]"))
    assert told not in run_acrelay(receiver.config, "reload")
    receiver.config.write_text(text.replace("[hook-secret]", "[hook-secret-2]"))
    assert told not in run_acrelay(receiver.config, "reload")


# --- Redis -------------------------------------------------------------------------------

class FakeRedis:
    """Answers each command with what `answers` has for its name, else for "*"."""

    def __init__(self, answers):
        self.answers = answers
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError):  # who asks may have heard enough
            self.answer(client)

    def answer(self, client):
        stream = client.makefile("rb")
        while (line := stream.readline())[:1] == b"*":  # or an end, or who asks whether this is TLS
            words = []
            for _ in range(int(line[1:])):
                size = int(stream.readline()[1:])
                words.append(stream.read(size + 2)[:-2])
            name = words[0].decode().upper()
            client.sendall(self.answers.get(name, self.answers["*"]).encode())


def text(string):
    return f"${len(string)}\r\n{string}\r\n"


MASTER = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"


@pytest.fixture
def place(tmp_path):
    """A configuration alone, for a Redis at `url`."""
    secret = tmp_path / "hook-secret"
    secret.write_bytes(harness.SECRET)
    secret.chmod(0o600)

    def write(url, more=""):
        config = tmp_path / "acrelay.yaml"
        config.write_text(
            "account: {name: acme}\npublic_url: https://hooks.acme.example\n"
            f"secret_files: [hook-secret]\nredis: {{url: '{url}'{more}}}\n"
            f"receiver: {{listen: ['127.0.0.1:{harness.free_port()}'],"
            f" admin: '127.0.0.1:{harness.free_port()}', state_dir: '{tmp_path}/state'}}\n"
            f"worker: {{admin: '127.0.0.1:{harness.free_port()}'}}\n"
            "hooks:\n  - {name: contacts, events: [subscribe]}\n")
        return config

    return write


def look(config, command, code):
    """What check or doctor says of Redis."""
    done = subprocess.run([f"{harness.BUILD}/acrelay", "-c", str(config), command, "--json",
                           *(["--offline"] if command == "doctor" else [])],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout
    return [f for f in findings(done.stdout) if f["what"].startswith("redis")], done.stderr


def must_be_told(config, words, code, not_good=("redis", "redis rights")):
    for command in ("check", "doctor"):
        told, _ = look(config, command, code)
        assert not [f for f in told if f["result"] == "ok" and f["what"] in not_good], told
        wrong = [f for f in told if f["result"] == "error" and words in f["text"]]
        assert wrong and all(f["do"] and "start Redis" not in f["do"] for f in wrong), told


@pytest.mark.parametrize("answer, code", [
    ("-NOAUTH Authentication required.", 77),
    ("-DENIED Redis is running in protected mode", 77),
    ("-LOADING Redis is loading the dataset in memory", 69),
    ("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", 69),
    ("-BUSY Redis is busy running a script.", 69),
    ("-ERR max number of clients reached", 69),
    ("-WRONGWORD nobody knows this one", 69),
])
def test_any_error_is_told_in_redis_own_words(place, answer, code):
    config = place(f"redis://127.0.0.1:{FakeRedis({'*': answer + chr(13) + chr(10)}).port}/0")
    must_be_told(config, answer[1:], code)
    [figures] = findings(run_acrelay(config, "status", "--json", code=69))
    assert answer[1:] in figures["redis"] and not figures["healthy"]


def test_a_version_that_lacks_what_the_script_needs(place):
    def with_version(version):
        return place("redis://127.0.0.1:%d/0" % FakeRedis({
            "*": "-ERR Invalid stream ID\r\n", "PING": "+PONG\r\n", "ROLE": MASTER,
            "TYPE": "+none\r\n", "GET": "$-1\r\n", "EVALSHA": "-NOSCRIPT\r\n",
            "EVAL": "*2\r\n:0\r\n" + text(""),
            "INFO": text(f"redis_version:{version}\r\nrole:master\r\n")}).port)

    for version in ("5.0.14", "6.0.16", "6.1.240"):
        told, _ = look(with_version(version), "check", 69)
        assert [f for f in told if f["result"] == "error" and version in f["text"]], told
    for version in ("6.2.0", "7.0.15", "8.0.1", "10.0.0"):
        told, _ = look(with_version(version), "check", 0)
        assert {f["result"] for f in told} == {"ok"}, told


def test_no_redis_and_no_answer(place):
    fake = FakeRedis({"*": "HTTP/1.1 400 Bad Request\r\n\r\n"})
    liar = FakeRedis({"*": "*2147483647\r\n"})
    for url, words, code in (
            (f"redis://127.0.0.1:{fake.port}/0", "Protocol error", 78),
            (f"redis://127.0.0.1:{liar.port}/0", "more than 262144 elements", 78),
            (f"redis://127.0.0.1:{harness.free_port()}/0", "Connection refused", 69),
            ("redis://nowhere.invalid/0", "nown", 69)):
        told, _ = look(place(url), "check", code)
        assert [f for f in told if f["result"] == "error" and words in f["text"]], told


@pytest.mark.parametrize("answer, words", [
    ("$2000000000\r\n" + "x" * (100 << 20), "more than 64 MiB"),
    ("*2147483647\r\n:1\r\n", "more than 262144 elements"),
    ("*1\r\n" * 100000, "arrays deep"),
], ids=["bytes", "elements", "depth"])
def test_a_server_that_lies_costs_no_memory_and_no_delivery(tmp_path, monkeypatch, answer, words):
    """Its first reply is Redis's, so that it is asked for more."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "redis-command=60000 cursor-deadline=60000")
    liar = FakeRedis({"*": answer, "PING": "+PONG\r\n"})
    receiver = harness.Receiver(tmp_path, liar.port)
    harness.wait_for("what it says", lambda: "a reply has more than" in receiver.read_log(), 60)
    assert words in receiver.read_log() and "check redis.url" in receiver.read_log()
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    peak = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{receiver.process.pid}/status").read_text())
    assert int(peak[1]) < 256 << 10
    receiver.stop()


def test_a_lie_while_the_relay_trims_is_told(redis, tmp_path, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "trim=50 trim-exact=50")
    with FaultProxy(redis.port) as proxy:
        receiver = harness.Receiver(tmp_path, proxy.port)
        assert receiver.post("type=subscribe&contact[id]=1") == 200
        receiver.wait_shipped()
        proxy.fault_reply(b"last-generated-id", b"*2147483647\r\n")
        harness.wait_for("what it says", lambda: "a reply has more than" in receiver.read_log())
        assert receiver.post("type=subscribe&contact[id]=2") == 200
        receiver.wait_shipped()
        receiver.stop()
    assert [e["ce_subject"] for e in redis.entries()] == [b"contact/1", b"contact/2"]


def test_a_stop_while_redis_hangs_is_no_fault_of_redis(redis, tmp_path, monkeypatch):
    """The stop itself ends what is being asked."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES",
                       "trim=50 redis-command=60000 cursor-deadline=60000 cursor-check=60000")

    def has_unread():
        lines = [line.split() for line in open("/proc/net/tcp", encoding="ascii")]
        return any(line[1].endswith(f":{redis.port:04X}") and line[3] == "01"
                   and line[4].split(":")[1] != "00000000" for line in lines)
    receiver = harness.Receiver(tmp_path, redis.port)
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()
    redis.pause()
    try:
        harness.wait_for("a question", has_unread)
        receiver.stop()
    finally:
        redis.resume()
    assert " warning " not in receiver.read_log()


def test_a_password_that_cannot_be_read_is_not_redis_fault(place, tmp_path):
    config = place("redis://127.0.0.1:1/0", ", password_file: none")
    told, _ = look(config, "check", 78)
    assert told and not [f for f in told if "start Redis" in f.get("do", "")], told
    assert "redis.password_file: " in run_acrelay(config, "dead", "list", code=78)
    (tmp_path / "none").write_text("pw")
    (tmp_path / "none").chmod(0o644)
    assert "chmod 600" in run_acrelay(config, "dead", "list", code=77)


def test_a_redis_that_refuses_writes(place):
    with Redis() as redis, Redis() as other:
        config = place(f"redis://127.0.0.1:{redis.port}/0")
        look(config, "check", 0)
        redis.client.config_set("maxmemory", 1)
        must_be_told(config, "OOM", 69, ("redis",))
        redis.client.config_set("maxmemory", 0)
        redis.client.config_set("min-replicas-to-write", 1)
        must_be_told(config, "NOREPLICAS", 69, ("redis",))
        redis.client.config_set("min-replicas-to-write", 0)
        redis.client.config_set("maxmemory-policy", "allkeys-random")
        must_be_told(config, "allkeys-random", 78, ("redis",))
        redis.client.config_set("maxmemory-policy", "noeviction")
        redis.client.set("{ac}:dead", "a text")
        must_be_told(config, "{ac}:dead is a string", 78, ("redis",))
        redis.client.delete("{ac}:dead")
        redis.client.replicaof("127.0.0.1", other.port)
        must_be_told(config, "slave", 69)
        run_acrelay(config, "status", code=69)
        redis.client.replicaof("no", "one")
        must_be_told(place(f"redis://127.0.0.1:{redis.port}/99"), "DB index", 78)
        redis.client.config_set("requirepass", "s3")
        must_be_told(config, "NOAUTH", 77)
        (config.parent / "password").write_text("wrong")
        (config.parent / "password").chmod(0o600)
        wrong = place(f"redis://127.0.0.1:{redis.port}/0", ", password_file: password")
        must_be_told(wrong, "WRONGPASS", 77)
        assert "restart" in run_acrelay(wrong, "check", code=77), "a running one keeps what it read"
        assert redis.client.execute_command("AUTH", "s3") and redis.client.keys("*") == []


def test_a_redis_that_hangs_is_told_within_5_s(place):
    with Redis() as redis:
        config = place(f"redis://127.0.0.1:{redis.port}/0")
        redis.pause()
        start = time.monotonic()
        asking = [subprocess.Popen([f"{harness.BUILD}/acrelay", "-c", str(config), *words],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                  for words in (["check"], ["doctor", "--offline"], ["status"])]
        for process in asking:
            out, told = process.communicate(timeout=60)
            assert process.returncode == 69 and "Redis" in told, out
        assert time.monotonic() - start < 20


@pytest.mark.parametrize("name, result", [
    ("EVAL", "error"), ("EVALSHA", "error"), ("XADD", "error"), ("HMGET", "error"),
    ("XTRIM", "error"), ("INFO", "warning"), ("ROLE", "warning")])
def test_a_command_that_was_removed(place, name, result):
    with Redis(None, "--rename-command", name, "nobody-knows") as redis:
        config = place(f"redis://127.0.0.1:{redis.port}/0")
        told, _ = look(config, "check", 78 if result == "error" else 0)
        assert [f for f in told if f["result"] == result and name in f["text"].upper()], told


def shipped_rights(user):
    lines = (harness.ROOT / "deploy/redis/acrelay.acl").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"user {user} ")]
    return line.split()[4:]


@pytest.mark.parametrize("user", ["acrelay-operator", "bob"])
def test_the_rights_of_the_operator_are_not_the_receivers(place, make_receiver, redis, user):
    """Who may run no script is not the receiver's user: by its name, or since the receiver publishes."""
    redis.add_user(user, "pw", *shipped_rights("acrelay-operator"))
    receiver = make_receiver() if user == "bob" else None
    config = place(f"redis://127.0.0.1:{redis.port}/0", f", user: {user}, password_file: password")
    if receiver:
        config.write_text(re.sub(r"admin: '127.0.0.1:\d+', state", f"admin: '127.0.0.1:{receiver.admin}', state",
                                 config.read_text()))
        harness.wait_for("the relay", lambda: receiver.metric("acrelay_relay_shipping") == 1)
    (config.parent / "password").write_text("pw")
    (config.parent / "password").chmod(0o600)
    for command in ("check", "doctor"):
        done = subprocess.run([f"{harness.BUILD}/acrelay", "-c", config, command, "--json"],
                              capture_output=True, text=True, timeout=60)
        told = [f for f in findings(done.stdout) if f["what"].startswith("redis")]
        assert [f for f in told if f["result"] == "error"] == [], told
        [rights] = [f for f in told if f["what"] == "redis rights"]
        assert rights["result"] == "warning" and user in rights["text"] and "REDIS_USER=" in rights["do"]
        assert not [f for f in told if "NOPERM" in f["text"]]


def test_the_user_in_a_url_file_is_named_in_what_is_said_of_its_rights(place):
    with Redis() as redis:
        config = place("redis://unused")
        config.write_text(config.read_text().replace("url: 'redis://unused'", "url_file: redis-url")
                          + "commands: {services: [{name: crm, allow: [contacts]}]}\n")
        (config.parent / "redis-url").write_text(f"redis://b%6fb:pw@127.0.0.1:{redis.port}")
        (config.parent / "redis-url").chmod(0o600)
        redis.add_user("bob", "pw", *shipped_rights("acrelay-receiver"), "-xtrim")
        told, _ = look(config, "check", 77)
        assert [f for f in told if "user bob may not: XTRIM" in f["text"]], told
        told = findings(run_acrelay(config, "doctor", "--offline", "--json", code=77))
        assert [f for f in told if f["what"] == "commands" and "user bob may not" in f["text"]], told
        assert not [f for f in told if "user default" in f["text"]], told


KEYS = {"dead", "seen:state", "seen:1", "seen:2", "last", "last:listed", "events", "streams", "account",
        "receivers", "cursor:*"}


def test_each_right_of_the_receiver_is_looked_at(place):
    """With each right of the shipped ACL taken away, check names it; nothing is written."""
    rules = shipped_rights("acrelay-receiver")
    commands = [rule[1:] for rule in rules if rule.startswith("+") and rule != "+auth"]
    with Redis() as redis:
        config = place(f"redis://127.0.0.1:{redis.port}/0", ", user: bob, password_file: password")
        (config.parent / "password").write_text("pw")
        (config.parent / "password").chmod(0o600)
        redis.add_user("bob", "pw", *rules)
        told, _ = look(config, "check", 0)
        assert [f for f in told if f["what"] == "redis rights" and f["result"] == "ok"], told
        for command in commands:
            redis.client.execute_command("ACL", "SETUSER", "bob", "reset")
            redis.add_user("bob", "pw", *[rule for rule in rules if rule != "+" + command])
            # hget is for the command line only, wait for redis.confirm; the relay can do without the others
            optional = command in ("hget", "wait", "info", "role", "type", "select")
            told, _ = look(config, "check", 0 if optional else 77)
            name = command.replace("|", " ").upper()
            if optional:
                if command not in ("hget", "wait", "select"):
                    assert [f for f in told if name in f["text"] and f["result"] == "ok"], told
                continue
            assert [f for f in told if f["result"] == "error" and name in f["text"].upper()], \
                (command, told)
        # A key that the user may not reach.
        for key in KEYS:
            redis.client.execute_command("ACL", "SETUSER", "bob", "reset")
            others = KEYS - {key}
            redis.add_user("bob", "pw", *[rule for rule in rules if not rule.startswith("~")],
                           *["~{ac}:" + other for other in others])
            told, _ = look(config, "check", 77)
            assert [f for f in told if "{ac}:" + key.rstrip("*") in f["text"]], (key, told)
        assert redis.client.keys("*") == []


# --- tail --------------------------------------------------------------------------------

class Tail:
    def __init__(self, config, *words):
        self.process = subprocess.Popen(
            [f"{harness.BUILD}/acrelay", "-c", str(config), "tail", "--json", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.subjects, self.said = [], []
        for stream, keep in ((self.process.stdout, self.take), (self.process.stderr, self.said.append)):
            threading.Thread(target=lambda s=stream, k=keep: [k(line) for line in s],
                             daemon=True).start()

    def take(self, line):
        self.subjects.append(json.loads(line)["ce_subject"])

    def wait(self, *numbers):
        wanted = [f"contact/{n}" for n in numbers]
        harness.wait_for(wanted, lambda: self.subjects[-len(wanted):] == wanted or
                         self.process.poll() is not None)
        assert self.process.poll() is None, self.said

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0


@pytest.mark.parametrize("words", [["--from", "0"], ["--group", "shop"]])
def test_tail_goes_on_over_a_restart_a_flush_and_a_deleted_stream(receiver, redis, words):
    def post(n):
        assert receiver.post(f"type=subscribe&contact[id]={n}") == 200

    post(1)
    receiver.wait_shipped()
    tail = Tail(receiver.config, *words)
    tail.wait(1)
    redis.client.config_set("appendonly", "yes")
    harness.wait_for("the file", lambda: redis.client.info()["aof_rewrite_in_progress"] == 0
                     and redis.client.info()["aof_last_bgrewrite_status"] == "ok"
                     and redis.client.info()["aof_current_size"] > 0)
    redis.options += "--appendonly", "yes"
    redis.kill()
    harness.wait_for("the word", lambda: len(tail.said) == 1)
    post(2)
    redis.start()
    tail.wait(1, 2)
    assert tail.subjects == ["contact/1", "contact/2"]  # none twice, none missing
    # A stream that somebody deleted: what comes later is shown.
    told = len(tail.said)
    redis.client.delete("{ac}:events")
    harness.wait_for("the word", lambda: len(tail.said) > told)
    post(3)
    tail.wait(1, 2, 3)
    # A flush: the relay sends again what is kept, and so it is shown again.
    redis.client.flushall()
    tail.wait(1, 2, 3, 1, 2, 3)
    post(4)
    tail.wait(1, 2, 3, 1, 2, 3, 4)
    if words[0] == "--group":
        def groups():  # an entry is acknowledged after it is shown
            return [(g["name"], g["pending"]) for g in redis.client.xinfo_groups("{ac}:events")]
        harness.wait_for("the acknowledgement", lambda: groups() == [(b"shop", 0)])
        assert [line for line in tail.said if "group shop" in line]
    # Without its group's own key nothing is lost either, and errors are waited for.
    redis.client.config_set("requirepass", "s3")
    redis.client.execute_command("AUTH", "s3")
    redis.client.client_kill_filter(skipme=True)
    harness.wait_for("the word", lambda: any("NOAUTH" in line for line in tail.said))
    redis.client.config_set("requirepass", "")
    post(5)
    tail.wait(4, 5)
    tail.stop()


def test_tail_goes_on_behind_the_end_of_an_older_redis(place):
    """A failover to a replica that was behind, whose clock is too: nothing is missed."""
    with Redis() as redis:
        def add(at, n):
            redis.client.xadd("{ac}:events", {"ce_subject": f"contact/{n}"}, id=at)

        add("1000-1", 1)
        add("1000-2", 2)
        tail = Tail(place(f"redis://127.0.0.1:{redis.port}/0"), "--from", "0")
        tail.wait(1, 2)
        redis.rollback(lambda: (add("2000-1", 3), tail.wait(1, 2, 3)))
        harness.wait_for("the word", lambda: len(tail.said) == 1)
        add("1500-1", 4)
        tail.wait(1, 2, 3, 4)
        tail.stop()


def test_tail_fails_at_once_where_it_never_read(place):
    config = place(f"redis://127.0.0.1:{harness.free_port()}/0")
    assert "refused" in run_acrelay(config, "tail", code=69)
    assert "--from requires" in run_acrelay(config, "tail", "--from", "abc", code=64)
    with Redis(password="s3") as redis:
        config = place(f"redis://127.0.0.1:{redis.port}/0")
        assert "NOAUTH" in run_acrelay(config, "tail", code=77)
        assert "NOAUTH" in run_acrelay(config, "tail", "--group", "shop", code=77)


def test_a_redis_that_is_away_is_named(place):
    url = f"redis://127.0.0.1:{harness.free_port()}/0"
    config = place(url)
    for words in (["tail"], ["dead", "list"], ["status"]):
        told = run_acrelay(config, *words, code=69)
        assert url in told and "Connection refused" in told, words
        assert words == ["status"] or "refused; start Redis" in told, words


# --- dead letters ------------------------------------------------------------------------

def test_a_letter_that_fails_stops_no_other(acrelay, receiver, redis):
    for body in (b"", b"type=subscribe&contact[id]=5", b"\x1f\x8b\x08rubbish"):
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        if body:
            kind["Content-Encoding"] = "gzip"  # as a proxy may say of what is none
        assert receiver.post(body, **kind) == 200
    receiver.wait_shipped()
    letters = findings(acrelay("dead", "list", "--json"))
    ids = [letter["id"] for letter in letters]
    assert [letter["reason"] for letter in letters] == ["empty", "encoding", "encoding"]
    assert all(letter["expires"] > letter["ce_recordedtime"] for letter in letters)
    told = acrelay("dead", "replay", "1-1", "me", *ids, code=1)
    assert "1-1" in told and ids[0] in told and ids[2] in told and "ERR" not in told
    [entry] = redis.entries()
    assert entry["ce_subject"] == b"contact/5"
    assert redis.client.xlen("{ac}:dead") == 2
    told = findings(acrelay("dead", "drop", "1-1", *ids, "--json", code=1))
    assert told[-1] == {"dropped": 2} and [f["failed"] for f in told[:-1]] == ["1-1", ids[1]]


def test_a_delivery_that_fails_stops_no_other_of_the_journal(acrelay, receiver, redis, tmp_path):
    """Posted to a receiver that takes smaller ones only."""
    for n, size in ((1, 10), (2, 400_000), (3, 10)):
        assert receiver.post(f"type=subscribe&contact[id]={n}&x=" + "x" * size,
                             **{"Content-Encoding": "utf-8"}) == 200
    receiver.wait_shipped()
    old = tmp_path / "old"
    receiver.stop()
    (tmp_path / "state").rename(old)
    receiver.config.write_text(receiver.config.read_text().replace(
        "receiver: {", "receiver: {body_max: 100KiB, "))
    receiver.start()
    told = acrelay("journal", "salvage", "--json", "--directory", str(old), "--post", code=2)
    assert "sequence 2" in told and "413" in told
    assert findings(told) == [{"posted": 2, "left": 1, "missing": 0}]
    receiver.wait_shipped()
    assert [e["ce_subject"] for e in redis.entries()[3:]] == [b"contact/1", b"contact/3"]
    [saved] = [json.loads(line) for line in acrelay(
        "journal", "dump", "--directory", str(old), "--json", "--from", "3").splitlines()]
    assert saved["content_encoding"] == "utf-8"


# --- on a terminal -----------------------------------------------------------------------

def on_a_terminal(*words):
    """What a command writes where both its outputs are a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([f"{harness.BUILD}/acrelay", *words], stdout=theirs, stderr=theirs,
                               env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    out = b""
    try:
        while piece := os.read(ours, 65536):
            out += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    process.wait(60)
    return out.decode()


def test_nothing_from_outside_moves_the_terminal(receiver):
    evil = "type=subscribe&contact[id]=1&x=a%C2%9B2J%E2%80%AEb%F3%A0%81%81c%7F"
    assert receiver.post(evil) == 200
    assert receiver.post(evil, **{"Content-Type": "multipart/mixed"}) == 200
    assert receiver.post(evil.replace("%", "%25").encode() + "\u009b\u202e".encode()) == 200
    receiver.wait_shipped()
    config = ("-c", str(receiver.config))
    for words in (["tail", "--from", "0", "--count", "2", "--json"], ["tail", "--from", "0", "--count", "2", "--data"],
                  ["dead", "list", "--json"], ["journal", "dump", "--raw", "--json"],
                  ["journal", "dump", "--raw"], ["status", "--json"]):
        out = on_a_terminal(*config, *words)
        assert out.strip() and not any(c in out for c in "\u009b\u202e\U000e0041\x7f"), words
        if "--json" in words:
            # beside progress, which a terminal shows where it takes long
            lines = [line for line in out.splitlines() if line.startswith("{")]
            assert lines and all(map(json.loads, lines)), (words, out)
    out = on_a_terminal(*config, "tail", "--from", "0", "--count", "2", "--json")
    values = [json.loads(line)["data"]["x"] for line in out.splitlines()]
    assert values[0] == "a\u009b2J\u202eb\U000e0041c\x7f" and "\\u009b" in out


def test_a_terminal_shows_what_is_asked(place, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "cli_redis=1000")
    with Redis() as redis:
        config = place(f"redis://127.0.0.1:{redis.port}/0")
        redis.pause()
        out = on_a_terminal("-c", str(config), "doctor", "--offline")
        assert re.search(r"\r[a-z]+ Redis", out) and "\r\033[K" in out
