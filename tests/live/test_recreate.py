"""acrelay-worker recreate: a new webhook first, the old one gone only when a list shows the new one."""
import json
import signal
import subprocess

import harness
import pytest
from simulator import SOURCES, as_set, stanza, url, wanted


@pytest.fixture(autouse=True)
def times(monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "worker_lag=300 worker_gone=2000 worker_unclear=600")


def ours(sim):
    return [hook for hook in sim.hooks() if "/hook/" in hook["url"]]


def writes(sim):
    return [line["method"] for line in sim.log()
            if line["method"] != "GET" and line["status"] != 429]


@pytest.fixture
def applied(sim, make_worker):
    """A worker whose hook is there, and how it was made."""
    def make(*args, **more):
        worker = make_worker(*args, **more)
        worker.run("apply")
        made.extend(writes(sim))
        return worker

    made = []
    make.writes = lambda: writes(sim)[len(made):]
    return make


def lag(sim, ms, **more):
    """Lists are late from now on, and show by now what is there."""
    sim.switch(lag_ms=ms, **more)
    ids = {hook["id"] for hook in sim.hooks()}
    harness.wait_for("the lists", lambda: {hook["id"] for hook in sim.api(
        "GET", "/webhooks?limit=100")[2].get("webhooks", ())} == ids)


def recreated(worker, name="contacts", count=1):
    assert worker.json("recreate", name) == {"hook": name, "created": count, "removed": count}


def test_a_refused_one_leaves_the_old_one(sim, applied):
    worker = applied()
    before = sim.hooks()
    sim.switch(reject_422=1)
    assert "The name is not accepted" in worker.run("recreate", "contacts", code=78)
    assert sim.hooks() == before
    recreated(worker)


