"""The worker against the simulator of ActiveCampaign."""
import http.server
import json
import re
import signal
import subprocess
import threading
import time
import urllib.request

import harness
import pytest
import worker_faults
from fault_proxy import FaultProxy
from simulator import SOURCES, Simulator, Worker, as_set, stanza, url, wanted


RECREATED = {"hook": "contacts", "created": 1, "removed": 1}


def ours(sim):
    return [hook for hook in sim.hooks() if "/hook/" in hook["url"]]


def test_apply_makes_what_is_wanted_and_the_second_time_writes_nothing(sim, make_worker):
    foreign = [sim.add(f"other {i}", f"https://n8n.example/{i}") for i in range(5)]
    names = [f"hook-{i}" for i in range(12)]
    worker = make_worker("".join(stanza(name) for name in names), rate=4)
    assert worker.apply() == (12, 0, 0)
    assert sorted(map(as_set, ours(sim))) == sorted(wanted(name) for name in names)
    writes = sim.figures()["writes"]
    assert worker.apply() == (0, 0, 0)
    assert sim.figures()["writes"] == writes == 12
    assert [h for h in sim.hooks() if h["id"] in {f["id"] for f in foreign}] == [
        {**f, "dead": False} for f in foreign]
    assert sim.figures()["throttled"] == 0, "the default rate stays below AC's limit"


def test_plan_shows_what_apply_would_do_and_writes_nothing(sim, make_worker):
    sim.add("acrelay contacts", "https://hooks.acme.example/hook/contacts/old")
    sim.add("twin", url("contacts"))
    sim.add("lost", "https://hooks.acme.example/hook/lost/x")
    worker = make_worker(stanza("contacts") + stanza("deals", "[deal_add]"))
    text = worker.run("plan", "--detailed-exitcode", code=2)
    assert "+ deals" in text and "~ contacts" in text and "- contacts" in text
    assert "= lost" in text and "worker.prune" in text
    assert harness.token("contacts") not in text
    steps = worker.json("plan")["steps"]
    assert sorted(step["step"] for step in steps) == ["change", "create", "leave", "remove"]
    assert sim.figures()["writes"] == 0
    worker.run("apply")
    worker.run("plan", "--detailed-exitcode")  # ends with 0: nothing to do
    assert len(ours(sim)) == 3, "without prune the lost one stays"
    worker.config.write_text(worker.config.read_text().replace("worker: {", "worker: {prune: true, "))
    assert worker.apply() == (0, 0, 1)
    assert {hook["url"] for hook in ours(sim)} == {url("contacts"), url("deals")}


def test_one_is_not_a_plural(sim, make_worker):
    worker = make_worker()
    assert "; 1 webhook in the account" in worker.run("apply")
    sim.add("twin", url("contacts"))
    assert ": 2 hooks (newest)" in worker.run("secrets")


def test_an_imported_hook_becomes_ours_in_place(sim, make_worker):
    there = sim.add("My Hook", "https://old.example/x", ["sent", "open"], ["system"], 3)
    worker = make_worker()
    lines = worker.run("import", there["id"])
    assert f"adopt: {there['id']}" in lines and "name: my-hook" in lines
    worker.config.write_text(worker.config.read_text() + lines)
    assert worker.apply() == (1, 1, 0)
    found = next(h for h in sim.hooks() if h["id"] == there["id"])
    assert as_set(found) == ("My Hook", url("my-hook"), frozenset(["sent", "open"]),
                             frozenset(["system"]), "3")
    worker.run("import", "999", code=1)


def test_a_list_that_was_cut_and_then_whole_does_not_fail_an_import(sim, make_worker):
    there = sim.add("My Hook", "https://old.example/x", ["open"])
    worker = make_worker()
    sim.fail("html", path="webhooks")
    assert "name: my-hook" in worker.run("import", there["id"])


def test_a_hook_of_which_a_field_cannot_be_read_is_not_imported(sim, make_worker):
    sim.odd({"id": "900", "listid": "1,2", "url": "https://old.example/x", "name": "My Hook",
             "events": ["open"], "sources": ["public"]})
    assert "the listid of webhook 900 cannot be read" in make_worker().run("import", "900", code=1)


