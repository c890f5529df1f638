#!/usr/bin/env python3
"""Three services share the lane of commands, and one of them floods it with 10,000: the shares by
weight while all have work, then how long the other two wait for the result of one command at a
time; and how much of commands.rate was used while work waited.

Usage: commands.py [SECONDS_OF_EACH_PART] [RATE]
"""
import pathlib
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
from commands import Commands  # noqa: E402

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
RATE = float(sys.argv[2]) if len(sys.argv) > 2 else 3
FLOOD = 10000
WEIGHTS = {"crm": 1, "shop": 2, "mail": 1}
SERVICES = "[" + ", ".join(f"{{name: {name}, allow: [contacts], weight: {weight}}}"
                           for name, weight in WEIGHTS.items()) + "]"


def flood(lane):
    pipe = lane.redis.client.pipeline(transaction=False)
    for n in range(FLOOD):
        pipe.xadd("{ac}:commands:crm", {
            "ce_id": f"flood-{n}", "ce_subject": f"contacts/{n % 900 + 1}",
            "ce_type": "com.activecampaign.command.Contact_updateContact",
            "data": '{"contact":{}}'})
    pipe.execute()


def done(lane):
    return {name: len(lane.results(name)) for name in WEIGHTS}


def ms(entry):
    return int(entry.split(b"-")[0])


def shares(lane):
    """Every service has more than can be done."""
    for name in ("shop", "mail"):
        for n in range(int(SECONDS * RATE)):
            lane.put(f"contacts/{n % 900 + 1}", service=name)
    lane.wait_for_results(1, "shop")
    before, start = done(lane), time.monotonic()
    time.sleep(SECONDS)
    seconds = time.monotonic() - start
    counts = {name: count - before[name] for name, count in done(lane).items()}
    total, weights = sum(counts.values()), sum(WEIGHTS.values())
    print(f"shares, all have work: {total} calls in {seconds:.1f} s, "
          f"{100 * total / seconds / RATE:.1f} % of {RATE:g}/s used")
    for name, count in counts.items():
        print(f"  {name:5} {count:5}  {100 * count / total:5.1f} %, weight "
              f"{100 * WEIGHTS[name] / weights:5.1f} %")


def one_by_one(lane, name, end, waits):
    while time.monotonic() < end:
        entry = lane.put(f"contacts/{len(waits) % 900 + 1}", service=name)
        lane.result(entry, name)
        [(written, _)] = lane.redis.client.xrevrange(f"{{ac}}:results:{name}", count=1)
        waits.append(ms(written) - ms(entry.encode()))


def latencies(lane):
    """The flood goes on; the others wait for each command before they send the next."""
    waits, end = {"shop": [], "mail": []}, time.monotonic() + SECONDS
    before, start = sum(done(lane).values()), time.monotonic()
    threads = [threading.Thread(target=one_by_one, args=(lane, name, end, waits[name]))
               for name in waits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    total = sum(done(lane).values()) - before
    print(f"latencies beside the flood, one command at a time: "
          f"{100 * total / seconds / RATE:.1f} % of {RATE:g}/s used")
    for name, found in waits.items():
        found.sort()
        print(f"  {name:5} {len(found):5} commands  p50 {found[len(found) // 2]} ms  "
              f"p99 {found[int(len(found) * 0.99)]} ms  max {found[-1]} ms")


def measure(part):
    with tempfile.TemporaryDirectory(prefix="acrelay-commands-") as directory, Commands(
            directory, SERVICES, f"rate: {RATE:g}", rate=RATE + 1, second=1000,
            times="command-poll=250") as lane:
        flood(lane)
        lane.start()
        lane.wait_for_results(1)
        part(lane)
        calls = lane.simulator.calls()
        print(f"  at most {calls['commands']['max_per_second']} calls of commands in any second, "
              f"{calls['all']['max_per_second']} with the hooks'; "
              f"{lane.redis.client.xlen('{ac}:commands:crm')} of the flood wait", flush=True)


print(f"some {2 * SECONDS + 10} s", flush=True)
measure(shares)
measure(latencies)
