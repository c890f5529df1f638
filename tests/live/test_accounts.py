"""Whose cursor and whose namespace it is: a journal that is published from one place only, and
accounts that share a machine or a Redis without mixing."""
import hashlib
import json
import pathlib
import socket
import subprocess

import harness
import pytest

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
    for path in (receiver.directory / "state").rglob("*"):  # or a copy would carry it along
        assert not path.is_file() or (instance or machine()).encode() not in path.read_bytes()


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
    harness.wait_for("the alarm", lambda: "belongs to another place" in receiver.read_log())
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