def test_the_test_hook_is_never_registered(sim, make_worker):
    worker = make_worker(stanza("contacts"))
    worker.apply()
    assert [hook["name"] for hook in sim.hooks()] == ["acrelay contacts"]
    assert "there is no hook acrelay-test" in worker.run("recreate", "acrelay-test", code=1)


def test_recreate_makes_a_switched_off_hook_anew(sim, make_worker):
    worker = make_worker()
    worker.run("apply")
    old = ours(sim)[0]["id"]
    assert worker.json("recreate", "contacts") == RECREATED
    assert [hook["url"] for hook in ours(sim)] == [url("contacts")]
    assert ours(sim)[0]["id"] != old


def test_recreate_waits_for_changes_that_the_hook_still_needs(sim, make_worker):
    worker = make_worker(stanza("contacts", more=", list: 5"))
    there = sim.add("acrelay contacts", url("contacts"), sources=SOURCES)
    worker.run("recreate", "contacts", code=2)
    assert [hook["id"] for hook in ours(sim)] == [there["id"]]
    worker.run("apply")
    assert worker.json("recreate", "contacts") == RECREATED
    assert [hook["listid"] for hook in ours(sim)] == ["5"]


@pytest.mark.parametrize("fault", ["cut_before", "cut_after", "throttle", "busy", "truncate",
                                   "html"])
def test_one_fault_makes_no_twin_and_leaves_no_orphan(sim, make_worker, fault, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "worker_lag=200 worker_unclear=500")
    worker = make_worker(stanza("a") + stanza("b"))
    sim.switch(**{fault: 1})
    worker.run("apply")
    assert sorted(map(as_set, ours(sim))) == sorted([wanted("a"), wanted("b")])


def test_pages_that_shift_and_repeat_are_read_again(sim, make_worker):
    for i in range(130):
        sim.add(f"other {i}", f"https://n8n.example/{i}")
    worker = make_worker()
    worker.run("apply")
    sim.switch(repeat=1, shuffle=1, total_number=1)
    worker.run("plan", "--detailed-exitcode")  # ends with 0: nothing to do


@pytest.mark.parametrize("switches, said, code", [
    ({"forbid": 1}, "may not manage webhooks", 77),
    ({"forbid": 1}, "Deliveries go on", 77),
    ({"reject_422": 1}, "The name is not accepted (name)", 78),
    ({"reject_absent": 1}, "No Result found for List with id 5", 78),
])
def test_refusals_are_told_in_a_sentence(sim, make_worker, switches, said, code):
    sim.switch(**switches)
    assert said in make_worker().run("apply", code=code)


def test_one_403_for_a_good_token_is_no_refusal(sim, make_worker):
    worker = make_worker()
    sim.switch(forbid_next=1)
    assert worker.json("plan")["writes"] == 1
    sim.switch(forbid_next=1, forbid_writes=1)
    assert worker.apply() == (1, 0, 0)


def test_the_token_is_blamed_only_when_activecampaign_refuses_it(sim, make_worker):
    sim.switch(forbid=1, me_status=404)
    make_worker().run("plan", code=69)
    sim.switch(me_status=401)
    said = make_worker().run("plan", code=77)
    assert "account.api_token_file" in said and "Deliveries go on" in said


def test_what_others_hooks_hold_is_not_shown(sim, make_worker):
    sim.add("n8n-webhook:https://n8n.example/webhook/hidden-path", "https://n8n.example/webhook/x")
    sim.add("odd", "https://hooks.acme.example/hook/odd\x1b[31mname/token")
    worker = make_worker()
    for words in (["list"], ["list", "--json"], ["plan"], ["plan", "--json"]):
        told = worker.run(*words)
        assert "hidden-path" not in told and "\x1b" not in told and "[31m" not in told
    assert "n8n-webhook:https://..." in worker.run("list")
    assert [hook["ours"] for hook in worker.json("list")["hooks"]] == [False, False]


