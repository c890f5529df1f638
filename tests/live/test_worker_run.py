"""The worker where something lies: answers that are not ActiveCampaign's, waiting, a file in
motion, clocks, locks."""
import email.utils
import fcntl
import json
import os
import signal
import stat
import time
import urllib.error
import urllib.request

import harness
import pytest
import yaml
from simulator import stanza, url
from test_worker import ours


# --- answers -------------------------------------------------------------------------------

CHALLENGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
BLOCKED = '{"title":"Error 1020: Access denied","status":403,"cloudflare_error":true}'


@pytest.mark.parametrize("status, body", [
    (403, CHALLENGE), (403, "error code: 1020"), (401, CHALLENGE), (403, ""), (403, BLOCKED),
    (401, '"Forbidden"'), (407, "proxy"), (451, ""), (403, "{\"message\":\"cut off"),
])
def test_a_refusal_in_other_words_is_not_blamed_on_the_token(sim, make_worker, status, body):
    worker = make_worker()
    for command in ("plan", "apply"):
        sim.answer(status, body, count=100)
        told = worker.run(command, code=69, seconds=30)  # 77 would blame the token
        assert str(status) in told


def test_a_challenge_that_only_users_me_meets_is_not_blamed_on_the_token(sim, make_worker):
    worker = make_worker()
    sim.switch(forbid=1, me_html=1)
    worker.run("plan", code=69)


@pytest.mark.parametrize("body", ['{"message":"Forbidden"}', "{}", '{"errors":["Forbidden"]}'])
def test_a_refusal_in_activecampaigns_words_is_the_token(sim, make_worker, body):
    sim.answer(403, body, count=100)
    make_worker().run("plan", code=77)


# --- waiting -------------------------------------------------------------------------------

def test_a_command_says_what_it_waits_for_and_ends(sim, make_worker, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "api-backoff=400")
    sim.answer(522, "error code: 522", count=100)
    told = make_worker().run("plan", code=69, seconds=60)
    assert "522" in told.splitlines()[0] and "error code: 522" in told
    assert len(sim.log()) == 5


def test_a_short_wait_is_not_told(sim, make_worker):
    sim.answer(503, "{}")
    assert "503" not in make_worker().run("plan")


def test_a_slow_answer_is_told_while_it_is_waited_for(sim, make_worker):
    sim.switch(slow=1, slow_ms=15000)  # 3 s
    assert make_worker().ran("list", "--json").stderr


@pytest.mark.parametrize("form", ["date", "fraction"])
def test_retry_after_is_obeyed_by_the_answers_own_clock(sim, make_worker, form):
    """That clock is a day ahead of ours."""
    now = int(time.time()) + 86400
    value = email.utils.formatdate(now + 3, usegmt=True) if form == "date" else "3.5"
    sim.answer(429, "{}", Retry_After=value, Date=email.utils.formatdate(now, usegmt=True))
    assert "429" in make_worker().run("plan")
    first, second = sim.log()[:2]
    assert second["us"] - first["end_us"] >= 2900000


def test_a_retry_after_that_is_too_long_for_a_command_ends_it(sim, make_worker):
    sim.answer(429, "{}", count=100, Retry_After="86400")
    told = make_worker().run("plan", code=69, seconds=30)
    assert "429" in told and "15 min" in told
    assert len(sim.log()) == 1


def test_a_limit_that_is_used_up_is_waited_for_until_its_reset(sim, make_worker):
    sim.answer(200, '{"webhooks":[],"meta":{"total":"0"}}', RateLimit_Remaining="0",
               RateLimit_Reset="3")
    assert "rate limit" in make_worker().run("plan")
    first, second = sim.log()[:2]
    assert second["us"] - first["end_us"] >= 2900000


# --- the file ------------------------------------------------------------------------------

def text_of(worker):
    return (worker.directory / "worker.log").read_text()


def names(sim):
    return sorted(hook["url"].split("/")[-2] for hook in ours(sim))


def deleted(sim):
    return [line for line in sim.log() if line["method"] == "DELETE"]


