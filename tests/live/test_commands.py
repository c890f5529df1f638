"""Commands: what a service adds to its stream is carried out in one paced lane, with one result."""
import json
import re
import signal
import time

import pytest

import harness
from commands import Commands

FAST = "command-backoff=20 command-backoff-max=100 command-pause=50"


@pytest.fixture
def lane(tmp_path):
    with Commands(tmp_path, times=FAST) as commands:
        yield commands


def test_a_command_is_carried_out_and_has_one_result(lane):
    first = lane.put("contacts/7", {"contact": {"firstName": "Ann"}})
    lane.start()
    result = lane.result(first)
    assert list(result) == ["ce_specversion", "ce_id", "ce_command", "ce_type", "ce_source",
                            "ce_subject", "ce_time", "outcome", "status", "attempts", "repeat",
                            "detail", "content-type", "data"]
    assert result["ce_type"] == "com.activecampaign.result.Contact_updateContact"
    assert result["ce_source"] == "/activecampaign/acme/commands/crm"
    assert (result["ce_id"], result["ce_subject"]) == ("id-1", "contacts/7")
    assert (result["outcome"], result["status"], result["attempts"], result["repeat"],
            result["detail"]) == ("ok", "200", "1", "0", "")
    assert json.loads(result["data"])["contact"]["firstName"] == "Ann"
    assert lane.done("contacts/7") == [{"contact": {"firstName": "Ann"}}]
    lane.check_nothing_is_left()


def test_what_activecampaign_does_not_accept_is_final(lane):
    lane.start()
    result = lane.result(lane.put("contacts/99999"))
    assert (result["outcome"], result["status"], result["attempts"]) == ("failed", "404", "1")
    assert result["detail"] and json.loads(result["data"])
    assert lane.dead() == []
    lane.check_nothing_is_left()


@pytest.mark.parametrize("fields, because", [
    ({"ce_type": "com.activecampaign.command.Contact_delete"}, "names no operation"),
    ({"ce_type": "com.activecampaign.command.Webhook_updateExisting",
      "ce_subject": "webhooks/1"}, "webhooks are the worker's: plan and apply"),
    ({"subject": "contacts/../users/1"}, "does not fit"),
    ({"subject": "contacts/6/6"}, "does not fit"),
    ({"ce_type": "com.activecampaign.command.Tag_updateTag", "ce_subject": "tags/1"}, "may not"),
    ({"body": '{"contact":[]}'}, "lacks the envelope"),
    ({"body": "[1]"}, "not a JSON object"),
    ({"body": b'{"contact":{"a":"\xff"}}'}, "not a JSON object"),
    ({"body": '{"contact":{"a":"' + "x" * (1 << 20) + '"}}'}, "larger than 1 MiB"),
    ({"ce_id": "x" * 129}, "ce_id has 129 bytes"),
    ({"ce_id": None}, "ce_id has 0 bytes"),
    ({"data": None}, "data is not"),
    ({"priority": "x" * 5000}, "priority"),
    ({"not_after": "tomorrow"}, "not_after"),
])
def test_bad_input_is_refused_and_the_lane_goes_on(lane, fields, because):
    lane.start()
    result = lane.result(lane.put(**fields))
    assert (result["outcome"], result["status"], result["attempts"]) == ("refused", "0", "0")
    assert because in result["detail"]
    assert lane.result(lane.put())["outcome"] == "ok"
    assert lane.simulator.calls()["commands"]["requests"] == 1
    lane.check_nothing_is_left()


def test_an_id_is_carried_out_once(lane):
    lane.start()
    body = {"contact": {"firstName": "Ann"}}
    assert lane.result(lane.put(body=body, ce_id="order-7"))["repeat"] == "0"
    again = lane.result(lane.put(body='{ "contact": {"firstName": "Ann"} }', ce_id="order-7"))
    assert (again["outcome"], again["status"], again["repeat"]) == ("ok", "200", "1")
    other = lane.result(lane.put(body={"contact": {"firstName": "Eve"}}, ce_id="order-7"))
    assert other["outcome"] == "refused" and "another command" in other["detail"]
    # of another service it is another id
    theirs = lane.result(lane.put(body=body, ce_id="order-7", service="shop"), "shop")
    assert (theirs["outcome"], theirs["repeat"]) == ("ok", "0")
    assert lane.done() == [body, body]
    lane.check_nothing_is_left("crm", "shop")


