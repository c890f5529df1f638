"""A pod without a cluster: the programs with the arguments, environment, users and mounts that
deploy/kubernetes/acrelay.yaml gives them, in namespaces of their own (mounts, processes, host name),
on a root that cannot be written, without a machine id, as a user without a name. ConfigMap and
Secrets are laid out as the kubelet does it."""
import os
import shutil
import signal
import subprocess

import engine
import harness
import yaml

MANIFESTS = harness.ROOT / "deploy" / "kubernetes" / "acrelay.yaml"
GRACE = 30  # seconds from SIGTERM to SIGKILL, where a manifest does not ask for more


def manifests():
    """By kind."""
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFESTS.read_text())}


class Projection:
    """A directory of a ConfigMap or Secret: names are links to ..data/NAME, ..data is a link to the
    newest generation, and is replaced by renaming, so that all files change at once."""

    def __init__(self, place, mode, group, files):
        self.place, self.mode, self.group, self.generation = place, mode, group, 0
        place.mkdir(parents=True)
        os.chown(place, 0, group)
        place.chmod(0o3777)
        self.publish(files)

    def publish(self, files):
        self.generation += 1
        new = self.place / f"..2026_11_28_16_00_{self.generation:02}.1234567890"
        old = self.place.resolve() / os.readlink(self.place / "..data") \
            if (self.place / "..data").is_symlink() else None
        new.mkdir()
        new.chmod(0o2755)
        for name, text in files.items():
            (new / name).write_text(text)
            os.chown(new / name, 0, self.group)
            (new / name).chmod(self.mode)
        (self.place / "..data_tmp").symlink_to(new.name)
        (self.place / "..data_tmp").rename(self.place / "..data")
        for name in files:
            if not (self.place / name).is_symlink():
                (self.place / name).symlink_to(f"..data/{name}")
        if old:
            shutil.rmtree(old)


def machine_root(directory):
    """A root of this machine's programs and libraries, with nothing else of it, and what is to be
    mounted there."""
    directory.mkdir()
    for name in ("bin", "lib", "lib64", "sbin"):
        (directory / name).symlink_to(f"usr/{name}")
    for name in ("usr", "programs", "etc", "proc", "dev", "sys", "tmp", "run", "var/tmp"):
        (directory / name).mkdir(parents=True)
    for name in ("ld.so.cache", "nsswitch.conf"):
        shutil.copy(f"/etc/{name}", directory / "etc")
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (directory / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return directory, [("/usr", "/usr", "ro"), ("/programs", harness.BUILD, "ro")]


# In new namespaces: enter.sh ROOT HOSTNAME UID GID GROUP [TARGET SOURCE MODE]... -- COMMAND. The
# command becomes process 1.
ENTER = """
root=$1 name=$2 uid=$3 gid=$4 group=$5
shift 5
mount --make-rprivate /
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
    mount --bind "$2" "$root$1"
    mount -o "remount,bind,$3" "$root$1"
    shift 3
done
shift
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
hostname "$name"
exec chroot "$root" setpriv --reuid "$uid" --regid "$gid" --groups "$group" \\
    --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


class Pod:
    """What the manifests say, on `root` with more mounts; its volumes are directories below
    `directory`, which outlive its containers."""

    def __init__(self, directory, root, mounts, name="acrelay-0"):
        self.directory, self.root, self.mounts, self.name = directory, root, mounts, name
        self.spec = manifests()["StatefulSet"]["spec"]["template"]["spec"]
        self.containers = {one["name"]: one for one in self.spec["containers"]}
        self.fields = {"status.podIP": "127.0.0.1", "metadata.name": name,
                       "metadata.namespace": "default"}
        self.volumes = {"journal": directory / "journal"}
        self.started = []

    def claim(self):
        """A new volume: a file system's root, which the kubelet gives to fsGroup."""
        place = self.volumes["journal"]
        (place / "lost+found").mkdir(parents=True, mode=0o700)
        os.chown(place, 0, self.spec["securityContext"]["fsGroup"])
        place.chmod(0o2775)

    def project(self, name, files):
        """The volume `name` (ConfigMap or Secret), as the manifests ask."""
        [volume] = [one for one in self.spec["volumes"] if one["name"] == name]
        mode = volume["secret"]["defaultMode"] if "secret" in volume else 0o644
        self.volumes[name] = self.directory / name
        return Projection(self.volumes[name], mode, self.spec["securityContext"]["fsGroup"], files)

    def environment(self, container):
        return [f"{one['name']}={self.fields[one['valueFrom']['fieldRef']['fieldPath']]}"
                for one in container["env"]]

    def all_mounts(self, container):
        found = list(self.mounts)
        for mount in container["volumeMounts"]:
            found.append((mount["mountPath"], self.volumes[mount["name"]],
                          "ro" if mount.get("readOnly") else "rw"))
        for target, _, _ in found:
            (self.root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return found

    def words(self, name, command=None):
        container, context = self.containers[name], self.spec["securityContext"]
        words = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
                 "sh", "-euc", ENTER, "enter", self.root, self.name, context["runAsUser"],
                 context["runAsGroup"], context["fsGroup"]]
        for mount in self.all_mounts(container):
            words += mount
        words += ["--", "env", "-i", "PATH=/programs:/usr/sbin:/usr/bin", "HOME=/",
                  *self.environment(container), *(command or container["args"])]
        return [str(word) for word in words]

    def start(self, name):
        self.started.append(Container(self.words(name), self.directory / f"{name}.log"))
        return self.started[-1]

    def execute(self, name, *command):
        """Like `kubectl exec`."""
        return subprocess.run(self.words(name, command), capture_output=True, text=True,
                              timeout=60)

    def log(self, name):
        return (self.directory / f"{name}.log").read_text()

    def destroy(self):
        for process in self.started:
            process.end()


class Container:
    """A container's process 1, seen from outside."""

    def __init__(self, words, log):
        with open(log, "ab") as out:
            self.outer = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                          preexec_fn=engine.before_exec(None, False))

    def pid(self):
        found = engine.children(self.outer.pid)
        return found[0] if found else None

    def is_running(self):
        return self.outer.poll() is None

    def send(self, number):
        os.kill(harness.wait_for("process 1", self.pid), number)

    def stop(self, grace=GRACE):
        """SIGTERM, and SIGKILL if it has not ended in time. The exit code."""
        self.send(signal.SIGTERM)
        try:
            return self.outer.wait(grace)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self):
        self.send(signal.SIGKILL)
        return self.outer.wait(10)

    def end(self):
        if self.is_running():
            self.kill()  # a process that has changed its user does not end with its parent
