"""Wall clocks that lie (tests/preload/clocks.c) under a relay: the receiver's, and Redis's own."""
import datetime
import re
import time

import pytest

import harness

HOUR = 3600
DAY = 24 * HOUR
YEAR = 365 * DAY


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """clock(seconds) makes the clock wrong for what is started after clock.on()."""
    file = tmp_path / "wall"

    def move(seconds):
        fresh = file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.rename(file)

    def on(is_on=True):
        monkeypatch.setenv("LD_PRELOAD", str(harness.BUILD / "preload/clocks.so") if is_on else "")

    move(0)
    monkeypatch.setenv("WALL_FILE", str(file))
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "trim=50 trim-exact=50 clock-settle=1500")
    move.on = on
    return move


def add_old(redis, stream, ages, now=None):
    """Entries of these ages in seconds, by Redis's clock or another one's time."""
    now = now or redis.client.time()[0]
    for age in ages:
        redis.client.xadd(stream, {"a": "b"}, id=f"{int((now - age) * 1000)}-*")


def wait_trims(redis, rounds=3):
    """Until the relay has been through all streams so many times."""
    def calls():
        return redis.client.info("commandstats").get("cmdstat_smembers", {"calls": 0})["calls"]

    end = calls() + rounds
    harness.wait_for("trims", lambda: calls() >= end)


def held(receiver):
    return receiver.metric('acrelay_clock_held{clock="redis"}') == 1


def last_age(redis):
    text = redis.client.hget("{ac}:last", "contacts").decode()
    last = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
    return redis.client.time()[0] - last


def test_receivers_with_other_hooks_keep_each_others_last_events(redis, tmp_path, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "trim=50 trim-exact=50")
    hooks = [b"contacts", b"deals"]
    for name in hooks:
        (tmp_path / name.decode()).mkdir()
    receivers = [harness.Receiver(tmp_path / name.decode(), redis.port,
                                  f"  - {{name: {name.decode()}, events: [subscribe]}}\n") for name in hooks]
    for receiver, name in zip(receivers, hooks):
        assert receiver.post("type=subscribe&contact[id]=1", name.decode()) == 200
        receiver.wait_shipped()

    def listed():
        return [int(at or 0) for at in redis.client.hmget("{ac}:last:listed", hooks)]
    before = max(listed())
    harness.wait_for("both to trim", lambda: min(listed()) > before)
    assert set(redis.client.hkeys("{ac}:last")) == set(hooks)
    for receiver in receivers:
        receiver.stop()


def test_the_receivers_clock_trims_nothing(redis, clock, make_receiver):
    add_old(redis, "{ac}:events", [8 * DAY, 6 * DAY])
    redis.client.xgroup_create("{ac}:events", "shop", "0")
    clock.on()
    receiver = make_receiver(extra="duplicates: {window: 1h}\n")
    harness.wait_for("what is too old to go", lambda: redis.client.xlen("{ac}:events") == 1)
    entries = 1
    for offset in (8 * DAY, -8 * DAY, 12 * YEAR, -40 * YEAR, 0):
        clock(offset)
        wait_trims(redis)
        assert receiver.post(f"type=subscribe&contact[id]={offset}") == 200
        receiver.wait_shipped()
        wait_trims(redis)
        entries += 1
        assert redis.client.xlen("{ac}:events") == entries, offset
        assert -1 <= last_age(redis) < 60, offset
        assert not held(receiver)
    # Trimming has not stopped either.
    add_old(redis, "{ac}:dead", [91 * DAY, 89 * DAY])
    clock(-8 * DAY)
    harness.wait_for("what is too old to go", lambda: redis.client.xlen("{ac}:dead") == 1)
    for name in ("acrelay_stream_trimmed_unread_total", "acrelay_dead_letters_trimmed_total"):
        harness.wait_for(name, lambda name=name: receiver.metric(name) == 1)


def test_no_event_is_dropped_when_the_clock_was_set(redis, clock, make_receiver):
    """A clock set back makes receipts meet that lie hours apart."""
    clock.on()
    receiver = make_receiver(hooks="  - {name: contacts, events: [subscribe], duplicates: drop}\n",
                             extra="duplicates: {window: 1h}\n")
    entries = 0
    for offset in (0, -1800, -2400, 8 * DAY, 400 * DAY, 2 * HOUR, HOUR, 0, -1200, 600):
        if offset == -1200:  # only the receipts show this step, and not the next
            receiver.stop()
        clock(offset)
        if offset == -1200:
            receiver.start()
        for _ in range(2):
            assert receiver.post("type=subscribe") == 200
        receiver.wait_shipped()
        entries += 1
        # The second post came within the second: a duplicate, or in doubt none.
        assert redis.client.xlen("{ac}:events") >= entries, offset
        entries = redis.client.xlen("{ac}:events")
    # Without a step duplicates are found; the two before may both have been in doubt.
    assert receiver.post("type=subscribe") == 200
    receiver.wait_shipped()
    entries = redis.client.xlen("{ac}:events")
    assert receiver.post("type=subscribe") == 200
    receiver.wait_shipped()
    assert redis.client.xlen("{ac}:events") == entries


