"""The worker where ActiveCampaign stores what it was given in other words, shows it late, or
answers with lists that are not all there."""
import http.server
import json
import re
import signal
import subprocess
import threading
import time

import harness
import pytest
from simulator import SOURCES, Worker, as_set, stanza, url, wanted
from test_worker import RECREATED, ours


@pytest.fixture(autouse=True)
def times(monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "round-again=200 "
                       "worker_lag=300 worker_gone=2000 worker_unclear=2500")


def writes(sim, method=None):
    return [line for line in sim.log() if line["method"] != "GET" and line["status"] != 429 and
            method in (None, line["method"])]


def rounds(sim, count):
    """Waits for so many more lists."""
    def lists():
        return sum(line["path"].endswith("/webhooks") and line["method"] == "GET"
                   for line in sim.log())
    end = lists() + count
    harness.wait_for("more rounds", lambda: lists() >= end, 60)


def ready(worker):
    return worker.metric("acrelay_worker_round_ok") == 1


def state(redis, name="contacts"):
    return json.loads(redis.client.hget("{ac}:hooks", name) or "{}")


# --- other spellings -----------------------------------------------------------------------

@pytest.mark.parametrize("public, stored", [
    ("https://Hooks.Acme.Example", {"lower_host": 1}),
    ("https://hooks.acme.example:443", {"drop_port": 1}),
    ("https://hooks.acme.example", {"escape_dash": 1}),
    ("https://hooks.acme.example", {"add_slash": 1}),
    ("https://hooks.acme.example", {"plain_http": 1}),
])
def test_a_url_in_another_spelling_is_ours_and_made_once(sim, make_worker, redis, public,
                                                         stored):
    sim.switch(**stored)
    worker = make_worker(stanza("con-tacts"), public_url=public, redis_port=redis.port)
    assert worker.apply() == (1, 0, 0)
    for _ in range(2):
        assert worker.apply() == (0, 0, 0)
    assert len(sim.hooks()) == 1 and len(writes(sim)) == 1


# What AC makes of name, events, sources or list. `told` stands in the one line about it.
STORED = {
    "entities": ({"entities": 1}, "label: 'R&D <hook>'", None),
    "shorter": ({"trim_name": 12}, "label: 'a name that is too long'", "name"),
    "capitals": ({"upper_name": 1}, "label: 'small'", "name"),
    "dropped event": ({"drop_sms": 1}, "label: l", "events [subscribe]"),
    "added event": ({"add_update": 1}, "label: l", "events"),
    "dropped source": ({"drop_api": 1}, "label: l", "sources [admin, public, system]"),
    "dropped list": ({"drop_list": 1}, "label: l, list: 5", "list 0"),
    "slash": ({"add_slash": 1}, "label: l", "URL"),
    "escaped slashes": ({"escape_slash": 1}, "label: l", "URL"),
}


@pytest.mark.parametrize("case", STORED)
def test_what_is_stored_in_other_words_is_written_once_and_told_once(sim, make_worker, redis,
                                                                     case):
    stored, more, told = STORED[case]
    sim.switch(**stored)
    worker = make_worker(f"  - {{name: contacts, events: [subscribe, sms_reply], {more}}}\n",
                         redis_port=redis.port)
    done = worker.ran("apply", "--json")
    sums, said = json.loads(done.stdout), harness.without_progress(done.stderr)
    assert (sums["created"], sums["kept"], sums["done"]) == (1, told is not None, True)
    assert told in said if told else said == ""
    again = worker.ran("apply", "--json")
    assert harness.without_progress(again.stderr) == ""
    assert json.loads(again.stdout)["kept"] == (told is not None)
    assert len(writes(sim)) == 1
    plan = worker.json("plan", "--detailed-exitcode")  # ends with 0: nothing to do
    assert plan["writes"] == 0 and plan["kept"] == (told is not None)


