#!/usr/bin/env python3
"""The ledger under random faults: numbered deliveries while everything around them breaks, in an
order that a seed gives. At the end every delivery that was answered 200 is in the stream exactly
once by ce_id, in order, and nothing stands there that was not sent.

    tests/live/soak.py --seeds 200 [--first 1] [--faults 12] [--receivers 2 --partitions 4]

Each run has two redis-servers (one replicates the other), a proxy of ours between the receiver
and the master, a wall clock that can be set for the receiver alone, and, as root, a small file
system of its own for the journal. A record that is cut off must be in its stream or a dead letter
with its bytes; what Redis loses while nothing is posted must be back without a post. A run that fails
prints its seed; the same seed gives the same faults in the same order."""
import argparse
import collections
import http.client
import itertools
import json
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import redis

import harness
import ledger
from fault_proxy import FaultProxy

# A segment that a kill left is 16 MiB, and journal.max half of the disk: so many kills as a run
# may have do not take the room of published segments, which Redis could be refilled with.
DISK_MIB = 512
CUT_OVER, POISON = 300_000, 400_000  # bytes
TAGS = ["{ac}"] + [f"{{ac.{i}}}" for i in range(4)]
TIMES = "cursor-check=1000 refused-wait=50"


class Driver(ledger.Driver):
    """Posts numbers until it is told to stop, to all receivers."""

    def __init__(self, receivers):
        super().__init__(receivers[0], 1 << 30)
        self.receivers = itertools.cycle(receivers)
        self.stopping = self.paused = False

    def port(self):
        with self.lock:
            return next(self.receivers).port

    def take(self):
        time.sleep(0.01)  # some 700 a second in all: the faults take their time
        while self.paused and not self.stopping:
            time.sleep(0.01)
        return None if self.stopping else super().take()

    def take_last(self):
        with self.lock:
            self.next += 1
            return self.next - 1


