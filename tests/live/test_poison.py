"""Records that Redis, or a proxy before it, does not take: found, put aside as dead letters, and
passed by those behind them; and a Redis that takes nothing, which proves nothing."""
import json
import subprocess

import pytest

import harness
from fault_proxy import FaultProxy
from harness import Redis, wait_for
from test_relay import numbers, place, post, redis, shipping  # noqa: F401 (fixtures)

LIMIT = 60000


def poison(n, size=LIMIT + 1000):
    return f"type=subscribe&n={n}&x=" + "y" * size


def unreadable(n):
    return f"type=subscribe&n={n}&x=%00" + "y" * LIMIT  # a NUL: a dead letter by itself


def letters(redis, place):
    """(number, reason, bytes aside) of each dead letter."""
    found = []
    for letter in redis.entries("{ac}:dead"):
        letter = {name: value.decode() for name, value in letter.items()}
        aside = place / "journal" / "bad" / f"{letter['ce_id']}.body"
        body = aside.read_text() if aside.exists() else letter["raw"]
        assert not (aside.exists() and letter["raw"])
        found.append((int(body.split("n=")[1].split("&")[0]), letter["reason"], body))
    return found


def ship_bodies(place, proxy, redis, bodies, heal_after=None):
    """All at once, as after an outage."""
    proxy.refuse()
    with shipping(place, proxy.port) as ship:
        for body in bodies:
            assert ship.post(body)
        proxy._refuse = False
        if heal_after:
            heal_after(ship)
        ship.finish()


@pytest.mark.parametrize("at", [{1}, {30}, {60}, set(range(20, 26)), {1, 2, 59, 60}],
                         ids=["first", "middle", "last", "in a row", "scattered"])
def test_a_record_that_is_cut_off_is_a_dead_letter_and_the_others_go_on(place, redis, at):
    bodies = [poison(n) if n in at else f"type=subscribe&n={n}" for n in range(1, 61)]
    with FaultProxy(redis.port) as proxy:
        proxy.cut_over(LIMIT)
        ship_bodies(place, proxy, redis, bodies)
        assert proxy.cuts < 30 + 10 * len(at)
    assert numbers(redis) == [n for n in range(1, 61) if n not in at]
    assert letters(redis, place) == [(n, "redis", poison(n)) for n in sorted(at)]


def test_a_dead_letter_that_is_cut_off_is_kept_aside_too(place, redis):
    bodies = ["type=subscribe&n=1", unreadable(2), "type=subscribe&n=3"]
    with FaultProxy(redis.port) as proxy:
        proxy.cut_over(LIMIT)
        ship_bodies(place, proxy, redis, bodies)
    assert numbers(redis) == [1, 3]
    assert letters(redis, place) == [(2, "redis", unreadable(2))]


@pytest.mark.parametrize("limit", ["proto-max-bulk-len", "client-query-buffer-limit"])
def test_the_limits_of_redis_itself(place, redis, limit):
    redis.client.config_set(limit, "1mb")
    bodies = ["type=subscribe&n=1", poison(2, 3 << 20), "type=subscribe&n=3"]
    with FaultProxy(redis.port) as proxy:
        ship_bodies(place, proxy, redis, bodies)
    assert numbers(redis) == [1, 3]
    assert letters(redis, place) == [(2, "redis", poison(2, 3 << 20))]


def test_small_batches_pass_where_large_ones_are_cut_off(place, redis):
    bodies = [poison(n, 1000) for n in range(1, 151)]
    with FaultProxy(redis.port) as proxy:
        proxy.cut_over(LIMIT)
        ship_bodies(place, proxy, redis, bodies)
    assert numbers(redis) == list(range(1, 151))
    assert letters(redis, place) == []


def test_batches_grow_again_to_what_they_may_hold_and_no_further(place, redis):
    """Seven are halved to three, and the seventh is alone: three doubled is no power of two."""
    bodies = [f"type=subscribe&n={n}" for n in range(1, 7)] + [poison(7)]
    with FaultProxy(redis.port) as proxy:
        proxy.cut_over(LIMIT)

        def grow(ship):
            wait_for("a dead letter", lambda: redis.client.xlen("{ac}:dead") == 1)
            proxy.heal()
            for n in range(8, 20):
                assert ship.post(f"type=subscribe&n={n}")
                wait_for("its entry", lambda: redis.client.xlen("{ac}:events") == n - 1)
            proxy.refuse()
            proxy.reset()
            for n in range(20, 401):
                assert ship.post(f"type=subscribe&n={n}")
            proxy.heal()

        ship_bodies(place, proxy, redis, bodies, grow)
    assert numbers(redis) == [n for n in range(1, 401) if n != 7]