def test_run_does_not_write_again_and_is_ready(sim, make_worker, running, redis):
    sim.switch(drop_sms=1)
    worker = make_worker("  - {name: contacts, events: [subscribe, sms_reply]}\n",
                         redis_port=redis.port, worker=", interval: 1s")
    process = running(worker)
    harness.wait_for("the hook", lambda: ours(sim))
    rounds(sim, 2)
    assert len(writes(sim)) == 1
    assert ready(worker) and state(redis)["state"] == "registered"
    log = worker.directory / "worker.log"
    assert log.read_text().count("events [subscribe]") == 1
    process.send_signal(signal.SIGTERM)
    process.wait()
    running(worker)  # it is known over a restart
    rounds(sim, 2)
    assert len(writes(sim)) == 1 and log.read_text().count("events [subscribe]") == 1
    # The hook changes: it is written again, once. So does the file.
    sim.call(f"/sim/hooks/{ours(sim)[0]['id']}", {"events": ["open"]}, "PUT")
    harness.wait_for("healing", lambda: ours(sim)[0]["events"] == ["subscribe"])
    rounds(sim, 2)
    assert len(writes(sim)) == 2
    worker.config.write_text(worker.config.read_text().replace("sms_reply", "sms_sent, sent"))
    harness.wait_for("the new file", lambda: "sent" in ours(sim)[0]["events"], 60)
    rounds(sim, 2)
    assert len(writes(sim)) == 3 and ready(worker)


def test_what_only_lists_show_in_other_words_is_written_at_most_twice(sim, make_worker):
    sim.switch(drop_sms=1, answer_as_sent=1)
    worker = make_worker("  - {name: contacts, events: [subscribe, sms_reply]}\n")
    assert "events [subscribe]" in worker.run("apply")
    assert len(writes(sim)) <= 2


def test_two_hooks_whose_lists_are_dropped_stay_two(sim, make_worker, redis):
    sim.switch(drop_list=1)
    worker = make_worker("  - {name: contacts, events: [sent], list: [5, 6]}\n",
                         redis_port=redis.port)
    worker.run("apply")
    made = sorted(hook["id"] for hook in ours(sim))
    assert len(made) == 2
    assert worker.apply() == (0, 0, 0)
    assert sorted(hook["id"] for hook in ours(sim)) == made


def test_a_hook_that_is_stored_in_other_words_can_be_recreated(sim, make_worker, redis):
    sim.switch(drop_sms=1, drop_list=1)
    worker = make_worker("  - {name: contacts, events: [sent, sms_sent], list: 5}\n",
                         redis_port=redis.port)
    worker.run("apply")
    old = ours(sim)[0]["id"]
    assert worker.json("recreate", "contacts") == RECREATED
    assert [hook["id"] for hook in ours(sim)] != [old] and len(ours(sim)) == 1
    worker.run("plan", "--detailed-exitcode")  # ends with 0: nothing to do


# --- late and incomplete lists -------------------------------------------------------------

@pytest.mark.parametrize("get_too", [0, 1])
def test_a_list_that_is_late_makes_no_twins(sim, make_worker, redis, get_too):
    sim.switch(lag_ms=3000 if get_too else 10000, lag_get=get_too)  # 0.6 s, 2 s
    worker = make_worker(stanza("a") + stanza("b"), redis_port=redis.port)
    assert worker.apply() == (2, 0, 0)
    worker.config.write_text(worker.config.read_text().replace("[subscribe]", "[sent]"))
    assert worker.apply() == (0, 2, 0)
    assert worker.json("recreate", "a") == {**RECREATED, "hook": "a"}
    assert [line["method"] for line in writes(sim)] == ["POST", "POST", "PUT", "PUT", "POST",
                                                        "DELETE"]
    assert sorted(map(as_set, ours(sim))) == sorted(wanted(name, ["sent"]) for name in "ab")


def test_what_no_list_shows_is_not_created_a_second_time(sim, make_worker, redis, monkeypatch):
    """Not by the next apply either, nor by one after a restart of everything."""
    sim.switch(lag_ms=10 ** 9, lag_get=1)
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "worker_lag=100 worker_gone=600000")
    worker = make_worker(redis_port=redis.port)
    for _ in range(3):
        assert worker.apply(code=2) == (0, 0, 0)
    assert len(writes(sim)) == 1


def test_a_creation_whose_answer_names_no_id_is_not_repeated(sim, make_worker):
    sim.switch(no_id=1, lag_ms=10 ** 9)
    make_worker().run("apply", code=2)
    assert len(writes(sim)) == 1


