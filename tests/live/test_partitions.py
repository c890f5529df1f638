"""redis.partitions: events spread by subject over hash tags, each with a cursor of its own; every
event once, in order by subject, whatever happens to one of them, and when their number changes."""
import collections
import json
import random
import re
import subprocess
import tempfile
import time

import pytest

import harness
from fault_proxy import FaultProxy


def slot(subject):
    """The slot of Redis Cluster of a key (CRC-16/XMODEM)."""
    crc = 0
    for byte in subject.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xffff
    return crc & 16383


def tags(n):
    return ["{ac}"] if n == 1 else [f"{{ac.{i}}}" for i in range(n)]


def tag_of(subject, n):
    return tags(n)[slot(subject) % n]


def set_partitions(receiver, n):
    text = receiver.config.read_text()
    receiver.config.write_text(re.sub(r", partitions: \d+", "", text).replace(
        "/0'", f"/0', partitions: {n}", 1))


class Poster:
    """Posts event after event of some contacts, and knows what must have become of them."""

    def __init__(self, receiver, contacts=20):
        self.receiver, self.contacts, self.next = receiver, contacts, 1
        self.big = ""
        self.sent = collections.defaultdict(list)  # by subject: numbers, in order

    def post(self, count, seed=1):
        chance = random.Random(seed + self.next)
        for _ in range(count):
            contact = chance.randrange(self.contacts)
            body = f"type=subscribe&contact[id]={contact}&contact[n]={self.next}&x={self.big}"
            assert self.receiver.post(body) == 200
            self.sent[f"contact/{contact}"].append(self.next)
            self.next += 1


def number(entry):
    return int(json.loads(entry["data"])["contact"]["n"])


def found(redis, ns, stream="events"):
    """What is there, by tag and by subject in the order of the streams; old tags first."""
    entries = collections.defaultdict(list)
    ids = collections.Counter()
    for tag in dict.fromkeys(t for n in ns for t in tags(n)):
        for entry in redis.entries(f"{tag}:{stream}"):
            ids[entry["ce_id"]] += 1
            entries[entry["ce_subject"].decode()].append((tag, entry))
    assert max(ids.values(), default=1) == 1, ids.most_common(3)
    return entries


def check(redis, poster, *ns):
    """Every event that was answered 200 is in one partition, once, and in order there."""
    entries = found(redis, ns)
    for subject, numbers in poster.sent.items():
        there = [number(e) for _, e in entries[subject]]
        assert sorted(there) == numbers, (subject, len(there), len(numbers))
        for tag in {t for t, _ in entries[subject]}:
            of_tag = [number(e) for t, e in entries[subject] if t == tag]
            sequences = [e["ce_sequence"] for t, e in entries[subject] if t == tag]
            assert of_tag == sorted(of_tag) and sequences == sorted(sequences), (subject, tag)


@pytest.fixture
def redis():
    with harness.Redis() as server:
        yield server


@pytest.fixture
def receivers(tmp_path):
    """Makes receivers, and ends them."""
    made = []

    def make(port, n, **more):
        directory = tmp_path / str(len(made))
        directory.mkdir()
        receiver = harness.Receiver(directory, port, redis=f", partitions: {n}", **more)
        made.append(receiver)
        return receiver
    yield make
    for receiver in made:
        if receiver.process.poll() is None:
            receiver.kill()


def test_events_go_where_the_slot_of_their_subject_says(redis, receivers):
    receiver = receivers(redis.port, 4)
    poster = Poster(receiver)
    poster.post(200)
    receiver.wait_shipped()
    check(redis, poster, 4)
    for subject, there in found(redis, [4]).items():
        assert {t for t, _ in there} == {tag_of(subject, 4)}
    assert not redis.client.keys("{ac}:*")
    for tag in tags(4):  # a partition's keys are all under its tag
        assert redis.client.exists(f"{tag}:account") and redis.client.hlen(f"{tag}:last") == 1


def test_what_cannot_be_read_goes_to_its_hook_and_is_a_dead_letter_once(redis, receivers):
    receiver = receivers(redis.port, 4)
    for _ in range(3):
        assert receiver.post("") == 200
    receiver.wait_shipped()
    letters = {t: redis.entries(f"{t}:dead") for t in tags(4)}
    assert [t for t, e in letters.items() if e] == [tag_of("hook/contacts", 4)]
    assert sum(map(len, letters.values())) == 3