@pytest.mark.parametrize("fault", ["every script call", "all with a record", "for a while"])
def test_a_redis_that_refuses_everything_makes_no_dead_letters(place, redis, fault):
    bodies = [f"type=subscribe&n={n}" for n in range(1, 20)] + [poison(20, 2000)]

    def heal_after(ship):
        wait_for("cuts", lambda: proxy.cuts >= (7 if fault == "for a while" else 9))
        if fault == "all with a record":
            wait_for("a dead letter", lambda: ship.said("refuses even a dead letter"))
        proxy.heal()

    with FaultProxy(redis.port) as proxy:
        if fault == "every script call":
            proxy.cut_with(b"EVALSHA")
        else:
            proxy.cut_with(b"/activecampaign/")
        ship_bodies(place, proxy, redis, bodies, heal_after)
    assert numbers(redis) == list(range(1, 21))
    assert letters(redis, place) == []


def test_one_lost_connection_is_no_proof_after_a_record_that_was_refused(place, redis):
    with FaultProxy(redis.port) as proxy:
        proxy.cut_over(LIMIT)
        with shipping(place, proxy.port) as ship:
            assert ship.post(poison(1))
            wait_for("a dead letter", lambda: redis.client.xlen("{ac}:dead") == 1)
            proxy.heal()
            proxy.cut_after(LIMIT)
            assert ship.post(poison(2, 2 * LIMIT))
            ship.finish()
            assert proxy.healthy()
    assert numbers(redis) == [2]
    assert letters(redis, place) == [(1, "redis", poison(1))]


def cli(receiver, *words):
    done = subprocess.run([harness.BUILD / "acrelay", "-c", receiver.config, "--json", *words],
                          capture_output=True, text=True, timeout=30)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line]


def test_dead_show_replay_and_drop_read_and_remove_the_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "refused-wait=20")
    with Redis() as server, FaultProxy(server.port) as proxy:
        proxy.cut_over(LIMIT)
        receiver = harness.Receiver(tmp_path, proxy.port)
        try:
            for n in (1, 2):
                assert receiver.post(poison(n)) == 200
            receiver.wait_shipped()
            assert receiver.metric("acrelay_dead_letters_total") == 2
            proxy.heal()
            kept = tmp_path / "state" / "bad"
            assert sorted(p.read_text() for p in kept.iterdir()) == [poison(1), poison(2)]
            assert all(p.stat().st_mode & 0o777 == 0o600 for p in kept.iterdir())
            _, (first, second) = cli(receiver, "dead", "list")
            code, (shown,) = cli(receiver, "dead", "show", first["id"])
            assert code == 0 and shown["raw"] == poison(1)
            assert cli(receiver, "dead", "replay", first["id"])[0] == 0
            assert [e["ce_id"].decode() for e in server.entries()] == [first["ce_id"]]
            assert [p.name for p in kept.iterdir()] == [second["ce_id"] + ".body"]
            assert cli(receiver, "dead", "drop", second["id"]) == (0, [{"dropped": 1}])
            assert list(kept.iterdir()) == []
        finally:
            receiver.kill()


def test_the_bytes_go_when_their_letter_is_trimmed(tmp_path, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "refused-wait=20 trim-exact=1 trim=100")
    with Redis() as server, FaultProxy(server.port) as proxy:
        proxy.cut_over(LIMIT)
        receiver = harness.Receiver(tmp_path, proxy.port)
        try:
            for n in (1, 2):
                assert receiver.post(poison(n)) == 200
            receiver.wait_shipped()
            kept = tmp_path / "state" / "bad"
            second = server.entries("{ac}:dead")[1]["ce_id"].decode()
            # As if the first were of 1970.
            server.client.execute_command("EVAL", """
                local two = redis.call('XRANGE', KEYS[1], '-', '+')[2]
                redis.call('DEL', KEYS[1])
                redis.call('XADD', KEYS[1], '1-0', 'ce_id', 'the first')
                redis.call('XADD', KEYS[1], two[1], unpack(two[2]))""", 1, "{ac}:dead")
            harness.wait_for("the first's bytes are gone", lambda: [
                p.name for p in kept.iterdir()] == [second + ".body"], 20)
        finally:
            receiver.kill()