class World:
    def __init__(self, directory, seed, receivers=1, partitions=1):
        self.random = random.Random(seed)
        self.directory = pathlib.Path(directory)
        self.master, self.replica = (harness.Redis(self.made(name)) for name in ("one", "two"))
        self.replicate()
        self.proxy = FaultProxy(self.master.port)
        self.disk = self.mount(receivers)
        self.wall = self.directory / "wall"
        self.wall.write_text("0")
        self.partitions = partitions
        self.receivers = [self.make_receiver(i) for i in range(receivers)]
        self.receiver = self.receivers[0]  # the next fault's
        self.poison = set()
        self.driver = Driver(self.receivers)
        self.was_full = False
        self.started_again = 0
        self.done = []

    def make_receiver(self, i):
        receiver = harness.Receiver(self.made(f"receiver{i}"), self.proxy.port,
                                    redis=f", partitions: {self.partitions}")
        receiver.state = receiver.directory / "state"
        receiver.kill()
        if self.disk:
            receiver.force = True  # it is a tmpfs
            receiver.state = self.disk / f"state{i}"
            receiver.config.write_text(receiver.config.read_text().replace(
                f"{receiver.directory}/state", str(receiver.state)))
        receiver.environment = (f"LD_PRELOAD={harness.BUILD}/preload/clocks.so "
                                f"WALL_FILE={self.wall} ACRELAY_TEST_TIMES='{TIMES}'")
        receiver.start()
        return receiver

    def streams(self, stream="events"):
        """The entries of each partition, whatever their number was."""
        return [self.master.entries(f"{tag}:{stream}") for tag in TAGS]

    def entries(self, stream="events"):
        return [e for entries in self.streams(stream) for e in entries]

    def made(self, name):
        (self.directory / name).mkdir()
        return self.directory / name

    def mount(self, receivers):
        place = self.made("disk")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB * receivers}m", "none", place],
                              capture_output=True)
        return place if done.returncode == 0 else None

    def replicate(self):
        self.replica.client.replicaof("127.0.0.1", self.master.port)
        harness.wait_for("the replica", lambda: self.replica.client.info("replication").get(
            "master_link_status") == "up")

    def end(self):
        for process in (*self.receivers, self.master, self.replica):
            if process.process.poll() is None:
                process.kill()
        self.proxy.stopping = True
        self.proxy.listener.close()
        self.proxy.reset()
        if self.disk:
            subprocess.run(["umount", "-l", self.disk], check=False)

    def pause(self, least=0.02, most=0.4):
        time.sleep(self.random.uniform(least, most))
        self.supervise()

    def supervise(self):
        """As the service manager would: one that cannot sync what it finds at its start ends."""
        for receiver in self.receivers:
            process = receiver.process
            if process.poll() == 1 and "acrelayd: cannot sync" in receiver.read_log()[-200:]:
                self.started_again += 1
                receiver.process = receiver.spawn()

    def is_ready(self):
        self.supervise()
        return all([r.is_ready() for r in self.receivers])

    def wait_shipped(self, seconds):
        for receiver in self.receivers:
            receiver.wait_shipped(seconds)

    def save(self):
        """A replica that comes back makes the master save in the background, which ends soon."""
        def is_saved():
            try:
                return self.master.client.save()
            except redis.ResponseError as error:
                assert "in progress" in str(error), error
        harness.wait_for("a save", is_saved)

    # --- faults -------------------------------------------------------------------------------

    def fault_kill_receiver(self):
        self.receiver.kill()
        self.receiver.process = self.receiver.spawn()

    def fault_restart_receiver(self):
        old, self.receiver.process = self.receiver.process, self.receiver.spawn()
        old.terminate()
        old.wait(40)

    def fault_reload(self):
        self.receiver.process.send_signal(signal.SIGHUP)

    def fault_kill_redis(self):
        """It comes back with what it had at its last SAVE, if any."""
        if self.random.random() < 0.5:
            self.save()
            self.pause()
        self.master.kill()
        self.pause()
        self.master.start()

    def fault_roll_back(self):
        self.save()
        self.pause()
        self.master.client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        # DEBUG RELOAD is not told to replicas, which a real restart is: start it anew.
        self.replica.kill()
        (self.replica.directory / "dump.rdb").unlink(missing_ok=True)
        self.replica.start()
        self.replicate()

    def fault_flush(self):
        self.master.client.flushall()

    def fault_fail_over(self):
        """To a replica that missed the last moments."""
        self.replica.client.replicaof("NO", "ONE")
        self.pause()
        self.master.kill()
        self.master, self.replica = self.replica, self.master
        self.proxy.target = ("127.0.0.1", self.master.port)
        self.proxy.reset()
        self.replica.start()
        self.replicate()

    def fault_read_only(self):
        self.master.client.replicaof("127.0.0.1", 1)
        self.pause()
        self.master.client.replicaof("NO", "ONE")

    def fault_out_of_memory(self):
        self.master.client.config_set("maxmemory", "1")
        self.pause()
        self.master.client.config_set("maxmemory", "0")

    def fault_script_flush(self):
        self.master.client.script_flush()

    def fault_busy(self):
        self.master.client.execute_command("DEBUG", "SLEEP", str(self.random.uniform(0.05, 0.4)))

    def fault_frozen(self):
        self.master.process.send_signal(signal.SIGSTOP)
        self.pause()
        self.master.process.send_signal(signal.SIGCONT)

    def fault_clients_killed(self):
        self.master.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def fault_cut_request(self):
        self.proxy.cut_after(self.random.randrange(1, 40000))
        self.pause()

    def fault_cut_answer(self):
        self.proxy.cut_answer_after(self.random.randrange(1, 200))
        self.pause()

    def fault_swallow_answers(self):
        self.proxy.swallow_answers()
        self.pause()
        self.proxy.heal()
        self.proxy.reset()

    def fault_delay(self):
        self.proxy.delay(self.random.uniform(0.01, 0.1))
        self.pause()
        self.proxy.heal()

    def fault_reset(self):
        self.proxy.reset()

    def fault_refuse(self):
        self.proxy.refuse()
        self.proxy.reset()
        self.pause()
        self.proxy.heal()

    def fault_idle_loss(self):
        """Redis loses all, or what came since its last SAVE, while nothing is posted."""
        self.driver.paused = True
        harness.wait_for("acrelayd", self.is_ready)
        self.wait_shipped(60)
        before = {e["ce_id"] for e in self.entries()}
        way = self.random.choice(["flush", "kill", "roll back"])
        if way == "flush":
            self.master.client.flushall()
        elif way == "kill":
            self.master.kill()
            (self.master.directory / "dump.rdb").unlink(missing_ok=True)
            self.pause()
            self.master.start()
        else:
            self.fault_roll_back()

        def is_back():
            self.supervise()
            missing = before - {e["ce_id"] for e in self.entries()}
            # With a disk that was full the oldest may be gone, which is told.
            told = gaps(self) + len(self.letters()) if self.was_full or self.poison else 0
            return len(missing) <= told

        harness.wait_for(f"what was lost ({way}) without a post", is_back, 60)
        self.driver.paused = False

    def fault_cut_record(self):
        """For the rest of the run, or until another fault heals the proxy."""
        self.proxy.cut_over(CUT_OVER)
        number = self.driver.take_last()
        self.poison.add(number)
        body = f"type=subscribe&contact[id]={number}&x=" + "y" * POISON
        try:
            self.driver.note(number, self.receiver.post(body))
        except (OSError, http.client.HTTPException):
            self.driver.note(number, None)

    def letters(self):
        """Numbers of the dead letters whose bytes are kept."""
        found = set()
        for entry in self.entries("dead"):
            if entry["reason"] == b"redis":
                bodies = [r.state / "bad" / (entry["ce_id"].decode() + ".body")
                          for r in self.receivers]
                kept = [body.read_text() for body in bodies if body.exists()]
                text = kept[0] if kept else entry["raw"].decode()
                assert len(text) > POISON, entry
                found.add(int(text.split("contact[id]=")[1].split("&")[0]))
        return found

    def fault_wall_clock(self):
        """It steps by seconds to years, and half of the time back again."""
        by = self.random.choice([30, 3600, 8 * 86400, 400 * 86400])
        self.wall.write_text(str(by * self.random.choice([-1, 1])))
        self.pause()
        if self.random.random() < 0.5:
            self.wall.write_text("0")

    def fault_full_disk(self):
        if not self.disk:
            return
        self.was_full = True
        filler = self.disk / "filler"
        try:
            with open(filler, "wb", buffering=0) as out:
                while True:
                    out.write(b"x" * 65536)
        except OSError:
            pass
        self.pause()
        filler.unlink(missing_ok=True)

    def fault_failing_syncs(self):
        if not shutil.which("strace"):
            return
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-p", str(self.receiver.process.pid), "-e", "trace=pwritev2",
             "-e", f"inject=pwritev2:error=EIO:when={self.random.randrange(1, 4)}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pause(0.1)
        tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(20)
        except subprocess.TimeoutExpired:  # strace hangs now and then; its end lets go too
            tracer.kill()
            tracer.wait()


    # --- with partitions ----------------------------------------------------------------------

    def partition_fault_change(self):
        self.receiver.kill()
        text = self.receiver.config.read_text()
        self.receiver.config.write_text(re.sub(
            r"partitions: \d+", f"partitions: {self.random.choice([1, 2, 4])}", text))
        self.receiver.process = self.receiver.spawn()

    def partition_fault_wrong_type(self):
        """One of them is refused."""
        key = self.random.choice(TAGS) + ":seen:state"
        self.master.client.delete(key)
        self.master.client.set(key, "a string")
        self.pause()
        self.master.client.delete(key)

    def partition_fault_lost(self):
        """One of them goes back to nothing, alone and in one step: a cursor that was made meanwhile
        would stay without its entries."""
        self.master.client.eval(
            "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end",
            0, self.random.choice(TAGS) + ":*")