def test_an_id_older_than_a_day_is_remembered_anew(tmp_path):
    with Commands(tmp_path, times="clock-settle=100 command-tidy=3600000") as lane:
        lane.start()
        body = {"contact": {"firstName": "Ann"}}
        lane.result(lane.put(body=body, ce_id="daily"))
        redis, ids, order = lane.redis.client, "{ac}:commands.ids", "{ac}:commands.order"
        [(key, known)] = redis.hgetall(ids).items()
        redis.hset(ids, key, b" ".join([b"1", *known.split(b" ")[1:]]))
        redis.zadd(order, {key: 1})

        def repeat():
            return lane.result(lane.put(body=body, ce_id="daily"))["repeat"]
        harness.wait_for("a clock that is believed", lambda: repeat() == "0")
        assert repeat() == "1" and len(lane.done()) == 2
        assert redis.zcard(order) == 1 and redis.zscore(order, key) > 1


def test_a_refused_id_may_be_used_again(lane):
    lane.start()
    assert lane.result(lane.put(body="[]", ce_id="order-7"))["outcome"] == "refused"
    assert lane.result(lane.put(ce_id="order-7"))["outcome"] == "ok"


@pytest.mark.parametrize("status, headers", [
    (429, {"Retry_After": "1"}), (503, {"Retry_After": "1"}), (429, {})])
def test_a_pause_is_kept_by_all_and_costs_no_attempt(lane, status, headers):
    lane.start()
    assert lane.result(lane.put())["outcome"] == "ok"
    lane.simulator.answer(status, "{}", 1, **headers)
    start = time.monotonic()
    entries = [lane.put("contacts/1"), lane.put("contacts/2"), lane.put("deals/3")]
    for entry in entries:
        result = lane.result(entry)
        assert (result["outcome"], result["attempts"]) == ("ok", "1")
    assert time.monotonic() - start > (0.9 if headers else 0)
    assert lane.simulator.calls()["commands"]["requests"] == 5


@pytest.mark.parametrize("fault", ["cut_before", "cut_after", "truncate", "html", "html_524"])
def test_what_has_no_answer_is_sent_again_in_order(lane, fault):
    lane.start()
    lane.simulator.fail(fault, "contacts/1", 2)
    entries = [lane.put("contacts/1", {"contact": {"n": n}}) for n in range(3)]
    results = [lane.result(entry) for entry in entries]
    assert [r["outcome"] for r in results] == ["ok"] * 3
    assert results[0]["attempts"] == "3" and results[1]["attempts"] == "1"
    done = [body["contact"]["n"] for body in lane.done("contacts/1")]
    assert sorted(set(done)) == [0, 1, 2] and done == sorted(done)
    lane.check_nothing_is_left()


def test_ten_attempts_and_a_letter(lane):
    lane.start()
    lane.simulator.answer(522, "<html>" + "x" * 2000, 100, "contacts/1")
    odd = lane.put("contacts/1")
    assert lane.result(lane.put("contacts/2"))["outcome"] == "ok"
    result = lane.result(odd)
    assert (result["outcome"], result["status"], result["attempts"]) == ("failed", "522", "10")
    assert result["detail"].startswith("<html>xx") and len(result["detail"]) < 1000
    [letter] = lane.dead()
    assert letter["ce_id"] == "id-1" and letter["service"] == "crm"
    assert (letter["reason"], letter["ce_command"]) == ("attempts", odd)
    assert json.loads(letter["data"]) == {"contact": {"n": 1}}
    lane.check_nothing_is_left()


def test_a_403_is_final_once_the_account_answers(lane):
    lane.start()
    lane.simulator.answer(403, '{"message":"Forbidden"}', 1, "contacts/1")
    result = lane.result(lane.put("contacts/1"))
    assert (result["outcome"], result["status"], result["attempts"]) == ("failed", "403", "1")


@pytest.mark.parametrize("status", [400, 404])
def test_a_page_of_another_site_is_not_final(tmp_path, status):
    times = FAST + " command-stop=500 command-probe=100 command-probe-max=200"
    with Commands(tmp_path, times=times) as lane:
        lane.start()
        assert lane.result(lane.put())["outcome"] == "ok"
        lane.simulator.answer(status, "default backend", 100000)
        entries = [lane.put(f"contacts/{n}") for n in range(1, 4)]
        harness.wait_for("the stop", lambda: lane.worker.metric("acrelay_commands_stopped") == 1)
        assert f"it answers {status}: default backend" in lane.log()
        lane.simulator.answer(200, "{}", 0)
        assert all(lane.result(entry)["outcome"] == "ok" for entry in entries)
        lane.simulator.answer(status, "Bad request.", 1, "contacts/1")
        assert lane.result(lane.put("contacts/1"))["outcome"] == "failed"


