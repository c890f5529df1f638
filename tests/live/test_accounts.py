"""Whose cursor and whose namespace it is: a journal that is published from one place only, and
accounts that share a machine or a Redis without mixing."""
import hashlib
import json
import pathlib
import signal
import socket
import subprocess

import harness
import pytest
from simulator import stanza

INSTANCE = ", instance: receiver-0"


# --- receiver.instance --------------------------------------------------------------------------

def cursor(redis):
    [key] = redis.client.keys("{ac}:cursor:*")
    return redis.client.hgetall(key)


def owner(instance, receiver):
    place = f"{instance}\n{(receiver.directory / 'state').resolve()}"
    return hashlib.sha256(place.encode()).hexdigest()[:32].encode()


def machine():
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        text = pathlib.Path(path).read_text() if pathlib.Path(path).exists() else ""
        if text.strip():
            return text.split("\n")[0]
    return socket.gethostname()


@pytest.mark.parametrize("setting, instance", [("", None), (INSTANCE, "receiver-0")])
def test_the_cursor_belongs_to_the_instance_and_the_directory(make_receiver, redis, setting,
                                                              instance):
    receiver = make_receiver(receiver=setting)
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()
    assert cursor(redis)[b"owner"] == owner(instance or machine(), receiver)
    receiver.stop()
    kept = [path.read_bytes() for path in (receiver.directory / "state").rglob("*")
            if path.is_file()]
    assert any(b"contact[id]=1" in text for text in kept)
    assert not any((instance or machine()).encode() in text for text in kept), "a copy's too"


def test_another_instance_ships_only_once_it_has_claimed_the_journal(make_receiver, redis):
    receiver = make_receiver(receiver=INSTANCE, hooks=None)
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()
    first = receiver.config.read_text()
    receiver.config.write_text(first.replace("receiver-0", "receiver-1"))
    assert not receiver.reload() and "receiver.instance" in receiver.reloads()["message"]
    receiver.stop()
    receiver.start()
    assert receiver.post("type=subscribe&contact[id]=2") == 200
    harness.wait_for("the alarm", lambda: "belongs to another machine" in receiver.read_log())
    assert len(redis.entries()) == 1
    subprocess.run([harness.BUILD / "acrelay", "journal", "claim", "--yes", "--config",
                    receiver.config], check=True)
    receiver.wait_shipped()
    assert [json.loads(entry["data"])["contact"]["id"] for entry in redis.entries()] == ["1", "2"]
    assert cursor(redis)[b"owner"] == owner("receiver-1", receiver)


# --- --account ----------------------------------------------------------------------------------

COMMANDS = [["acrelay", "check"], ["acrelayd", "--check"], ["acrelay-worker", "secrets"]]


