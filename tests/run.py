#!/usr/bin/env python3
"""Runs every check there is and counts what each really reported.

Usage: tests/run.py [--long] [STEP ...]   (all steps, or those whose names begin so;
--long: the soaks, benchmarks and analyses that are not part of `make test`; it says first how
long they take)

Each step's whole output goes to build/log/STEP.log; a failing one shows its end, and what failed
in it is named once more at the end of all. The last line is "N passed, N failed", added up from
the runners' own results: Criterion's synthesis, pytest's report, or one per plain command. A step
that reports no result at all counts as failed.
"""
import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import typing
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


def pytest_command(name, *words):
    return [PYTHON, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider",
            f"--junitxml={LOG / name}.xml", *words]


def make(*words):
    return ["make", "-s", JOBS, *words]


HOLES = ("tests/live/test_attacks.py::"
         "test_acrelay_does_not_reach_the_known_holes_of_civetweb")


def sanitized(name, kind, *env):
    """The spine, with real processes, under a sanitizer."""
    return Step(name, kind,
                ["env", f"ACRELAY_BUILD={ROOT}/build/{kind}", *env,
                 *pytest_command(name, "-n", "3", "tests/live/test_spine.py", HOLES)],
                junit(name), 300)


class Step(typing.NamedTuple):
    name: str
    chain: str    # "first": alone; then LANES chains at a time, each one step after the other
    command: list
    reader: typing.Callable
    seconds: int  # that it may take; on a busy machine BUSY times as long


BUSY = 3


# Chains at a time: half of the steps compute, half of them wait.
LANES = 3

# Those of the worker first: they wait longest.
LIVE = sorted((path for path in (ROOT / "tests/live").glob("test_*.py")
               if path.name != "test_spine.py"),
              key=lambda path: (not path.name.startswith("test_worker"), path.name))

# The short form unless SYSTEMD=whole, which takes the times of the units as they are, and goes
# through acrelay setup.
SYSTEMD = (["--whole"] if os.environ.get("SYSTEMD") == "whole"
           else ["--ignore", "tests/systemd/test_setup.py"])

STEPS = [
    Step("build-gcc", "first", make("all", "tools", "man"), plain, 300),
    # the longest chains first, but for what is seen at once
    Step("live", "live", pytest_command("live", "-n", "8", *LIVE), junit("live"), 600),
    Step("format", "form", make("format-check"), plain, 60),
    Step("layers", "form", make("layers"), plain, 30),
    Step("build-asan", "asan", make("all", "tools", "units", "SAN=address", "BUILD=build/asan"),
         plain, 600),
    Step("unit-asan", "asan", make("-k", "unit", "SAN=address", "BUILD=build/asan"),
         criterion, 450),
    sanitized("live-asan", "asan"),
    # one browser, one test after the other
    Step("browser", "browser", pytest_command("browser", "tests/browser"), junit("browser"),
         300),
    Step("build-tsan", "tsan", make("all", "tools", "threads", "SAN=thread", "BUILD=build/tsan"),
         plain, 600),
    sanitized("live-tsan", "tsan", "TSAN_OPTIONS=exitcode=66"),
    Step("systemd", "systemd", pytest_command("systemd", "tests/systemd", *SYSTEMD),
         junit("systemd"), 600),
    Step("container", "container", pytest_command(
        "container", "-n", "2", "tests/container", "--ignore", "tests/container/test_image.py"),
         junit("container"), 200),
    Step("fuzz", "fuzz", make("fuzz", "SECONDS=2"), plain, 300),
    Step("reference", "reference", make("reference"), plain, 120),
    Step("soak", "soak", [PYTHON, "tests/live/soak.py", "--seeds", "2", "--faults", "8"],
         counted, 200),
    Step("soak-partitions", "soak",
         [PYTHON, "tests/live/soak.py", "--seeds", "2", "--faults", "8", "--receivers", "2",
          "--partitions", "4"], counted, 200),
    Step("soak-commands", "soak", [PYTHON, "tests/live/commands_soak.py", "--seeds", "8",
                                   "--parallel", "2"], counted, 200),
    Step("demo", "demo", ["sh", "deploy/try.sh", "demo"], plain, 120),
    Step("model", "model", [PYTHON, "tests/model/cursor.py"], counted, 60),
]