def test_a_lost_call_without_records_makes_later_batches_no_smaller(redis, receivers):
    own, others = ([i for i in range(200) if tag_of(f"contact/{i}", 2) == tag] for tag in tags(2))
    with FaultProxy(redis.port) as proxy:
        receiver = receivers(proxy.port, 2)
        proxy.cut_with(b"{ac.1}:seen:state")  # a script call, with whatever records
        assert receiver.post(f"type=subscribe&contact[id]={own[0]}") == 200
        harness.wait_for("the lost call", lambda: proxy.cuts > 0)
        proxy.refuse()
        proxy.reset()
        for i in others[:60]:
            assert receiver.post(f"type=subscribe&contact[id]={i}") == 200
        before = receiver.metric("acrelay_relay_batches_total")
        proxy.heal()
        receiver.wait_shipped()
        assert redis.client.xlen("{ac.1}:events") == 60
        assert receiver.metric("acrelay_relay_batches_total") < before + 30


def test_one_partition_that_is_refused_does_not_stop_the_others(redis, receivers):
    receiver = receivers(redis.port, 4)
    redis.client.set("{ac.2}:events", "not a stream")
    poster = Poster(receiver)
    poster.post(100)
    others = [s for s in poster.sent if tag_of(s, 4) != "{ac.2}"]

    def are_there():
        entries = found(redis, [1])
        for tag in ("{ac.0}", "{ac.1}", "{ac.3}"):
            for entry in redis.entries(f"{tag}:events"):
                entries[entry["ce_subject"].decode()].append(entry)
        return all(len(entries[s]) == len(poster.sent[s]) for s in others)
    harness.wait_for("the others", are_there)
    harness.wait_for("the alarm", lambda: "{ac.2}:events has another type" in receiver.read_log())
    details = json.loads(receiver.get("/readyz")[1])["details"]
    assert details["redis"].startswith("{ac.2}: ") and "WRONGTYPE" in details["redis"]
    redis.client.delete("{ac.2}:events")
    receiver.wait_shipped()
    check(redis, poster, 4)


def test_a_partition_behind_the_others_catches_up_and_joins_them(redis, receivers):
    receiver = receivers(redis.port, 4)
    poster = Poster(receiver, contacts=40)
    poster.post(50)
    receiver.wait_shipped()
    assert receiver.metric("acrelay_relay_lagging_partitions") == 0
    redis.client.set("{ac.1}:seen:state", "a string")
    poster.big = "x" * 200_000  # so that the ring is soon full
    poster.post(150)
    harness.wait_for("one left behind",
                     lambda: receiver.metric("acrelay_relay_lagging_partitions") == 1)
    redis.client.delete("{ac.1}:seen:state")
    receiver.wait_shipped()
    check(redis, poster, 4)
    poster.post(50)
    receiver.wait_shipped()
    check(redis, poster, 4)
    assert receiver.metric("acrelay_relay_lagging_partitions") == 0


def test_a_cursor_that_is_lost_refills_its_partition_only(redis, receivers):
    receiver = receivers(redis.port, 4)
    poster = Poster(receiver)
    poster.post(100)
    receiver.wait_shipped()
    cursor = redis.client.keys("{ac.1}:cursor:*")
    before = {t: redis.client.xlen(f"{t}:events") for t in tags(4)}
    redis.client.delete("{ac.1}:events", *cursor)
    harness.wait_for("the refill", lambda: redis.client.xlen("{ac.1}:events") ==
                     before["{ac.1}"])
    receiver.wait_shipped()
    check(redis, poster, 4)


def restart(receiver, n):
    receiver.kill()
    set_partitions(receiver, n)
    receiver.start()


def test_the_number_changes_in_both_directions_and_back(redis, receivers):
    receiver = receivers(redis.port, 1)
    poster = Poster(receiver)
    poster.post(60)
    for n in (4, 2, 1, 4, 1):
        restart(receiver, n)  # kill -9, with deliveries on their way
        poster.post(60)
    receiver.wait_shipped()
    check(redis, poster, 1, 4, 2)
    ranges = (receiver.directory / "state/partitions").read_text().splitlines()[1:]
    assert [line.split()[1] for line in ranges] == ["1", "4", "2", "1", "4", "1"]


def test_what_was_published_before_a_change_is_refilled_where_it_was(redis, receivers):
    receiver = receivers(redis.port, 1)
    poster = Poster(receiver)
    poster.post(50)
    receiver.wait_shipped()
    restart(receiver, 4)
    poster.post(50)
    receiver.wait_shipped()
    redis.client.flushall()
    harness.wait_for("the refill", lambda: sum(
        redis.client.xlen(f"{t}:events") for t in tags(1) + tags(4)) == 100)
    check(redis, poster, 1, 4)
    assert redis.client.xlen("{ac}:events") == 50


def test_a_change_while_redis_is_away_loses_nothing(redis, receivers):
    receiver = receivers(redis.port, 4)
    poster = Poster(receiver)
    poster.post(30)
    redis.kill()
    poster.post(30)
    restart(receiver, 2)
    poster.post(30)
    restart(receiver, 1)
    poster.post(30)
    redis.start()
    receiver.wait_shipped()
    check(redis, poster, 4, 2, 1)