def ran(command, *words):
    return subprocess.run([harness.BUILD / command[0], *command[1:], *words],
                          capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_an_account_is_a_file_of_its_name(command):
    done = ran(command, "--account", "no-such-account-0")
    assert done.returncode == 78
    assert "/etc/acrelay/no-such-account-0.yaml" in done.stdout + done.stderr
    both = ran(command, "--account", "beta", "--config", "/etc/acrelay/beta.yaml")
    assert both.returncode == 64 and "--config" in both.stderr
    for name in ("", "-beta", "Beta", "a_b", "../beta", "a.b", "a\n", "x" * 33, "acrelay"):
        done = ran(command, f"--account={name}")
        assert done.returncode == 64 and "--account" in done.stderr, name
        assert done.stderr.count("\n") == 1, name
    assert ran(command, f"--account={'x' * 32}").returncode == 78
    assert "/etc/acrelay/NAME.yaml" in ran(command, "--help").stdout
    assert "--account\t" in ran([command[0], "--complete", "--acc"]).stdout


def test_check_names_the_file_that_has_the_same(tmp_path):
    def write(name, **settings):
        own = {"account": name, "state": f"/var/lib/{name}", "listen": f"unix:/run/{name}.sock",
               "admin": f"127.0.0.1:{harness.free_port()}", "namespace": name,
               "worker": f"127.0.0.1:{harness.free_port()}", "redis": "redis://127.0.0.1", **settings}
        (tmp_path / f"{name}.yaml").write_text(
            "account: {name: %(account)s}\npublic_url: https://hooks.acme.example\n"
            "secret_files: [hook-secret]\nredis: {url: '%(redis)s', namespace: %(namespace)s}\n"
            "receiver: {state_dir: %(state)s, listen: ['%(listen)s'], admin: '%(admin)s'}\n"
            "worker: {admin: '%(worker)s'}\n" % own + "hooks:\n" + stanza("contacts"))

    def told(code):
        done = ran(["acrelay", "check"], "--offline", "--json", "--config", tmp_path / "one.yaml")
        assert done.returncode == code
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [row["text"] for row in rows if row["what"] == "accounts"]
    (tmp_path / "hook-secret").write_bytes(harness.SECRET)
    (tmp_path / "hook-secret").chmod(0o600)
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    write("one", admin="127.0.0.1:9180", worker="127.0.0.1:9181")
    (tmp_path / "link.yaml").symlink_to("one.yaml")
    write("two")
    assert told(0) == []
    for settings, value in (({"state": "/var/lib/one"}, "/var/lib/one"),
                            ({"listen": "unix:/run/one.sock"}, "unix:/run/one.sock"),
                            ({"admin": "127.0.0.1:9180"}, "127.0.0.1:9180"),
                            ({"worker": "127.0.0.1:9180"}, "127.0.0.1:9180"),
                            ({"namespace": "one"}, "redis.namespace"),
                            ({"namespace": "one", "redis": "redis://:6379/0"}, "redis.namespace")):
        write("two", **settings)
        [text] = told(78)
        assert "one.yaml" in text and "two.yaml" in text and value in text
    write("two", namespace="one", redis="redis://127.0.0.1/1")
    assert told(0) == []
    write("two", namespace="one", account="one")  # of the same account
    assert told(0) == []


# --- {namespace}:account ------------------------------------------------------------------------

def stopped(receiver):
    """It receives, publishes nothing, and says whose namespace it is."""
    assert receiver.post("type=subscribe&contact[id]=2") == 200
    harness.wait_for("the alarm", lambda: "belongs to account" in receiver.read_log())
    status, page = receiver.get("/readyz")
    assert status == 200 and not json.loads(page)["checks"]["shipping"]
    return receiver.read_log()


def acrelay(receiver, *words, code=0):
    done = ran(["acrelay"], *words, "--config", receiver.config)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_namespace_belongs_to_the_account_that_was_there_first(make_receiver, redis):
    receiver = make_receiver()
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()
    assert redis.client.get("{ac}:account") == b"acme"
    receiver.stop()
    receiver.config.write_text(receiver.config.read_text().replace("name: acme", "name: beta"))
    receiver.start()
    log = stopped(receiver)
    assert "acme" in log and "beta" in log and "alarm" in log and "--namespace" in log
    assert len(redis.entries()) == 1
    for command in ("check", "doctor"):
        told = acrelay(receiver, command, "--offline" if command == "doctor" else "--json",
                       code=78)
        assert "belongs to account acme, not to beta" in told and "claim --namespace" in told
    acrelay(receiver, "journal", "claim", "--yes")  # another question
    acrelay(receiver, "journal", "claim", "--namespace")  # shows only
    assert redis.client.get("{ac}:account") == b"acme"
    acrelay(receiver, "journal", "claim", "--namespace", "--yes")
    receiver.wait_shipped()
    assert [json.loads(entry["data"])["contact"]["id"] for entry in redis.entries()] == ["1", "2"]
    assert redis.client.get("{ac}:account") == b"beta"


@pytest.mark.parametrize("more", ["", ", partitions: 2"])
def test_a_namespace_can_be_claimed_before_the_first_delivery(make_receiver, redis, more):
    redis.client.set("{ac}:account", "beta")
    redis.client.set("{ac.1}:account", "beta")
    receiver = make_receiver(redis=more)
    harness.wait_for("the alarm", lambda: "belongs to account beta" in receiver.read_log())
    assert "--yes does it" in acrelay(receiver, "journal", "claim", "--namespace")
    assert redis.client.get("{ac}:account") == b"beta"
    acrelay(receiver, "journal", "claim", "--yes", code=73)  # there is none
    said = acrelay(receiver, "journal", "claim", "--namespace", "--yes")
    assert "redis.namespace now belongs to this account" in said and "no journal yet" in said
    for n in range(8):
        assert receiver.post(f"type=subscribe&contact[id]={n}") == 200
    receiver.wait_shipped()
    assert redis.client.get("{ac}:account") == b"acme"


def test_a_namespace_that_becomes_another_accounts_is_noticed_by_a_running_receiver(
        make_receiver, redis):
    receiver = make_receiver()
    harness.wait_for("its mark", lambda: redis.client.get("{ac}:account") == b"acme")
    redis.client.set("{ac}:account", "beta\n")
    harness.wait_for("the alarm", lambda: "belongs to account" in receiver.read_log())
    stopped(receiver)
    assert redis.entries() == []
    redis.client.flushall()  # nobody's again
    receiver.wait_shipped()
    assert redis.client.get("{ac}:account") == b"acme"


def test_a_user_without_the_new_rights_ships_on(make_receiver, redis, tmp_path):
    redis.add_user("old", "pw", "~{ac}:*", "+@all", "-get", "-set")
    (tmp_path / "password").write_text("pw")
    (tmp_path / "password").chmod(0o600)
    receiver = make_receiver()
    receiver.stop()
    redis.client.flushall()
    receiver.config.write_text(receiver.config.read_text().replace(
        "redis: {", "redis: {user: old, password_file: password, "))
    receiver.start()
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()
    assert "may not run GET and SET" in receiver.read_log()
    assert len(redis.entries()) == 1 and not redis.client.exists("{ac}:account")


@pytest.mark.parametrize("leader", ["local", "redis"])
def test_a_worker_writes_nothing_for_another_accounts_namespace(make_worker, sim, redis, running,
                                                                tmp_path, leader):
    worker = make_worker(redis_port=redis.port, worker=f", leader: {leader}")
    redis.client.set("{ac}:account", "beta")
    assert worker.json("plan")["writes"] == 1
    for command in (["apply"], ["recreate", "contacts"]):
        done = worker.ran(*command, code=78)
        assert "belongs to account beta, not to acme" in done.stderr
    process = running(worker, times="round-again=300")
    log = tmp_path / "worker.log"
    harness.wait_for("the alarm", lambda: "belongs to account beta" in log.read_text())
    before = sim.figures()["requests"]
    harness.wait_for("another round", lambda: sim.figures()["requests"] > before)
    assert process.poll() is None and log.read_text().count("belongs to account beta") == 1
    assert sim.hooks() == [] and redis.client.keys("*") == [b"{ac}:account"]
    assert worker.metric("acrelay_worker_round_ok") == 0
    redis.client.delete("{ac}:account")
    process.send_signal(signal.SIGHUP)
    harness.wait_for("its hook", sim.hooks)
    assert redis.client.get("{ac}:account") == b"acme"
