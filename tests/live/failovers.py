#!/usr/bin/env python3
"""The promise over failovers and reshardings: numbered deliveries to the receiver, while behind its
back masters are killed and stopped, replicas are left behind, sentinels die and the slot of our
keys moves, all over TLS. At the end every delivery that was answered 200 is in the stream exactly
once by ce_id, each subject's in the order of its posts, and nothing else stands there.

    tests/live/failovers.py [--seed 7] [sentinel | cluster]

Prints one line of counts for each topology."""
import argparse
import collections
import http.client
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import harness
import topologies
from certificates import Certificates

CLIENTS, SUBJECTS = 4, 10
HEALED_SECONDS = 30
SECONDS_PER_FAULT = 20  # at most, mostly; it is told before it starts


class Load:
    """Posts numbers from several threads, each with contacts of its own; a contact's next delivery
    goes out after the answer to the one before. `acknowledged`: number to contact, of the 200s."""

    def __init__(self, receiver, pause=0.02):
        self.receiver, self.pause = receiver, pause
        self.acknowledged, self.failed = {}, 0
        self.next, self.lock = 0, threading.Lock()
        self.stopping = False
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True)
                        for i in range(CLIENTS)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for t in self.threads:
            t.join()

    def run(self, client):
        connection = http.client.HTTPConnection("127.0.0.1", self.receiver.port, timeout=60)
        while not self.stopping:
            with self.lock:
                number, self.next = self.next, self.next + 1
            contact = client * SUBJECTS + number % SUBJECTS
            connection.request("POST", self.receiver.path(),
                               f"type=subscribe&contact[id]={contact}&n={number}")
            answer = connection.getresponse()
            answer.read()
            with self.lock:
                if answer.status == 200:
                    self.acknowledged[number] = contact
                else:
                    self.failed += 1
            if answer.will_close:
                connection.close()
            time.sleep(self.pause)
        connection.close()

    def wait_more(self, count=20):
        """For posts after this moment."""
        mark = len(self.acknowledged) + count
        harness.wait_for("posts", lambda: len(self.acknowledged) >= mark)


def check(entries, load):
    """What is wrong, as sentences."""
    problems = [f"{load.failed} deliveries were not answered 200"] * bool(load.failed)
    ids = collections.Counter(e["ce_id"] for e in entries)
    problems += [f"ce_id {i.decode()} stands there {n} times" for i, n in ids.items() if n > 1]
    numbers = [int(json.loads(e["data"])["n"]) for e in entries]
    here = collections.Counter(numbers)
    problems += [f"delivery {n} was answered 200 and is not there"
                 for n in sorted(load.acknowledged) if n not in here]
    problems += [f"delivery {n} stands there {k} times" for n, k in here.items() if k > 1]
    problems += [f"delivery {n} was not answered 200" for n in here if n not in load.acknowledged]
    newest = {}
    for number, entry in zip(numbers, entries):
        subject = entry["ce_subject"]
        if newest.get(subject, -1) > number:
            problems.append(f"{subject.decode()}: {number} after {newest[subject]}")
        newest[subject] = number
    return problems


def subjects(entries):
    return len({e["ce_subject"] for e in entries})