def test_what_cannot_be_printed_is_a_failure(make_worker):
    worker = make_worker()
    for words in (["plan"], ["list", "--json"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(worker.command(*words), stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1 and b"cannot write" in done.stderr


def test_an_id_is_a_number_and_nothing_else(sim, make_worker):
    worker = make_worker()
    for text in ("12abc", "0", "1e3", ""):
        worker.run("import", text, code=64)


def test_import_and_recreate_speak_json(sim, make_worker):
    there = sim.add("My Hook", "https://old.example/x", ["sent"], ["system"], 3)
    worker = make_worker()
    assert worker.json("import", there["id"]) == {
        "name": "my-hook", "label": "My Hook", "events": ["sent"], "sources": ["system"],
        "list": "3", "adopt": there["id"]}
    worker.run("apply")
    assert worker.json("recreate", "contacts") == RECREATED


def test_apply_says_that_redis_is_away_when_it_cannot_lead(sim, make_worker):
    worker = make_worker(redis_port=harness.free_port(), worker=", leader: redis")
    assert "worker.leader" in worker.run("apply", code=69)  # 75: another one leads


def test_a_wrong_token_url_or_host_is_told_in_a_sentence(sim, make_worker, tmp_path):
    worker = make_worker()
    text = worker.config.read_text()
    worker.config.write_text(text.replace(sim.url, sim.url + "/nowhere"))
    worker.run("plan", code=78)
    worker.config.write_text(text)
    sim.token.write_text("another-token")
    said = worker.run("plan", code=77)
    assert "another-token" not in said
    sim.token.chmod(0o644)
    assert "chmod" in worker.run("plan", code=77)
    sim.token.unlink()
    assert "api-token" in worker.run("plan", code=78)


def test_a_refused_token_is_read_again_on_a_reload_as_the_log_says(sim, make_worker, running):
    good = sim.token.read_text()
    sim.token.write_text("another-token")
    sim.token.chmod(0o600)
    worker = make_worker()
    process = running(worker, times="round-again=200")
    log = worker.directory / "worker.log"
    harness.wait_for("the refusal", lambda: "refuses the API token" in log.read_text())
    assert "Then reload acrelay-worker; under systemd" in log.read_text()
    assert str(sim.token) not in log.read_text(), "under systemd nobody can write there"
    sim.token.write_text(good)
    refused = len(sim.log())
    harness.wait_for("a further round", lambda: len(sim.log()) > refused + 2)
    assert ours(sim) == [], "not by itself"
    process.send_signal(signal.SIGHUP)
    harness.wait_for("the hook", lambda: len(ours(sim)) == 1)


def test_what_is_not_activecampaign_is_told_in_a_sentence(sim, make_worker):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = b"<!DOCTYPE html><html>Welcome</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    worker = make_worker()
    text = worker.config.read_text()
    worker.config.write_text(text.replace(sim.url, f"http://127.0.0.1:{server.server_port}"))
    assert "HTML" in worker.run("plan", code=78)
    server.shutdown()
    worker.config.write_text(text.replace(sim.url, f"http://127.0.0.1:{harness.free_port()}"))
    worker.run("plan", code=69)


def test_a_refused_hook_does_not_keep_the_others_from_being_made(sim, make_worker):
    worker = make_worker(stanza("a") + stanza("b") + stanza("c"))
    sim.switch(reject_422=1)
    assert worker.apply(code=78) == (2, 0, 0)
    assert len(ours(sim)) == 2
    worker.run("apply")
    assert len(ours(sim)) == 3


def test_no_url_is_written_that_the_receiver_here_would_answer_404(sim, make_receiver,
                                                                   make_worker, tmp_path):
    """A secret or hook that the receiver has not loaded yet."""
    receiver = make_receiver()
    here = (f"receiver: {{admin: '127.0.0.1:{receiver.admin}',"
            f" listen: ['127.0.0.1:{receiver.port}']}}\n")
    worker = make_worker(stanza("contacts"), extra=here)
    worker.run("apply")
    before = sim.hooks()
    fresh = tmp_path / "fresh-secret"
    fresh.write_bytes(b"f" * 40)
    fresh.chmod(0o600)
    rotated = "secret_files: [fresh-secret, hook-secret]"
    worker.config.write_text(
        worker.config.read_text().replace("secret_files: [hook-secret]", rotated)
        + stanza("deals", "[deal_add]"))
    told = worker.run("apply", code=78)
    assert told.count("404") >= 2 and "Reload acrelayd" in told
    worker.run("recreate", "contacts", code=2)
    assert sim.hooks() == before, "nothing was written"
    receiver.config.write_text(
        receiver.config.read_text().replace("secret_files: [hook-secret]", rotated)
        + stanza("deals", "[deal_add]"))
    assert receiver.reload()
    assert worker.apply() == (1, 1, 0)
    # Of another installation of the account nothing is expected.
    worker.config.write_text(worker.config.read_text() + stanza("tags"))
    assert f"127.0.0.1:{receiver.port}" in worker.run("apply", code=78)
    worker.config.write_text(
        worker.config.read_text().replace("redis: {", "redis: {namespace: ac2, "))
    assert worker.apply() == (1, 0, 0)


def test_nothing_is_removed_while_what_takes_its_place_is_refused(sim, make_receiver,
                                                                   make_worker):
    receiver = make_receiver()
    here = (f"receiver: {{admin: '127.0.0.1:{receiver.admin}',"
            f" listen: ['127.0.0.1:{receiver.port}']}}\n")
    worker = make_worker(stanza("contacts"), worker=", prune: true", extra=here)
    worker.run("apply")
    worker.config.write_text(worker.config.read_text().replace("name: contacts", "name: people"))
    sums = worker.json("apply", code=78)
    assert (sums["removed"], sums["found"], sums["done"]) == (0, 1, False)
    assert [hook["url"] for hook in ours(sim)] == [url("contacts")], "it still works"


def test_our_hook_stays_when_the_one_to_adopt_is_refused(sim, make_worker):
    worker = make_worker()
    worker.run("apply")
    there = sim.add("by hand", "https://old.example/x")
    worker.config.write_text(worker.config.read_text().replace(
        "events:", f"adopt: {there['id']}, events:"))
    sim.switch(reject_422=1)
    assert worker.apply(code=78) == (0, 0, 0)
    assert [hook["url"] for hook in ours(sim)] == [url("contacts")]
    assert worker.apply() == (0, 1, 1)


def test_the_sum_counts_what_is_there_after_a_refusal(sim, make_worker):
    worker = make_worker(stanza("a") + stanza("b"))
    sim.switch(reject_422=1)
    sums = worker.json("apply", code=78)
    assert (sums["created"], sums["left"], sums["found"]) == (1, 0, 1)


def test_random_faults_end_with_the_wanted_hooks():
    bad, _ = worker_faults.run(range(1, 9), 8)  # make test-long: 100
    assert not bad


def test_run_heals_drift_and_takes_over_a_new_file(sim, make_worker, running, redis):
    worker = make_worker(redis_port=redis.port, worker=", interval: 1s")
    process = running(worker)
    harness.wait_for("the hook", lambda: len(ours(sim)) == 1)
    sim.call(f"/sim/hooks/{ours(sim)[0]['id']}", {"events": ["sent"], "name": "drift"}, "PUT")
    harness.wait_for("healing", lambda: [as_set(h) for h in ours(sim)] == [wanted("contacts")])

    def state():
        return json.loads(redis.client.hget("{ac}:hooks", "contacts") or "{}")

    harness.wait_for("its state", lambda: state().get("state") == "registered")
    assert state()["ids"] == [ours(sim)[0]["id"]]
    worker.config.write_text(worker.config.read_text() + stanza("deals", "[deal_add]"))
    harness.wait_for("the new hook", lambda: len(ours(sim)) == 2)
    worker.config.write_text(worker.config.read_text() + "  - {name: broken\n")
    harness.wait_for("the refusal", lambda: worker.reloads("refused") == 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_list_that_fails_changes_no_state(sim, make_worker, running, redis):
    worker = make_worker(redis_port=redis.port, worker=", interval: 1s")
    running(worker)

    def state():
        return json.loads(redis.client.hget("{ac}:hooks", "contacts") or "{}").get("state")

    harness.wait_for("its state", lambda: state() == "registered")
    sim.switch(forbid=1)
    harness.wait_for("the refusal", lambda: worker.metric("acrelay_worker_round_ok") == 0)
    redis.client.delete("{ac}:hooks")
    harness.wait_for("its state anew", state)
    assert state() == "registered"


def test_a_refused_hook_is_told_once_while_nothing_changes(sim, make_worker, running):
    worker = make_worker(stanza("a") + stanza("b"), worker=", interval: 1s")
    sim.switch(reject_422=1000)
    running(worker)
    log = worker.directory / "worker.log"
    harness.wait_for("rounds", lambda: sum(
        line["method"] == "POST" for line in sim.log()) >= 6)
    for name in "ab":
        assert log.read_text().count(f"hook {name}: ActiveCampaign answers 422") == 1


def test_a_lost_time_of_the_last_event_is_no_silence(sim, make_worker, running, redis):
    worker = make_worker("  - {name: contacts, events: [subscribe], expect_every: 1d}\n",
                         redis_port=redis.port, worker=", interval: 1s")
    redis.client.hset("{ac}:last", "contacts", "2026-01-01T00:00:00.000000Z")
    running(worker)
    silent = 'acrelay_hook_silent{hook="contacts"}'
    harness.wait_for("the silence", lambda: worker.metric(silent) == 1)

    def last():
        return json.loads(redis.client.hget("{ac}:hooks", "contacts") or "{}").get("last_event")

    harness.wait_for("its state", last)
    redis.client.flushall()
    assert harness.wait_for("its state anew", last) == "2026-01-01T00:00:00Z"
    assert worker.metric(silent) == 1


def test_a_hook_is_not_silent_any_more_without_expect_every(sim, make_worker, running, redis):
    worker = make_worker("  - {name: contacts, events: [subscribe], expect_every: 1d}\n"
                         "  - {name: deals, events: [deal_add], expect_every: 1d}\n",
                         redis_port=redis.port, worker=", interval: 1s")
    for name in ("contacts", "deals"):
        redis.client.hset("{ac}:last", name, "2026-01-01T00:00:00.000000Z")
    running(worker)

    def state():
        return json.loads(redis.client.hget("{ac}:hooks", "contacts") or "{}").get("state")

    harness.wait_for("the silence", lambda: state() == "silent")
    harness.wait_for("that of the other too",
                     lambda: worker.metric('acrelay_hook_silent{hook="deals"}') == 1)
    worker.config.write_text(worker.config.read_text()
                             .replace("  - {name: deals, events: [deal_add], expect_every: 1d}\n", "")
                             .replace(", expect_every: 1d", ""))
    harness.wait_for("its end", lambda: state() == "registered")
    assert worker.metric('acrelay_hook_silent{hook="contacts"}') == 0
    assert worker.metric('acrelay_hook_silent{hook="deals"}') == 0, "the file names it no more"
    harness.wait_for("its state", lambda: json.loads(
        redis.client.hget("{ac}:hooks", "deals"))["state"] == "left")


def test_what_is_no_name_of_a_hook_in_redis_is_no_label(sim, make_worker, running, redis):
    worker = make_worker(redis_port=redis.port)
    for name in ("gone", 'no"name\n{} 1', "UPPER"):
        redis.client.hset("{ac}:hooks", name, "{}")
    running(worker)
    harness.wait_for("its states", lambda: not redis.client.hexists("{ac}:hooks", "gone"))
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.admin}/metrics") as page:
        lines = page.read().decode()
    assert 'acrelay_hook_silent{hook="gone"} 0' in lines
    assert 'hook="no' not in lines and "UPPER" not in lines
    assert redis.client.hlen("{ac}:hooks") == 3, "theirs are left alone"


def test_a_worker_that_stands_by_tells_no_figures(sim, make_worker, running, redis):
    worker = make_worker("  - {name: contacts, events: [subscribe], expect_every: 1d}\n",
                         redis_port=redis.port, worker=", leader: redis, interval: 1s")
    redis.client.hset("{ac}:last", "contacts", "2026-01-01T00:00:00.000000Z")
    running(worker, times="lease=3000")
    harness.wait_for("the silence",
                     lambda: worker.metric('acrelay_hook_silent{hook="contacts"}') == 1)
    redis.client.set("{ac}:leader", "another", px=60000)
    harness.wait_for("standing by", lambda: worker.metric("acrelay_worker_leader") == 0)
    assert worker.metric('acrelay_hook_silent{hook="contacts"}') == 0
    assert worker.metric('acrelay_hooks{state="silent"}') == 0


def test_a_setting_that_needs_a_restart_is_refused_by_name(sim, make_worker, running, redis):
    worker = make_worker(redis_port=redis.port)
    running(worker)
    harness.wait_for("the hook", lambda: len(ours(sim)) == 1)
    worker.config.write_text(worker.config.read_text()
                             .replace(str(worker.admin), str(harness.free_port()))
                             .replace(harness.redis_url(redis.port), harness.redis_url(
                                 redis.port, "redis://127.0.0.1:{port}/1"))
                             .replace("name: acme", "name: beta")
                             .replace("receiver: {", "receiver: {threads: 8, "))
    harness.wait_for("the refusal", lambda: worker.reloads("refused") == 1)
    assert "account.name, redis.url, worker.admin" in (worker.directory / "worker.log").read_text()


def test_mistakes_of_a_new_file_are_lines_of_the_log(sim, make_worker, running):
    worker = make_worker()
    running(worker)
    harness.wait_for("the hook", lambda: len(ours(sim)) == 1)
    worker.config.write_text(worker.config.read_text() + "nonsense: 1\n")
    harness.wait_for("the refusal", lambda: worker.reloads("refused") == 1)
    log = worker.directory / "worker.log"
    [line] = [line for line in log.read_text().splitlines() if "nonsense" in line]
    assert " error " in line and "config: " in line


def test_run_goes_on_without_redis_and_says_so_once(sim, make_worker, running, redis):
    worker = make_worker(redis_port=redis.port, worker=", interval: 1s")
    running(worker)
    harness.wait_for("the hook", lambda: len(ours(sim)) == 1)
    redis.kill()
    sim.call(f"/sim/hooks/{ours(sim)[0]['id']}", method="DELETE")
    harness.wait_for("the hook again", lambda: len(ours(sim)) == 1)
    lists = len(sim.log())
    harness.wait_for("more rounds", lambda: len(sim.log()) > lists + 1)
    redis.start()
    log = worker.directory / "worker.log"
    harness.wait_for("Redis is back", lambda: re.search(" info .*Redis", log.read_text()), 60)
    harness.wait_for("its state", lambda: redis.client.hget("{ac}:hooks", "contacts"))
    assert len(re.findall(" warning .*Redis", log.read_text())) == 1


def test_silence_is_told_and_repaired_once(sim, make_receiver, make_worker, running, redis):
    receiver = make_receiver()
    hook = "  - {name: contacts, events: [subscribe], expect_every: 1s, repair: true}\n"
    worker = make_worker(hook, redis_port=redis.port, worker=", interval: 1s",
                         extra=f"receiver: {{admin: '127.0.0.1:{receiver.admin}',"
                               f" state_dir: '{receiver.directory}/state'}}\n")
    worker.run("apply")
    old = ours(sim)[0]["id"]
    running(worker)
    harness.wait_for("the repair", lambda: [h["id"] for h in ours(sim)] not in ([old], []), 60)
    harness.wait_for("one hook", lambda: len(ours(sim)) == 1)
    assert "repaired" in json.loads(redis.client.hget("{ac}:hooks", "contacts"))


def test_what_another_leader_repaired_is_not_repaired_again(sim, make_receiver, make_worker,
                                                            running, redis):
    receiver = make_receiver()
    hook = "  - {name: contacts, events: [subscribe], expect_every: 6s, repair: true}\n"
    worker = make_worker(hook, redis_port=redis.port, worker=", leader: redis, interval: 1s",
                         extra=f"receiver: {{admin: '127.0.0.1:{receiver.admin}',"
                               f" state_dir: '{receiver.directory}/state'}}\n")
    running(worker, times="lease=3000")
    harness.wait_for("leading", lambda: worker.metric("acrelay_worker_leader") == 1)
    redis.client.set("{ac}:leader", "another", px=60000)
    harness.wait_for("standing by", lambda: worker.metric("acrelay_worker_leader") == 0)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    redis.client.hset("{ac}:hooks", "contacts", json.dumps({"repaired": now}))
    redis.client.delete("{ac}:leader")
    harness.wait_for("the silence",
                     lambda: worker.metric('acrelay_hook_silent{hook="contacts"}') == 1)
    writes, rounds = sim.figures()["writes"], len(sim.log())
    harness.wait_for("more rounds", lambda: len(sim.log()) > rounds + 2)
    assert sim.figures()["writes"] == writes
    assert json.loads(redis.client.hget("{ac}:hooks", "contacts"))["repaired"] == now


def test_who_lost_the_lease_does_not_write_over_states_of_the_new_leader(sim, make_worker,
                                                                         running, redis):
    worker = make_worker(redis_port=redis.port, worker=", leader: redis, interval: 1s")
    running(worker)
    harness.wait_for("its round", lambda: worker.metric("acrelay_worker_leader") == 1)
    harness.wait_for("its state", lambda: b"checked" in redis.client.hget("{ac}:hooks", "contacts"))
    harness.wait_for("a lease that is new", lambda: redis.client.pttl("{ac}:leader") > 14000)
    theirs = json.dumps({"repaired": "2026-11-28T00:00:00Z"}).encode()
    with redis.client.pipeline(transaction=True) as step:
        step.set("{ac}:leader", "another", px=60000)
        step.hset("{ac}:hooks", "contacts", theirs)
        step.execute()
    # It learns that 5 s after it asked last, and has rounds each second until then.
    harness.wait_for("standing by", lambda: worker.metric("acrelay_worker_leader") == 0)
    assert redis.client.hget("{ac}:hooks", "contacts") == theirs


def test_a_lease_that_was_lost_or_won_between_rounds_is_noticed(sim, make_worker, running, redis):
    worker = make_worker(redis_port=redis.port, worker=", leader: redis, interval: 1h")
    running(worker, times="lease=3000")
    harness.wait_for("leading", lambda: worker.metric("acrelay_worker_leader") == 1)
    redis.client.set("{ac}:leader", "another", px=60000)
    harness.wait_for("standing by", lambda: worker.metric("acrelay_worker_leader") == 0)
    redis.client.delete("{ac}:leader")
    harness.wait_for("leading again", lambda: worker.metric("acrelay_worker_leader") == 1)


def test_a_leader_that_had_stopped_lists_before_it_writes_on(sim, make_worker, running, redis):
    """Its lease ran out: another one may have led and written."""
    hooks = "".join(stanza(f"hook-{i}") for i in range(20))
    worker = make_worker(hooks, redis_port=redis.port, rate=1,
                         worker=", leader: redis, interval: 1s")
    first = running(worker, times="lease=3000")
    harness.wait_for("first writes", lambda: sim.figures()["writes"] > 2)
    first.send_signal(signal.SIGSTOP)
    harness.wait_for("the end of its lease", lambda: not redis.client.exists("{ac}:leader"))
    before = len(sim.log())
    first.send_signal(signal.SIGCONT)
    harness.wait_for("two requests", lambda: len(sim.log()) >= before + 2)
    # The first may have been on its way already.
    assert "GET" in [line["method"] for line in sim.log()[before:before + 2]]
    harness.wait_for("all hooks", lambda: len(ours(sim)) == 20, 60)
    assert len({hook["url"] for hook in ours(sim)}) == 20


def test_a_slow_redis_costs_no_lease(sim, make_worker, running, redis):
    """What is known of all hooks is read before the first is written, and takes longer."""
    with FaultProxy(redis.port) as proxy:
        proxy.delay(0.06)
        worker = make_worker("".join(stanza(f"hook-{i}") for i in range(30)),
                             redis_port=proxy.port, worker=", leader: redis")
        running(worker, times="lease=3000")
        harness.wait_for("first hooks", lambda: len(ours(sim)) > 3)
    assert (worker.directory / "worker.log").read_text().count("is the leader now") == 1


def test_apply_that_waited_for_the_lease_knows_what_was_written_meanwhile(sim, make_worker, redis):
    worker = make_worker(redis_port=redis.port, worker=", leader: redis")
    redis.client.set("{ac}:leader", "another", px=60000)
    apply = subprocess.Popen(worker.command("apply"), stderr=subprocess.PIPE, text=True,
                             env=worker.environment())
    with apply:
        assert "waiting" in apply.stderr.readline()
        created = {"id": "77", "list": "0", "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        redis.client.hset("{ac}:hooks", "contacts", json.dumps({"created": [created]}))
        redis.client.delete("{ac}:leader")
        assert "created it as #77" in apply.stderr.read()
    assert sim.figures()["writes"] == 0, "no twin of what another one has just created"


def writers(sim):
    """The names under which the simulator was reached by those that wrote, in turns."""
    turns = []
    for line in sim.log():
        if line["method"] != "GET" and turns[-1:] != [line["host"]]:
            turns.append(line["host"])
    return turns


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_one_worker_writes_at_a_time(sim, tmp_path, redis, running, how):
    """At a fifth of the lease; at its length with ACRELAY_FULL=1."""
    lease, writes = (15, 1.5) if harness.FULL else (3, 5)  # s; a second
    count = int(4 + lease * writes * (3 if how == signal.SIGSTOP else 1))
    sim.switch(limit=0)
    hooks = "".join(stanza(f"hook-{i}") for i in range(count))
    workers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sim_token = tmp_path / name / "api-token"
        sim_token.write_text(sim.token.read_text())
        sim_token.chmod(0o600)
        workers.append(Worker(tmp_path / name, sim, hooks, redis_port=redis.port,
                              rate=writes * sim.second / 1000,
                              worker=", leader: redis, interval: 1s"))
    text = workers[1].config.read_text()
    workers[1].config.write_text(text.replace("http://127.0.0.1:", "http://localhost:"))
    times = f"file-still=1000 lease={lease * 1000}"
    first = running(workers[0], "one.log", times=times)
    harness.wait_for("first writes", lambda: sim.figures()["writes"] > 4)
    running(workers[1], "two.log", times=times)
    first.send_signal(how)
    stopped = time.monotonic()
    before = sim.figures()["writes"]
    harness.wait_for("the other one writes", lambda: sim.figures()["writes"] > before + 3, 60)
    if how == signal.SIGSTOP:  # continued while the other one is at work
        harness.wait_for("two leases", lambda: time.monotonic() - stopped > 2 * lease, 40)
        assert len(ours(sim)) < count
        first.send_signal(signal.SIGCONT)
    harness.wait_for("all hooks", lambda: len(ours(sim)) == count, 90)
    assert len(writers(sim)) == 2, "one after the other"
    assert len({hook["url"] for hook in ours(sim)}) == count


@pytest.mark.parametrize("move", ["secret", "public_url"])
def test_moving_every_url_under_fire_loses_no_event(tmp_path, redis, move, make_receiver):
    receiver = make_receiver()
    sim = Simulator(tmp_path, deliver_to=receiver.port)
    stop = threading.Event()
    posts = []

    def fire():
        while not stop.is_set():
            posts.append(sim.fire("subscribe"))

    try:
        config = receiver.config.read_text().replace(
            "time_zone: America/Chicago",
            f"time_zone: America/Chicago, api_url: '{sim.url}', api_token_file: api-token")
        receiver.config.write_text(config)
        worker = Worker(tmp_path, sim, "")
        worker.config = receiver.config
        worker.run("apply")
        thread = threading.Thread(target=fire)
        thread.start()
        harness.wait_for("events", lambda: len(posts) > 50)
        if move == "secret":
            fresh = receiver.directory / "new-secret"
            fresh.write_bytes(b"a newer secret, of thirty-two bytes and more")
            fresh.chmod(0o600)
            config = config.replace("[hook-secret]", "[new-secret, hook-secret]")
        else:
            config = config.replace("public_url: https://hooks.acme.example",
                                    "public_url: https://new.acme.example\n"
                                    "previous_public_urls: [https://hooks.acme.example]")
        receiver.config.write_text(config)
        assert receiver.reload()
        assert worker.apply() == (0, 1, 0)
        if move == "secret":
            assert [secret["hooks"] for secret in worker.json("secrets")["secrets"]] == [1, 0]
        before = len(posts)
        harness.wait_for("more events", lambda: len(posts) > before + 50)
        stop.set()
        thread.join()
        figures = sim.figures()
        assert figures["other"] == 0 and figures["ok"] == sum(posts) == len(posts)
        receiver.wait_shipped()
        assert len(redis.entries()) == len(posts)
    finally:
        stop.set()
        sim.stop()