@pytest.mark.parametrize("whose", ["others", "ours"])
def test_a_webhook_that_the_answer_names_by_mistake_is_left_alone(sim, make_worker, whose):
    """The answer to a creation shows one that was there before."""
    there = (sim.add("of others", "https://crm.example/in") if whose == "others" else
             sim.add("acrelay a", url("a"), sources=SOURCES))
    sim.switch(other_id=there["id"])
    worker = make_worker(stanza("a") + stanza("b"))
    for _ in range(2):
        worker.run("apply")
    assert sim.hooks()[0]["url"] == there["url"]
    assert sorted(hook["name"] for hook in sim.hooks()) == sorted(
        {there["name"], "acrelay a", "acrelay b"})
    assert {line["method"] for line in writes(sim)} == {"POST"}


@pytest.mark.parametrize("switches", [{"cut_after": 1, "lag_ms": 6000},
                                      {"cut_after": 1, "lag_ms": 6000, "lag_get": 1}])
def test_an_unclear_creation_is_awaited_before_it_is_repeated(sim, make_worker, switches):
    worker = make_worker()
    sim.switch(**switches)
    worker.run("apply")
    assert [line["method"] for line in writes(sim)] == ["POST"]


def test_an_unclear_creation_is_known_to_the_next_process(sim, make_worker, redis, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "worker_lag=10 worker_unclear=600000")
    sim.switch(cut_after=1, lag_ms=10 ** 9)
    worker = make_worker(redis_port=redis.port)
    for _ in range(2):
        worker.run("apply", code=2)
    assert len(writes(sim)) == 1


