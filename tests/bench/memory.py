#!/usr/bin/env python3
"""What an entry costs in Redis's memory and Redis's CPU, for the capacity table: fills a
journal with deliveries of about 700 bytes and drains it into a private redis-server.

Usage: tests/bench/memory.py [ENTRIES]          needs build/tools/ship
"""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "live"))
from harness import Redis  # noqa: E402

SHIP = ROOT / "build" / "tools" / "ship"


def cpu(redis):
    info = redis.client.info("cpu")
    return info["used_cpu_user"] + info["used_cpu_sys"]


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="acrelay-memory-") as place, Redis() as redis:
        subprocess.run([SHIP, place, redis.socket, "fill", str(count)], check=True)
        memory, used = redis.client.info("memory")["used_memory"], cpu(redis)
        said = subprocess.run([SHIP, place, redis.socket, "drain"], check=True,
                              capture_output=True, text=True).stdout.strip()
        used, after = cpu(redis) - used, redis.client.info("memory")["used_memory"]
        keys = {key.decode(): redis.client.memory_usage(key, samples=0)
                for key in sorted(redis.client.keys())}
        events = redis.client.xlen("{ac}:events")
        _, fields = redis.client.xrange("{ac}:events", count=1)[0]
    assert events == count, f"{events} entries of {count}"
    values = sum(map(len, fields.values()))
    print(f"relay: {said}")
    print(f"redis: {used / count * 1e5:.2f} s CPU per 100,000 entries")
    print(f"memory: {(after - memory) / count:.0f} bytes per entry in all "
          f"(its values have {values} bytes, data {len(fields[b'data'])} of them)")
    for key, size in keys.items():
        print(f"  {key.split(':cursor:')[0]}: {size / count:.1f} bytes per entry")


if __name__ == "__main__":
    main()
