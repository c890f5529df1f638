"""What reads partitions: the command line shows all of them as one, and those that an earlier number of
partitions has left. Entries are made by hand here; test_partitions.py has the relay."""
import json
import subprocess

import harness
import pytest
from redis.crc import key_slot

CE_ID = "0123456789abcdef0123456789abcdef-%020d"


class Place:
    """A configuration with so many partitions of the test's Redis, and the command line with it."""

    def __init__(self, directory, redis):
        self.directory, self.redis = directory, redis
        self.config = directory / "acrelay.yaml"
        secret = directory / "hook-secret"
        secret.write_bytes(harness.SECRET + b"\n")
        secret.chmod(0o600)
        (directory / "state").mkdir(mode=0o700)
        self.partitions(4)

    def partitions(self, count):
        self.config.write_text(
            "account: {name: acme}\npublic_url: https://hooks.acme.example\n"
            "secret_files: [hook-secret]\n"
            f"redis: {{url: 'redis://127.0.0.1:{self.redis.port}/0', partitions: {count}}}\n"
            f"receiver: {{listen: ['127.0.0.1:1'], admin: '127.0.0.1:{harness.free_port()}',"
            f" state_dir: '{self.directory}/state'}}\n"
            f"worker: {{admin: '127.0.0.1:{harness.free_port()}'}}\n"
            "hooks:\n  - {name: contacts, events: [subscribe]}\n")
        for tag in [f"ac.{i}" for i in range(count)] if count > 1 else ["ac"]:
            self.redis.client.set(f"{{{tag}}}:account", "acme")

    def command(self, *words):
        return [harness.BUILD / "acrelay", "--config", self.config, *words]

    def run(self, *words, code=0):
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=30)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def lines(self, *words, **more):
        return [json.loads(line) for line in self.run("--json", *words, **more).splitlines()]

    def add(self, tag, number, stream="events", entry_id="*", **more):
        return self.redis.client.xadd(f"{{{tag}}}:{stream}", {
            "ce_id": CE_ID % number, "ce_type": "com.activecampaign.subscribe",
            "ce_source": "/activecampaign/acme/contacts", "ce_subject": f"contact/{number}",
            "ce_recordedtime": "2026-11-28T19:00:00.000000Z", "data": "{}", **more},
            id=entry_id).decode()

    def add_letter(self, tag, number, raw, entry_id="*"):
        return self.redis.client.xadd(f"{{{tag}}}:dead", {
            "ce_id": CE_ID % number, "ce_source": "/activecampaign/acme/contacts",
            "hook": "contacts", "reason": "json", "detail": "broken",
            "ce_recordedtime": "2026-11-28T19:00:00.000000Z", "content-type": "", "query": "",
            "raw": raw}, id=entry_id).decode()


@pytest.fixture
def place(tmp_path, redis):
    return Place(tmp_path, redis)


@pytest.fixture
def tail(place):
    """Starts `tail` and gives a function that reads its next line, as JSON."""
    started = []

    def start(*words):
        process = subprocess.Popen(place.command("--json", "tail", *words), text=True,
                                   stdout=subprocess.PIPE, stderr=open(place.directory / "err", "w"))
        started.append(process)
        return lambda: json.loads(process.stdout.readline())
    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_tail_shows_all_partitions_each_from_its_own_place(place):
    # The same entry id in all of them: each is a stream of its own.
    for number in range(8):
        place.add(f"ac.{number % 4}", number, entry_id=f"{number // 4 + 1}-0")
    shown = place.lines("tail", "--from", "0", "--count", "8")
    assert sorted(line["ce_id"] for line in shown) == [CE_ID % n for n in range(8)]
    for tag in range(4):
        mine = [line["id"] for line in shown if line["partition"] == f"ac.{tag}"]
        assert mine == ["1-0", "2-0"]
    later = place.lines("tail", "--from", "1-0", "--count", "4")
    assert [line["id"] for line in later] == ["2-0"] * 4