@pytest.fixture
def keeper(sim, make_worker, running):
    """A worker that prunes, and runs with hooks a, b and c."""
    worker = make_worker("".join(stanza(name) for name in "abc"),
                         worker=", prune: true, interval: 1s")
    worker.process = running(worker, times="file-still=2000")  # removal: 4 s
    harness.wait_for("the hooks", lambda: names(sim) == ["a", "b", "c"])
    harness.wait_for("a second round", lambda: len(sim.log()) > 5)
    return worker


def test_a_file_that_is_being_written_removes_nothing(sim, keeper):
    """A writer that is slow, then pauses for longer than a file has to stand still."""
    whole = keeper.config.read_text() + stanza("d")
    head = whole[:whole.index(stanza("b"))]
    keeper.config.write_text(head)
    for _ in range(20):
        time.sleep(0.1)  # the writer's own pace
        with open(keeper.config, "a") as file:
            file.write("# and so on\n")
    assert keeper.reloads() == 0
    harness.wait_for("the announcement", lambda: "b #2, c #3" in text_of(keeper))
    rounds = len(sim.log())
    harness.wait_for("another round", lambda: len(sim.log()) > rounds)
    keeper.config.write_text(whole)
    harness.wait_for("all of it", lambda: names(sim) == ["a", "b", "c", "d"])
    rounds = len(sim.log())
    harness.wait_for("more rounds", lambda: len(sim.log()) > rounds + 4)
    assert deleted(sim) == []


def test_a_file_that_vanishes_or_is_renamed_over_removes_nothing(sim, keeper):
    text = keeper.config.read_text()
    aside = keeper.config.with_suffix(".aside")
    keeper.config.rename(aside)
    harness.wait_for("the line", lambda: " warning " in text_of(keeper))
    keeper.config.write_text("")
    aside.write_text(text + stanza("d"))
    aside.rename(keeper.config)
    harness.wait_for("the new hook", lambda: "d" in names(sim))
    assert deleted(sim) == [] and keeper.reloads("refused") == 0


def test_what_left_the_file_is_announced_and_goes_in_a_later_round(sim, keeper):
    keeper.config.write_text(keeper.config.read_text().replace(stanza("c"), ""))
    harness.wait_for("the announcement", lambda: "c #3" in text_of(keeper))
    assert not deleted(sim)
    harness.wait_for("the removal", lambda: names(sim) == ["a", "b"])


def test_sighup_takes_the_file_and_removes_when_it_stands_still(sim, keeper):
    keeper.config.write_text(keeper.config.read_text().replace(stanza("c"), ""))
    keeper.process.send_signal(signal.SIGHUP)
    harness.wait_for("the removal", lambda: names(sim) == ["a", "b"])
    assert "c #3" not in text_of(keeper)


# --- rounds --------------------------------------------------------------------------------

def ready(worker):
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.admin}/readyz") as page:
        return json.loads(page.read())


def unready(worker):
    try:
        ready(worker)
    except urllib.error.HTTPError as answer:
        return json.loads(answer.read())["details"].get("activecampaign", "")
    except OSError:
        pass
    return ""


def test_rounds_that_fail_come_ever_later_and_are_told_by_readyz(sim, make_worker, running):
    worker = make_worker(worker=", interval: 10s")
    sim.answer(502, "bad gateway", count=1000)
    running(worker, times="api-backoff=10 round-again=100")
    harness.wait_for("its words", lambda: "502 (bad gateway)" in unready(worker))
    assert worker.metric("acrelay_worker_round_ok") == 0
    harness.wait_for("rounds", lambda: len(sim.log()) >= 26 + 5)
    starts = [line["us"] for line in sim.log()[::5]]
    gaps = [b - a for a, b in zip(starts, starts[1:])]
    assert gaps[4] >= 800000  # half of 100 ms doubled four times; without that some 300 ms
    log = text_of(worker)
    assert log.count("502 (bad") == 1, "while nothing changes"
    sim.answer(502, count=0)
    harness.wait_for("a good round", lambda: worker.metric("acrelay_worker_round_ok") == 1)
    assert ready(worker)["details"] == {}
    assert worker.metric("acrelay_worker_last_ok_age_seconds") < 10