def acrelay(receiver, *words, user="operator"):
    """The command line's exit code and what it prints, as a user of acrelay.acl."""
    config = receiver.directory / "cli.yaml"
    config.write_text(receiver.config.read_text().replace(
        "acrelay-receiver", f"acrelay-{user}"))
    done = subprocess.run([harness.BUILD / "acrelay", *words, "--config", config],
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


class World:
    """A topology, a receiver that uses it, load, and faults by name with their counts."""

    def __init__(self, directory, topology, seed):
        self.topology, self.random = topology, random.Random(seed)
        self.receiver = harness.Receiver(directory, topology.settings())
        self.load = Load(self.receiver)
        self.counts = collections.Counter()

    def run(self, faults):
        """Each fault as often as `faults` says, in random order."""
        order = [fault for fault, count in faults for _ in range(count)]
        self.random.shuffle(order)
        with self.load:
            for fault in order:
                self.load.wait_more(self.random.randrange(10, 60))
                self.wait_shipping()
                getattr(self, fault)()
                self.counts[fault] += 1
                print(f"{len(self.load.acknowledged)} posts: {fault.replace('_', ' ')}",
                      file=sys.stderr, flush=True)
            self.load.wait_more()
        self.topology.wait_healthy()
        self.receiver.wait_shipped(60)

    def wait_shipping(self):
        """So that each fault meets a relay that publishes."""
        harness.wait_for("the relay", lambda: self.receiver.metric(
            "acrelay_relay_shipping") and self.receiver.metric(
            "acrelay_journal_unpublished_records") < 100)

    def finish(self):
        """(problems, the line of counts)"""
        # Where a failover nobody made comes last, what it lost is on its way again.
        end = time.monotonic() + HEALED_SECONDS
        while (problems := check(entries := self.topology.entries(), self.load)) \
                and time.monotonic() < end:
            time.sleep(0.2)
        counts = ", ".join(f"{n} x {fault.replace('_', ' ')}"
                           for fault, n in sorted(self.counts.items()))
        ids = len({e["ce_id"] for e in entries})
        rewinds = self.receiver.metric("acrelay_relay_rewinds_total")
        if problems:
            print(self.receiver.read_log(), file=sys.stderr)
        return problems, (
            f"{self.topology.kind}: {len(self.load.acknowledged)} answered 200, {len(entries)} "
            f"entries, {ids} ce_ids, {subjects(entries)} subjects in order: "
            f"{'no' if problems else 'yes'}; {counts}; the relay went back {rewinds:.0f} times; "
            f"{len(problems)} problems")

    # --- faults; each leaves the topology healthy -------------------------------------------------

    def master_killed(self):
        master = self.topology.owner()
        master.kill()
        self.topology.wait_failover(master)
        self.load.wait_more()
        master.start()
        self.topology.wait_healthy()

    def master_stopped(self):
        """It hangs, and then goes on as if nothing had been: it believes to be the master."""
        master = self.topology.owner()
        master.pause()
        try:
            self.topology.wait_failover(master)
            self.load.wait_more()
        finally:
            master.resume()
        self.topology.wait_healthy()

    def stale_replica(self):
        """An old state becomes the master's."""
        master = self.lose_master_with_news()
        self.topology.wait_failover(master)
        self.load.wait_more()
        master.start()
        self.topology.wait_healthy()

    def lose_master_with_news(self):
        """The replicas hang while the master goes on; then it dies, and they go on. The master."""
        master = self.topology.owner()
        replicas = self.topology.replicas_of(master)
        for replica in replicas:
            replica.pause()
        # What is on its way would reach them when they go on.
        master.client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        written = self.receiver.metric("acrelay_relay_entries_total")
        harness.wait_for("entries that only the master has", lambda: self.receiver.metric(
            "acrelay_relay_entries_total") > written + 20)
        master.kill()
        for replica in replicas:
            replica.resume()
        return master

    def sentinel_and_master_killed(self):
        """The sentinel that the receiver asks first, one of three, dies with the master."""
        sentinel = self.topology.sentinels[self.random.randrange(3)]
        sentinel.kill()
        self.master_killed_beside(sentinel)

    def sentinel_stopped_and_master_killed(self):
        sentinel = self.topology.sentinels[self.random.randrange(3)]
        sentinel.pause()
        self.master_killed_beside(sentinel)

    def master_killed_beside(self, sentinel):
        master = self.topology.owner(without=sentinel)
        master.kill()
        self.topology.wait_failover(master, without=sentinel)
        self.load.wait_more()
        master.start()
        if sentinel.process.poll() is None:
            sentinel.resume()
        else:
            sentinel.start()
        self.topology.wait_healthy()

    def slot_moved(self):
        """To another master, while posts come between all steps."""
        to = self.topology.other_master(self.random)
        self.topology.move_slot(to, lambda: self.load.wait_more(self.random.randrange(4)))
        self.load.wait_more()
        self.topology.wait_healthy()


FAULTS = {
    "sentinel": [("master_killed", 5), ("master_stopped", 5), ("stale_replica", 5),
                 ("sentinel_and_master_killed", 3), ("sentinel_stopped_and_master_killed", 2)],
    "cluster": [("master_killed", 8), ("master_stopped", 6), ("stale_replica", 6),
                ("slot_moved", 20)],
}
TOPOLOGIES = {"sentinel": topologies.Sentinels, "cluster": topologies.Cluster}


def run(kind, seed, scale=1):
    with tempfile.TemporaryDirectory(prefix="acrelay-failovers-") as directory:
        directory = pathlib.Path(directory)
        (directory / "receiver").mkdir()
        with TOPOLOGIES[kind](directory, Certificates(directory / "certificates")) as topology:
            world = World(directory / "receiver", topology, seed)
            try:
                world.run([(fault, max(1, round(n * scale))) for fault, n in FAULTS[kind]])
                problems, line = world.finish()
            finally:
                world.receiver.kill()
    print(f"seed {seed}: {line}", flush=True)
    for problem in problems[:20]:
        print(problem)
    return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("kinds", nargs="*", choices=[*FAULTS, []], help="without: both")
    args = parser.parse_args()
    args.kinds = args.kinds or list(FAULTS)
    faults = sum(n for kind in args.kinds for _, n in FAULTS[kind])
    print(f"{faults} faults, up to {faults * SECONDS_PER_FAULT // 60} minutes", flush=True)
    results = [run(kind, args.seed) for kind in args.kinds]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
