#!/usr/bin/env python3
"""The promise, tried: numbered deliveries while receiver and Redis are killed and Redis loses
what it had. At the end every delivery that was answered 200 is in the stream exactly once, in
the order of its sequence, and nothing stands there that was not sent.

    tests/live/ledger.py --count 50000 --receiver-kills 3 --redis-kills 1 --rollbacks 2
"""
import argparse
import collections
import http.client
import json
import random
import sys
import tempfile
import threading
import time

import harness

CLIENTS = 8


class Driver:
    """Posts numbers 0..count-1 from several threads; `acknowledged` holds those with a 200."""

    def __init__(self, receiver, count):
        self.receiver, self.count = receiver, count
        self.next, self.lock = 0, threading.Lock()
        self.acknowledged, self.failed = set(), 0
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(CLIENTS)]

    def take(self):
        with self.lock:
            number, self.next = self.next, self.next + 1
            return number if number < self.count else None

    def note(self, number, status):
        with self.lock:
            if status == 200:
                self.acknowledged.add(number)
            else:
                self.failed += 1

    def port(self):
        return self.receiver.port

    def run(self):
        connection = None
        while (number := self.take()) is not None:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=60)
            try:
                connection.request("POST", self.receiver.path(),
                                   f"type=subscribe&contact[id]={number}")
                answer = connection.getresponse()
                answer.read()
                self.note(number, answer.status)
                if answer.will_close:
                    connection = None
            except (OSError, http.client.HTTPException):
                self.note(number, None)
                connection.close()
                connection = None

    def start(self):
        for t in self.threads:
            t.start()

    def join(self):
        for t in self.threads:
            t.join()


def roll_back(server):
    """Redis goes back to its last SAVE."""
    server.client.execute_command("DEBUG", "RELOAD", "NOSAVE")


def faults(args, receiver, server):
    def kill_receiver():
        receiver.kill()
        receiver.process = receiver.spawn()

    def kill_redis():
        server.kill()
        server.start()

    todo = ([("receiver killed", kill_receiver)] * args.receiver_kills
            + [("redis killed", kill_redis)] * args.redis_kills
            + [("redis rolled back", lambda: roll_back(server))] * args.rollbacks)
    random.Random(args.seed).shuffle(todo)
    return todo


def check(streams, acknowledged, count):
    """The entries of each stream, in its order."""
    problems = []
    entries = [e for stream in streams for e in stream]
    ids = collections.Counter(e["ce_id"] for e in entries)
    numbers = collections.Counter(
        int(json.loads(e["data"])["contact"]["id"]) for e in entries)
    problems += [f"ce_id {i.decode()} stands there {n} times" for i, n in ids.items() if n > 1]
    problems += [f"delivery {n} was answered 200 and is not there"
                 for n in sorted(acknowledged) if n not in numbers]
    problems += [f"delivery {n} stands there {k} times" for n, k in numbers.items() if k > 1]
    problems += [f"delivery {n} was never sent" for n in numbers if not 0 <= n < count]
    return problems + [p for stream in streams for p in order_problems(stream)]


def order_problems(entries):
    """Of each journal."""
    sequences = collections.defaultdict(list)
    for e in entries:
        sequences[e["ce_id"][:32]].append(e["ce_sequence"])
    return ["the order of sequences is broken" for s in sequences.values() if s != sorted(s)]


def run(args, directory):
    server = harness.Redis(directory)
    server.client.execute_command("SAVE")
    receiver = harness.Receiver(directory, server.port)
    driver = Driver(receiver, args.count)
    todo = faults(args, receiver, server)
    try:
        driver.start()
        for n, (name, fault) in enumerate(todo, 1):
            mark = args.count * n // (len(todo) + 1)
            harness.wait_for("the next fault's turn", lambda: driver.next >= mark, 600)
            if n % 2:
                server.client.execute_command("SAVE")
            fault()
            print(f"at {driver.next}: {name}", flush=True)
        driver.join()
        harness.wait_for("acrelayd", receiver.is_ready)
        receiver.wait_shipped(300)
        entries = server.entries()
        problems = check([entries], driver.acknowledged, args.count)
        print(f"seed {args.seed}: {args.count} sent, {len(driver.acknowledged)} answered 200, "
              f"{driver.failed} failed, {len(entries)} in the stream, "
              f"{len(problems)} problems")
        return problems
    finally:
        receiver.kill()
        server.kill()


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("count", 3000), ("receiver-kills", 1), ("redis-kills", 1),
                          ("rollbacks", 1), ("seed", int(time.time()))):
        parser.add_argument("--" + name, type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="acrelay-ledger-") as directory:
        problems = run(args, directory)
    for problem in problems[:20]:
        print(problem)
    print(f"{int(not problems)} passed, {int(bool(problems))} failed")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
