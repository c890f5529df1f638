"""Clocks that lie, under a receiver: steps of days and years in both directions, a start before
NTP, a suspend. What is in the journal stays there until it may go.

The wall clock is libfaketime's, which leaves CLOCK_MONOTONIC and CLOCK_BOOTTIME alone when told
so; a suspend is a preload of ours."""
import datetime
import glob
import json
import subprocess

import pytest

import harness

BODY = "type=subscribe&contact[id]=7&x=" + "x" * 900000
PER_SEGMENT = (16 << 20) // len(BODY)
DAY = 86400


class Clock:
    """A file that a preload of acrelayd reads the offset of a clock from."""

    def __init__(self, monkeypatch, directory, preload, variable, more):
        self.file = directory / "clock"
        self.set("+0")
        monkeypatch.setattr(harness.Receiver, "prefix",
                            f"env LD_PRELOAD={preload} {variable}={self.file} {more}")

    def set(self, text):
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.file)


@pytest.fixture
def wall(tmp_path, monkeypatch):
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not found:
        pytest.skip("libfaketime is not installed")
    return Clock(monkeypatch, tmp_path, found[0], "FAKETIME_TIMESTAMP_FILE",
                 "FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 "
                 "ACRELAY_TEST_TIMES='journal-round=50 clock-settle=1000'")


@pytest.fixture
def suspend(tmp_path, monkeypatch):
    return Clock(monkeypatch, tmp_path, harness.BUILD / "preload/clocks.so", "SUSPEND_FILE",
                 "ACRELAY_TEST_TIMES=journal-round=50")


def post_segments(receiver, count):
    """Posts until so many segments are full; how many records that took."""
    for n in range(count * PER_SEGMENT):
        assert receiver.post(BODY) == 200
    receiver.wait_shipped()
    return count * PER_SEGMENT


def verify(receiver):
    done = subprocess.run([f"{harness.BUILD}/acrelay", "-c", str(receiver.config), "--json",
                           "journal", "verify"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def held(receiver):
    return receiver.metric('acrelay_clock_held{clock="wall"}') == 1


def step_of(receiver):
    return receiver.metric('acrelay_clock_step_seconds{clock="wall"}')


def test_a_wall_clock_that_steps_takes_nothing_out_of_the_journal(wall, make_receiver):
    receiver = make_receiver(extra="journal: {keep: 1h}\n")
    count = post_segments(receiver, 2)
    for days in (8, -8, 400, 8 * 365, -6 * 365):
        wall.set(f"{days:+d}d")
        harness.wait_for("the alarm", lambda: abs(step_of(receiver) - days * DAY) < 60)
        assert held(receiver)
        assert receiver.post("type=subscribe&contact[id]=8") == 200
        count += 1
        receiver.wait_shipped()
        wall.set("+0")
        harness.wait_for("the end of the hold", lambda: not held(receiver))
    found = verify(receiver)
    assert (found["first"], found["last"], found["records"]) == (1, count, count)
    assert receiver.read_log().count("alarm   journal: the wall clock stepped") == 5
    assert "received before (up to sequence" in receiver.read_log()
    assert receiver.metric("acrelay_journal_oldest_unpublished_age_seconds") == 0


def recorded(entry):
    return datetime.datetime.fromisoformat(entry["ce_recordedtime"].decode().replace("Z", "+00:00"))


def true_now():
    return datetime.datetime.now(datetime.timezone.utc)


@pytest.mark.parametrize("days", [-56 * 365, -6 * 365])
def test_a_start_before_ntp_takes_nothing_and_settles(wall, make_receiver, redis, days):
    wall.set(f"{days:+d}d")  # about 1970 or 2020
    receiver = make_receiver(extra="journal: {keep: 1h}\n")
    count = post_segments(receiver, 2)
    redis.kill()
    assert receiver.post("type=subscribe&contact[id]=8") == 200
    wall.set("+0")
    harness.wait_for("the alarm", lambda: held(receiver))
    assert abs(step_of(receiver) + days * DAY) < 60
    age = receiver.metric("acrelay_journal_oldest_unpublished_age_seconds")
    assert 0 < age < 600
    redis.start()
    receiver.wait_shipped()
    harness.wait_for("the new base", lambda: not held(receiver))
    assert receiver.post("type=subscribe&contact[id]=9") == 200
    receiver.wait_shipped()
    assert verify(receiver)["first"] == 1 and verify(receiver)["records"] == count + 2
    assert abs(recorded(redis.entries()[-1]) - true_now()).total_seconds() < 60


def test_receipts_follow_the_clock_back_also_over_a_restart(wall, make_receiver, redis):
    receiver = make_receiver()
    for offset in ("+10d", "+0", "+400d"):
        wall.set(offset)
        assert receiver.post(f"type=subscribe&contact[id]={offset}") == 200
    receiver.stop()
    wall.set("+0")
    receiver.start()
    assert "the newest record was received at" in receiver.read_log()
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    receiver.wait_shipped()
    days = [(recorded(e) - true_now()).total_seconds() / DAY for e in redis.entries()]
    assert [round(day) for day in days] == [10, 0, 400, 0]


def test_keep_counts_a_suspend_and_waits_for_a_fresh_cursor(suspend, make_receiver, redis):
    receiver = make_receiver(extra="journal: {keep: 1h}\n")
    count = post_segments(receiver, 2)
    redis.kill()
    assert receiver.post("type=subscribe&contact[id]=8") == 200
    suspend.set("7200")
    harness.wait_for("the age", lambda: receiver.metric(
        "acrelay_journal_oldest_unpublished_age_seconds") >= 7200)
    assert not held(receiver), "both clocks went on"
    assert verify(receiver)["records"] == count + 1, "Redis has not confirmed its cursor since"
    redis.start()
    receiver.wait_shipped()
    harness.wait_for("room", lambda: verify(receiver)["first"] > 1)