def test_one_that_no_list_shows_leaves_the_old_one(sim, applied, monkeypatch):
    """And no second one is created, however long the lists take: until it is there the old one is."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "worker_lag=300 worker_gone=0")
    worker = applied()
    before = sim.hooks()
    lag(sim, 25000, lag_get=1)  # 5 s
    said = worker.run("recreate", "contacts", code=1)
    assert applied.writes() == ["POST"]
    [new] = [hook["id"] for hook in sim.hooks() if hook not in before]
    assert "the old webhook is kept" in said and f"created it as #{new} " in said
    assert before[0] in sim.hooks()


def test_one_that_somebody_else_created_is_not_taken_for_the_new_one(sim, applied):
    """A list shows it late, after the first two of recreate."""
    worker = applied(rate=1)
    [old], before = ours(sim), len(sim.log())
    process = subprocess.Popen([*worker.command("recreate", "contacts"), "--json"], text=True,
                               stdout=subprocess.PIPE, env=worker.environment())
    harness.wait_for("the first two lists", lambda: len(sim.log()) > before + 1)
    other = sim.add("acrelay contacts", url("contacts"), sources=SOURCES)
    printed, _ = process.communicate(timeout=60)
    assert json.loads(printed) == {"hook": "contacts", "created": 1, "removed": 1}
    assert applied.writes() == ["POST", "DELETE"]
    assert other["id"] in {hook["id"] for hook in ours(sim)} and old not in ours(sim)
    assert worker.apply() == (0, 0, 1)
    assert len(ours(sim)) == 1


def test_an_answer_that_was_lost_is_seen_in_the_list(sim, applied):
    worker = applied()
    old = ours(sim)[0]["id"]
    sim.switch(cut_after=1)
    recreated(worker)
    assert applied.writes() == ["POST", "DELETE"]
    assert [as_set(hook) for hook in ours(sim)] == [wanted("contacts")]
    assert ours(sim)[0]["id"] != old


def test_an_older_one_that_lists_had_lost_is_not_taken_for_the_new_one(sim, applied):
    """The answer to the creation is lost, which was not carried out."""
    stranger = sim.add("x", "https://old.example/x")
    worker = applied()
    [old] = ours(sim)
    sim.call(f"/sim/hooks/{stranger['id']}", {"name": "acrelay contacts", "url": url("contacts"),
                                              "sources": SOURCES}, "PUT")
    sim.switch(cut_before=1, lose_rows=2)  # every other row
    worker.run("recreate", "contacts")
    [new] = [hook for hook in ours(sim) if hook["id"] != stranger["id"]]
    assert as_set(new) == wanted("contacts") and new["id"] != old["id"]


def test_one_to_adopt_that_lists_had_lost_is_not_taken_for_the_new_one(sim, applied):
    sim.add("x", "https://old.example/x")
    [stranger], worker = sim.hooks(), applied()
    worker.config.write_text(worker.config.read_text().replace(
        "name: contacts,", f"name: contacts, adopt: {stranger['id']},"))
    sim.switch(lose_rows=2)
    recreated(worker)
    assert applied.writes() == ["POST", "DELETE"] and stranger in sim.hooks()


def test_an_answer_without_an_id_is_seen_in_the_list(sim, applied):
    worker = applied("  - {name: contacts, events: [subscribe], list: [5, 6]}\n")
    old = {hook["id"] for hook in ours(sim)}
    lag(sim, 3000)  # 0.6 s
    sim.switch(no_id=2)
    recreated(worker, count=2)
    assert sorted(applied.writes()) == ["DELETE"] * 2 + ["POST"] * 2
    assert sorted(hook["listid"] for hook in ours(sim)) == ["5", "6"]
    assert not old & {hook["id"] for hook in ours(sim)}


def test_of_two_answers_without_an_id_each_is_seen_by_its_list(sim, applied):
    """The first lists after both show the second one only."""
    worker = applied("  - {name: contacts, events: [subscribe], list: [5, 6]}\n", rate=1)
    sim.switch(no_id=2)
    process = subprocess.Popen([*worker.command("recreate", "contacts"), "--json"], text=True,
                               stdout=subprocess.PIPE, env=worker.environment())
    harness.wait_for("both creations", lambda: applied.writes() == ["POST"] * 2)
    sim.switch(lose_rows=2)  # every other row
    printed, _ = process.communicate(timeout=60)
    assert json.loads(printed) == {"hook": "contacts", "created": 2, "removed": 2}
    assert sorted(applied.writes()) == ["DELETE"] * 2 + ["POST"] * 2
    assert sorted(hook["listid"] for hook in ours(sim)) == ["5", "6"]


def test_a_request_that_was_lost_does_no_harm(sim, applied):
    worker = applied()
    old = ours(sim)[0]["id"]
    sim.switch(cut_before=1)
    worker.ran("recreate", "contacts", code=None)
    assert [as_set(hook) for hook in ours(sim)] == [wanted("contacts")]
    if ours(sim)[0]["id"] == old:
        recreated(worker)


def test_a_deletion_without_effect_is_no_success(sim, applied):
    worker = applied()
    sim.switch(keep_removed=1)
    assert "list does not show" in worker.run("recreate", "contacts", code=1)
    assert applied.writes() == ["POST", "DELETE"] and len(ours(sim)) == 2


def test_only_the_hook_that_is_named_is_written(sim, applied):
    worker = applied(stanza("a") + stanza("b") + stanza("c"), worker=", prune: true")
    sim.call(f"/sim/hooks/{ours(sim)[1]['id']}", {"events": ["sent"], "name": "drift"}, "PUT")
    worker.config.write_text(worker.config.read_text().replace(stanza("c"), stanza("d")))
    others = ours(sim)[1:]
    recreated(worker, "a")
    assert applied.writes() == ["POST", "DELETE"]
    assert [hook for hook in ours(sim) if hook["url"] != url("a")] == others


def test_what_may_not_be_created_beside_it_stays_beside_it(sim, applied):
    worker = applied()
    like = sim.add("acrelay contacts", "https://elsewhere.example/x")
    sim.odd({"id": {}, "url": url("contacts"), "name": "acrelay contacts"})
    recreated(worker)
    assert like["id"] in {hook["id"] for hook in sim.hooks()}


def test_an_adopted_hook_is_recreated(sim, make_worker):
    there = sim.add("by hand", "https://old.example/x", sources=SOURCES)
    worker = make_worker(stanza("contacts", more=f", adopt: {there['id']}"))
    worker.run("apply")
    recreated(worker)
    assert [as_set(hook) for hook in sim.hooks()] == [wanted("contacts")]
    assert sim.hooks()[0]["id"] != there["id"]
    worker.run("plan", "--detailed-exitcode")  # ends with 0: nothing to do


def test_killed_before_the_old_one_went_leaves_two_that_apply_makes_one(sim, applied):
    worker = applied()
    old = ours(sim)[0]["id"]
    lag(sim, 25000, lag_get=1)  # 5 s
    process = subprocess.Popen(worker.command("recreate", "contacts"), stderr=subprocess.DEVNULL,
                               env=worker.environment("worker_lag=60000"))
    harness.wait_for("the new one", lambda: len(ours(sim)) == 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    sim.switch(lag_ms=0, lag_get=0)
    worker.run("recreate", "contacts", code=2)  # apply has something to do
    assert worker.apply() == (0, 0, 1)
    assert len(ours(sim)) == 1 and ours(sim)[0]["id"] != old


def test_the_old_one_stays_where_only_a_list_shows_another(sim, applied):
    """A list that is late shows one that is gone. It comes after the first two lists."""
    worker = applied(rate=1)
    [old], before = ours(sim), len(sim.log())
    process = subprocess.Popen(worker.command("recreate", "contacts"), stderr=subprocess.DEVNULL,
                               env=worker.environment())
    harness.wait_for("the first two lists", lambda: len(sim.log()) > before + 1)
    sim.odd({**old, "id": "900", "events": ["subscribe"], "sources": SOURCES})
    assert process.wait(60) == 0
    assert applied.writes() == ["POST", "DELETE"]
    assert [as_set(hook) for hook in ours(sim)] == [wanted("contacts")]
    assert ours(sim)[0]["id"] != old["id"]
