"""What reads partitions: the command line shows all of them as one, and those that an earlier number of
partitions has left. Entries are made by hand here; test_partitions.py has the relay."""
import json
import os
import re
import subprocess

import harness
import pytest
import redis as redis_py
from redis.crc import key_slot
from test_consumers import Node, Python

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
            f"receiver: {{listen: ['127.0.0.1:1025'], admin: '127.0.0.1:{harness.free_port()}',"
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


def test_status_adds_up_the_partitions_and_takes_the_newest_event(place):
    for number in range(6):
        place.add(f"ac.{number % 4}", number)
    place.add_letter("ac.2", 1, "x")
    place.redis.client.hset("{ac.1}:last", "contacts", "2026-11-28T19:00:00.000000Z")
    place.redis.client.hset("{ac.3}:last", "contacts", "2026-11-28T19:30:00.000000Z")
    [found] = place.lines("status", code=69)  # there is no receiver
    assert (found["stream_events"], found["stream_dead"]) == (6, 1)
    assert found["hooks"][0]["last_event"] == "2026-11-28T19:30:00.000000Z"
    assert ", 4 partitions" in found["redis"]
    place.redis.client.set("{ac.1}:dead", "of another program")
    text = place.run("status", code=69)
    assert "dead letters kept              ac.1: " in text and "WRONGTYPE" in text
    assert "dead letters kept              1 in the other partitions" in text
    assert place.lines("status", code=69)[0]["stream_dead"] is None, "a part is not the whole"


