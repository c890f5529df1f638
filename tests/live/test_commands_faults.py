"""Whatever dies, and wherever: each command entry that Redis kept has exactly one result, and what
ActiveCampaign did is in order for each service and subject. A request may be made again, then
together with all that came after it (a suffix), so that its effect is the same."""
import signal
import subprocess
import time

import pytest
import redis

import harness
from commands import Commands
from fault_proxy import FaultProxy

LEASE = 500  # ms: a test may wait for one
COMMANDS = 3  # of each of two subjects
REPLIES = 32  # of Redis to a worker, from its start: more than it takes to carry them out
GROUPS = 4
DAY = 86400


def fold(done):
    """Effects in order: one that is made again takes back those after it."""
    kept = []
    for number in done:
        while kept and kept[-1] >= number:
            kept.pop()
        assert len(kept) == number, f"{number} after {kept}: {done}"
        kept.append(number)
    return kept


class Scene(Commands):
    """The worker reaches Redis through a proxy."""

    def __init__(self, directory, *redis_options, times="", **more):
        super().__init__(directory, lease=LEASE, redis_options=redis_options, second=100,
                         times="command-backoff=20 command-backoff-max=100 command-trial=50 "
                         + times, **more)
        self.proxy = FaultProxy(self.redis.port)
        self.worker.config.write_text(self.worker.config.read_text().replace(
            harness.redis_url(self.redis.port), harness.redis_url(self.proxy.port)))
        self.entries_of = {}

    def __exit__(self, *_):
        super().__exit__()
        self.proxy.__exit__()

    def add(self, count=COMMANDS, subjects=("contacts/1", "contacts/2")):
        self.entries_of = {subject: [] for subject in subjects}
        for number in range(count):
            for subject in subjects:
                self.entries_of[subject].append(
                    self.put(subject, {"contact": {"n": number}}))

    def forget(self):
        self.redis.client.flushall()
        self.simulator.forget_calls()

    def check(self):
        wanted = sorted(entry for entries in self.entries_of.values() for entry in entries)
        harness.wait_for("all results", lambda: len(self.results()) >= len(wanted))
        harness.wait_for("an empty stream",
                         lambda: self.redis.client.xlen("{ac}:commands:crm") == 0)
        assert sorted(r["ce_command"] for r in self.results()) == wanted
        assert {r["outcome"] for r in self.results()} == {"ok"}
        for subject, entries in self.entries_of.items():
            done = [body["contact"]["n"] for body in self.done(subject)]
            assert fold(done) == list(range(len(entries)))
        self.check_nothing_is_left()

    def start_second(self):
        """Another worker of the same configuration, with an admin address of its own."""
        config, admin = self.worker.config, harness.free_port()
        self.worker.config = config.with_name("second.yaml")
        self.worker.config.write_text(config.read_text().replace(
            f"admin: '127.0.0.1:{self.worker.admin}'", f"admin: '127.0.0.1:{admin}'"))
        process = self.start()
        self.worker.config = config
        return process

    def stop(self, process):
        process.kill()
        process.wait()


@pytest.fixture
def scene(tmp_path):
    with Scene(tmp_path) as scene:
        yield scene


def run(scene, n, fault, kill):
    scene.forget()
    scene.add()
    scene.proxy.fault_reply(n, fault)
    process = scene.start()
    harness.wait_for("the fault", scene.proxy.healthy)
    if kill:
        scene.stop(process)
        process = scene.start()
    scene.proxy.heal()
    try:
        scene.check()
    except AssertionError as e:
        raise AssertionError(f"reply {n}, {fault}, kill {kill}: {e}\n{scene.log()}") from e
    scene.stop(process)


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize("kill", [False, True], ids=["cut", "kill"])
def test_any_reply_of_redis_may_be_cut_and_the_worker_die_then(scene, group, kill):
    for n in range(1 + group, REPLIES, GROUPS):
        run(scene, n, "cut", kill)