# What `make test` has no time for, at full scale. Each is bounded: `seconds` is what it may take.
LONG = [
    Step("live-full", "long",
         ["env", "ACRELAY_FULL=1", *pytest_command(
             "live-full", "-n", "2", "tests/live/test_readme.py",
             "tests/live/test_nth_reply.py", "tests/live/test_relay.py",
             "tests/live/test_worker.py::test_one_worker_writes_at_a_time")],
         junit("live-full"), 600),
    Step("soak", "long", make("soak"), counted, 1800),
    Step("soak-partitions", "long", make("soak-partitions", "SEEDS=50"), counted, 1800),
    Step("soak-worker", "long", make("soak-worker", "WORKER_RUNS=100"), counted, 1800),
    Step("soak-commands", "long", make("soak-commands", "SEEDS=500"), counted, 1800),
    Step("failovers", "long", make("failovers"), counted, 1200),
    Step("soak-malloc", "long", make("soak-malloc"), plain, 900),
    Step("soak-normal", "long", make("soak-normal"), plain, 900),
    Step("fuzz", "long", make("fuzz", "SECONDS=60"), plain, 600),
    Step("memcheck", "long", make("memcheck"), plain, 600),
    Step("analyse", "long", make("analyse"), plain, 600),
    Step("bench", "long", make("bench"), plain, 600),
    Step("bench-normal", "long", make("bench-normal"), plain, 300),
    Step("bench-commands", "long", make("bench-commands"), plain, 300),
    Step("bench-ids", "long", make("bench-ids"), counted, 300),
    Step("bench-backlog", "long", make("bench-backlog"), plain, 600),
]


RUNNING = set()


def stop(process):
    """Ends a step and all that it started: asks, which pytest answers with what it was at, then
    kills."""
    for how in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def interrupted(*_):
    for process in list(RUNNING):
        stop(process)
    os._exit(130)


def execute(step, out):
    """Its exit code; -1 when it took too long."""
    process = subprocess.Popen(step.command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, start_new_session=True)
    RUNNING.add(process)
    try:
        return process.wait(BUSY * step.seconds)
    except subprocess.TimeoutExpired:
        stop(process)
        out.write(f"\ntook more than {BUSY * step.seconds} s\n".encode())
        return -1
    finally:
        RUNNING.discard(process)


# What the runners call a failed test, and what tells why.
CULPRIT = re.compile(r"^(FAILED|ERROR) |^\[FAIL\]|\[ *CRASH|Assertion Failed|Unexpected signal"
                     r"|ERROR: (\w+Sanitizer|libFuzzer)|: runtime error: |WARNING: ThreadSanitizer"
                     r"|^\S+:\d+:\d+: (fatal )?error: |^seed \d+: \d+ problems|^NOT OK "
                     r"|^took more than |^\S+: \*\*\* ")
FAILED = []  # such lines of every step, each with the step's name


def culprits(step, text):
    """Remembers what failed for the end; where no runner named it, the step alone."""
    found = [line[:200] for line in text.splitlines() if CULPRIT.search(line)]
    FAILED.extend(f"failed: {step.name}: {line}" for line in found[:30] or ["see its log"])


def run(step):
    log = LOG / f"{step.name}.log"
    started = time.monotonic()
    with open(log, "ab") as out:
        out.truncate(0)
        code = execute(step, out)
    text = log.read_text(errors="replace")
    passed, failed, skipped = step.reader(code, text)
    if passed + failed + skipped == 0:
        failed = 1
    word = "ok  " if failed == 0 else "FAIL"
    lines = [f"{word} {step.name:14} {passed:5} passed {failed:3} failed {skipped:3} skipped"
             f"  {time.monotonic() - started:6.1f} s"]
    lines += [f"     {line}" for line in text.splitlines() if line.startswith("SKIPPED")]
    if failed:
        culprits(step, text)
        lines += ["     | " + line for line in text.splitlines()[-60:]]
    print("\n".join(lines), flush=True)  # at once: another step may print too
    return passed, failed


def run_chains(steps):
    """Those of chain "first" one by one, then some chains at a time, in the order of the list."""
    chains = {}
    for step in steps:
        chains.setdefault(step.chain, []).append(step)
    results = [run(step) for step in chains.pop("first", [])]
    with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
        for chain in pool.map(lambda chain: [run(step) for step in chain], chains.values()):
            results += chain
    return results


def main():
    wanted = sys.argv[1:]
    steps = STEPS
    if wanted[:1] == ["--long"]:
        steps, wanted = LONG, wanted[1:]
    steps = [s for s in steps if not wanted or any(s.name.startswith(w) for w in wanted)]
    if steps and steps[0].chain == "long":
        print(f"at most {sum(s.seconds for s in steps) // 60} minutes, one after the other:",
              ", ".join(f"{s.name} {s.seconds // 60}" for s in steps), flush=True)
    if not steps:
        sys.exit(f"no step begins with {wanted}; see tests/run.py for their names")
    LOG.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGINT, interrupted)
    passed, failed = (sum(column) for column in zip(*run_chains(steps)))
    print(*FAILED, f"{passed} passed, {failed} failed", sep="\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
