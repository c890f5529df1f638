#!/usr/bin/env python3
"""Runs the commands of the README in clean roots of Debian 13 and Debian 12, each from a fresh
clone of this repository's HEAD, as root and as a user with sudo.

Usage: tests/roots/run.py [SUITE | USER | COMMAND ...]      (all, or those that are named)

For example `run.py trixie root test`. Needs root, debootstrap and the package archive that this
machine's own apt sources name. A root is made once with debootstrap and copied for each run;
it and the packages that were downloaded stay in ROOTS (build/roots unless given). The output of
a command goes to ROOTS/SUITE/USER-COMMAND.log; of one that failed its end is shown.
"""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
ROOTS = pathlib.Path(os.environ.get("ROOTS") or REPOSITORY / "build/roots").resolve()
INCLUDE = "ca-certificates,git,make,sudo"

SUITES = ("trixie", "bookworm")
USERS = {"ann": ("demo", "run", "deb", "test"), "root": ("demo", "run", "deb", "test")}
EVENT = r"/activecampaign/acme/\w+"  # the source of each that `make run` shows
NEVER = r"(?!)"
# the seconds that a command may take, packages included, and what it says at its end
COMMANDS = {
    "demo": (900, r"^sent \d+,.*"),
    "run": (300, r"^\d+ events shown"),
    "deb": (600, r"acrelay_\S+\.deb"),
    "test": (3600, r"^\d+ passed, \d+ failed"),
}


# --- a root ---------------------------------------------------------------------------------

def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def sources(suite):
    """This machine's Debian sources, with the name of another suite."""
    own = re.search(r"^VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text(), re.M)
    found = output("apt-get", "indextargets", "--format",
                   "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)",
                   "Identifier: Packages").splitlines()
    lines = [line.split()[1:] for line in found if line.startswith("Debian ")]
    if not own or not lines:
        sys.exit("roots: this machine's apt has no sources of Debian (apt-get update?)")
    return [(uri, release.replace(own[1], suite), component)
            for uri, release, component in dict.fromkeys(map(tuple, lines))
            if release.split("-")[0] == own[1] and not release.endswith("backports")]


def archive_settings():
    """Those of apt's settings that say how the archive is reached. The others are conffiles of
    packages, about which dpkg would ask."""
    lines = output("apt-config", "dump").splitlines()
    wanted = re.compile(r"Acquire::(http|https|ftp|Check-Date|Check-Valid-Until|Retries)\b")
    return "\n".join(filter(wanted.match, lines)) + "\n"


def make_base(suite, place):
    """The root that is copied for each user."""
    base, new = place / "base", place / "base.new"
    if base.exists():
        return
    print(f"{suite}: making a root with debootstrap in {base}", flush=True)
    shutil.rmtree(new, ignore_errors=True)
    wanted = sources(suite)
    archive = next(uri for uri, release, _ in wanted if release == suite)
    with open(place / "debootstrap.log", "wb") as log:
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={INCLUDE}",
                        suite, new, archive],
                       check=True, stdout=log, stderr=log, timeout=900)
    furnish(new, wanted)
    new.rename(base)


def furnish(new, wanted):
    """What a machine has and debootstrap does not give: sources, names of hosts, a user."""
    (new / "etc/apt/sources.list").write_text(
        "".join(f"deb {' '.join(line)}\n" for line in wanted))
    (new / "etc/apt/apt.conf.d/50archive").write_text(archive_settings())
    for name in ("hosts", "resolv.conf"):
        shutil.copy(f"/etc/{name}", new / "etc" / name)
    subprocess.run(["chroot", new, "useradd", "--create-home", "ann"], check=True)
    (new / "etc/sudoers.d/ann").write_text("ann ALL=(ALL) NOPASSWD: ALL\n")


def make_root(suite, user):
    """A clean root with a fresh clone in the user's home. Returns the root."""
    place = ROOTS / suite
    (place / "packages").mkdir(parents=True, exist_ok=True)
    make_base(suite, place)
    root = place / user
    subprocess.run(["rm", "-rf", root], check=True)
    subprocess.run(["cp", "-a", place / "base", root], check=True)
    clone = root / ("root" if user == "root" else f"home/{user}") / "acrelay"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", REPOSITORY, clone], check=True)
    if user != "root":
        subprocess.run(["chroot", root, "chown", "-R", f"{user}:", f"/home/{user}"], check=True)
    return root


# --- a command ------------------------------------------------------------------------------

def heed_keys():
    """Ctrl-C too, which a shell lets the programs ignore that it starts in the background."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """A command in a root, on a terminal of its own; nobody waits for it after `ends`."""

    def __init__(self, root, user, command, seconds):
        self.ends = time.monotonic() + seconds
        self.text = ""
        self.fd, inside = pty.openpty()
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL",
             "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", HERE / "enter.sh",
             root, root.parent / "packages", user, *command],
            stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
            preexec_fn=heed_keys)
        os.close(inside)

    def read(self, until):
        """Reads until the pattern has come. False: the command ended, or time is up."""
        while not re.search(until, self.text, re.M):
            left = self.ends - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                self.text += "\ntook too long\n"
                return False
            try:
                self.text += os.read(self.fd, 65536).decode(errors="replace").replace("\r", "")
            except OSError:  # nobody has the terminal open any more
                return False
        return True

    def press(self, key):
        os.write(self.fd, key)

    def close(self):
        """Waits for the end. Returns the exit code; one that took too long is killed."""
        try:
            self.process.wait(max(0, self.ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
        os.close(self.fd)
        return self.process.wait()


def run(root, user, command):
    """Returns whether it passed, and what it said at its end."""
    seconds, said = COMMANDS[command]
    terminal = Terminal(root, user, ["make", command], seconds)
    if command == "run" and terminal.read(rf"(?s){EVENT}.*{EVENT}"):
        terminal.press(b"\x03")  # Ctrl-C
    terminal.read(NEVER)
    code = terminal.close()
    if command == "run":
        terminal.text += f"\n{len(re.findall(EVENT, terminal.text))} events shown\n"
    (root.parent / f"{user}-{command}.log").write_text(terminal.text)
    found = re.findall(said, terminal.text, re.M)
    if code != 0 or not found:
        print("\n".join(f"     | {line}" for line in terminal.text.splitlines()[-60:]))
        return False, f"exit code {code}"
    return True, found[-1]


def main():
    wanted = sys.argv[1:]
    known = {*SUITES, *USERS, *COMMANDS}
    if not known.issuperset(wanted):
        sys.exit(f"roots: unknown {set(wanted) - known}; known are {' '.join(sorted(known))}")
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        sys.exit("roots: needs root and debootstrap (apt-get install debootstrap)")

    def chosen(names):
        return [name for name in names if name in wanted] or list(names)

    passed = failed = 0
    for suite in chosen(SUITES):
        for user in chosen(USERS):
            root = make_root(suite, user)
            for command in chosen(COMMANDS):
                if command not in USERS[user]:
                    continue
                started = time.monotonic()
                print(f"{suite} as {user}: make {command} ...", flush=True)
                ok, said = run(root, user, command)
                passed, failed = passed + ok, failed + (not ok)
                print(f"{'ok  ' if ok else 'FAIL'} {suite:9} {user:5} make {command:5}"
                      f" {time.monotonic() - started:6.0f} s  {said}", flush=True)
            if not failed:
                subprocess.run(["rm", "-rf", root], check=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