def check_lines(place):
    done = subprocess.run(place.command("--json", "check"), capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_check_looks_at_every_partition_and_says_what_they_share_once(place):
    lines = check_lines(place)
    assert [line["result"] for line in lines if line["what"] == "redis rights"] == ["ok"]
    [fine] = [line for line in lines if line["what"] == "redis" and line["result"] == "ok"]
    assert fine["text"].endswith(", 4 partitions")
    assert sum("appendonly is off" in line["text"] for line in lines) == 1
    place.redis.client.set("{ac.3}:events", "of another program")
    assert [line["text"] for line in check_lines(place) if line["result"] == "error"] == [
        "{ac.3}:events is a string, but must be a stream"]


def test_check_names_the_first_partition_for_which_rights_are_lacking(place):
    place.redis.client.execute_command(
        "ACL", "SETUSER", "narrow", "on", ">word", "~{ac.0}:*", "~{ac.1}:*", "~{ac}:*", "+@all")
    (place.directory / "word").write_text("word\n")
    (place.directory / "word").chmod(0o600)
    place.config.write_text(place.config.read_text().replace(
        "/0'", "/0', user: narrow, password_file: word"))
    [lacks] = [line["text"] for line in check_lines(place) if line["what"] == "redis rights"]
    assert "{ac.2}:" in lacks and "{ac.3}:" not in lacks and "{ac.1}:" not in lacks


# --- several receivers ---------------------------------------------------------------------

@pytest.fixture
def receivers(tmp_path, redis):
    """Makes receivers of one namespace, each with a journal of its own."""
    made = []

    def make(name, partitions=2):
        directory = tmp_path / name
        directory.mkdir()
        made.append(harness.Receiver(directory, redis.port, receiver=f", instance: {name}",
                                     redis=f", partitions: {partitions}"))
        return made[-1]
    yield make
    for receiver in made:
        if receiver.process.poll() is None:
            receiver.kill()


def command(receiver, *words):
    done = subprocess.run([harness.BUILD / "acrelay", "--config", receiver.config, "--json", *words],
                          capture_output=True, text=True, timeout=30)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_two_receivers_share_streams_duplicates_and_one_set_of_hooks(receivers, redis):
    one, two = receivers("one"), receivers("two")
    assert one.path() == two.path(), "a balancer may send a hook's post to either"
    for number in range(40):
        for receiver in (one, two):
            assert receiver.post(f"type=subscribe&contact[id]={number}") == 200
    one.wait_shipped()
    two.wait_shipped()
    entries = redis.entries("{ac.0}:events") + redis.entries("{ac.1}:events")
    assert len({entry["ce_id"] for entry in entries}) == len(entries) == 80
    by_subject = {}
    for entry in entries:
        by_subject.setdefault(entry["ce_subject"], []).append(entry["ce_repeat"])
    assert all(sorted(marks) == [b"0", b"1"] for marks in by_subject.values()), by_subject
    assert len({entry["ce_id"][:32] for entry in entries}) == 2, "two journals"
    assert redis.client.hlen("{ac.0}:last") == 1


def test_status_and_doctor_show_all_receivers(receivers, redis):
    one = receivers("one")
    assert "receivers" not in command(one, "status")[1][0], "alone"
    two = receivers("two")
    for receiver in (one, two):
        assert receiver.post("type=subscribe&contact[id]=1") == 200
    harness.wait_for("both to be heard of", lambda: len(
        command(one, "status")[1][0].get("receivers", ())) == 2)
    code, [status] = command(one, "status")
    assert sorted(r["instance"] for r in status["receivers"]) == ["one", "two"]
    assert code == 0 and all(r["heard_seconds"] < 30 for r in status["receivers"])
    _, lines = command(one, "doctor")
    assert sum(line["what"] == "receivers" for line in lines) == 2

    # One that is gone, with deliveries in its journal that nobody else has.
    two.kill()
    for tag in ("{ac.0}", "{ac.1}"):
        for owner, text in redis.client.hgetall(f"{tag}:receivers").items():
            if b'"two"' in text:
                heard = int(re.search(rb'"heard":(\d+)', text)[1]) - 3600
                text = re.sub(rb'"heard":\d+', b'"heard":%d' % heard, text)
                text = re.sub(rb'"waiting":\d+', b'"waiting":7', text)
                redis.client.hset(f"{tag}:receivers", owner, text)
    code, [status] = command(one, "status")
    [gone] = [r for r in status["receivers"] if r["instance"] == "two"]
    assert code == 69 and gone["waiting"] == 7 and gone["heard_seconds"] >= 3600
    _, lines = command(one, "doctor")
    [wrong] = [line for line in lines if line["what"] == "receivers" and line["result"] == "error"]
    assert wrong["text"].startswith("two: heard of 1 h")


def test_what_others_wrote_among_the_receivers_harms_nobody(receivers, redis):
    one, two = receivers("one"), receivers("two")
    harness.wait_for("both", lambda: redis.client.hlen("{ac.0}:receivers") == 2)
    for number, odd in enumerate((b"", b"{", b"[]", b"{}", b'{"heard":"x","instance":5}',
                                  b'{"heard":99999999999999999999,"instance":"a\\u001b[2Jb"}',
                                  b"\xff\0", b'{"instance":"' + b"a" * 5000 + b'"}')):
        redis.client.hset("{ac.0}:receivers", f"odd-{number}", odd)
    code, [status] = command(one, "status")
    names = [r["instance"] for r in status["receivers"]]
    assert {"one", "two"} <= set(names) and not any("\x1b" in name for name in names)
    redis.client.hset("{ac.0}:receivers", "\x1b[2J-owner", "{}")  # no name but this
    shown = subprocess.run([harness.BUILD / "acrelay", "--config", one.config, "status"],
                           capture_output=True, text=True, timeout=30).stdout
    assert "\\x1b[2J" in shown and "\x1b" not in shown
    # and the next word of a receiver drops what is no such text
    harness.wait_for("that", lambda: b"odd-0" not in redis.client.hgetall("{ac.0}:receivers"))
    assert two.post("type=subscribe&contact[id]=1") == 200


# --- consumers -----------------------------------------------------------------------------

def is_finished(redis, group, streams):
    for stream in streams:
        try:
            found = [g for g in redis.client.xinfo_groups(stream) if g["name"].decode() == group]
        except redis_py.ResponseError:
            return False
        if not found or found[0]["pending"] or (
                found[0]["last-delivered-id"]
                != redis.client.xinfo_stream(stream)["last-generated-id"]):
            return False
    return True


@pytest.fixture
def consume(tmp_path, redis, place):
    """Starts the consumer of a kind over partitions; ends it with the test."""
    started = []

    def start(kind, partitions, before=None):
        consumer = kind(tmp_path, redis)
        words, more = consumer.command("one")
        if kind is Python:
            words += ["--partitions", str(partitions)] + ["--before", str(before)] * bool(before)
        else:
            more |= {"PARTITIONS": str(partitions)} | ({"BEFORE": str(before)} if before else {})
        with open(tmp_path / "consumer.log", "wb") as log:
            started.append(subprocess.Popen(words, env={**os.environ, **more}, stdout=log,
                                            stderr=log))
        return consumer
    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", [Python, Node])
def test_a_consumer_reads_all_partitions(kind, place, redis, consume):
    for number in range(200):  # the same entry ids in all of them
        place.add(f"ac.{number % 4}", number, entry_id=f"{number // 4 + 1}-0")
    for tag in range(4):
        redis.client.xadd(f"{{ac.{tag}}}:events", {"no": "event"}, id="100-0")
    consumer = consume(kind, 4)
    streams = [f"{{ac.{i}}}:events" for i in range(4)]
    harness.wait_for("all of them", lambda: is_finished(redis, consumer.group, streams))
    assert sorted(consumer.results()) == [CE_ID % n for n in range(200)]
    log = (place.directory / "consumer.log").read_text()
    assert all(f"{stream}/100-0: set aside" in log for stream in streams)


@pytest.mark.parametrize("kind", [Python, Node])
def test_a_consumer_finishes_the_earlier_partitions_first(kind, place, redis, consume):
    redis.client.xgroup_create("{ac}:events", kind.group, "0", mkstream=True)
    for number in range(150):
        place.add("ac", number)
    for number in range(150, 200):
        place.add(f"ac.{number % 4}", number)
    redis.client.xreadgroup(kind.group, "died", {"{ac}:events": ">"}, count=10)  # and left them
    consumer = consume(kind, 4, before=1)
    harness.wait_for("all of them", lambda: len(consumer.results()) == 200)
    log = (place.directory / "consumer.log").read_text().splitlines()
    where = [line.split("/")[0] for line in log if line.endswith(": stored")]
    assert where[:150] == ["{ac}:events"] * 150 and "{ac}:events" not in where[150:]
    place.add("ac", 999)  # Redis lost data, and acrelay sends it again where it was
    harness.wait_for("that too", lambda: CE_ID % 999 in consumer.results())


@pytest.mark.parametrize("partitions", [1, 4])
def test_the_shell_consumer_shows_and_acknowledges_all(partitions, place, redis):
    tags = ["ac"] if partitions == 1 else [f"ac.{i}" for i in range(4)]
    for number in range(8):
        place.add(tags[number % partitions], number, raw="two\nlines")
    done = subprocess.run(
        [harness.ROOT / "deploy/consumers/consumer.sh", "me", "one", str(partitions)], text=True,
        env={**os.environ, "REDIS": f"redis-cli -p {redis.port}", "WAIT": "1"},
        capture_output=True, timeout=180)  # hundreds of small programs
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert sorted(line[2] for line in lines) == [CE_ID % n for n in range(8)]
    assert all(line[3] == "com.activecampaign.subscribe" for line in lines)
    assert is_finished(redis, "me", [f"{{{tag}}}:events" for tag in tags])
