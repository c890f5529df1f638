#!/usr/bin/env python3
"""A journal full of unpublished records: how soon the first post is answered after a start, and
what posts wait while the records are drained, beside an idle receiver in the same run.

Usage: tests/bench/backlog.py [--records N] [--seconds S]      needs build/tools/ship

Ends with 1 when a record or an answered post is not in the stream exactly once.
"""
import argparse
import http.client
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
import harness  # noqa: E402

RATE = 300
TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


class Poster:
    """Posts numbers on one connection, RATE a second, and keeps what each waited, in ms."""

    def __init__(self, receiver):
        self.receiver, self.next, self.waits = receiver, 0, []
        self.connection = None

    def post(self):
        self.next += 1
        started = time.monotonic()
        try:
            if not self.connection:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.receiver.port,
                                                             timeout=30)
            self.connection.request("POST", self.receiver.path(),
                                    f"type=subscribe&contact[id]=p{self.next}", TYPE)
            answer = self.connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
        except OSError:
            self.connection = None
            raise
        self.waits.append((time.monotonic() - started) * 1000)

    def post_while(self, wanted):
        self.waits = []
        due = time.monotonic()
        while wanted():
            self.post()
            due += 1 / RATE
            time.sleep(max(0, due - time.monotonic()))
        self.waits.sort()
        return {p: self.waits[int(len(self.waits) * p / 100)] for p in (50, 99)}


def fill(receiver, redis, count):
    subprocess.run([harness.BUILD / "tools/ship", receiver.directory / "state", str(redis.port),
                    "fill", str(count)], check=True)


def seconds_to_first_answer(receiver, poster):
    poster.connection = None
    started = time.monotonic()
    receiver.process = receiver.spawn()
    poster.post()  # the socket is ours and listens: the post waits for the receiver
    return time.monotonic() - started


def drain_of(receiver):
    """Says whether there is still more to drain than new posts; looks once a second."""
    next_look, drains = 0.0, True

    def look():
        nonlocal next_look, drains
        if time.monotonic() > next_look:
            drains = receiver.metric("acrelay_journal_unpublished_records") > RATE
            next_look = time.monotonic() + 1
        return drains
    return look


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="acrelay-backlog-") as place:
        redis = harness.Redis(place)
        receiver = harness.Receiver(place, redis.port)
        poster = Poster(receiver)
        receiver.kill()
        empty = seconds_to_first_answer(receiver, poster)
        end = time.monotonic() + args.seconds
        idle = poster.post_while(lambda: time.monotonic() < end)
        receiver.wait_shipped()
        receiver.kill()
        fill(receiver, redis, args.records)
        full = seconds_to_first_answer(receiver, poster)
        started = time.monotonic()
        busy = poster.post_while(drain_of(receiver))
        spent = time.monotonic() - started
        receiver.wait_shipped(300)
        found = redis.client.xlen("{ac}:events")
        receiver.kill()
        redis.kill()
    print(f"{args.records} unpublished records, {RATE} posts/s on one connection")
    print(f"first answer after a start: {empty:.3f} s with an empty journal, {full:.3f} s with these")
    print(f"posts: idle p50 {idle[50]:.2f} p99 {idle[99]:.2f} ms; while draining ({spent:.0f} s) "
          f"p50 {busy[50]:.2f} p99 {busy[99]:.2f} ms: p99 {busy[99] / idle[99]:.1f} times")
    print(f"in the stream: {found} of {args.records + poster.next}")
    sys.exit(found != args.records + poster.next)


if __name__ == "__main__":
    main()