def test_tail_follows_what_comes_to_any_partition(place, tail):
    place.add("ac.3", 99)
    next_line = tail()
    harness.wait_for("all four at their end", lambda: sum(
        "xread" in client["cmd"] for client in place.redis.client.client_list()) == 4)
    for number in range(12):
        place.add(f"ac.{number % 4}", number)
        assert next_line()["ce_id"] == CE_ID % number


def test_a_group_reads_and_acknowledges_in_every_partition(place):
    for number in range(6):
        place.add(f"ac.{number % 4}", number)
    shown = place.lines("tail", "--group", "me", "--count", "6")
    assert sorted(line["ce_id"] for line in shown) == [CE_ID % n for n in range(6)]
    for tag in range(4):
        [group] = place.redis.client.xinfo_groups(f"{{ac.{tag}}}:events")
        assert group["pending"] == 0 and group["lag"] == 0


def test_what_an_earlier_number_of_partitions_left_is_shown_too(place):
    place.redis.client.set("{ac}:account", "acme")
    place.add("ac", 1)
    place.add("ac.3", 2)
    place.partitions(2)
    place.add("ac.0", 3)
    assert {line["partition"] for line in place.lines("tail", "--from", "0", "--count", "3")} == {
        "ac", "ac.0", "ac.3"}
    place.partitions(1)
    assert len(place.lines("tail", "--from", "0", "--count", "3")) == 3


def test_one_partition_is_as_ever(place):
    place.redis.client.flushall()
    place.partitions(1)
    one = place.add("ac", 1)
    [line] = place.lines("tail", "--from", "0", "--count", "1")
    assert line["id"] == one and "partition" not in line
    letter = place.add_letter("ac", 2, "x")
    assert [found["id"] for found in place.lines("dead", "list")] == [letter]


def test_dead_letters_of_all_partitions_have_names_that_can_be_given(place):
    same = place.add_letter("ac.1", 1, "type=subscribe&contact[id]=1")
    place.add_letter("ac.2", 2, "type=subscribe&contact[id]=2", same)
    alone = place.add_letter("ac.3", 3, "type=subscribe&contact[id]=3", "7-0")
    names = [letter["id"] for letter in place.lines("dead", "list")]
    assert names == [f"ac.1/{same}", f"ac.2/{same}", f"ac.3/{alone}"]
    assert f"ac.2/{same}" in place.run("dead", "list")
    assert place.lines("dead", "list", "--count", "2")[-1]["id"] == names[1]
    assert place.lines("dead", "show", names[1])[0]["ce_id"] == CE_ID % 2
    assert place.lines("dead", "show", alone)[0]["ce_id"] == CE_ID % 3

    done = subprocess.run(place.command("dead", "drop", same), capture_output=True, text=True)
    assert done.returncode == 1 and "is in several partitions" in done.stderr
    place.run("dead", "drop", names[0])
    assert place.redis.client.xlen("{ac.1}:dead") == 0
    assert place.redis.client.xlen("{ac.2}:dead") == 1
    done = subprocess.run(place.command("dead", "show", f"ac.9/{same}"), capture_output=True,
                          text=True)
    assert done.returncode == 1 and f"there is no dead letter ac.9/{same}" in done.stderr
    place.run("dead", "drop", "--all")
    assert place.lines("dead", "list") == []


@pytest.mark.parametrize("count", [1, 4])
def test_a_replayed_letter_goes_to_the_partition_of_its_subject(place, count):
    """By the hash of Redis Cluster, here the client's own."""
    place.partitions(count)
    left = place.add_letter("ac.2", 1, "type=subscribe&contact[id]=66")
    name = left if count == 4 else f"ac.2/{left}"
    place.run("dead", "replay", name)
    found = [tag for tag in ("ac", "ac.0", "ac.1", "ac.2", "ac.3")
             if place.redis.client.xlen(f"{{{tag}}}:events")]
    assert found == ["ac" if count == 1 else f"ac.{key_slot(b'contact/66') % 4}"]
    assert place.lines("dead", "list") == []