def test_an_answer_to_no_question_is_none_to_the_next(scene):
    for n in range(1, REPLIES, 3):
        run(scene, n, "twice", False)


@pytest.mark.parametrize("error", [
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-READONLY You can't write against a read only replica.\r\n"], ids=["oom", "readonly"])
def test_redis_may_refuse_any_step(scene, error):
    for n in range(8, REPLIES, 5):
        run(scene, n, error, False)


@pytest.mark.parametrize("fault", ["cut_before", "cut_after", "slow"])
def test_the_worker_may_die_around_a_call(scene, fault):
    scene.simulator.fail(fault, "contacts/1", 1, 3000)
    scene.add()
    process = scene.start()
    harness.wait_for("the call", lambda: scene.simulator.calls()["commands"]["requests"] >= 1)
    scene.stop(process)
    scene.start()
    scene.check()


def test_redis_may_die(tmp_path):
    with Scene(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as scene:
        scene.add(6)
        scene.start()
        for count in (1, 4, 7):
            harness.wait_for("results", lambda: len(scene.results()) >= count)
            scene.redis.kill()
            scene.redis.start()
        scene.check()


def test_redis_may_go_back_behind_a_connection_that_stays(scene):
    scene.add(4)
    scene.start()
    harness.wait_for("a result", lambda: len(scene.results()) >= 1)
    scene.redis.rollback(lambda: harness.wait_for(
        "more results", lambda: len(scene.results()) >= 4))
    scene.check()
    assert scene.log().count("Redis has lost data") == 1


def test_commands_that_somebody_deletes_are_reported(scene):
    scene.start()
    assert scene.result(scene.put())["outcome"] == "ok"
    scene.simulator.answer(429, "{}", 1, "contacts/1", Retry_After="2")
    entries = [scene.put(f"contacts/{n + 1}") for n in range(10)]
    harness.wait_for("all", lambda: scene.worker.metric(
        'acrelay_commands_waiting{service="crm"}') == 10)
    scene.redis.client.xtrim("{ac}:commands:crm", maxlen=5, approximate=False)
    assert scene.result(entries[-1])["outcome"] == "ok"
    assert len(scene.results()) <= 1 + 6  # the first may have been under way
    assert "deleted from {ac}:commands:crm before" in scene.log()
    scene.check_nothing_is_left()


@pytest.mark.parametrize("how", ["acknowledged", "read"])
def test_commands_that_somebody_takes_in_the_workers_group_are_reported(tmp_path, how):
    with Scene(tmp_path, times="clock-settle=100 command-tidy=2000") as scene:
        process, key = scene.start(), "{ac}:commands:crm"
        assert scene.result(scene.put())["outcome"] == "ok"
        process.send_signal(signal.SIGSTOP)
        entry = scene.put()
        scene.redis.client.xreadgroup("acrelay", "somebody", {key: ">"})
        if how == "acknowledged":
            scene.redis.client.xack(key, "acrelay", entry)
        process.send_signal(signal.SIGCONT)
        harness.wait_for("the alarm", lambda: f"entry {entry} of service crm" in scene.log())
        assert scene.result(scene.put("contacts/2"))["outcome"] == "ok"
        waiting = 'acrelay_commands_waiting{service="%s"}'
        harness.wait_for("the count", lambda: scene.worker.metric(waiting % "crm") == 1)
        config = scene.worker.config
        config.write_text(config.read_text().replace("services: [", "services: [{name: new, allow: [deals]}, "))
        process.send_signal(signal.SIGHUP)
        harness.wait_for("the new one", lambda: scene.worker.metric(waiting % "new") is not None)
        assert scene.worker.metric(waiting % "new") == 0
        harness.wait_for("the count", lambda: scene.worker.metric(waiting % "crm") == 1)
        scene.redis.client.xdel(key, entry)
        harness.wait_for("none", lambda: scene.worker.metric(waiting % "crm") == 0)


def test_a_stray_is_seen_behind_one_that_waits(tmp_path):
    with Scene(tmp_path, times="clock-settle=100 command-tidy=100") as scene:
        process, key = scene.start(), "{ac}:commands:crm"
        assert scene.result(scene.put())["outcome"] == "ok"
        scene.simulator.answer(429, count=1, path="contacts/1", Retry_After="600")
        waits = scene.put()
        harness.wait_for("the first", lambda: scene.worker.metric("acrelay_commands_paused") == 1)
        process.send_signal(signal.SIGSTOP)
        entry = scene.put()
        scene.redis.client.xreadgroup("acrelay", "somebody", {key: ">"})
        process.send_signal(signal.SIGCONT)
        harness.wait_for("the alarm", lambda: f"entry {entry} of service crm" in scene.log())
        assert f"entry {waits} of" not in scene.log()


def test_one_that_was_not_taken_yet_is_no_stray(tmp_path):
    """Its id is that of a clock that was stepped back."""
    with Commands(tmp_path, times="clock-settle=100 command-tidy=100") as scene:
        scene.times = "command-poll=10000 " + scene.times
        client = scene.redis.client
        scene.start()
        for key in ("{ac}:x", "{ac}:commands:crm"):
            client.xadd(key, {"ce_id": "x"}, id="1-1")
            client.delete("{ac}:results:shop")
            client.xadd("{ac}:results:shop", {"ce_id": "x"}, id="1-1")  # too old
            harness.wait_for("a check", lambda: client.xlen("{ac}:results:shop") == 0)
        assert "is not carried out" not in scene.log()


def test_what_was_reported_of_a_service_is_not_another_ones_after_a_reload(tmp_path):
    with Scene(tmp_path) as scene:
        client = scene.redis.client
        client.set("{ac}:results:crm", "")
        process = scene.start()
        scene.put()
        harness.wait_for("the alarm", lambda: "{ac}:results:crm is a string" in scene.log())
        config = scene.worker.config
        config.write_text(config.read_text().replace("{name: crm, allow: [contacts, deals, dealStages]}, ", ""))
        process.send_signal(signal.SIGHUP)
        harness.wait_for("the reload", lambda: scene.worker.reloads() == 1)
        scene.result(scene.put(service="shop"), "shop")
        assert "are carried out again" not in scene.log()


def test_dead_commands_that_make_room_are_reported(tmp_path):
    with Scene(tmp_path, settings="rate: 5\n  retain: {entries: 1000}") as scene:
        pipe = scene.redis.client.pipeline(transaction=False)
        for _ in range(1200):
            pipe.xadd("{ac}:commands.dead", {"service": "crm"})
        pipe.execute()
        scene.start()
        assert scene.result(scene.put(not_after="2020-01-01T00:00:00Z"))["outcome"] == "expired"
        gone = 1201 - scene.redis.client.xlen("{ac}:commands.dead")
        assert gone > 0
        harness.wait_for("the count", lambda: scene.worker.metric(
            "acrelay_commands_dead_trimmed_total") == gone)
        assert "dead letters were trimmed before anyone dropped them" in scene.log()


@pytest.mark.parametrize("status", [429, 503])
def test_what_activecampaign_puts_off_costs_no_attempt_over_restarts(scene, status):
    scene.simulator.answer(status, "{}", 1000, "contacts/1")
    entry = scene.put("contacts/1")
    for n in range(1, 11):
        process = scene.start()
        harness.wait_for("a call and what it costs", lambda n=n: (
            scene.simulator.calls()["commands"]["requests"] >= n
            and scene.redis.client.hvals("{ac}:commands.tried") == [b"0"]))
        process.terminate()
        assert process.wait(20) == 0
    scene.simulator.answer(500, "{}", 2, "contacts/1")
    scene.start()
    result = scene.result(entry)
    assert (result["outcome"], result["attempts"]) == ("ok", "3")
    assert scene.dead() == []


def test_a_step_of_redis_clock_forgets_nothing(tmp_path, monkeypatch):
    wall = tmp_path / "wall"

    def move(seconds):
        wall.with_suffix(".new").write_text(str(seconds))
        wall.with_suffix(".new").rename(wall)

    def kept():
        client = scene.redis.client
        return (len([r for r in scene.results() if r["ce_id"] == "first"]), len(scene.dead()),
                client.hlen("{ac}:commands.ids"))

    move(0)
    monkeypatch.setenv("WALL_FILE", str(wall))
    monkeypatch.setenv("LD_PRELOAD", str(harness.BUILD / "preload/clocks.so"))
    with Scene(tmp_path, settings="rate: 5\n  retain: {dead: 7d}") as scene:
        monkeypatch.setenv("LD_PRELOAD", "")
        scene.times += " command-tidy=20 clock-settle=2000"
        scene.start()
        body, later = {"contact": {"n": 0}}, time.time() + 3 * DAY
        assert scene.result(scene.put("contacts/1", body, ce_id="first"))["outcome"] == "ok"
        old = scene.put(not_after="2020-01-01T00:00:00Z")
        assert scene.result(old)["outcome"] == "expired"
        for days in (8, 0, -8, 0):
            if days:
                move(days * DAY)
                harness.wait_for("the step", lambda: scene.log().count("clock stepped") == (
                    1 if days > 0 else 2))
            assert scene.result(scene.put("contacts/1", body, ce_id="first"))["repeat"] == "1"
            timely = scene.put(not_after=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(later)))
            assert scene.result(timely)["outcome"] == "ok"
            old = scene.put(not_after="2026-01-01T00:00:00Z")
            assert scene.result(old)["outcome"] == "expired"
            count, dead, ids = kept()
            assert count >= 2 and dead >= 2 and ids >= 2
            if days:
                move(0)
                harness.wait_for("the end", lambda: scene.log().count("clock is stable") == (
                    1 if days > 0 else 2))
        move(20 * DAY)  # and stays: it is believed then; ids are ahead since the first step
        harness.wait_for("what is old to go", lambda: kept() == (0, 0, 0))


def start_reading(scene):
    process = scene.start()
    harness.wait_for("the group", lambda: scene.redis.client.exists("{ac}:commands:crm"))
    return process


def test_redis_may_go_back_before_anything_was_finished(scene):
    """So that entries are read a second time while the first of them is under way."""
    process = start_reading(scene)
    scene.simulator.fail("slow", "contacts/1", 1, 2000)
    process.send_signal(signal.SIGSTOP)
    scene.add(3, ["contacts/1"])
    scene.redis.rollback(lambda: (process.send_signal(signal.SIGCONT), harness.wait_for(
        "the call", lambda: scene.simulator.calls()["commands"]["requests"] == 1)))
    scene.check()


def test_what_was_read_is_read_again_where_the_worker_was_told_otherwise(scene):
    start_reading(scene)
    scene.proxy.fault_reply(b"contacts/1", b"-ERR after it was read\r\n")
    scene.add(1)
    scene.check()
    assert scene.proxy.healthy()


def test_a_password_that_redis_asks_for_all_at_once_is_told(tmp_path):
    with Commands(tmp_path, lease=LEASE, second=100) as scene:
        scene.start()
        assert scene.result(scene.put())["outcome"] == "ok"
        with redis.Redis("127.0.0.1", scene.redis.port, single_connection_client=True) as client:
            client.config_set("requirepass", "s3")
            client.client_kill_filter(_type="normal", skipme=True)
            harness.wait_for("the word", lambda: "NOAUTH" in scene.log())
            tried = client.info("stats")["total_connections_received"]
            harness.wait_for("some more", lambda: client.info("stats")[
                "total_connections_received"] > tried + 5)
            log = scene.log()
            client.config_set("requirepass", "")
        assert log.count("is away") == 2 and "Redis is back" not in log, log
        assert scene.result(scene.put())["outcome"] == "ok"


def test_a_lease_that_redis_does_not_renew_is_not_called_another_workers(scene):
    scene.start()
    leads = "this is the leader now"
    harness.wait_for("a leader", lambda: leads in scene.log())
    scene.redis.client.rename("{ac}:leader", "aside")
    scene.redis.client.lpush("{ac}:leader", "")
    harness.wait_for("the end", lambda: "not the leader any more" in scene.log())
    scene.redis.client.delete("{ac}:leader")
    harness.wait_for("another lease", lambda: scene.log().count(leads) == 2)
    assert "another worker" not in scene.log(), scene.log()


@pytest.mark.parametrize("key, kind", [
    ("results:shop", "stream"), ("commands:shop", "stream"), ("results:shop", "again")])
def test_a_key_of_the_wrong_type_holds_its_service_alone(tmp_path, key, kind):
    with Scene(tmp_path) as scene:
        client = scene.redis.client
        client.set(f"{{ac}}:{key}", "not what it should be")
        scene.start()
        scene.add(2)
        scene.check()
        harness.wait_for("the alarm", lambda: f"{{ac}}:{key} is a string" in scene.log())
        harness.wait_for("its metric", lambda: scene.worker.metric(
            'acrelay_commands_held{service="shop"}') == 1)
        assert scene.worker.metric('acrelay_commands_held{service="crm"}') == 0
        if key == "results:shop":
            said = subprocess.run([harness.BUILD / "acrelay", "results", "--service", "shop", "-c",
                                   scene.worker.config], capture_output=True, text=True)
            assert said.returncode == 78 and "{ac}:results:shop: Redis says: WRONGTYPE" in said.stderr
        client.delete(f"{{ac}}:{key}")
        assert scene.result(scene.put(service="shop"), "shop")["outcome"] == "ok"
        assert scene.log().count("is a string") == 1
        harness.wait_for("the end", lambda: "service shop are carried out again" in scene.log())
        if kind == "again":
            client.rename(f"{{ac}}:{key}", "aside")
            client.set(f"{{ac}}:{key}", "")
            entry = scene.put(body="[]", service="shop")
            harness.wait_for("the alarm", lambda: scene.log().count("is a string") == 2)
            assert scene.result(scene.put())["outcome"] == "ok"
            client.rename("aside", f"{{ac}}:{key}")
            assert scene.result(entry, "shop")["outcome"] == "refused"


def test_dead_commands_of_the_wrong_type_hold_only_who_has_one(scene):
    scene.redis.client.set("{ac}:commands.dead", "")
    scene.start()
    entry = scene.put(service="shop", not_after="2020-01-01T00:00:00Z")
    harness.wait_for("the alarm", lambda: "{ac}:commands.dead is a string" in scene.log())
    scene.add(2)
    scene.check()
    scene.redis.client.delete("{ac}:commands.dead")
    assert scene.result(entry, "shop")["outcome"] == "expired"
    assert len(scene.dead()) == 1


def test_a_new_leader_takes_over_what_the_old_one_held(tmp_path):
    with Scene(tmp_path, worker=", leader: redis") as scene:
        scene.add(5)
        first = scene.start()
        harness.wait_for("a result", lambda: len(scene.results()) >= 1)
        first.send_signal(19)  # stands still, and holds what it read
        held = scene.redis.client.get("{ac}:leader")
        second = scene.start_second()
        harness.wait_for("another leader", lambda: scene.redis.client.get("{ac}:leader") not in (
            held, None))
        first.send_signal(18)
        scene.check()
        assert second.poll() is None and first.poll() is None


def test_only_the_leader_works_the_lane(tmp_path):
    with Scene(tmp_path, worker=", leader: redis") as scene:
        first = scene.start()
        harness.wait_for("a leader", lambda: scene.redis.client.get("{ac}:leader"))
        second = scene.start_second()
        scene.add()
        scene.check()
        first.terminate()
        assert first.wait(20) == 0
        later = scene.put("contacts/1", {"contact": {"n": COMMANDS}})
        assert scene.result(later)["outcome"] == "ok"
        second.terminate()
        assert second.wait(20) == 0