def test_receivers_of_one_namespace_find_each_others_duplicates(redis, make_receiver, tmp_path):
    (tmp_path / "b").mkdir()
    a = make_receiver()
    b = harness.Receiver(tmp_path / "b", redis.port)
    try:
        for receiver, what, again in [(a, "x", b"0"), (b, "y", b"0"), (a, "x", b"1"),
                                      (b, "x", b"1"), (a, "y", b"1")]:
            assert receiver.post(f"type=subscribe&a={what}") == 200
            receiver.wait_shipped()
            assert redis.entries()[-1]["ce_repeat"] == again, what
    finally:
        b.kill()


@pytest.fixture
def wrong_redis(clock, tmp_path):
    """Its clock is the one that lies; the receiver's is true."""
    clock.on()
    server = harness.Redis(tmp_path)
    clock.on(False)
    add_old(server, "{ac}:events", [DAY, 2 * HOUR], time.time())
    server.client.xgroup_create("{ac}:events", "shop", "0")
    yield server
    server.kill()


def test_a_step_of_redis_holds_trimming_until_it_is_steady(clock, wrong_redis, tmp_path):
    redis = wrong_redis
    receiver = harness.Receiver(tmp_path, redis.port)
    try:
        wait_trims(redis)
        assert not held(receiver)
        for step in (8 * DAY, -8 * DAY, 12 * YEAR):
            clock(step)
            harness.wait_for("the alarm", lambda: held(receiver))
            assert receiver.post("type=subscribe") == 200  # shipping goes on
            receiver.wait_shipped()
            assert redis.client.exists("{ac}:last")
            clock(0)
            harness.wait_for("the true time", lambda: not held(receiver))
            wait_trims(redis)
        assert redis.client.xlen("{ac}:events") == 5
        # One for each step; and ids do not go back: entries stay longer than they should.
        log = receiver.read_log()
        assert len(re.findall(r" alarm +relay: ", log)) == 3 and len(re.findall(r" warning +relay: entry ids", log)) == 1
        # What stays is believed: it may have been put right.
        clock(20 * DAY)
        harness.wait_for("the alarm", lambda: held(receiver))
        assert redis.client.xlen("{ac}:events") == 5
        harness.wait_for("the new time", lambda: not held(receiver))
        harness.wait_for("trimming", lambda: redis.client.xlen("{ac}:events") < 5)
    finally:
        receiver.kill()


def test_a_redis_that_has_no_time_yet_after_boot_trims_nothing(clock, wrong_redis, tmp_path,
                                                               monkeypatch):
    """Both started before NTP: no step is seen. Soon after boot the newest entry counts."""
    redis = wrong_redis
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "trim=50 trim-exact=50 clock-settle=1500 clock-boot=9000000000")
    add_old(redis, "{ac}:dead", [99 * DAY, HOUR], time.time())
    clock(400 * DAY)
    receiver = harness.Receiver(tmp_path, redis.port)
    try:
        assert receiver.post("type=subscribe") == 200
        receiver.wait_shipped()
        harness.wait_for("what is too old in any case",
                         lambda: redis.client.xlen("{ac}:dead") == 1)
        wait_trims(redis)
        assert redis.client.xlen("{ac}:events") == 3
        clock(0)
        harness.wait_for("the alarm", lambda: held(receiver))
        wait_trims(redis)
        assert redis.client.xlen("{ac}:events") == 3
    finally:
        receiver.kill()


@pytest.mark.parametrize("who", ["redis", "both"])
def test_a_clock_that_steps_between_two_lives_trims_nothing(clock, wrong_redis, tmp_path,
                                                            monkeypatch, who):
    """No step is seen by the next process: for as long as a new time takes to be believed it
    goes on from the newest entry."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "trim=50 trim-exact=50")
    redis = wrong_redis
    receiver = harness.Receiver(tmp_path, redis.port)
    try:
        assert receiver.post("type=subscribe") == 200
        receiver.wait_shipped()
        receiver.stop()
        clock(8 * DAY)
        clock.on(who == "both")
        add_old(redis, "{ac}:dead", [99 * DAY, HOUR], time.time())
        receiver.start()
        harness.wait_for("what is too old in any case",
                         lambda: redis.client.xlen("{ac}:dead") == 1)
        assert receiver.post("type=subscribe") == 200
        receiver.wait_shipped()
        wait_trims(redis)
        assert redis.client.xlen("{ac}:events") == 4
        assert receiver.metric("acrelay_stream_trimmed_unread_total") == 0
    finally:
        receiver.kill()