def test_the_rate_holds_over_reloads(sim, make_worker, running):
    worker = make_worker(rate=2, worker=", interval: 1s")
    process = running(worker)
    harness.wait_for("the hook", lambda: ours(sim))
    for i in range(12):
        process.send_signal(signal.SIGHUP)
        harness.wait_for("the reload", lambda: worker.reloads() > i)
    rounds = len(sim.log())
    harness.wait_for("more rounds", lambda: len(sim.log()) > rounds + 1)
    times = [line["us"] for line in sim.log()]
    # half a second and its jitter; a request that comes late is near to the next one
    assert times[-1] - times[0] > 400 * sim.second * (len(times) - 1)


def test_a_retry_after_under_way_holds_over_a_reload(sim, make_worker, running):
    worker = make_worker()
    sim.answer(429, "{}", Retry_After="4")
    process = running(worker)
    harness.wait_for("the wait", lambda: "429" in text_of(worker))
    process.send_signal(signal.SIGHUP)
    harness.wait_for("the reload", lambda: worker.reloads() == 1)
    assert not ours(sim), "while it waits"
    harness.wait_for("the hook", lambda: ours(sim))
    first, second = sim.log()[:2]
    assert second["us"] - first["end_us"] > 3900000


@pytest.mark.parametrize("switches", [{"slow": 5, "slow_ms": 50000}, {"busy": 5}])
def test_run_stops_at_once_while_it_waits(sim, make_worker, running, switches):
    worker = make_worker()
    sim.switch(**switches, retry_after=100)
    process = running(worker)
    harness.wait_for("the wait", lambda: "ActiveCampaign" in text_of(worker))
    process.send_signal(signal.SIGTERM)
    assert process.wait(8) == 0


# --- the lock ------------------------------------------------------------------------------

def test_another_user_cannot_keep_the_worker_from_leading(sim, make_worker, tmp_path):
    """flock(2) needs no right to write: whoever can open the directory could hold it."""
    worker = make_worker()
    tmp_path.chmod(0o755)
    held = [os.open(place, os.O_RDONLY) for place in (tmp_path, worker.config)]
    for fd in held:
        fcntl.flock(fd, fcntl.LOCK_EX)
    assert worker.apply(seconds=15) == (1, 0, 0)
    for fd in held:
        os.close(fd)


def lock_file(directory):
    [file] = directory.glob("*.lock")
    return file


def test_the_lock_is_a_private_file_where_systemd_says(sim, make_worker, tmp_path, monkeypatch):
    worker = make_worker()
    place = tmp_path / "runtime"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    worker.run("apply")
    file = lock_file(place)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.stat().st_size == 0
    victim = tmp_path / "victim"
    victim.write_text("precious")
    file.unlink()
    file.symlink_to(victim)
    assert "lock" in worker.run("apply", code=73)
    assert victim.read_text() == "precious"
    file.unlink()
    place.chmod(0o777)
    worker.run("apply", code=73)