def test_nobody_is_alarmed_by_a_partition_that_is_new(redis, receivers):
    receiver = receivers(redis.port, 1)
    Poster(receiver).post(20)
    receiver.wait_shipped()
    restart(receiver, 4)
    receiver.wait_shipped()
    receiver.stop()
    receiver.start()
    receiver.wait_shipped()
    assert not [line for line in receiver.read_log().splitlines()
                if " warning " in line or " alarm " in line]


def acrelay(receiver, *words):
    done = subprocess.run([harness.BUILD / "acrelay", *words, "-c", receiver.config],
                          capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_claim_names_the_cursor_of_each_partition(redis, receivers):
    receiver = receivers(redis.port, 2)
    Poster(receiver).post(20)
    receiver.wait_shipped()
    receiver.stop()
    [lower], [upper] = (redis.client.keys(f"{tag}:cursor:*") for tag in tags(2))
    redis.client.hset(lower, "sequence", "%020d" % 7)
    redis.client.hset(upper, "sequence", "%020d" % 20)
    code, text = acrelay(receiver, "journal", "claim", "--yes")
    assert code == 0 and "; its cursors are at 7 ({ac.0}), 20 ({ac.1})\n" in text, text


def test_check_finds_a_layout_that_is_missing_or_damaged(redis, receivers):
    receiver = receivers(redis.port, 2)
    layout = receiver.directory / "state/partitions"
    assert "partitions is" not in acrelay(receiver, "check")[1]
    Poster(receiver).post(1)
    receiver.wait_shipped()
    assert acrelay(receiver, "check")[0] == 0
    kept = layout.read_bytes()
    for content, said in (None, "is missing"), (kept[:-1], "is damaged"):
        layout.unlink()
        if content:
            layout.write_bytes(content)
        code, text = acrelay(receiver, "check")
        assert code == 78 and f"{layout} {said}" in text and "nothing will be published" in text
        layout.write_bytes(kept)
    assert acrelay(receiver, "check")[0] == 0
    receiver.stop()


def test_a_damaged_layout_publishes_nothing_and_receives_on(redis, receivers):
    receiver = receivers(redis.port, 4)
    poster = Poster(receiver)
    poster.post(20)
    receiver.wait_shipped()
    receiver.stop()
    layout = receiver.directory / "state/partitions"
    kept = layout.read_bytes()
    layout.write_bytes(kept[:-1])
    receiver.start()
    poster.post(20)
    assert "partitions is damaged" in receiver.read_log()
    assert "run acrelay journal partitions N --yes" in receiver.read_log()
    assert "partitions is damaged" in json.loads(receiver.get("/readyz")[1])["details"]["redis"]
    assert sum(redis.client.xlen(f"{t}:events") for t in tags(4)) == 20
    code, text = acrelay(receiver, "journal", "partitions", "4", "--yes")
    assert code == 75 and "is in use by a receiver" in text and layout.read_bytes() == kept[:-1]
    receiver.stop()
    code, text = acrelay(receiver, "journal", "partitions", "4", "--yes")
    assert code == 0 and layout.read_bytes() == kept, text
    receiver.start()
    receiver.wait_shipped()
    check(redis, poster, 4)


# --- redis.confirm --------------------------------------------------------------------------------

def oldest_s(receiver):
    """Age of the oldest record that may not leave the journal yet."""
    return receiver.metric("acrelay_journal_oldest_unpublished_age_seconds")


@pytest.fixture
def replica(redis):
    with harness.Redis() as server:
        server.client.replicaof("127.0.0.1", redis.port)
        harness.wait_for("the replica", lambda: server.client.info("replication")[
            "master_link_status"] == "up")
        yield server


@pytest.mark.parametrize("n", [1, 4])
def test_the_journal_keeps_what_no_replica_has(redis, replica, tmp_path, n):
    receiver = harness.Receiver(tmp_path, redis.port,
                                redis=f", partitions: {n}, confirm: replicas=1")
    poster = Poster(receiver)
    poster.post(20)
    receiver.wait_shipped()
    harness.wait_for("the confirmation", lambda: oldest_s(receiver) == 0)
    replica.pause()
    poster.post(20)
    receiver.wait_shipped()  # it is published all the same
    check(redis, poster, n)
    harness.wait_for("the count", lambda: receiver.metric("acrelay_relay_unconfirmed_total") > 0)
    assert "0 of 1 replicas have what was published" in receiver.read_log()
    harness.wait_for("its age", lambda: oldest_s(receiver) > 6)
    for command in "status", "doctor":
        assert "not confirmed as redis.confirm says" in acrelay(receiver, command)[1]
    # A new connection that has written nothing yet is no confirmation of what was sent before.
    redis.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    before = receiver.metric("acrelay_relay_unconfirmed_total")
    harness.wait_for("it is asked again", lambda: receiver.metric(
        "acrelay_relay_unconfirmed_total") > before + n)
    assert oldest_s(receiver) > 0
    replica.resume()
    harness.wait_for("the confirmation", lambda: oldest_s(receiver) == 0)
    assert "confirmed as redis.confirm says again" in receiver.read_log()
    assert "not confirmed" not in acrelay(receiver, "status")[1]
    receiver.stop()


def test_check_says_what_redis_confirm_lacks(redis, tmp_path):
    receiver = harness.Receiver(tmp_path, redis.port, redis=", confirm: replicas=1")
    code, text = acrelay(receiver, "check")
    assert code == 69 and "replicas=1, but 0 are connected" in text
    with harness.Redis() as server:
        server.client.replicaof("127.0.0.1", redis.port)
        harness.wait_for("the replica", lambda: acrelay(receiver, "check")[0] == 0)
    receiver.config.write_text(receiver.config.read_text().replace("replicas=1", "aof"))
    code, text = acrelay(receiver, "check")
    assert code == 78 and "redis.confirm is aof, but appendonly is off" in text
    receiver.stop()


@pytest.fixture
def aof():
    """A server with an append-only file, which it syncs once a second, in memory: a busy disk may
    take longer than that."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory, harness.Redis(
            directory, "--appendonly", "yes") as server:
        yield server


def has_waitaof(server):
    return bool(server.client.command_list(pattern="waitaof"))


def test_the_journal_keeps_what_the_append_only_file_does_not_have(aof, tmp_path):
    if not has_waitaof(aof):
        pytest.skip(f"Redis {aof.client.info('server')['redis_version']} has no WAITAOF")
    receiver = harness.Receiver(tmp_path, aof.port, redis=", partitions: 2, confirm: aof")
    poster = Poster(receiver)
    poster.post(20)
    receiver.wait_shipped()
    harness.wait_for("the confirmation", lambda: oldest_s(receiver) == 0)
    asked = aof.client.info("commandstats")["cmdstat_waitaof"]
    assert asked["calls"] > 0 and asked["failed_calls"] == asked["rejected_calls"] == 0
    aof.client.config_set("appendonly", "no")
    poster.post(20)
    harness.wait_for("the alarm", lambda: "redis.confirm: aof needs Redis 7.2"
                     in receiver.read_log())
    assert oldest_s(receiver) > 0
    aof.client.config_set("appendonly", "yes")
    receiver.wait_shipped()
    harness.wait_for("the confirmation", lambda: oldest_s(receiver) == 0, 60)
    check(aof, poster, 2)
    receiver.stop()


def test_an_append_only_file_that_is_synced_once_a_second_is_in_time(aof, tmp_path):
    if not has_waitaof(aof):
        pytest.skip("this server has no WAITAOF")
    receiver = harness.Receiver(tmp_path, aof.port, redis=", confirm: aof")
    poster = Poster(receiver)
    end = time.monotonic() + 6
    while time.monotonic() < end:
        poster.post(1)
    receiver.wait_shipped()
    harness.wait_for("the confirmation", lambda: oldest_s(receiver) == 0)
    assert receiver.metric("acrelay_relay_unconfirmed_total") == 0
    assert "does not have what was" not in receiver.read_log()
    receiver.stop()


def test_aof_is_refused_where_redis_does_not_have_it(aof, tmp_path):
    if has_waitaof(aof):
        pytest.skip("this server has WAITAOF")
    receiver = harness.Receiver(tmp_path, aof.port, redis=", confirm: aof")
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    harness.wait_for("the alarm", lambda: "redis.confirm: aof needs Redis 7.2"
                     in receiver.read_log())
    assert aof.entries() == []
    receiver.stop()


def test_the_listed_rights_are_enough(redis, tmp_path):
    text = (harness.ROOT / "deploy/redis/acrelay.acl").read_text()
    [rights] = [line.split()[4:] for line in text.splitlines()
                if line.startswith("user acrelay-receiver ")]
    assert "~{ac.*}:*" in text
    redis.add_user("acrelay", "a password", *rights, "~{ac.*}:*")
    password = tmp_path / "password"
    password.write_text("a password")
    password.chmod(0o600)
    receiver = harness.Receiver(tmp_path, redis.port, redis=", partitions: 2, confirm: replicas=1,"
                                " user: acrelay, password_file: password")
    poster = Poster(receiver)
    poster.post(30)
    receiver.wait_shipped()
    check(redis, poster, 2)
    log = receiver.read_log()
    assert "NOPERM" not in log and " alarm " not in log, log
    receiver.stop()
