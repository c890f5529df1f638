"""A Redis that goes away or loses data while no delivery comes is noticed and refilled all the
same."""
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