KINDS = sorted(name for name in dir(World) if name.startswith("fault_"))
PARTITION_KINDS = sorted(name for name in dir(World) if name.startswith("partition_fault_"))


def gaps(world):
    """How many sequences were told as lost."""
    count = 0
    for entry in world.entries("dead"):
        if entry["reason"] == b"redis":
            continue
        assert entry["reason"] == b"gap", entry
        numbers = [int(word) for word in entry["detail"].replace(b"-", b" ").split()
                   if word.isdigit()]
        count += max(numbers) - min(numbers) + 1 if numbers else 1
    return count


def check(world, driver):
    problems = ledger.check(world.streams(), driver.acknowledged, driver.next)
    letters = world.letters()
    if not letters <= world.poison:
        return [f"dead letters of deliveries that nothing was wrong with: {letters}"]
    problems = [p for p in problems
                if p not in {f"delivery {n} was answered 200 and is not there" for n in letters}]
    twice = letters & {int(json.loads(e["data"])["contact"]["id"]) for e in world.entries()}
    problems += [f"delivery {n} is in its stream and a dead letter" for n in twice]
    lost = [p for p in problems if "is not there" in p]
    # A full disk takes the room of published segments; what Redis then loses is told as a gap.
    if world.was_full and lost and len(lost) <= gaps(world):
        problems = [p for p in problems if p not in lost]
    return problems


