#!/usr/bin/env python3
"""From 5 foreign hooks to 200 hooks of ours with one apply, then a second one: writes, refused
requests, and how much of worker.api_rate was used while work waited.

Usage: lane.py [HOOKS] [RATE]
"""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
from simulator import Simulator, Worker, stanza  # noqa: E402

count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
rate = float(sys.argv[2]) if len(sys.argv) > 2 else 4
with tempfile.TemporaryDirectory(prefix="acrelay-lane-") as directory:
    sim = Simulator(directory)
    foreign = [sim.add(f"other {i}", f"https://n8n.example/{i}") for i in range(5)]
    worker = Worker(directory, sim, "".join(stanza(f"hook-{i}") for i in range(count)), rate=rate)
    print(worker.run("apply").strip())
    log = sim.log()
    seconds = (log[-1]["us"] - log[0]["us"]) / 1e6
    used = (len(log) - 1) / seconds / rate
    before = sim.figures()
    print(worker.run("apply").strip())
    after = sim.figures()
    untouched = [{**h, "dead": False} for h in foreign] == sim.hooks()[:5]
    print(f"{len(log)} requests in {seconds:.1f} s: {100 * used:.1f} % of {rate:g}/s used; "
          f"{after['throttled']} were refused as too many")
    print(f"writes: {before['writes']} by the first apply, "
          f"{after['writes'] - before['writes']} by the second; foreign hooks "
          f"{'untouched' if untouched else 'CHANGED'}")
    sim.stop()
