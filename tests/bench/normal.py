#!/usr/bin/python3
"""What it costs to get from a body to JSON: time and instructions, ours beside others.

normal.py PROGRAM: PROGRAM is the built tests/bench/normal.c. Instructions are callgrind's, as
the difference of two runs, so that start-up does not count; times are medians of five."""
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from urllib.parse import parse_qsl

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = os.path.join(HERE, "..", "..", "src", "event", "samples.txt")
ONE = "update"  # the sample nearest to 700 bytes


def bodies(name):
    for line in open(SAMPLES, encoding="utf-8"):
        if line.strip() and not line.startswith("#"):
            found, body = line.rstrip("\n").split("\t", 1)
            if name in (None, found):
                yield body


def python(rounds, name):
    chosen = list(bodies(name))
    start = time.perf_counter_ns()
    for _ in range(rounds):
        for body in chosen:
            json.dumps(parse_qsl(body, keep_blank_values=True), ensure_ascii=False)
    print(json.dumps({"ns": (time.perf_counter_ns() - start) / rounds / len(chosen)}))


def run(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def nanoseconds(command, rounds, name):
    command = command(rounds, name)
    return statistics.median(run(command)["ns"] for _ in range(5))


def collected(command):
    told = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                           *command], capture_output=True, text=True).stderr
    return int(re.search(r"Collected : (\d+)", told).group(1))


def instructions(command, count, name):
    few, many = (collected(command(rounds, name)) for rounds in (2, 12))
    return (many - few) / 10 / count


def tail(name):
    return [name] if name else []


def contenders(program):
    mine = os.path.abspath(__file__)
    node_qs = "/usr/share/nodejs/qs"
    yield "ours", lambda n, name: [program, str(n), "ours", *tail(name)], 20000, True
    yield "naive cJSON", lambda n, name: [program, str(n), "cjson", *tail(name)], 5000, True
    if shutil.which("php"):
        yield ("PHP parse_str, json_encode",
               lambda n, name: ["php", "-n", f"{HERE}/others.php", SAMPLES, str(n), *tail(name)],
               5000, True)
    else:
        yield "PHP (php-cli is not installed)", None, 0, False
    if shutil.which("node") and os.path.isdir(node_qs):
        os.environ["NODE_PATH"] = "/usr/share/nodejs"
        yield ("Node qs, JSON.stringify",
               lambda n, name: ["node", f"{HERE}/others.js", SAMPLES, str(n), *tail(name)],
               2000, False)
    else:
        yield "Node qs (node-qs is not installed)", None, 0, False
    yield ("Python parse_qsl, json.dumps (flat)",
           lambda n, name: [sys.executable, mine, "--python", str(n), *tail(name)], 500, True)


def table(program, name, title, count):
    print(f"{title}\n  {'':38}{'ns':>9}{'ratio':>8}{'instructions':>15}")
    ours = None
    for label, command, rounds, can_count in contenders(program):
        if not command:
            print(f"  {label}")
            continue
        ns = nanoseconds(command, rounds, name)
        ours = ours or ns
        counted = f"{instructions(command, count, name):,.0f}" if can_count else "-"
        print(f"  {label:38}{ns:9,.0f}{ns / ours:8.1f}{counted:>15}", flush=True)


def main():
    if sys.argv[1] == "--python":
        return python(int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
    program = sys.argv[1]
    every = list(bodies(None))
    [one] = bodies(ONE)
    table(program, None, f"{len(every)} samples, {sum(map(len, every)) // len(every)} bytes "
          "on average, per event:", len(every))
    table(program, ONE, f"the sample '{ONE}', {len(one)} bytes:", 1)
    print("one body of many custom fields:")
    for size in (700, 7000, 70000, 700000, 1048576):
        def ours(rounds, size):
            return [program, str(rounds), "ours", size]
        got = run(ours(7000000 // size + 1, str(size)))
        count = got["bytes"]
        print(f"  {count:>9} bytes {got['ns'] / count:6.2f} ns,"
              f" {instructions(ours, count, str(size)):5.2f} instructions per byte", flush=True)


if __name__ == "__main__":
    main()