@pytest.mark.parametrize("shared", ["directory", "token"])
def test_apply_and_run_exclude_each_other_however_they_were_started(
        sim, make_worker, running, tmp_path, monkeypatch, shared):
    """With one directory for both but the token as a credential; and with the token alone."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "lead-wait=300")
    worker = make_worker()
    places = [tmp_path / "run", tmp_path / ("run" if shared == "directory" else "apply")]
    for place in places:
        place.mkdir(mode=0o700, exist_ok=True)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name in ("api-token", "hook-secret"):
        (credentials / name).write_bytes((tmp_path / name).read_bytes())
    sim.switch(slow=1, slow_ms=40000)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(places[0]))
    if shared == "directory":
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    running(worker)
    harness.wait_for("the round", lambda: sim.figures()["requests"] > 0)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(places[1]))
    link = tmp_path / "link.yaml"
    link.symlink_to(worker.config)
    worker.config = link
    worker.run("apply", code=75)
    assert not ours(sim)


def test_a_lock_that_a_command_holds_for_a_while_makes_no_standby(sim, make_worker, running):
    worker = make_worker(worker=", interval: 1h")
    process = running(worker)
    harness.wait_for("the hook", lambda: len(ours(sim)) == 1)

    def reload(count):
        process.send_signal(signal.SIGHUP)
        harness.wait_for("the reload", lambda: worker.reloads() == count)

    with open(sim.token) as held:  # as apply holds it
        fcntl.flock(held, fcntl.LOCK_EX)
        worker.config.write_text(worker.config.read_text() + stanza("deals"))
        reload(1)
        reload(2)  # after the round that follows the first one
        assert worker.metric("acrelay_worker_leader") == 1
    harness.wait_for("its round", lambda: len(ours(sim)) == 2)
    assert "another worker" not in (worker.directory / "worker.log").read_text()


def test_a_lock_that_another_worker_keeps_makes_a_standby(sim, make_worker, running):
    worker = make_worker(worker=", interval: 1s")
    with open(sim.token) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        running(worker, times="turn=200")
        harness.wait_for("standing by", lambda: worker.metric("acrelay_worker_leader") == 0)
        log = worker.directory / "worker.log"
        harness.wait_for("word of it", lambda: "on standby" in log.read_text())
    harness.wait_for("leading", lambda: worker.metric("acrelay_worker_leader") == 1)
    harness.wait_for("the hook", lambda: len(ours(sim)) == 1)


def test_a_lease_runs_out_while_the_machine_is_suspended(sim, make_worker, running, redis,
                                                         tmp_path, monkeypatch):
    asleep = tmp_path / "asleep"
    asleep.write_text("0")
    monkeypatch.setenv("SUSPEND_FILE", str(asleep))
    monkeypatch.setenv("LD_PRELOAD", str(harness.BUILD / "preload/clocks.so"))
    worker = make_worker(redis_port=redis.port, worker=", leader: redis, interval: 1s")
    running(worker)
    harness.wait_for("leading", lambda: worker.metric("acrelay_worker_leader") == 1)
    harness.wait_for("the hook", lambda: ours(sim))
    redis.client.set("{ac}:leader", "another", px=60000)
    asleep.write_text("30")
    sim.call(f"/sim/hooks/{ours(sim)[0]['id']}", method="DELETE")
    harness.wait_for("standing by", lambda: worker.metric("acrelay_worker_leader") == 0)
    assert not ours(sim), "it was the other one's to create"


def test_a_lease_without_an_end_is_nobodys(sim, make_worker, running, redis, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "lease=1000")
    redis.client.set("{ac}:leader", "copied from another Redis")
    running(make_worker(redis_port=redis.port, worker=", leader: redis, interval: 1s"))
    harness.wait_for("the hook", lambda: ours(sim))


# --- silence -------------------------------------------------------------------------------

SILENT = "  - {name: contacts, events: [subscribe], expect_every: 3s, repair: true}\n"


IS_SILENT = 'acrelay_hook_silent{hook="contacts"}'


def redis_now(redis, ahead=0):
    seconds, _ = redis.client.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(seconds + ahead))


@pytest.fixture
def watched(make_receiver, make_worker, redis):
    """A worker beside a receiver, and a hook that is to be repaired when it is silent."""
    receiver = make_receiver()
    worker = make_worker(SILENT, redis_port=redis.port, worker=", interval: 1s",
                         extra=f"receiver: {{admin: '127.0.0.1:{receiver.admin}',"
                               f" state_dir: '{receiver.directory}/state'}}\n")
    worker.run("apply")
    return worker


@pytest.fixture
def wall(tmp_path, monkeypatch):
    """The wall clock of what is started from now on is wrong by wall(seconds)."""
    file = tmp_path / "wall"

    def move(seconds):
        fresh = file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.rename(file)

    move(0)
    monkeypatch.setenv("WALL_FILE", str(file))
    monkeypatch.setenv("LD_PRELOAD", str(harness.BUILD / "preload/clocks.so"))
    return move


@pytest.mark.parametrize("days", [400, -400])
def test_a_wrong_clock_of_the_worker_makes_no_silence(sim, watched, redis, running, days, wall):
    """Events keep coming, each with Redis's time."""
    wall(days * 86400)
    writes = sim.figures()["writes"]
    redis.client.hset("{ac}:last", "contacts", redis_now(redis))
    running(watched)
    harness.wait_for("a look", lambda: watched.metric(IS_SILENT)
                     is not None)
    for _ in range(10):
        time.sleep(0.5)
        redis.client.hset("{ac}:last", "contacts", redis_now(redis))
    assert watched.metric(IS_SILENT) == 0 and sim.figures()["writes"] == writes
    harness.wait_for("a true silence", lambda: sim.figures()["writes"] == writes + 2, 40)


