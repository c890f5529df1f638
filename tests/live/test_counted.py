"""What the relay counts and says of a batch that Redis takes in part, and of one whose answer is
lost or comes too late: what is in the streams, neither more nor less."""
import pytest

import harness
from fault_proxy import FaultProxy
from test_poison import LIMIT, poison

HOOKS = ("  - {name: contacts, events: [subscribe]}\n"
         "  - {name: dropped, events: [subscribe], duplicates: drop}\n"
         "  - {name: full, events: [subscribe], stream: full}\n")
NO_ID = b"ERR The stream has exhausted"


@pytest.fixture
def proxy(redis):
    """A Redis that gives the stream full no id any more, behind a proxy."""
    redis.client.xadd("{ac}:full", {"a": "b"}, id="18446744073709551615-18446744073709551615")
    with FaultProxy(redis.port) as proxy:
        yield proxy


@pytest.fixture
def receiver(tmp_path, proxy, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "relay-backoff=5 relay-backoff-max=50 refused-wait=20 "
                       "relay-stop-wait=50 redis-command=1000 cursor-deadline=500 cursor-check=100")
    receiver = harness.Receiver(tmp_path, proxy.port, hooks=HOOKS)
    post(receiver, proxy, ["contact[id]=0"])  # Redis has the script
    yield receiver
    receiver.kill()


def post(receiver, proxy, bodies, fault=lambda: None):
    """All in one batch, which meets the fault. A body is of the hook contacts, or (body, hook)."""
    proxy.refuse()
    proxy.reset()
    harness.wait_for("the cut", lambda: receiver.metric("acrelay_redis_up") == 0)
    for body in bodies:
        body, hook = body if isinstance(body, tuple) else (body, "contacts")
        assert receiver.post(body and f"type=subscribe&{body}", hook=hook) == 200
    fault()
    proxy._refuse = False
    receiver.wait_shipped()
    harness.wait_for("the fault", proxy.healthy)


def counted(receiver):
    names = ("relay_entries", "dead_letters", "relay_repeats_marked", "relay_repeats_dropped")
    return [int(receiver.metric(f"acrelay_{name}_total")) for name in names]


def expect(receiver, redis, *counts):
    """Of entries, dead letters and duplicates; the entries are what Redis has."""
    harness.wait_for(f"the counts {counts}", lambda: counted(receiver) == list(counts), 10)
    assert len(redis.entries()) + len(redis.entries("{ac}:dead")) == counts[0]


MIXED = ["contact[id]=1", "contact[id]=1", "", ("contact[id]=2", "dropped"),
         ("contact[id]=2", "dropped"), ("contact[id]=3", "full"), "contact[id]=4"]


def test_what_stands_before_a_refused_record_is_counted(redis, proxy, receiver):
    post(receiver, proxy, MIXED)
    expect(receiver, redis, 1 + 6, 2, 1, 1)


def test_it_is_where_that_answer_is_lost(redis, proxy, receiver):
    """Which duplicates there were only the answer knew."""
    post(receiver, proxy, [body for body in MIXED if body != ("contact[id]=2", "dropped")],
         lambda: proxy.fault_reply(NO_ID, "cut"))
    expect(receiver, redis, 1 + 5, 2, 0, 0)


@pytest.mark.parametrize("letter", ["whole", "empty"])
@pytest.mark.parametrize("fault", ["cut", "swallow"])
def test_the_lost_answer_to_a_refused_record_s_dead_letter(redis, proxy, receiver, letter, fault):
    done = b"$2\r\nOK\r\n$20\r\n%020d\r\n" % 2  # and the cursor
    if letter == "empty":
        proxy.cut_over(LIMIT)
    post(receiver, proxy, [poison(1) if letter == "empty" else ("contact[id]=1", "full")],
         lambda: proxy.fault_reply(done, fault))
    expect(receiver, redis, 1 + 1, 1, 0, 0)
    log = receiver.read_log()
    assert "record 2 became a dead letter (" in log
    assert ("the connection is lost on it" if letter == "empty" else NO_ID.decode()) in log
    assert "cannot be parsed" not in log and "refuses even a dead letter" not in log


def test_what_is_executed_late_is_counted(redis, proxy, receiver):
    """When half of it was sent again."""
    post(receiver, proxy, [f"contact[id]={n}" for n in range(1, 11)],
         lambda: proxy.late(b"contact/1"))
    expect(receiver, redis, 1 + 10, 0, 0, 0)


def test_what_is_executed_late_is_counted_when_more_is_sent(redis, proxy, receiver):
    proxy.late(b"contact/1", b"-READONLY You can't write against a read only replica.\r\n")
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    harness.wait_for("the request", lambda: proxy._kept)
    post(receiver, proxy, [f"contact[id]={n}" for n in (2, 3)])
    expect(receiver, redis, 1 + 3, 0, 0, 0)


def test_an_answer_beyond_what_was_sent_moves_nothing(redis, proxy, receiver):
    done = b"$2\r\nOK\r\n$20\r\n%020d\r\n" % 2
    refused = b"*4\r\n$5\r\nERR x\r\n$20\r\n%020d\r\n:0\r\n:0\r\n" % 99
    post(receiver, proxy, ["contact[id]=1"], lambda: proxy.fault_reply(done, refused))
    post(receiver, proxy, ["contact[id]=2"])  # and the cursor has been read
    expect(receiver, redis, 1 + 2, 0, 0, 0)
    assert receiver.metric("acrelay_relay_rewinds_total") == 0


def test_an_answer_with_another_cursor_is_reported(redis, proxy, receiver):
    done = b"$2\r\nOK\r\n$20\r\n%020d\r\n" % 2
    other = b"*5\r\n$2\r\nOK\r\n$20\r\n%020d\r\n:0\r\n:0\r\n$-1\r\n" % 7
    post(receiver, proxy, ["contact[id]=1"], lambda: proxy.fault_reply(done, other))
    expect(receiver, redis, 1 + 1, 0, 0, 0)
    assert "cursor 7 after a batch up to 2" in receiver.read_log()


def test_a_proxy_that_reads_from_a_replica_is_found(redis, proxy, receiver):
    """One that hangs behind: what is read there is older than what a script finds."""
    def cursor():
        return redis.client.hmget(key, "sequence", "check")
    key, = redis.client.keys("{ac}:cursor:*")
    before = cursor()
    post(receiver, proxy, ["contact[id]=1"])
    as_reply = b"$20\r\n%s\r\n$16\r\n%s"
    proxy.rewrite(as_reply % tuple(cursor()), as_reply % tuple(before))
    harness.wait_for("the contradiction", lambda: "answers reads from a replica" in receiver.read_log())
    proxy.heal()
    post(receiver, proxy, ["contact[id]=2"])
    expect(receiver, redis, 1 + 2, 0, 0, 0)
