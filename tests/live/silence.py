#!/usr/bin/env python3
"""What happens to Redis while no delivery comes, and how long it takes until the receiver says so
(`acrelay_redis_up`, `/readyz`), and until the stream is whole again once Redis is back.

    tests/live/silence.py [--rounds 3]      # prints seconds, with the times as they ship"""
import argparse
import json
import statistics
import tempfile
import time

import harness
from fault_proxy import FaultProxy
from harness import Redis

POSTS = 5


class Scene:
    """A receiver that reaches a master, which has a replica, through a proxy; a few deliveries
    are in their stream, and nothing comes any more."""

    def __init__(self, directory):
        self.master, self.replica = Redis(), Redis()
        self.proxy = FaultProxy(self.master.port)
        self.receiver = harness.Receiver(directory, self.proxy.port)
        self.master.client.save()  # the empty one, for who comes back
        for n in range(1, POSTS + 1):
            assert self.receiver.post(f"type=subscribe&contact[id]={n}") == 200
        self.receiver.wait_shipped()

    def close(self):
        self.receiver.kill()
        self.receiver.socket.close()
        self.proxy.__exit__()
        self.master.__exit__()
        self.replica.__exit__()

    def is_told(self):
        status, text = self.receiver.get("/readyz")
        up = self.receiver.metric("acrelay_redis_up")
        return up == 0 and not json.loads(text)["checks"]["redis"] and status == 200

    def is_whole(self):
        try:
            found = [entry["ce_subject"].decode() for entry in self.master.entries()]
        except Exception:  # loading, or not there
            return False
        return (found == [f"contact/{n}" for n in range(1, POSTS + 1)]
                and self.receiver.metric("acrelay_redis_up") == 1
                and self.receiver.metric("acrelay_relay_shipping") == 1)

    # --- what happens, and how it ends; None: Redis is not away in between ---------------------

    def killed(self):
        self.master.kill()
        return self.master.start

    def hung(self):
        self.master.pause()
        return self.master.resume

    def made_a_replica(self):
        self.master.client.replicaof("127.0.0.1", self.replica.port)
        harness.wait_for("the replica's data", lambda: self.master.client.info("replication")
                         ["master_link_status"] == "up")
        return lambda: self.master.client.replicaof("NO", "ONE")

    def unreachable(self):
        self.proxy.hold()

        def heal():
            self.proxy.heal()
            self.proxy.reset()
            self.master.client.flushall()
        return heal

    def refused(self):
        self.proxy.refuse()
        self.proxy.reset()
        return self.proxy.heal

    def emptied(self):
        self.master.client.flushall()

    def rolled_back(self):
        self.master.client.execute_command("DEBUG", "RELOAD", "NOSAVE")

    def replaced(self):
        self.master, self.replica = self.replica, self.master
        self.proxy.target = ("127.0.0.1", self.master.port)
        self.proxy.reset()

    def failed_over(self):
        """To a replica that had stopped before the last deliveries."""
        self.replica.client.replicaof("127.0.0.1", self.master.port)
        harness.wait_for("the replica", lambda: self.replica.client.info("replication")
                         ["master_link_status"] == "up")
        self.replica.client.replicaof("NO", "ONE")
        last = self.replica.client.xrevrange("{ac}:events", count=2)
        self.replica.client.xdel("{ac}:events", *[i for i, _ in last])
        key = self.replica.client.keys("{ac}:cursor:*")[0]
        self.replica.client.hset(key, mapping={"sequence": "%020d" % (POSTS - 2), "check": ""})
        self.replaced()


AWAY = ["killed", "hung", "made_a_replica", "unreachable", "refused"]
LOST = ["emptied", "rolled_back", "replaced", "failed_over"]


def measure(directory, fault, seconds=30):
    """Seconds until it is told (0 when Redis is never away), and from its end until all is
    whole."""
    scene = Scene(directory)
    try:
        start = time.monotonic()
        end = getattr(scene, fault)()
        told = 0
        if end:
            harness.wait_for("the receiver says so", scene.is_told, seconds)
            told = time.monotonic() - start
            end()
            start = time.monotonic()
        harness.wait_for("the stream is whole", scene.is_whole, seconds)
        return told, time.monotonic() - start
    except AssertionError as e:
        raise AssertionError(f"{fault}: {e}\n{scene.receiver.read_log()}") from e
    finally:
        scene.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(f"{'':16} {'noticed (s)':>22} {'whole again (s)':>22}\n"
          f"{'':16} {'median':>12} {'most':>9} {'median':>12} {'most':>9}")
    for fault in AWAY + LOST:
        found = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="acrelay-silence-") as directory:
                found.append(measure(directory, fault))
        told, whole = zip(*found)
        seen = (f"{statistics.median(told):12.2f} {max(told):9.2f}" if fault in AWAY
                else f"{'-':>12} {'-':>9}")
        print(f"{fault.replace('_', ' '):16} {seen} {statistics.median(whole):12.2f} "
              f"{max(whole):9.2f}", flush=True)


if __name__ == "__main__":
    main()