def test_an_event_that_lies_ahead_does_not_hide_a_silence(sim, watched, redis, running):
    redis.client.hset("{ac}:last", "contacts", redis_now(redis, 86400 * 30))
    running(watched)
    harness.wait_for("the silence", lambda: watched.metric(IS_SILENT) == 1)


def test_what_was_repaired_today_is_not_repaired_again_after_a_restart(
        sim, watched, redis, running):
    writes = sim.figures()["writes"]
    watched.config.write_text(watched.config.read_text().replace("3s", "1s"))
    boot = str(int(time.clock_gettime(time.CLOCK_BOOTTIME)))
    for repaired in ({"repaired": redis_now(redis, -86400 * 3), "repaired_boot": boot},
                     {"repaired": redis_now(redis, 86400 * 365)}):
        redis.client.hset("{ac}:hooks", "contacts", json.dumps(repaired))
        process = running(watched)
        harness.wait_for("the silence", lambda: watched.metric(IS_SILENT) == 1)
        rounds = len(sim.log())
        harness.wait_for("rounds", lambda: len(sim.log()) > rounds + 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert sim.figures()["writes"] == writes


def test_a_redis_clock_that_steps_is_not_believed(sim, watched, redis, running, wall):
    redis.kill()
    redis.start()
    redis.client.hset("{ac}:last", "contacts", redis_now(redis))
    watched.config.write_text(watched.config.read_text().replace("3s", "1h"))
    running(watched)
    harness.wait_for("a look", lambda: watched.metric(IS_SILENT) is not None)
    wall(30 * 86400)
    harness.wait_for("the line", lambda: "clock stepped ahead" in text_of(watched))
    redis.client.hset("{ac}:last", "contacts", redis_now(redis))
    rounds = len(sim.log())
    harness.wait_for("rounds", lambda: len(sim.log()) > rounds + 2)
    wall(0)
    rounds = len(sim.log())
    harness.wait_for("rounds", lambda: len(sim.log()) > rounds + 2)
    assert watched.metric(IS_SILENT) == 0


def test_a_hook_that_left_the_file_is_left_until_activecampaign_has_it_no_more(
        sim, make_worker, running, redis):
    gone = sim.add("acrelay gone", url("gone"))
    redis.client.hset("{ac}:hooks", "stale", '{"state":"registered"}')
    worker = make_worker(redis_port=redis.port, worker=", interval: 1s")
    running(worker)

    def states():
        return {name.decode(): json.loads(text).get("state")
                for name, text in redis.client.hgetall("{ac}:hooks").items()}

    harness.wait_for("the states", lambda: states() == {"contacts": "registered",
                                                        "gone": "left"})
    assert json.loads(redis.client.hget("{ac}:hooks", "gone"))["ids"] == [gone["id"]]
    sim.call(f"/sim/hooks/{gone['id']}", method="DELETE")
    harness.wait_for("its end", lambda: states() == {"contacts": "registered"})


# --- what is printed -----------------------------------------------------------------------

EVIL = "evil\u009b2J\u202e\u2028\x1b[31m\"quoted\\\" \U0001f600"


def test_what_import_prints_is_yaml_and_moves_no_terminal(sim, make_worker):
    there = sim.add(EVIL, "https://old.example/x", ["a, b]#]", "subscribe", "x: y\u009b"],
                    ["system"])
    worker = make_worker()
    for words in (["import", there["id"]], ["import", there["id"], "--json"], ["list"],
                  ["list", "--json"], ["plan"], ["plan", "--json"]):
        shown = worker.run(*words)
        assert not set(shown) & set("\u009b\u202e\u2028\x1b")
    [stanza] = yaml.safe_load(worker.run("import", there["id"]))
    assert stanza["label"] == EVIL and stanza["adopt"] == int(there["id"])
    assert stanza["events"] == ["a, b]#]", "subscribe", "x: y\u009b"]


def test_a_hook_that_was_re_created_beside_it_is_not_called_gone(sim, make_worker, running, redis):
    worker = make_worker(redis_port=redis.port, worker=", interval: 1s")
    running(worker)
    harness.wait_for("the hook", lambda: "1 created" in text_of(worker))
    worker.run("recreate", "contacts")
    asked = len(sim.log())
    harness.wait_for("some rounds", lambda: len(sim.log()) > asked + 4)
    assert "is gone" not in text_of(worker) and len(ours(sim)) == 1