def test_a_refused_token_stops_the_lane_and_loses_nothing(tmp_path):
    with Commands(tmp_path, times=FAST + " command-probe=100 command-probe-max=200") as lane:
        process = lane.start()
        assert lane.result(lane.put())["outcome"] == "ok"
        lane.simulator.switch(me_status=403, forbid_writes=1)
        entry = lane.put()
        harness.wait_for("the stop", lambda: lane.worker.metric("acrelay_commands_stopped") == 1)
        assert "nothing gets through" in lane.log()
        assert "If you replace the token, reload acrelay-worker" in lane.log()
        text = lane.worker.config.read_text()  # without services nothing waits that is known here
        lane.worker.config.write_text(re.sub(r"commands:\n(  .*\n)+", "", text))
        process.send_signal(signal.SIGHUP)
        harness.wait_for("no services", lambda: lane.worker.reloads() == 1)
        assert "{ac}:commands:crm is not read any more" in lane.log()
        harness.wait_for("no lane", lambda: lane.worker.metric("acrelay_commands_stopped") == 0)
        assert lane.worker.metric("acrelay_commands_leader") == 0
        lane.worker.config.write_text(text)
        process.send_signal(signal.SIGHUP)
        lane.simulator.switch(me_status=0)
        assert lane.result(entry)["outcome"] == "ok"
        harness.wait_for("the end", lambda: lane.worker.metric("acrelay_commands_stopped") == 0)


def test_when_everything_fails_the_lane_stops_and_loses_nothing(tmp_path):
    times = "command-backoff=200 command-backoff-max=400 command-stop=1000 command-probe=100 "
    with Commands(tmp_path, times=times + "command-probe-max=200") as lane:
        lane.start()
        assert lane.result(lane.put())["outcome"] == "ok"
        lane.simulator.answer(500, "", 100000)
        entries = [lane.put(f"contacts/{n}") for n in range(1, 6)]
        harness.wait_for("the stop", lambda: lane.worker.metric("acrelay_commands_stopped") == 1)
        requests = lane.simulator.calls()["commands"]["requests"]
        asked = lane.simulator.calls()["all"]["requests"]
        harness.wait_for("probes", lambda: lane.simulator.calls()["all"]["requests"] >= asked + 5)
        assert lane.simulator.calls()["commands"]["requests"] <= requests + 1
        lane.simulator.answer(200, "{}", 0)
        assert all(lane.result(entry)["outcome"] == "ok" for entry in entries)
        lane.check_nothing_is_left()


def test_what_is_late_expires(lane):
    lane.simulator.fail("slow", "contacts/1", 1, 2000)
    lane.start()
    first = lane.put("contacts/1")
    past = lane.put("contacts/1", not_after="2020-01-01T00:00:00Z")
    assert lane.result(past)["outcome"] == "expired"
    assert lane.result(first)["outcome"] == "ok"
    assert lane.done() == [{"contact": {"n": 1}}]
    assert [letter["reason"] for letter in lane.dead()] == ["expired"]
    lane.check_nothing_is_left()


def test_the_newest_replaces_what_was_not_tried(lane):
    entries = [lane.put("contacts/1", replace="1") for _ in range(3)]
    lane.start()
    assert [lane.result(e)["outcome"] for e in entries] == ["superseded", "superseded", "ok"]
    assert lane.done() == [{"contact": {"n": 3}}]
    lane.check_nothing_is_left()


@pytest.mark.parametrize("first", ["waits", "done"])
def test_what_is_sent_again_replaces_nothing(lane, first):
    """It is not carried out a second time, so that what it replaced would be lost."""
    def put(name, **fields):
        return lane.put(body={"contact": {"firstName": name}}, replace="1", ce_id=name, **fields)

    entries = [put("Ann")]
    if first == "done":
        lane.start()
        assert lane.result(entries[0])["outcome"] == "ok"
        lane.simulator.answer(429, "{}", 1, "contacts/2", Retry_After="1")
        lane.put("contacts/2")
        harness.wait_for("a pause", lambda: lane.worker.metric("acrelay_commands_paused") == 1)
    entries += [put("Bob"), put("Ann")]
    if first == "waits":
        lane.start()
    results = [lane.result(entry) for entry in entries]
    before = "ok" if first == "done" else "superseded"
    assert [(r["outcome"], r["repeat"]) for r in results] == [
        (before, "0"), ("ok", "0"), (before, "1")]
    assert lane.done("contacts/1")[-1] == {"contact": {"firstName": "Bob"}}


def test_a_flood_is_refused_beyond_the_maximum_and_others_keep_their_share(tmp_path):
    with Commands(tmp_path, settings="rate: 5\n  max: 50") as lane:
        for n in range(300):
            lane.put(f"contacts/{n + 1}")
        lane.start()
        theirs = [lane.put(service="shop") for _ in range(5)]
        refused = harness.wait_for("refusals", lambda: [
            r for r in lane.results() if r["outcome"] == "refused"])
        for entry in theirs:
            assert lane.result(entry, "shop")["outcome"] == "ok"
        assert len([r for r in lane.results() if r["outcome"] == "ok"]) <= 9  # by turns
        harness.wait_for("all refusals", lambda: len(
            [r for r in lane.results() if r["outcome"] == "refused"]) >= 240)
        assert "commands.max" in refused[0]["detail"]


