"""Answers on a kept connection that the journal's committer gives: in order, once, and 503 when
the disk does not answer in time. (The first requests of a connection are answered otherwise.)"""
import contextlib
import os
import re
import shutil
import socket
import subprocess

import pytest

import harness


@pytest.fixture
def redis(tmp_path):
    (tmp_path / "redis").mkdir()
    server = harness.Redis(tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture
def receiver(tmp_path, redis):
    r = harness.Receiver(tmp_path, redis.port, receiver=", ack_timeout: 1s")
    yield r
    if r.process.poll() is None:
        r.kill()
    r.socket.close()


def request(receiver, number, path=None):
    body = b"type=subscribe&contact[id]=%d" % number
    return (f"POST {path or receiver.path()} HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


class Connection:
    """One kept connection; answers are read as they come."""

    def __init__(self, receiver):
        self.receiver = receiver
        self.socket = socket.create_connection(("127.0.0.1", receiver.port), timeout=20)
        self.read = self.socket.makefile("rb")

    def send(self, *numbers):
        self.socket.sendall(b"".join(request(self.receiver, n) for n in numbers))

    def answer(self):
        code = int(self.read.readline().split()[1])
        length = 0
        while (line := self.read.readline().strip()):
            if found := re.match(rb"Content-Length: (\d+)", line):
                length = int(found[1])
        self.read.read(length)
        return code

    def warm(self, numbers):
        for number in numbers:
            self.send(number)
            assert self.answer() == 200

    def close(self):
        self.read.close()
        self.socket.close()


def subjects(redis):
    return [int(e["ce_subject"].split(b"/")[1]) for e in redis.entries()]


def test_many_posts_on_one_connection_are_answered_and_arrive_in_order(receiver, redis):
    c = Connection(receiver)
    c.warm(range(1, 201))
    c.close()
    receiver.wait_shipped()
    assert subjects(redis) == list(range(1, 201))
    assert receiver.metric('acrelay_requests_total{hook="contacts",code="200"}') == 200
    assert receiver.metric("acrelay_ack_seconds_count") == 200


def test_pipelined_requests_are_answered_in_their_order(receiver, redis):
    c = Connection(receiver)
    c.warm(range(1, 6))
    wrong = request(receiver, 0, "/hook/contacts/" + "x" * 43)
    c.socket.sendall(b"".join(request(receiver, n) for n in range(6, 46)) + wrong)
    assert [c.answer() for _ in range(40)] == [200] * 40
    assert c.answer() == 404  # never before the answers that are given elsewhere
    assert c.read.read() == b""
    c.close()
    receiver.wait_shipped()
    assert subjects(redis) == list(range(1, 46))


def test_a_client_that_has_closed_its_sending_side_gets_its_answer(receiver, redis):
    c = Connection(receiver)
    c.warm(range(1, 6))
    c.send(6)
    c.socket.shutdown(socket.SHUT_WR)
    assert c.answer() == 200
    assert c.read.read() == b""
    c.close()


def is_held(end, peer):
    """Whether a process holds this end of the connection; one not accepted or closed has no inode."""
    lines = [line.split() for line in open("/proc/net/tcp", encoding="ascii")]
    return any(line[1].endswith(f":{end:04X}") and line[2].endswith(f":{peer:04X}")
               and line[9] != "0" for line in lines)


def test_a_client_that_never_reads_holds_nobody_up(receiver, redis):
    """Its answers fill its window, then our buffer; then it loses its connection."""
    receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # and those it accepts
    greedy = socket.socket()
    greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    greedy.connect(("127.0.0.1", receiver.port))
    greedy.setblocking(False)
    port = greedy.getsockname()[1]
    piece = left = b"".join(request(receiver, 0) for _ in range(1000))

    def is_let_go():  # seen at its end: this kernel may ask it about its window for minutes
        nonlocal left
        with contextlib.suppress(BlockingIOError, ConnectionError):
            left = left[greedy.send(left):] or piece
        return receiver.metric("acrelay_journal_records_total") > 0 and not is_held(receiver.port, port)
    harness.wait_for("the end of the connection", is_let_go, 60)
    for number in range(1, 21):
        assert receiver.post(f"type=subscribe&contact[id]={number}") == 200
    greedy.close()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="acrelayd is not dumpable: only root may trace it")
def test_503_in_time_while_a_sync_hangs_and_no_late_word_for_the_next_request(receiver, redis):
    c = Connection(receiver)
    c.warm(range(1, 6))
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", str(receiver.process.pid), "-e", "trace=pwritev2",
         "-e", "inject=pwritev2:delay_exit=3000000:when=1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in tracer.stderr:  # attached to every thread before the post
        if "attached" in line:
            break
    c.send(6)
    assert c.answer() == 503
    c.send(7)  # waits behind the same sync; the word about 6 must not answer it
    assert c.answer() in (200, 503)
    tracer.terminate()
    tracer.stderr.close()
    tracer.wait(20)
    c.warm(range(8, 12))
    c.close()
    receiver.wait_shipped()
    assert subjects(redis) == list(range(1, 12))  # refused, and durable after all: as after a crash
    refused = receiver.metric('acrelay_requests_total{hook="contacts",code="503"}')
    assert refused >= 1
    assert receiver.metric("acrelay_journal_refused_total") == refused