def run(seed, args, directory, totals):
    world = World(directory, seed, args.receivers, args.partitions)
    kinds = KINDS + PARTITION_KINDS * (args.partitions > 1)
    try:
        driver = world.driver
        driver.start()
        for _ in range(args.faults):
            world.pause()
            kind = world.random.choice(kinds)
            world.receiver = world.random.choice(world.receivers)
            totals[kind.replace("fault_", "").replace("_", " ")] += 1
            world.done.append(kind.replace("fault_", ""))
            getattr(world, kind)()
        driver.stopping = True
        driver.join()
        world.proxy.heal()
        harness.wait_for("acrelayd", world.is_ready)
        world.wait_shipped(120)
        # Redis may have lost something the receiver has not looked for yet
        world.proxy.reset()
        for receiver in world.receivers:
            harness.wait_for("a good post", lambda: receiver.post(
                "type=subscribe&contact[id]=%d" % driver.take_last()) == 200)
        world.wait_shipped(120)
        totals["answered 200"] += len(driver.acknowledged)
        totals["failed"] += driver.failed
        totals["started again after a failing sync at its start"] += world.started_again
        # The post shows what its own partition has lost; the others look again within seconds.
        until = time.monotonic() + 20
        while (problems := check(world, driver)) and time.monotonic() < until:
            time.sleep(0.2)
        return problems + ["faults: " + " ".join(world.done)] if problems else []
    finally:
        world.driver.stopping = True
        world.end()


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("seeds", 10), ("first", 1), ("faults", 12), ("receivers", 1),
                          ("partitions", 1)):
        parser.add_argument("--" + name, type=int, default=default)
    args = parser.parse_args()
    passed, failed, totals = 0, [], collections.Counter()
    for seed in range(args.first, args.first + args.seeds):
        with tempfile.TemporaryDirectory(prefix="acrelay-soak-") as directory:
            try:
                problems = run(seed, args, directory, totals)
            except AssertionError as error:
                problems = [str(error)]
        passed += not problems
        if problems:
            failed.append(seed)
            print(f"seed {seed}: {len(problems)} problems", *problems[:4], problems[-1],
                  sep="\n  ", flush=True)
        elif sys.stdout.isatty():
            print(f"seed {seed} passed", end="\r", flush=True)
        elif seed % 10 == 0:
            print(f"seed {seed}: {passed} passed, {len(failed)} failed so far", flush=True)
    for kind, count in sorted(totals.items()):
        print(f"{count:8} {kind}")
    if failed:
        print("seeds that failed:", *failed)
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
