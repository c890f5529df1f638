"""A machine with a real systemd: systemd-nspawn on an overlay of this machine's own root. The
overlay is mounted in a mount namespace of its own, and everything is a child that dies with the
one that made it: whatever ends this process leaves no mount and no process behind."""
import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
import harness  # noqa: E402

TOOLS = ("systemd-nspawn", "nsenter", "unshare", "dpkg-deb", "redis-server")
PR_SET_PDEATHSIG = 1


def wait_for(what, condition, seconds=60):
    """As the live tests', but each look is a process or two."""
    def look():
        found = condition()
        if not found:
            time.sleep(0.1)
        return found
    return harness.wait_for(what, look, seconds)


MOUNT = "mount -t overlay overlay root -o lowerdir={lower},upperdir=up,workdir=work"


def find_place(lower):
    """A directory for a machine's own files (an overlay takes none that is in an overlay
    itself), or None, and what this machine lacks to boot another one."""
    if os.geteuid() != 0:
        return None, "booting a machine needs root"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return None, f"not installed: {' '.join(missing)}"
    for place in (harness.ROOT / "build", "/var/tmp", "/dev/shm"):
        with tempfile.TemporaryDirectory(prefix="systemd-try-", dir=place) as tried:
            done = subprocess.run(
                ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "sh", "-ec",
                 f"mkdir root up work && {MOUNT.format(lower=lower)}"], cwd=tried,
                capture_output=True, text=True)
        if done.returncode == 0:
            return place, None
    return None, f"no namespaces, or no overlay: {done.stderr.strip()}"


def die_with_parent():
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def read_proc(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_text()
    except OSError:  # it has ended
        return ""


def empty(directory):
    """Makes a directory of the upper layer hide all that the lower one has there."""
    directory.mkdir(parents=True)
    os.setxattr(directory, "trusted.overlay.opaque", b"y")


class CannotBoot(Exception):
    """systemd-nspawn ended before there was a PID 1: this machine does not let it."""


class Machine:
    def __init__(self, parent, lower="/"):
        """In a directory of the parent's; those of runs that were killed are removed."""
        self.lower = lower
        for old in pathlib.Path(parent).glob("systemd-*"):
            if not os.path.exists(f"/proc/{old.name.partition('-')[2]}"):
                shutil.rmtree(old)
        self.directory = pathlib.Path(parent) / f"systemd-{os.getpid()}"
        self.log = self.directory / "console"
        self.name = f"acrelay-{os.getpid()}"
        self.process = self.pid = None
        up = self.directory / "up"
        (self.directory / "work").mkdir(parents=True)
        (self.directory / "root").mkdir()
        empty(up / "etc/systemd/system")  # nothing of this machine's is started there
        empty(up / "etc/acrelay")
        empty(up / "var/log/journal")
        (up / "etc/machine-id").touch()
        self.write_upper("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n", 0o755)
        self.write_upper("etc/hosts", "127.0.0.1 localhost\n::1 ip6-localhost\n", 0o644)

    def write_upper(self, path, text, mode):
        path = self.directory / "up" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def boot(self):
        mount = (MOUNT.format(lower=self.lower) + " && "
                 'exec systemd-nspawn --quiet --boot --directory=root --machine="$0" '
                 "--register=no --keep-unit --private-network --console=pipe")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "--fork", "--kill-child",
                 "sh", "-c", mount, self.name], cwd=self.directory, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=die_with_parent)
        self.pid = wait_for("the machine's PID 1", self.find_pid)
        wait_for("systemd", self.is_up, 60)

    def find_pid(self):
        if self.process.poll() is not None:
            raise CannotBoot(self.log.read_text(errors="replace")[-2000:].strip())
        pids = [self.process.pid]
        for _ in range(2):  # unshare, systemd-nspawn, PID 1
            pids = [int(child) for pid in pids for child in
                    read_proc(pid, f"task/{pid}/children").split()]
        for pid in pids:
            if re.search(r"^Name:\tsystemd\n(?:.*\n)*NSpid:.*\t1$", read_proc(pid, "status"),
                         re.M):
                return pid
        return None

    def is_up(self):
        done = self.run("systemctl", "is-system-running", check=False)
        return done.stdout.strip() in ("running", "degraded")

    def command(self, *words):
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r",
                "--wdns=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
                "HOME=/root", "DEBIAN_FRONTEND=noninteractive", *words]

    def run(self, *words, check=True, **options):
        done = subprocess.run(self.command(*words), capture_output=True, text=True,
                              timeout=150, **options)
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def outside(self, *words):
        """A command of this machine in the other's network."""
        return ["nsenter", "-t", str(self.pid), "-n", *words]

    def write(self, path, text, mode=0o644):
        """As a careful writer does: beside it, then renamed."""
        self.run("sh", "-c", 'cat >"$0.new" && chmod "$1" "$0.new" && mv "$0.new" "$0"',
                 path, oct(mode)[2:], input=text)

    def copy_in(self, source, target):
        with open(source, "rb") as file:
            subprocess.run(self.command("sh", "-c", 'cat >"$0"', target), stdin=file, check=True)

    def power_off(self):
        self.run("systemctl", "poweroff", check=False)
        self.process.wait(60)

    def destroy(self):
        if self.process and self.process.poll() is None:
            pid = self.find_pid()
            if pid:  # it does not always end with systemd-nspawn
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def installed(box, package):
    box.copy_in(package, "/var/tmp/acrelay.deb")
    return box.run("dpkg", "-i", "/var/tmp/acrelay.deb").stdout
