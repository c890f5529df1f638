"""Images and containers without a daemon: buildah with a store of its own and chroot isolation, on
a base made with debootstrap. The base and downloaded packages stay in build/container.

Everything is a child that dies with the one that made it."""
import ctypes
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess

import harness

PLACE = pathlib.Path(os.environ.get("CONTAINERS") or harness.ROOT / "build/container").resolve()
SUITES = {"13": "trixie", "12": "bookworm"}
TOOLS = ("buildah", "debootstrap", "nsenter", "unshare", "ip")
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
LIBC = ctypes.CDLL(None, use_errno=True)


def missing():
    """What this machine lacks to build and run images, or None."""
    if os.geteuid() != 0:
        return "building and running images needs root"
    if lacks := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"not installed: {' '.join(lacks)}"
    done = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"],
                          capture_output=True, text=True)
    return f"no namespaces: {done.stderr.strip()}" if done.returncode else None


def roots():
    """tests/roots/run.py, which knows how this machine's apt reaches the archive."""
    spec = importlib.util.spec_from_file_location(
        "roots", harness.ROOT / "tests" / "roots" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_base(suite):
    """A root of that Debian as its image has it, with this machine's way to the archive."""
    base, new = PLACE / suite, PLACE / f"{suite}.new"
    if base.exists():
        return base
    PLACE.mkdir(parents=True, exist_ok=True)
    subprocess.run(["rm", "-rf", new], check=True)
    apt = roots()
    wanted = apt.sources(suite)
    archive = next(uri for uri, release, _ in wanted if release == suite)
    with open(PLACE / f"{suite}.log", "wb") as log:
        subprocess.run(["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, new,
                        archive], check=True, stdout=log, stderr=log, timeout=900)
    (new / "etc/apt/sources.list").write_text("".join(f"deb {' '.join(line)}\n" for line in wanted))
    (new / "etc/apt/apt.conf.d/50archive").write_text(apt.archive_settings())
    for name in ("hosts", "resolv.conf"):
        shutil.copy(f"/etc/{name}", new / "etc" / name)
    (new / "etc/machine-id").unlink(missing_ok=True)  # as in Debian's image
    new.rename(base)
    return base


class Store:
    """Images and containers of one test run."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        temporary = self.directory / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        self.words = ["env", f"TMPDIR={temporary}", "buildah", "--storage-driver", "vfs",
                      "--root", str(self.directory / "store"),
                      "--runroot", str(self.directory / "run")]
        self.options = ["--isolation", "chroot", "--network", "host"]

    def run(self, *words, seconds=300, log=None):
        """The last line that the command prints."""
        done = subprocess.run([*self.words, *words], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, cwd=harness.ROOT)
        if log:
            log.write_text(done.stdout)
        assert done.returncode == 0, f"buildah {words[0]}: {done.stdout[-3000:]}"
        return done.stdout.strip().rpartition("\n")[2]

    def make_image(self, name, root):
        container = self.run("from", "scratch")
        self.run("add", "-q", container, f"{root}/", "/")
        self.run("commit", "-q", "--rm", container, name, seconds=600)

    def build(self, name, file, log, *options):
        """From a Containerfile of the tree; images come from the store only."""
        packages = PLACE / "packages"
        packages.mkdir(exist_ok=True)
        self.run("build", "--pull-never", *self.options, "--format", "docker", *options,
                 "-v", f"{packages}:/var/cache/apt/archives", "-t", name, "-f", file, ".",
                 seconds=1200, log=log)

    def config(self, image):
        """What its Containerfile says: User, Cmd, Healthcheck, Volumes, StopSignal."""
        text = subprocess.run([*self.words, "inspect", "--type", "image", image], check=True,
                              capture_output=True, text=True).stdout
        return json.loads(text)["Docker"]["config"]

    def create(self, image):
        return self.run("from", "--pull-never", image)

    def mount(self, container):
        return pathlib.Path(self.run("mount", container))

    def remove(self, container):
        self.run("rm", container)

    def command(self, container, *words, options=()):
        """In processes of its own: all of them end when buildah does, or is killed."""
        return ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *self.words, "run",
                *self.options, "--no-hosts", *options, container, "--", *words]


def before_exec(namespace, no_new_privileges):
    """In the child: dies with its parent, enters a network, as the service asks."""
    def prepare():
        os.setsid()
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if no_new_privileges:
            LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if namespace is not None and LIBC.setns(namespace, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    return prepare


def children(pid):
    """Of all its threads."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:  # it has ended
            pass
    return found


class Process:
    """A container's process, below buildah's own."""

    def __init__(self, command, log, namespace=None, no_new_privileges=False):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.outer = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                preexec_fn=before_exec(namespace, no_new_privileges))

    def pid(self):
        """Of the process that the image or the service names: the last of the chain, once it is
        the fifth (unshare, buildah, its runtime, the one that enters the root, the process)."""
        chain = [self.outer.pid]
        while more := children(chain[-1]):
            chain.append(more[0])
        return chain[4] if len(chain) > 4 else None

    def send(self, number):
        pid = harness.wait_for("the container's process", self.pid)
        os.kill(pid, number)

    def wait(self, seconds):
        return self.outer.wait(seconds)

    def is_running(self):
        return self.outer.poll() is None