@pytest.mark.parametrize("days", [400, -400])
def test_a_clock_that_was_set_makes_an_unclear_creation_no_older(sim, make_worker, redis,
                                                                 monkeypatch, tmp_path, days):
    """Nor younger for ever: once its time is up by the clock of the boot, it is repeated."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "worker_lag=10 worker_unclear=600000")
    sim.switch(cut_after=1, lag_ms=10 ** 9)
    worker = make_worker(redis_port=redis.port)
    worker.run("apply", code=2)
    (tmp_path / "wall").write_text(str(days * 86400))
    monkeypatch.setenv("WALL_FILE", str(tmp_path / "wall"))
    monkeypatch.setenv("LD_PRELOAD", str(harness.BUILD / "preload/clocks.so"))
    worker.run("apply", code=2)
    assert len(writes(sim)) == 1
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "worker_lag=10 worker_unclear=1 worker_gone=1")
    worker.run("apply", code=None)
    assert [line["method"] for line in writes(sim)] == ["POST", "POST"]


@pytest.mark.parametrize("loss", ["empty_list", "lose_rows"])
def test_a_list_that_lost_ours_creates_nothing(sim, make_worker, redis, loss):
    """With Redis the ids are known; a fresh worker without it reads the list twice."""
    worker = make_worker("".join(stanza(name) for name in "abcd"), redis_port=redis.port)
    worker.run("apply")
    before = sim.hooks()
    for count, known in ((1, True), (3, True), (1, False)):  # each is asked for by its id
        if not known:
            redis.client.delete("{ac}:hooks")
        sim.switch(**{loss: count})
        assert worker.apply() == (0, 0, 0)
    assert sim.hooks() == before


@pytest.mark.parametrize("status, body", [
    (404, "<html><title>404 Not Found</title></html>"), (404, "404 page not found"), (404, ""),
    (404, '{"path":"/api/3"}'), (400, "{}"), (403, "{}"),
    (200, '{"webhooks":[]}'), (200, ""), (502, "bad gateway")])
@pytest.mark.parametrize("list", [0, 5])
def test_one_of_which_nobody_says_that_it_is_gone_is_not_created_again(
        sim, make_worker, redis, status, body, list):
    worker = make_worker("".join(stanza(name, more=f", list: {list}") for name in "abcd"),
                         redis_port=redis.port)
    worker.run("apply")
    before = sim.hooks()
    for hook in before:
        sim.answer(status, body, count=100, path=f"webhooks/{hook['id']}")
    for loss in (8, 8, 0):
        sim.switch(lose_rows=loss)
        said = worker.run("apply", code=None)
        assert sim.hooks() == before
        assert "is gone from ActiveCampaign" not in said
        if loss and status != 502 and body != "":
            assert "It is not created a second time" in said


@pytest.mark.parametrize("body", ["<html><title>404 Not Found</title></html>",
                                  "404 page not found", ""], ids=["page", "text", "nothing"])
@pytest.mark.parametrize("removal", [False, True])
def test_a_page_that_is_not_found_does_not_say_that_a_webhook_is_gone(sim, make_worker, removal,
                                                                      body):
    worker = make_worker(stanza("a") + stanza("b"), worker=", prune: true")
    worker.run("apply")
    text = worker.config.read_text()
    worker.config.write_text(text.replace(stanza("a"), "") if removal
                             else text.replace(stanza("a"), stanza("a", "[sent]")))
    [there] = [hook for hook in ours(sim) if hook["url"] == url("a")]
    sim.answer(404, body, count=100, path=f"webhooks/{there['id']}")
    said = worker.run("apply", code=78)
    assert "there is no ActiveCampaign API" in said and "removed by someone" not in said
    assert len(writes(sim)) == 3 and there in sim.hooks()


def test_a_hook_that_was_really_removed_is_made_again(sim, make_worker, redis):
    worker = make_worker(stanza("a") + stanza("b"), redis_port=redis.port)
    worker.run("apply")
    sim.call(f"/sim/hooks/{ours(sim)[0]['id']}", method="DELETE")
    told = worker.run("apply")
    assert "1 created" in told and told.count("is gone from ActiveCampaign, and acrelay did not remove it") == 1
    assert len(ours(sim)) == 2


def test_no_twin_is_removed_for_one_that_only_the_list_still_shows(sim, make_worker):
    real = sim.add("acrelay contacts", url("contacts"), sources=SOURCES)
    sim.odd({**real, "id": "900", "events": ["subscribe"], "sources": SOURCES})
    assert make_worker().apply()[2] == 0
    assert [hook["id"] for hook in sim.hooks()] == [real["id"]] and not writes(sim)


def test_no_twin_is_removed_for_one_of_which_the_answer_says_nothing(sim, make_worker):
    old, new = [sim.add("acrelay contacts", url("contacts"), sources=SOURCES) for _ in range(2)]
    worker = make_worker(stanza("contacts") + stanza("other"))
    sim.answer(200, '{"webhooks":[]}', count=100, path=f"webhooks/{new['id']}")
    said = worker.run("apply", code=2)
    assert f"#{old['id']} " in said and f"#{new['id']} " in said
    assert [line["method"] for line in writes(sim)] == ["POST"], "all but the deletion"


def test_a_hook_on_another_list_is_no_reason_to_remove_a_twin(sim, make_worker):
    real = [sim.add("acrelay contacts", url("contacts"), sources=SOURCES, list=n) for n in (5, 6)]
    sim.odd({**real[0], "id": "900", "events": ["subscribe"], "sources": SOURCES, "listid": "5"})
    make_worker("  - {name: contacts, events: [subscribe], list: [5, 6]}\n").run("apply")
    assert [hook["id"] for hook in sim.hooks()] == [hook["id"] for hook in real]
    assert not writes(sim)


def test_no_twin_is_removed_for_one_that_is_on_another_list_by_now(sim, make_worker):
    """The list still shows where it was; what AC finds by its id counts."""
    old, new = [sim.add("acrelay contacts", url("contacts"), sources=SOURCES) for _ in range(2)]
    sim.switch(lag_ms=25000)  # 5 s
    listed = {old["id"], new["id"]}
    harness.wait_for("both in the list", lambda: listed == {hook["id"] for hook in sim.api(
        "GET", "/webhooks?limit=100")[2].get("webhooks", ())})
    sim.call(f"/sim/hooks/{new['id']}", {"listid": 6}, "PUT")
    make_worker().run("apply")
    assert not writes(sim) and {hook["id"] for hook in ours(sim)} == listed


def test_a_deletion_without_effect_is_not_sent_again(sim, make_worker):
    old = sim.add("acrelay old", url("old"), sources=SOURCES)
    sim.switch(keep_removed=1)
    worker = make_worker(worker=", prune: true")
    worker.run("apply", code=1)
    assert len(writes(sim, "DELETE")) == 1
    sim.switch(keep_removed=0)
    assert worker.apply() == (0, 0, 1)
    assert old["id"] not in [hook["id"] for hook in sim.hooks()]


def test_a_removal_that_only_a_list_shows_is_not_counted(sim, make_worker):
    """The deletion has no effect, and the lists after it lack what others show."""
    old, new = [sim.add(f"acrelay {name}", url(name), sources=SOURCES)
                for name in ("old", "contacts")]
    worker = make_worker(worker=", prune: true")
    sim.switch(keep_removed=1)
    sim.fail("slow", f"webhooks/{old['id']}", 1, 10000)
    process = subprocess.Popen(worker.command("apply", "--json"), env=worker.environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    harness.wait_for("the list, and the one that is to go",
                     lambda: sim.figures()["requests"] >= 2)
    sim.switch(empty_list=1000)
    sums = json.loads(process.communicate(timeout=60)[0])
    assert (sums["removed"], sums["unconfirmed"], sums["done"]) == (0, 1, False)
    assert len(writes(sim)) == 1 and [hook["id"] for hook in sim.hooks()] == [old["id"], new["id"]]


# --- pages ---------------------------------------------------------------------------------

@pytest.mark.parametrize("switches", [
    {"shift": 1}, {"shift": 2, "no_total": 1}, {"page_max": 20}, {"page_max": 7, "no_total": 1},
    {"double_rows": 1}, {"no_total": 1}, {"add_to_total": 5}, {"add_to_total": -5},
    {"add_to_total": -124}, {"total_number": 1, "add_to_total": 10 ** 6}, {"repeat": 3},
])
def test_odd_pages_hide_nothing_and_cause_nothing(sim, make_worker, switches):
    for i in range(120):  # ours lie where the first page ends
        if i == 98:
            for k in range(4):
                sim.add(f"acrelay hook-{k}", url(f"hook-{k}"), sources=SOURCES)
        sim.add(f"other {i}", f"https://n8n.example/{i}")
    worker = make_worker("".join(stanza(f"hook-{i}") for i in range(4)), rate=5)
    sim.switch(**switches)
    plan = worker.json("plan", "--detailed-exitcode")  # ends with 0: nothing to do
    assert (plan["ok"], plan["found"]) == (4, 124)


def test_a_list_without_an_end_and_a_broken_page_stop_writing_only(sim, make_worker, running):
    for i in range(105):
        sim.add(f"other {i}", f"https://n8n.example/{i}")
    worker = make_worker()
    sim.switch(fail_offset=50)
    shown = worker.run("list", code=78)
    assert "other 0" in shown and "other 99" in shown
    worker.run("apply", code=78)
    assert not writes(sim)


# --- odd rows ------------------------------------------------------------------------------

ODD = [None, 7, "x", [], {}, {"id": None, "url": url("contacts") + "x"},
       {"id": "5", "listid": "1,2", "url": "https://n8n.example/"},
       {"id": "6", "listid": [1, 2], "name": None, "url": {"a": 1}},
       {"id": -1, "events": 7, "sources": False}, {"id": 1e300, "listid": -1, "url": "https://"},
       {"id": True, "name": ["x"]}, {"id": "all", "url": 7, "events": [None, {}]}]


def test_oddities_of_others_are_listed_and_stop_nothing(sim, make_worker):
    sim.odd(*[row for row in ODD if not (row and "contacts" in str(row))])
    worker = make_worker()
    assert worker.apply() == (1, 0, 0)
    assert worker.apply() == (0, 0, 0)
    rows = worker.json("list")["hooks"]
    assert len(rows) == len(ODD) and sum("unreadable" in row for row in rows) == len(ODD) - 1


def test_one_of_ours_that_cannot_be_read_does_not_stop_the_others(sim, make_worker):
    sim.odd({"id": {}, "url": url("a"), "name": "acrelay a"},
            {"id": "900", "listid": "1,2", "url": url("b"), "name": "acrelay b",
             "events": ["subscribe"], "sources": SOURCES})
    worker = make_worker(stanza("a") + stanza("b") + stanza("c"), worker=", prune: true")
    worker.run("apply", code=78)
    assert [line["method"] for line in writes(sim, "DELETE")] == []
    assert url("c") in [hook["url"] for hook in ours(sim)]
    assert url("a") not in [hook["url"] for hook in ours(sim)]


# --- ours under another address ------------------------------------------------------------

def test_no_double_is_made_of_what_is_ours_under_a_forgotten_address(sim, make_worker, running):
    worker = make_worker(stanza("a") + stanza("b", more=", label: 'Own label'"))
    worker.run("apply")
    moved = worker.config.read_text().replace("hooks.acme", "hooks2.acme")
    worker.config.write_text(moved + stanza("c"))
    said = worker.run("apply", code=78)
    assert "previous_public_urls" in said
    assert sorted(hook["url"] for hook in ours(sim)) == sorted(
        [url("a"), url("b"), url("c", "https://hooks2.acme.example")])
    plan = worker.json("plan")
    assert [step["why"] for step in plan["steps"] if step["step"] == "refuse"] == ["alike"] * 2
    assert worker.run("plan", "--detailed-exitcode", code=2)
    like = {row.get("looks_like") for row in worker.json("list")["hooks"]}
    assert like == {"a", "b", None}
    running(worker)
    log = worker.directory / "worker.log"
    harness.wait_for("the alarm", lambda: " alarm " in log.read_text())
    assert not ready(worker)
    worker.config.write_text(worker.config.read_text().replace(
        "secret_files:", "previous_public_urls: [https://hooks.acme.example]\nsecret_files:"))
    harness.wait_for("the move", lambda: {hook["url"] for hook in ours(sim)} == {
        url(name, "https://hooks2.acme.example") for name in "abc"}, 60)


def test_a_page_of_something_in_front_swallows_no_write(sim, make_worker, redis):
    worker = make_worker(stanza("contacts") + stanza("deals"), redis_port=redis.port,
                         worker=", prune: true")
    sim.switch(page_writes=1)
    assert worker.apply() == (2, 0, 0)
    text = worker.config.read_text().replace(stanza("deals"), "")
    worker.config.write_text(text.replace("[subscribe]", "[subscribe, update]"))
    sim.switch(page_writes=2)  # one for each
    assert worker.apply() == (0, 1, 1)
    assert [as_set(hook) for hook in sim.hooks()] == [wanted("contacts", ("subscribe", "update"))]
    sim.switch(page_writes=1000)
    worker.config.write_text(text)
    assert "something in front of ActiveCampaign answers 200 with HTML" in worker.run("apply", code=69)


@pytest.mark.parametrize("leaves", [True, False], ids=["remove", "change"])
def test_what_became_of_others_after_the_list_is_not_written(sim, make_worker, redis, leaves):
    worker = make_worker(stanza("contacts") + stanza("deals"), redis_port=redis.port,
                         worker=", prune: true")
    assert worker.apply() == (2, 0, 0)
    text = worker.config.read_text().replace(stanza("deals"), "" if leaves else stanza("deals"))
    worker.config.write_text(text.replace("[subscribe]", "[subscribe, update]"))
    first, second = (next(h["id"] for h in sim.hooks() if name in h["url"])
                     for name in ("contacts", "deals"))
    sim.fail("slow", f"webhooks/{first}", 1, 20000)
    before = sim.figures()["requests"]
    process = subprocess.Popen(worker.command("apply"), env=worker.environment(),
                               stdout=subprocess.DEVNULL)
    harness.wait_for("the list, and the first that is slow",
                     lambda: sim.figures()["requests"] >= before + 2)
    sim.call(f"/sim/hooks/{second}", {"name": "other", "url": "https://n8n.example/x"}, "PUT")
    assert process.wait(60) == 0
    left = {hook["url"] for hook in sim.hooks()}
    assert left == {"https://n8n.example/x", url("contacts"), *([] if leaves else [url("deals")])}


# --- stops ---------------------------------------------------------------------------------

class Accepts(http.server.BaseHTTPRequestHandler):
    """Accepts a POST and then answers nothing any more."""

    def do_GET(self):
        if self.server.posted:
            self.server.asked.set()
            self.server.over.wait()
            return
        text = json.dumps({"webhooks": [], "meta": {"total": "0"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self):
        hook = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["webhook"]
        text = json.dumps({"webhook": {**hook, "id": "1"}}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        self.server.posted += 1

    def log_message(self, *words):
        pass


@pytest.mark.parametrize("command", ["apply", "run"])
def test_a_stop_before_the_list_says_no_success(tmp_path, sim, command):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Accepts)
    server.daemon_threads, server.posted = True, 0
    server.asked, server.over = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sim.url = f"http://127.0.0.1:{server.server_port}"
    worker = Worker(tmp_path, sim, stanza("contacts"))
    log = tmp_path / "stopped.log"
    with open(log, "wb") as out:
        process = subprocess.Popen(worker.command(command), stdout=out, stderr=out)
    assert server.asked.wait(30), "for the list after it"
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    server.over.set()
    server.shutdown()
    assert process.returncode == (0 if command == "run" else -signal.SIGTERM)
    assert not re.search(r"\b1 (hooks? )?created", log.read_text())
