"""The relay (build/tools/ship: a journal and a relay, no receiver) against a real Redis
that dies, forgets, refuses, and behind a network that cuts."""
import contextlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

import harness
from fault_proxy import FaultProxy
from harness import FULL, Redis, free_port, wait_for

SHIP = harness.BUILD / "tools" / "ship"


class Ship:
    """A running ship: post() returns when the delivery is durable."""

    def __init__(self, directory, to, **environment):
        self.directory, self.to = str(directory), str(harness.TLS_PORTS.get(to, harness.TLS_PORTS.get(str(to), to)))
        self.environment = {**os.environ, **environment}
        if harness.TLS:
            self.environment["SHIP_CA_FILE"] = str(harness.TLS.ca)
        self.log = open(pathlib.Path(self.directory).parent / "ship.log", "ab")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [SHIP, self.directory, self.to], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, env=self.environment)
        return self

    def post(self, body):
        self.process.stdin.write(body.encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return int(line) if line.endswith(b"\n") else None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def finish(self):
        """Ends the input; it ends by itself when all is shipped."""
        self.process.stdin.close()
        assert self.process.wait(60) == 0

    def said(self, text):
        self.log.flush()
        return text in (pathlib.Path(self.directory).parent / "ship.log").read_text()


@pytest.fixture
def place():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="acrelay-ship-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def redis():
    with Redis() as server:
        yield server


@contextlib.contextmanager
def shipping(place, to, **environment):
    ship = Ship(place / "journal", to, **environment).start()
    try:
        yield ship
    finally:
        if ship.process.poll() is None:
            ship.kill()


def numbers(redis, key="{ac}:events"):
    return [int(json.loads(entry["data"])["n"]) for entry in redis.entries(key)]


def post(ship, first, last):
    for n in range(first, last + 1):
        assert ship.post(f"type=subscribe&n={n}") is not None


def test_kill_9_of_the_process_again_and_again(place, redis):
    """Every delivery that was durable is there once and in order."""
    dice = random.Random(7)
    posted = 0
    with contextlib.ExitStack() as stack:
        for _ in range(25 if FULL else 8):
            ship = stack.enter_context(shipping(place, redis.socket))
            for _ in range(dice.randrange(1, 120)):
                posted += 1
                assert ship.post(f"type=subscribe&n={posted}")
            ship.kill()
        ship = stack.enter_context(shipping(place, redis.socket))
        ship.finish()
    assert numbers(redis) == list(range(1, posted + 1))


def test_kill_9_of_redis_that_loses_nothing(place):
    with Redis(None, "--appendonly", "yes", "--appendfsync", "always") as redis, shipping(place, redis.socket) as ship:
        last = 1000 if FULL else 400
        for first in range(1, last, 100):
            post(ship, first, first + 49)
            redis.kill()
            post(ship, first + 50, first + 99)
            redis.start()
        ship.finish()
        assert numbers(redis) == list(range(1, last + 1))


def test_rollbacks_and_kill_9_of_redis_that_forgets(place, redis):
    """Without an append-only file a crash goes back to the last save."""
    with shipping(place, redis.socket) as ship:
        for first in range(1, 1000, 200):
            post(ship, first, first + 99)
            redis.rollback(lambda: post(ship, first + 100, first + 149))
            redis.kill()
            post(ship, first + 150, first + 199)
            redis.start()
        ship.finish()
        assert numbers(redis) == list(range(1, 1001))
        assert ship.said("lost data")


def test_an_empty_redis_is_a_loss_only_for_a_journal_with_a_past(place, redis):
    redis.kill()
    with shipping(place, redis.socket) as ship:
        post(ship, 1, 2)
        redis.start()
        ship.finish()
        assert ship.said("begins with its first record") and not ship.said("lost")
    redis.client.flushall()
    with shipping(place, redis.socket) as ship:
        ship.finish()
        assert ship.said("all 2 records that the journal has are published")
    assert numbers(redis) == [1, 2]


def test_a_redis_that_closes_after_each_poll_is_reported_and_asked_ever_less_often(place, redis):
    times = "trim=600000 cursor-check=100 relay-backoff=50 relay-backoff-max=100000"
    with FaultProxy(redis.port) as proxy, shipping(
            place, proxy.port, ACRELAY_TEST_TIMES=times) as ship:
        post(ship, 1, 1)
        wait_for("the first", lambda: numbers(redis) == [1])
        proxy.close_after_answer(b"$-1\r\n")  # of what registers the receiver, the last of a poll
        wait_for("the report", lambda: ship.said("closed the connection"))
        before, start = proxy.connections, time.monotonic()
        wait_for("five more", lambda: proxy.connections >= before + 5)
        assert time.monotonic() - start > 0.6  # half of 50 + 100 + 200 + 400 + 800 ms
        proxy.heal()
        post(ship, 2, 2)
        ship.finish()
    assert numbers(redis) == [1, 2]


def test_lines_about_redis_name_its_address(place):
    with Redis(password="of-acrelay") as redis:
        to = harness.TLS_PORTS.get(redis.port, redis.port)
        with shipping(place, to, SHIP_USER="default", SHIP_PASSWORD="of-acrelay") as ship:
            post(ship, 1, 1)
            redis.kill()
            wait_for("the loss", lambda: ship.said(f"wait in the journal for Redis at 127.0.0.1:{to}"))
            redis.start()
            wait_for("the return", lambda: ship.said(f"Redis at 127.0.0.1:{to} resumed after"))
            ship.finish()
            assert not ship.said("of-acrelay")


@pytest.mark.parametrize("direction", ["cut_after", "cut_answer_after"])
def test_a_connection_cut_after_each_number_of_bytes(place, redis, direction):
    """Of the requests or of the answers: before, within, and after a batch."""
    dice = random.Random(11)
    with FaultProxy(redis.port) as proxy, shipping(place, proxy.port) as ship:
        posted, steps = 0, 60 if FULL else 20
        for step in range(steps):
            posted += 10
            getattr(proxy, direction)(step * 180 // steps if direction == "cut_answer_after"
                                      else dice.randrange(0, 5000))
            post(ship, posted - 9, posted)
            while not proxy.healthy():
                posted += 1
                post(ship, posted, posted)
            wait_for("the entries", lambda: redis.client.xlen("{ac}:events") >= posted)
        proxy.heal()
        ship.finish()
        assert proxy.cuts == steps
        assert numbers(redis) == list(range(1, posted + 1))


def test_answers_that_never_come(place, redis):
    """The batch is in, the relay cannot know: it asks the cursor and sends nothing twice."""
    with FaultProxy(redis.port) as proxy, shipping(place, proxy.port) as ship:
        post(ship, 1, 10)
        wait_for("the entries", lambda: numbers(redis) == list(range(1, 11)))
        # From here on, or already with the answer to what is in: both are the case to test.
        proxy.swallow_answers()
        post(ship, 11, 20)
        wait_for("the end of patience", lambda: ship.said("no answer in time"))
        proxy.heal()
        proxy.reset()
        ship.finish()
        assert numbers(redis) == list(range(1, 21))


def test_resets_and_delays_while_posting(place, redis):
    with FaultProxy(redis.port) as proxy, shipping(place, proxy.port) as ship:
        proxy.delay(0.002)
        for n in range(1, 301):
            post(ship, n, n)
            if n % 15 == 0:
                proxy.reset()
        proxy.heal()
        ship.finish()
        assert numbers(redis) == list(range(1, 301))


def test_a_busy_script_is_waited_for(place, redis):
    redis.client.config_set("busy-reply-threshold", 50)
    with shipping(place, redis.socket) as ship:
        post(ship, 1, 1)
        wait_for("the entries", lambda: numbers(redis) == [1])
        blocker = threading.Thread(target=lambda: _busy(redis))
        blocker.start()
        wait_for("BUSY", lambda: _is_busy(redis))
        post(ship, 2, 5)
        wait_for("BUSY", lambda: ship.said("BUSY"))
        redis.client.execute_command("SCRIPT", "KILL")
        blocker.join()
        ship.finish()
        assert numbers(redis) == [1, 2, 3, 4, 5]


def _busy(redis):
    try:
        redis.client.eval("while true do end", 0)
    except Exception:  # killed, as meant
        pass


def _is_busy(redis):
    try:
        redis.client.get("x")
    except Exception as e:
        return "BUSY" in str(e)
    return False


def test_a_redis_that_cannot_write_its_file(place, redis):
    """MISCONF: the last save failed."""
    with shipping(place, redis.socket) as ship:
        post(ship, 1, 1)
        wait_for("the entries", lambda: numbers(redis) == [1])
        redis.client.config_set("save", "3600 1")
        # A directory in the way of the file makes the save fail, for root too.
        (redis.directory / "dump.rdb").mkdir()
        redis.client.bgsave()
        wait_for("a failed save", lambda:
                 redis.client.info("persistence")["rdb_last_bgsave_status"] == "err")
        post(ship, 2, 4)
        wait_for("MISCONF", lambda: ship.said("MISCONF"))
        assert numbers(redis) == [1]
        (redis.directory / "dump.rdb").rmdir()
        redis.client.bgsave()
        ship.finish()
        assert numbers(redis) == [1, 2, 3, 4]


def test_a_redis_that_is_loading(place):
    """Hundreds of keys with a delay each: LOADING is waited for."""
    with Redis(None, "--key-load-delay", "3000",
               "--loading-process-events-interval-bytes", "1024") as redis:
        for n in range(300):
            redis.client.set(f"key {n}", str(n) * 200)
        redis.client.save()
        with shipping(place, redis.socket) as ship:
            post(ship, 1, 5)
            wait_for("the entries", lambda: numbers(redis) == [1, 2, 3, 4, 5])
            redis.kill()
            post(ship, 6, 9)
            redis.start()
            ship.finish()
            assert ship.said("LOADING")
            assert numbers(redis) == list(range(1, 10))


@pytest.fixture
def cluster():
    """Two nodes that know each other; no slot is served yet."""
    settings = [("--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                 *["--tls-cluster", "yes"] * bool(harness.TLS)) for _ in range(2)]
    with Redis(None, *settings[0]) as one, Redis(None, *settings[1]) as two:
        one.client.execute_command("CLUSTER MEET", "127.0.0.1",
                                   harness.TLS_PORTS.get(two.port, two.port), settings[1][3])
        for node in (one, two):
            wait_for("both nodes", lambda: node.client.execute_command("CLUSTER INFO")
                     ["cluster_known_nodes"] == "2")
        yield one, two


def test_a_cluster_that_is_down_and_then_elsewhere(place, cluster):
    """CLUSTERDOWN is waited for; MOVED is followed to the node that has the slot."""
    asked, other = cluster
    with shipping(place, asked.port) as ship:
        post(ship, 1, 5)
        wait_for("CLUSTERDOWN", lambda: ship.said("CLUSTERDOWN"))
        other.client.execute_command("CLUSTER ADDSLOTSRANGE", "0", "16383")
        ship.finish()
        assert ship.said("MOVED")
        assert numbers(other) == [1, 2, 3, 4, 5]


def test_failover_to_a_stale_replica(place):
    """The replica was stopped before the last writes; it becomes the master."""
    with Redis() as old, Redis() as new:
        new.client.execute_command("REPLICAOF", "127.0.0.1", str(old.port))
        wait_for("the replica", lambda:
                 new.client.info("replication")["master_link_status"] == "up")
        proxy = FaultProxy(old.port)
        with proxy, shipping(place, proxy.port) as ship:
            post(ship, 1, 50)
            wait_for("the entries", lambda: len(numbers(new)) == 50)
            new.pause()
            post(ship, 51, 80)
            wait_for("the entries", lambda: len(numbers(old)) == 80)
            old.kill()
            new.resume()
            new.client.execute_command("REPLICAOF", "NO", "ONE")
            proxy.target = ("127.0.0.1", new.port)
            proxy.reset()
            # The old master had said that all was in: until it meets the new one, the relay
            # has nothing to do and could end.
            wait_for("the entries", lambda: numbers(new) == list(range(1, 81)))
            ship.finish()
            assert numbers(new) == list(range(1, 81))


def test_a_replica_is_not_believed(place):
    """Its cursor is an old one: connected to a replica, nothing is sent and nothing moved."""
    with Redis() as master, Redis() as replica:
        replica.client.execute_command("REPLICAOF", "127.0.0.1", str(master.port))
        wait_for("the replica", lambda:
                 replica.client.info("replication")["master_link_status"] == "up")
        with shipping(place, replica.socket) as ship:
            post(ship, 1, 3)
            wait_for("the role", lambda: ship.said("not the master"))
            assert master.client.keys() == []
            replica.client.execute_command("REPLICAOF", "NO", "ONE")
            ship.finish()
            assert numbers(replica) == [1, 2, 3]


def test_password_and_user_over_tcp(place):
    with Redis(password="secret of the default user") as redis:
        redis.add_user("acrelay", "secret of acrelay", "~{ac}:*", "+eval", "+evalsha",
                       "+hmget", "+hset", "+xadd", "+sadd", "+smismember", "+scard",
                       "+unlink", "+xtrim", "+xlen", "+xinfo", "+role", "+info")
        with shipping(place, redis.port, SHIP_USER="acrelay",
                      SHIP_PASSWORD="secret of acrelay") as ship:
            post(ship, 1, 5)
            ship.finish()
        assert numbers(redis) == [1, 2, 3, 4, 5]
        assert not ship.said("secret of acrelay")


@pytest.mark.parametrize("command", ["INFO", "ROLE", "CONFIG"])
def test_a_question_that_is_only_advice_may_be_renamed_away(place, command):
    with Redis(None, "--rename-command", command, "") as redis:
        with shipping(place, redis.socket) as ship:
            post(ship, 1, 5)
            ship.finish()
        assert numbers(redis) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("command", ["EVALSHA", "XADD", "HSET", "HMGET"])
def test_a_command_that_is_needed_and_renamed_away_stops_and_loses_nothing(place, command):
    with Redis(None, "--rename-command", command, "") as redis:
        with shipping(place, redis.socket) as ship:
            post(ship, 1, 5)
            wait_for("the alarm", lambda: ship.said(" alarm ") and ship.said(": ERR "))
            ship.kill()
        assert redis.client.exists("{ac}:dead") == 0
    with Redis() as redis, shipping(place, redis.socket) as ship:
        ship.finish()
        assert numbers(redis) == [1, 2, 3, 4, 5]


def test_a_redis_that_closes_idle_connections_is_no_event(place, redis, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "cursor-check=5000")
    redis.client.config_set("timeout", 1)
    with shipping(place, redis.port) as ship:
        post(ship, 1, 1)
        before = redis.client.info("stats")["total_connections_received"]
        wait_for("new connections", lambda:
                 redis.client.info("stats")["total_connections_received"] > before + 1)
        post(ship, 2, 3)
        ship.finish()
        assert numbers(redis) == [1, 2, 3]
        assert not ship.said("warning") and not ship.said("alarm")


def test_no_password_is_told_and_healed(place):
    with Redis(password="secret") as redis, shipping(place, redis.socket) as ship:
        post(ship, 1, 2)
        wait_for("NOAUTH", lambda: ship.said("NOAUTH"))
        redis.client.config_set("requirepass", "")
        ship.finish()
        assert numbers(redis) == [1, 2]


def test_two_relays_with_copies_of_one_journal_do_not_mix(place, redis):
    """The copy lies elsewhere: it is fenced, says so, and writes nothing."""
    with shipping(place, redis.socket) as ship:
        post(ship, 1, 5)
        ship.finish()
    shutil.copytree(place / "journal", place / "copy")
    with contextlib.closing(open(place / "ship.log")):
        copy = Ship(place / "copy", redis.socket).start()
        assert copy.post("type=subscribe&n=6")
        wait_for("the alarm", lambda: copy.said("belongs to another machine"))
        copy.kill()
    assert numbers(redis) == [1, 2, 3, 4, 5]
