#!/usr/bin/env python3
"""Runs the live suite on each Redis and Valkey that the README names.

Usage: tests/servers.py [SERVER ...] [PYTEST-WORD ...]    (all servers, the whole live suite)

For example `servers.py redis-8.0 valkey-8.1 tests/live/test_relay.py -k stream`. A server's package
comes from the archive that this machine's own apt sources name, with every library that it needs,
and is unpacked below build/servers, where it stays. It runs with the C library of its own Debian:
nothing is installed, root is not needed, and Debian 12 and 13 can both run all of them. pytest's
output goes to build/log/SERVER.log; skipped and failed tests are shown.
"""
import os
import re
import shutil
import subprocess
import sys
import time

from roots.run import archive_settings, output, sources
from run import LOG, ROOT, junit, pytest_command

PLACE = ROOT / "build/servers"
# the suite of Debian that has it, and its packages
SERVERS = {
    "redis-7.0": ("bookworm", "redis-server", "redis-tools"),
    "valkey-8.0": ("bookworm-backports", "valkey-server", "valkey-tools"),
    "redis-8.0": ("trixie", "redis-server", "redis-tools"),
    "valkey-8.1": ("trixie", "valkey-server", "valkey-tools"),
}
MINUTES = 20  # that the suite may take on one server
USUAL = 5  # that it takes on 2 cores

APT = """
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{place}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{place}/state";
Dir::State::status "/dev/null";
Dir::Cache "{place}/cache";
APT::Install-Recommends "false";
APT::Sandbox::User "";
"""


# --- a server ---------------------------------------------------------------------------------

def download(place, suite, packages):
    """The packages and all that they need, as if nothing were installed. Returns the files."""
    stable = suite.removesuffix("-backports")
    wanted = sources(stable)
    if suite != stable:
        wanted += [(uri, suite, component) for uri, release, component in wanted
                   if release == stable]
    for directory in ("state/lists/partial", "cache/archives/partial"):
        (place / directory).mkdir(parents=True)
    (place / "sources.list").write_text("".join(f"deb {' '.join(line)}\n" for line in wanted))
    (place / "apt.conf").write_text(archive_settings() + APT.format(place=place))
    with open(place / "apt.log", "wb") as log:
        for command in (["update"], ["install", "--yes", "--download-only", *packages]):
            subprocess.run(["apt-get", "-q", *command], check=True, stdout=log, stderr=log,
                           env={**os.environ, "APT_CONFIG": str(place / "apt.conf")})
    return list((place / "cache/archives").glob("*.deb"))


def write_program(path, root, program):
    """A script that runs a program of that root with the root's own loader and libraries."""
    [loader] = root.glob("**/*-linux-gnu*/ld-linux*.so.*")
    libraries = ":".join(str(d) for d in (root / "lib", root / "usr/lib")
                         for d in d.glob("*-linux-gnu*"))
    path.write_text(f"#!/bin/sh\nexec '{loader}' --inhibit-cache --library-path '{libraries}' \\\n"
                    f"    --argv0 \"$0\" '{root}/usr/bin/{program}' \"$@\"\n")
    path.chmod(0o755)


def make(name):
    """Unpacks a server unless it is there. Returns the directory of redis-server and redis-cli,
    which are Valkey's if it is one."""
    suite, *packages = SERVERS[name]
    place = PLACE / name
    programs, root = place / "bin", place / "root"
    if programs.exists():
        return programs
    print(f"{name}: downloading it from {suite}", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    for file in download(place, suite, packages):
        subprocess.run(["dpkg-deb", "--extract", file, root], check=True)
    shutil.rmtree(place / "cache")
    shutil.rmtree(place / "state")
    unfinished = place / "bin.new"
    unfinished.mkdir()
    for program in ("server", "cli"):
        write_program(unfinished / f"redis-{program}", root, f"{name.split('-')[0]}-{program}")
    unfinished.rename(programs)
    return programs


def version(programs):
    return re.search(r"v=(\S+)", output(programs / "redis-server", "--version"))[1]


# --- the suite --------------------------------------------------------------------------------

def run(name, programs, words):
    """Returns how many passed, failed and were skipped."""
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}",
                   "ACRELAY_REDIS_SERVER": str(programs / "redis-server")}
    (LOG / f"{name}.xml").unlink(missing_ok=True)
    with open(LOG / f"{name}.log", "w+") as log:
        try:
            code = subprocess.run(
                pytest_command(name, "-n", "7", *words), cwd=ROOT, env=environment, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, timeout=MINUTES * 60).returncode
        except subprocess.TimeoutExpired:
            log.write(f"\ntook more than {MINUTES} minutes\n")
            code = -1
    lines = (LOG / f"{name}.log").read_text(errors="replace").splitlines()
    passed, failed, skipped = junit(name)(code, None)
    for line in lines[-60:] if failed else [x for x in lines if x.startswith("SKIPPED")]:
        print(f"     {line}")
    return passed, failed or int(passed == 0), skipped


def try_server(name, words):
    """Prints the server's line. Returns how many passed and failed."""
    programs, started = make(name), time.monotonic()
    found, kind = version(programs), name.split("-")[0]
    if not found.startswith(name.removeprefix(f"{kind}-") + "."):
        sys.exit(f"servers: Debian has {kind} {found} now where {name} was: change SERVERS here, "
                 "and README.md")
    passed, failed, skipped = run(name, programs, words)
    print(f"{kind} {found}: {passed} passed, {failed} failed, {skipped} skipped"
          f"  ({time.monotonic() - started:.0f} s)", flush=True)
    return passed, failed


def main():
    words = sys.argv[1:]
    end = next((i for i, w in enumerate(words) if w.startswith(("tests/", "-"))), len(words))
    names, words = words[:end] or list(SERVERS), words[end:]
    if not SERVERS.keys() >= set(names):
        sys.exit(f"servers: unknown {set(names) - SERVERS.keys()}; known are {' '.join(SERVERS)}")
    if not words:
        print(f"the live suite on {', '.join(names)}: some {USUAL * len(names)} minutes, at most"
              f" {MINUTES * len(names)}", flush=True)
    LOG.mkdir(parents=True, exist_ok=True)
    results = [try_server(name, words or ["tests/live"]) for name in names]
    passed, failed = map(sum, zip(*results))
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
