"""A Redis that goes away or loses data while no delivery comes is noticed and refilled all the
same."""
import json
import re

import pytest

import harness
import silence


@pytest.mark.parametrize("fault", silence.AWAY + silence.LOST)
def test_is_noticed_and_healed_without_a_delivery(tmp_path, monkeypatch, fault):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "cursor-check=100 cursor-deadline=500")
    silence.measure(tmp_path, fault, seconds=10)


def test_a_name_server_that_never_answers_holds_up_neither_start_nor_stop(
        make_receiver, monkeypatch):
    receiver = make_receiver()
    receiver.stop()
    receiver.config.write_text(
        re.sub("(rediss?://)[0-9.]+:", r"\1redis.example:", receiver.config.read_text()))
    monkeypatch.setenv("LD_PRELOAD", str(harness.BUILD / "preload" / "no_resolver.so"))
    receiver.start()
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    assert receiver.metric("acrelay_redis_up") == 0
    harness.wait_for("the reason", lambda: "no name server answers in time for redis.example"
                     in receiver.read_log())
    receiver.stop()


def test_a_hanging_redis_is_shown_as_such_and_what_it_executes_late_is_counted(
        redis, make_receiver, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "trim=60000 cursor-check=60000 cursor-deadline=300 "
                       "redis-command=300 relay-backoff=1000 relay-backoff-max=1000")
    receiver = make_receiver()
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()

    def checks():
        return json.loads(receiver.get("/readyz")[1])["checks"]
    redis.pause()
    try:
        assert receiver.post("") == 200
        harness.wait_for("the relay to notice", lambda: not checks()["shipping"])
        assert not checks()["redis"], "else status says that the relay has stopped"
    finally:
        redis.resume()
    receiver.wait_shipped()
    assert len(redis.entries()) == len(redis.entries("{ac}:dead")) == 1
    assert receiver.metric("acrelay_relay_entries_total") == 2
    assert receiver.metric("acrelay_dead_letters_total") == 1
