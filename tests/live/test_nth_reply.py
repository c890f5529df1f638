"""Every reply of Redis to the relay, and every way in which it can go wrong: a few posts are
repeated with a fault to the first reply, to the second and so on, until a run in which none
was left to be hit. Whatever was done by the request, Redis did it: only the reply is false,
so the relay must find out by reading the cursor. After each run every post that was answered
200 is in the stream once, in order, and nothing else is there."""
import pytest

import harness
from fault_proxy import FaultProxy

POSTS = 3
REPLIES_MAX = 60
# One for each class of src/relay/script.h, as Redis says them.
ERRORS = [b"-LOADING Redis is loading the dataset in memory",
          b"-READONLY You can't write against a read only replica.",
          b"-OOM command not allowed when used memory > 'maxmemory'.",
          b"-NOSCRIPT No matching script. Please use EVAL.",
          b"-BUSY Redis is busy running a script.",
          b"-MISCONF Redis is configured to save RDB snapshots, but cannot.",
          b"-MASTERDOWN Link with MASTER is down.",
          b"-CLUSTERDOWN The cluster is down",
          b"-TRYAGAIN Multiple keys request during rehashing of slot",
          b"-NOAUTH Authentication required.",
          b"-NOPERM this user has no permissions to run the command",
          b"-WRONGTYPE Operation against a key holding the wrong kind of value",
          b"-ERR unknown"]


@pytest.fixture(autouse=True)
def times(monkeypatch):
    """The relay's waits after a fault, and its patience, at a twentieth or so."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "relay-backoff=5 relay-backoff-max=50 "
                       "relay-stop-wait=50 redis-command=1000 cursor-deadline=500")


def scenario(redis, proxy, directory, n, fault):
    """Whether the fault was done."""
    redis.client.flushall()
    redis.client.script_flush()
    directory.mkdir()
    proxy.fault_reply(n, fault)
    receiver = harness.Receiver(directory, proxy.port)
    try:
        for number in range(1, POSTS + 1):
            assert receiver.post(f"type=subscribe&contact[id]={number}") == 200
            receiver.wait_shipped(20)  # one batch each; a fault is healed before the next
        fired = proxy.healthy()
        proxy.heal()
        found = [e["ce_subject"] for e in redis.entries()]
        assert found == [b"contact/%d" % i for i in range(1, POSTS + 1)], (n, fault)
    except AssertionError as e:
        raise AssertionError(f"reply {n}, {fault}: {e}\n{receiver.read_log()}") from e
    finally:
        receiver.kill()
        receiver.socket.close()
        receiver.log.close()
    return fired


def run(redis, tmp_path, name, fault, first=1, step=1):
    fired = 0
    with FaultProxy(redis.port) as proxy:
        for n in range(first, REPLIES_MAX, step):
            if not scenario(redis, proxy, tmp_path / f"{name}-{n}", n, fault):
                print(f"{name}: {fired} faults, none left at reply {n}")
                assert fired >= (6 + POSTS) // step  # attached twice, and the batches
                return
            fired += 1
    raise AssertionError(f"{name}: still replies after {REPLIES_MAX}")


@pytest.mark.parametrize("fault", ["cut", "half"])
def test_a_connection_cut_at_the_nth_reply(redis, tmp_path, fault):
    run(redis, tmp_path, fault, fault)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.split()[0][1:].decode())
def test_an_error_instead_of_the_nth_reply(redis, tmp_path, error):
    """Each instead of every third reply, so that each reply meets four of them; each instead of
    every reply with ACRELAY_FULL=1."""
    first, step = (1, 1) if harness.FULL else (1 + ERRORS.index(error) % 3, 3)
    run(redis, tmp_path, "error", error + b"\r\n", first, step)


def test_a_reply_that_announces_too_much_instead_of_the_nth(redis, tmp_path):
    run(redis, tmp_path, "huge", b"*2147483647\r\n:1\r\n")


@pytest.mark.parametrize("n", [3, 12], ids=["first look", "shipping"])
def test_a_reply_that_never_comes(redis, tmp_path, n):
    """Costs the relay's patience."""
    with FaultProxy(redis.port) as proxy:
        assert scenario(redis, proxy, tmp_path / "swallow", n, "swallow")
