#!/usr/bin/env python3
"""What redis.partitions costs and gains: the same records are published into 1, 2 and 4 partitions
of one Redis, in turns, and CPU and deliveries a second are printed beside those of one partition.

Usage: tests/bench/partitions.py [--rounds N] [--records N]      needs build/tools/ship

One Redis executes one command at a time, so that what is gained here is only that the relay's
threads do not wait for each other; nodes of a cluster come on top. Ends with 1 when a record is not in
its stream exactly once, or when four partitions cost more than MAX: they do not share the reading then.
"""
import argparse
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
import harness  # noqa: E402

NUMBERS = (1, 2, 4)
MAX = 1.6  # what four partitions may cost of one's CPU; read by each of them it would be about 3


def redis_cpu(redis):
    info = redis.client.info("cpu")
    return info["used_cpu_user"] + info["used_cpu_sys"]


def drain(journal, n):
    """Publishes a copy of the journal; deliveries a second, and microseconds of CPU for each."""
    with tempfile.TemporaryDirectory(prefix="acrelay-bench-") as directory, \
            harness.Redis() as redis:
        state = pathlib.Path(directory) / "state"
        shutil.copytree(journal, state)
        before = redis_cpu(redis)
        done = subprocess.run([harness.BUILD / "tools/ship", state, redis.socket, "drain"],
                              env={"SHIP_PARTITIONS": str(n)}, capture_output=True, text=True,
                              check=True)
        records, seconds, cpu = map(float, re.match(
            r"(\d+) records, ([\d.]+) s, ([\d.]+) s CPU", done.stdout).groups())
        tags = ["{ac}"] if n == 1 else [f"{{ac.{i}}}" for i in range(n)]
        there = [redis.client.xlen(f"{tag}:events") for tag in tags]
        if sum(there) != records:
            sys.exit(f"{records} records, {there} in the streams")
        return (records / seconds, cpu / records * 1e6,
                (redis_cpu(redis) - before) / records * 1e6)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=100_000)
    args = parser.parse_args()
    found = {n: [] for n in NUMBERS}
    with tempfile.TemporaryDirectory(prefix="acrelay-bench-") as directory:
        journal = pathlib.Path(directory) / "journal"
        subprocess.run([harness.BUILD / "tools/ship", journal, "/none", "fill", str(args.records)],
                       check=True, stderr=subprocess.DEVNULL)
        for _ in range(args.rounds):
            for n in NUMBERS:
                found[n].append(drain(journal, n))
    middle = {n: [statistics.median(values) for values in zip(*found[n])] for n in NUMBERS}
    print("partitions  deliveries/s       CPU of the relay       CPU of Redis")
    for n in NUMBERS:
        rate, relay, redis = middle[n]
        print(f"{n:10}  {rate:9.0f} {rate / middle[1][0]:5.2f}  "
              f"{relay:9.1f} us {relay / middle[1][1]:5.2f}  "
              f"{redis:9.1f} us {redis / middle[1][2]:5.2f}")
    sys.exit(middle[4][1] > MAX * middle[1][1])


if __name__ == "__main__":
    main()