def test_commands_and_hooks_keep_within_the_rate(tmp_path):
    with Commands(tmp_path, rate=4, settings="rate: 3", worker=", interval: 1s") as lane:
        for n in range(60):
            lane.put(f"contacts/{n + 1}")
        lane.start()
        lane.wait_for_results(60)
        calls = lane.simulator.calls()
        assert calls["commands"]["max_per_second"] <= 3
        assert calls["all"]["max_per_second"] <= 4
        assert calls["all"]["requests"] >= 60 + 4, "the hooks were looked after meanwhile"


def test_a_worker_that_follows_another_keeps_its_rate(tmp_path):
    with Commands(tmp_path, settings="rate: 3", second=250) as lane:
        for n in range(12):
            lane.put(f"contacts/{n + 1}")
        for count in (3, 6, 9):
            process = lane.start()
            lane.wait_for_results(count)
            process.terminate()
            assert process.wait(20) == 0
        lane.start()
        lane.wait_for_results(12)
        assert lane.simulator.calls()["commands"]["max_per_second"] <= 3


def test_metrics_by_service(lane):
    lane.simulator.answer(429, "", 1, "contacts/1", Retry_After="4")
    lane.start()
    entry = lane.put("contacts/1")
    lane.put("contacts/2")
    metric = lane.worker.metric
    harness.wait_for("the pause", lambda: metric("acrelay_commands_paused") == 1)
    harness.wait_for("two waiting",
                     lambda: metric('acrelay_commands_waiting{service="crm"}') == 2)
    assert metric('acrelay_commands_oldest_age_seconds{service="crm"}') > 0
    lane.processes[0].send_signal(signal.SIGHUP)
    harness.wait_for("the reload", lambda: lane.worker.reloads() == 1)
    harness.wait_for("the age, read again",
                     lambda: metric('acrelay_commands_oldest_age_seconds{service="crm"}') > 0)
    lane.result(entry)
    lane.wait_for_results(2)
    harness.wait_for("none waiting",
                     lambda: metric('acrelay_commands_waiting{service="crm"}') == 0)
    assert metric('acrelay_commands_total{service="crm",outcome="ok"}') == 2
    assert metric('acrelay_commands_calls_total{service="crm"}') == 3


def test_a_pause_that_activecampaign_asks_for_holds_up_no_metrics(lane):
    """Those of a service that left the file, while the round after the reload waits."""
    lane.simulator.answer(429, "", 1000, "contacts/1", Retry_After="600")
    process = lane.start()
    lane.put("contacts/1")
    metric = lane.worker.metric
    harness.wait_for("the pause", lambda: metric("acrelay_commands_paused") == 1)
    text = lane.worker.config.read_text()
    lane.worker.config.write_text(re.sub(r"\{name: crm, .*?\}, ", "", text))
    process.send_signal(signal.SIGHUP)
    harness.wait_for("the reload", lambda: lane.worker.reloads() == 1)
    harness.wait_for("none of a service that is not there",
                     lambda: metric('acrelay_commands_waiting{service="crm"}') == 0, 10)


def test_a_flood_leaves_the_others_their_share_and_the_rate_is_used(tmp_path):
    services = ("[{name: crm, allow: [contacts]}, {name: shop, allow: [contacts], weight: 2},"
                " {name: mail, allow: [contacts]}]")
    with Commands(tmp_path, services, "rate: 3", rate=4, second=250) as lane:
        pipe = lane.redis.client.pipeline(transaction=False)
        for n in range(10000):
            pipe.xadd("{ac}:commands:crm", {
                "ce_id": f"flood-{n}", "ce_subject": f"contacts/{n % 900 + 1}",
                "ce_type": "com.activecampaign.command.Contact_updateContact",
                "data": '{"contact":{}}'})
        pipe.execute()
        for n in range(40):
            lane.put(f"contacts/{n + 1}", service="shop")
            lane.put(f"contacts/{n + 1}", service="mail")
        lane.start()
        lane.wait_for_results(30, "shop")
        order = [name for _, name in sorted(
            (tuple(map(int, entry.split(b"-"))), name) for name in ("crm", "shop", "mail")
            for entry, _ in lane.redis.client.xrange(f"{{ac}}:results:{name}"))]
        turns = [i for i, name in enumerate(order) if name == "shop"]
        between = order[turns[9]:turns[29]]  # 20 of them, and what was done meanwhile
        assert abs(between.count("crm") - 10) <= 1 and abs(between.count("mail") - 10) <= 1
        assert lane.simulator.calls()["commands"]["max_per_second"] == 3
