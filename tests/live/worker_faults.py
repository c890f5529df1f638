#!/usr/bin/env python3
"""Applies under random faults: cuts before and after the write, timeouts, 429, 503, 500, HTML
and cut answers, lists that are late, empty or lack rows, an ActiveCampaign that stores names,
URLs, events and lists in other words, and kill -9 of the worker. Each run begins with foreign
hooks, twins and drift, and has to end with exactly the wanted hooks, untouched foreign ones, and
nothing more to write.

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
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness  # noqa: E402
from simulator import Simulator, Worker, as_set, stanza, url, wanted  # noqa: E402

SECOND = 50  # ms, that a second of the account's limit takes; times of switches go with it
TIMES = ("worker_lag=200 worker_gone=1000 worker_unclear=300 api-backoff=50 "
         "api-timeout=1000")
NAMES = [f"hook-{i}" for i in range(5)]


def prepare(sim, rng):
    foreign = [sim.add(f"other {i}", f"https://n8n.example/{i}") for i in range(5)]
    for name in NAMES:
        for _ in range(rng.choice([0, 0, 1, 2])):
            sim.add(rng.choice([f"acrelay {name}", "odd"]),
                    rng.choice([url(name), f"https://hooks.acme.example/hook/{name}/old"]),
                    list=5)
    return {hook["id"]: as_set(hook) for hook in foreign}


STORED = {  # switch: what AC makes of (name, url, events, sources, list)
    "entities": lambda n, u, e, s, l: (n.replace("&", "&amp;"), u, e, s, l),
    "add_slash": lambda n, u, e, s, l: (n, u + "/", e, s, l),
    "drop_sms": lambda n, u, e, s, l: (n, u, e - {"sms_reply"}, s, l),
    "drop_api": lambda n, u, e, s, l: (n, u, e, s - {"api"}, l),
    "drop_list": lambda n, u, e, s, l: (n, u, e, s, "0"),
}


def stored(hook, switches):
    for name in switches:
        hook = STORED[name](*hook)
    return hook


def apply_once(worker, rng):
    process = subprocess.Popen(worker.command("apply"), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=worker.environment(TIMES))
    kill_after = rng.uniform(0.02, 0.5) if rng.random() < 0.5 else 120
    try:
        return process.wait(kill_after), 0
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(), 1


def worsen(sim, rng, seed):
    sim.switch(seed=seed, slow_ms=20 * 1100,  # the worker waits 1 s
               chaos=rng.choice([50, 150, 300]), put_partial=seed % 2, shuffle=seed % 3 == 0,
               repeat=seed % 4, total_number=seed % 5 == 0, no_total=seed % 7 == 0,
               lag_ms=20 * rng.choice([0, 0, 100, 1000, 3000]), lag_get=seed % 6 == 0,
               empty_list=rng.choice([0, 0, 1, 2]), lose_rows=rng.choice([0, 0, 1, 2]),
               no_id=rng.choice([0, 0, 1]), answer_as_sent=seed % 9 == 0)


CALM = {"chaos": 0, "lag_ms": 0, "empty_list": 0, "lose_rows": 0, "no_id": 0}


def judge(sim, worker, before, switches):
    """What is wrong in the end, or None. After a loss of the ids without Redis, ActiveCampaign
    may be written to once more."""
    code = 0
    for _ in range(3):  # a creation that was never shown is not repeated at once
        code = worker_code(worker)
        if code == 0:
            break
        time.sleep(1)
    hooks = sim.hooks()
    ours = collections.Counter(as_set(h) for h in hooks if h["id"] not in before)
    foreign = {h["id"]: as_set(h) for h in hooks if h["id"] in before}
    if code != 0:
        return f"apply ends with {code}"
    if foreign != before:
        return "foreign hooks changed"
    expected = collections.Counter()
    for name in NAMES:
        label, *rest = wanted(name, ("subscribe", "sms_reply"), list="5")
        expected[stored((f"R&D {name}", *rest), switches)] += 1
    if {key[1] for key in ours} != {key[1] for key in expected} or (
            sum(ours.values()) != len(NAMES)):
        return f"{sum(ours.values())} of ours, {len(ours - expected)} of them not as expected"
    if ours != expected:
        return f"{ours - expected} instead of {expected - ours}"
    writes = sim.figures()["writes"]
    code = worker_code(worker)
    more = sim.figures()["writes"] - writes
    if code != 0 or more > (0 if worker.has_redis else len(NAMES)):
        return f"{more} writes after the end, code {code}"
    return None


def worker_code(worker):
    done = subprocess.run(worker.command("apply"), capture_output=True, text=True,
                          env=worker.environment(TIMES))
    if done.returncode != 0:
        print(f"apply ends with {done.returncode}: {done.stdout}{done.stderr}", flush=True)
    return done.returncode


def one(seed):
    """Returns what is wrong with this run, or None, and how often the worker was killed."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="acrelay-faults-") as directory:
        redis = harness.Redis(pathlib.Path(directory)) if seed % 2 else None
        sim = Simulator(directory, second=SECOND)
        try:
            before = prepare(sim, rng)
            worker = Worker(directory, sim, "".join(
                stanza(name, "[subscribe, sms_reply]", f", list: 5, label: 'R&D {name}'")
                for name in NAMES), redis_port=redis.port if redis else 1)
            worker.has_redis = redis is not None
            switches = [name for name in STORED if rng.random() < 0.4]
            sim.switch(**dict.fromkeys(switches, 1))
            worsen(sim, rng, seed)
            kills = 0
            for _ in range(6):
                code, killed = apply_once(worker, rng)
                kills += killed
                if code == 0:
                    break
            sim.switch(**CALM)
            wrong = judge(sim, worker, before, switches)
            return wrong and f"seed {seed} ({', '.join(switches)}): {wrong}", kills
        finally:
            sim.stop()
            if redis:
                redis.kill()


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
