#!/usr/bin/env python3
"""Applies under random faults: cuts before and after the write, timeouts, 429, 503, 500, HTML
and cut answers, and kill -9 of the worker. Each run begins with foreign hooks, twins and drift, and
has to end with exactly the wanted hooks and untouched foreign ones.

Usage: worker_faults.py [--seeds N] [--first SEED] [--parallel N]
"""
import argparse
import collections
import concurrent.futures
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from simulator import Simulator, Worker, as_set, stanza, url, wanted  # noqa: E402

NAMES = [f"hook-{i}" for i in range(5)]


def prepare(sim, rng):
    foreign = [sim.add(f"other {i}", f"https://n8n.example/{i}") for i in range(5)]
    for name in NAMES:
        for _ in range(rng.choice([0, 0, 1, 2])):
            sim.add(rng.choice([f"acrelay {name}", "odd"]),
                    rng.choice([url(name), f"https://hooks.acme.example/hook/{name}/old"]))
    return {hook["id"]: as_set(hook) for hook in foreign}


def apply_once(worker, rng):
    process = subprocess.Popen(worker.command("apply"), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    kill_after = rng.uniform(0.02, 1.5) if rng.random() < 0.5 else 120
    try:
        return process.wait(kill_after), 0
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(), 1


def one(seed):
    """Returns what is wrong with this run, or None, and how often the worker was killed."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="acrelay-faults-") as directory:
        sim = Simulator(directory, "--time-factor", "20")
        try:
            before = prepare(sim, rng)
            worker = Worker(directory, sim, "".join(stanza(name) for name in NAMES))
            sim.switch(seed=seed, slow_ms=20 * 11000,  # the worker waits 10 s
                       chaos=rng.choice([50, 150, 300]), put_partial=seed % 2,
                       shuffle=seed % 3 == 0, repeat=seed % 4, total_number=seed % 5 == 0)
            kills = 0
            for _ in range(6):
                code, killed = apply_once(worker, rng)
                kills += killed
                if code == 0:
                    break
            sim.switch(chaos=0)
            if code != 0:
                code = subprocess.run(worker.command("apply"), capture_output=True).returncode
            hooks = sim.hooks()
            ours = collections.Counter(as_set(h) for h in hooks if h["id"] not in before)
            foreign = {h["id"]: as_set(h) for h in hooks if h["id"] in before}
            if code != 0:
                return f"seed {seed}: apply ends with {code}", kills
            if foreign != before:
                return f"seed {seed}: foreign hooks changed", kills
            if ours != collections.Counter(wanted(name) for name in NAMES):
                return f"seed {seed}: {ours}", kills
            return None, kills
        finally:
            sim.stop()


def run(seeds, parallel):
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        results = list(pool.map(one, seeds))
    return [text for text, _ in results if text], sum(kills for _, kills in results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=16)
    given = parser.parse_args()
    bad, kills = run(range(given.first, given.first + given.seeds), given.parallel)
    print("\n".join(bad) or "every run ended with the wanted hooks, foreign ones untouched")
    print(f"{given.seeds} runs, seeds from {given.first}; the worker was killed {kills} times")
    print(f"{given.seeds - len(bad)} passed, {len(bad)} failed")
    sys.exit(1 if bad else 0)
