#!/usr/bin/env python3
"""Runs every check there is and counts what each really reported.

Usage: tests/run.py [STEP ...]      (all steps, or those whose names begin so)

Each step's whole output goes to build/log/STEP.log; a failing one shows its end. The last
line is "N passed, N failed", added up from the runners' own results: Criterion's synthesis,
pytest's report, or one per plain command. A step that reports no result at all counts as
failed.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOG = ROOT / "build" / "log"
PYTHON = "/usr/bin/python3"
JOBS = f"-j{os.cpu_count() or 1}"


def plain(code, text):
    """A command that is one check: passed when it ends with 0."""
    return (1, 0, 0) if code == 0 else (0, 1, 0)


def criterion(code, text):
    """Adds up the synthesis lines; a runner that ended badly without one is a failure."""
    passed = failed = 0
    for tested, good in re.findall(r"Synthesis: Tested: (\d+) \| Passing: (\d+)", text):
        passed += int(good)
        failed += int(tested) - int(good)
    if code != 0 and failed == 0:
        failed = 1
    return passed, failed, 0


def counted(code, text):
    """Our own scripts end with 'N passed, N failed'."""
    found = re.findall(r"^(\d+) passed, (\d+) failed", text, re.M)
    if not found:
        return 0, 1, 0
    passed, failed = map(int, found[-1])
    return passed, failed or int(code != 0), 0


def junit(name):
    def read(code, text):
        try:
            root = xml.etree.ElementTree.parse(LOG / f"{name}.xml").getroot()
        except (OSError, xml.etree.ElementTree.ParseError):
            return 0, 1, 0
        suites = list(root.iter("testsuite"))
        tests, bad, skipped = (
            sum(int(s.get(k, 0)) for s in suites) for k in ("tests", "failures", "skipped")
        )
        bad += sum(int(s.get("errors", 0)) for s in suites)
        return tests - bad - skipped, bad or int(code not in (0, 5)), skipped

    return read


def pytest_command(name, *paths):
    return [PYTHON, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider",
            f"--junitxml={LOG / name}.xml", *paths]


def make(*words):
    return ["make", "-s", JOBS, *words]


# name, command, reader of its result, seconds it may take
STEPS = [
    ("format", make("format-check"), plain, 60),
    ("layers", make("layers"), plain, 30),
    ("build-gcc", make("all", "tools"), plain, 300),
    ("build-clang", make("all", "CC=clang", "BUILD=build/clang"), plain, 300),
    ("unit-asan", make("-k", "unit", "SAN=address", "BUILD=build/asan"), criterion, 600),
    ("build-asan", make("all", "tools", "SAN=address", "BUILD=build/asan"), plain, 300),
    ("live-asan", ["env", f"ACRELAY_BUILD={ROOT}/build/asan",
                   *pytest_command("live-asan", "tests/live/test_spine.py")],
     junit("live-asan"), 400),
    ("build-tsan", make("all", "tools", "threads", "SAN=thread", "BUILD=build/tsan"), plain, 300),
    ("live-tsan", ["env", f"ACRELAY_BUILD={ROOT}/build/tsan", "TSAN_OPTIONS=exitcode=66",
                   *pytest_command("live-tsan", "tests/live/test_spine.py")],
     junit("live-tsan"), 300),
    ("fuzz", make("fuzz", "SECONDS=5"), plain, 300),
    ("reference", make("reference"), plain, 120),
    ("demo", ["sh", "deploy/try.sh", "demo"], plain, 120),
    ("model", [PYTHON, "tests/model/cursor.py"], counted, 60),
    ("bench", make("bench", "ROUNDS=1", "BENCH_SECONDS=1"), plain, 200),
    ("live", pytest_command("live", "tests/live", "--ignore", "tests/live/test_worker.py"),
     junit("live"), 900),
    ("soak", [PYTHON, "tests/live/soak.py", "--seeds", "10", "--faults", "8"], counted, 600),
    ("live-worker", pytest_command("live-worker", "tests/live/test_worker.py"),
     junit("live-worker"), 600),
]
# Steps that mostly wait, and run beside the one before them.
BESIDE = {"live-worker"}


def run(name, command, reader, seconds):
    log = LOG / f"{name}.log"
    started = time.monotonic()
    with open(log, "wb") as out:
        try:
            code = subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            out.write(f"\ntook more than {seconds} s\n".encode())
            code = -1
    text = log.read_text(errors="replace")
    passed, failed, skipped = reader(code, text)
    if passed + failed + skipped == 0:
        failed = 1
    word = "ok  " if failed == 0 else "FAIL"
    said = [f"{word} {name:14} {passed:5} passed {failed:3} failed {skipped:3} skipped"
            f"  {time.monotonic() - started:6.1f} s"]
    said += [f"     {line}" for line in text.splitlines() if line.startswith("SKIPPED")]
    if failed:
        said += ["     | " + line for line in text.splitlines()[-60:]]
    print("\n".join(said), flush=True)  # at once: another step may print too
    return passed, failed


def groups(steps):
    found = []
    for step in steps:
        if step[0] in BESIDE and found:
            found[-1].append(step)
        else:
            found.append([step])
    return found


def main():
    wanted = sys.argv[1:]
    steps = [s for s in STEPS if not wanted or any(s[0].startswith(w) for w in wanted)]
    if not steps:
        sys.exit(f"no step begins with {wanted}; steps: {' '.join(s[0] for s in STEPS)}")
    LOG.mkdir(parents=True, exist_ok=True)
    results = []
    for group in groups(steps):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            results += pool.map(lambda step: run(*step), group)
    passed, failed = (sum(column) for column in zip(*results))
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
