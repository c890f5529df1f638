"""Runs the services of a compose file as it says, by means of engine.py: images, users, commands,
volumes, networks, capabilities, health checks. Each service has a network namespace of its own on a
bridge, in the namespace of this process; names are in /etc/hosts.

Not as a real engine does it: `restart` (the test starts anew itself), `ports` (no outside),
`read_only` (test_pod.py runs the image on a root that cannot be written)."""
import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading

import engine
import harness
import yaml

KNOWN = {"image", "build", "command", "volumes", "tmpfs", "environment", "network_mode",
         "depends_on", "healthcheck", "stop_grace_period", "cap_drop", "security_opt"}
NOT_RUN = {"restart", "ports", "read_only"}
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
BRIDGE = "br0"


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """A bridge in namespaces (of networks and mounts) that this process and its children are in
    from now on: nothing of it is left when they end."""

    def __init__(self):
        if engine.LIBC.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        self.last = 1
        ip("link", "set", "lo", "up")
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", "10.89.0.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")

    def join(self):
        """A new namespace on the bridge: its process (which holds it) and its address."""
        self.last += 1
        address, outer = f"10.89.0.{self.last}", f"veth{self.last}"
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"],
                                  preexec_fn=engine.before_exec(None, False))
        own = os.readlink("/proc/self/ns/net")
        harness.wait_for("a network namespace", lambda: os.readlink(
            f"/proc/{holder.pid}/ns/net") != own)
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        ip("link", "set", outer, "master", BRIDGE, "up")
        for words in (["link", "set", "lo", "up"], ["addr", "add", f"{address}/24", "dev", "eth0"],
                      ["link", "set", "eth0", "up"]):
            subprocess.run(["nsenter", "-t", str(holder.pid), "-n", "ip", *words], check=True)
        return holder, address


def listen(namespace, port):
    """A listening socket on loopback in another network, held by this process."""
    made = []

    def enter():  # only this thread
        if engine.LIBC.setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        made.append(socket.create_server(("127.0.0.1", port)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


class Service:
    """One service; `up` makes its container anew, as after a new image."""

    def __init__(self, project, name, settings):
        assert set(settings) <= KNOWN | NOT_RUN, f"{name}: {set(settings) - KNOWN - NOT_RUN}"
        self.project, self.name, self.settings = project, name, settings
        self.container = self.process = self.holder = self.namespace = self.address = None
        self.created, self.mounted = 0, []

    @property
    def log(self):
        return self.project.directory / f"{self.name}.log"

    def up(self):
        self.created += 1
        self.container = self.project.store.create(self.settings["image"])
        self.root = self.project.store.mount(self.container)
        self.enter_network()
        self.drop_image_volumes()
        options = [*self.volumes(), *self.tmpfs(), "--hostname", self.host_name()]
        options += [f"--cap-drop={cap}" for cap in self.settings.get("cap_drop", [])]
        for variable, value in self.settings.get("environment", {}).items():
            options += ["-e", f"{variable}={value}"]
        self.options = options
        command = self.settings.get("command") or \
            self.project.store.config(self.settings["image"])["Cmd"]
        self.process = engine.Process(self.words(*command), self.log, self.namespace,
                                      "no-new-privileges:true" in
                                      self.settings.get("security_opt", []))

    def host_name(self):
        """As an engine does it: another one with each container."""
        return self.settings.get("hostname") or f"{self.name}{self.created:012x}"[-12:]

    def words(self, *command):
        return self.project.store.command(self.container, *command, options=self.options)

    def enter_network(self):
        mode = self.settings.get("network_mode", "")
        if mode.startswith("service:"):
            self.namespace = self.project.services[mode[8:]].namespace
            return
        self.holder, self.address = self.project.network.join()
        self.namespace = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
        self.project.write_hosts()

    def volumes(self):
        found = ["-v", f"{self.project.hosts}:/etc/hosts:ro"]
        for volume in self.settings.get("volumes", []):
            source, target, *mode = volume.split(":")
            found += ["-v", ":".join([str(self.source(source, target)), target, *mode])]
        return found

    def drop_image_volumes(self):
        """buildah would mount a new one over a volume of ours; one that is not ours would be lost
        with the container."""
        ours = {volume.split(":")[1] for volume in self.settings.get("volumes", [])}
        for target in self.project.store.config(self.settings["image"]).get("Volumes") or {}:
            assert target in ours, f"{self.name}: {target} is on no volume"
            self.project.store.run("config", "--volume", f"{target}-", self.container)

    def source(self, source, target):
        """A named volume begins as what the image has there, owner included."""
        if source[0] == ".":
            return (self.project.file.parent / source).resolve()
        place = self.project.directory / "volumes" / source
        if not place.exists():
            inside = self.root / target.lstrip("/")
            place.parent.mkdir(exist_ok=True)
            if inside.exists():
                subprocess.run(["cp", "-a", inside, place], check=True)
            else:
                place.mkdir()
        return place

    def tmpfs(self):
        found = []
        for text in self.settings.get("tmpfs", []):
            target, _, options = text.partition(":")
            place = self.project.directory / f"{self.name}{target.replace('/', '-')}"
            place.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", options or "rw", "tmpfs", place],
                           check=True)
            self.mounted.append(place)
            found += ["-v", f"{place}:{target}"]
        return found

    def execute(self, *command):
        """Like `compose exec`."""
        return subprocess.run(
            self.words(*command), capture_output=True, text=True, timeout=60,
            preexec_fn=engine.before_exec(self.namespace, False))

    def is_healthy(self):
        assert self.process.is_running(), self.log.read_text()[-3000:]
        kind, *command = self.settings["healthcheck"]["test"]
        assert kind == "CMD"
        return self.execute(*command).returncode == 0

    def signal(self, number):
        self.process.send(number)

    def stop(self):
        """SIGTERM, and how long it took; the grace period is not exceeded. The exit code."""
        grace = int(re.fullmatch(r"(\d+)s", self.settings.get("stop_grace_period", "10s"))[1])
        self.signal(signal.SIGTERM)
        return self.process.wait(grace)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def down(self):
        """Removes the container and its network, as `rm` does; volumes stay."""
        if self.process and self.process.is_running():
            self.process.outer.kill()
            self.process.outer.wait()
        if self.holder:
            self.holder.kill()
            self.holder.wait()
            os.close(self.namespace)
        if self.container:
            self.project.store.remove(self.container)
        while self.mounted:
            subprocess.run(["umount", self.mounted.pop()], check=True)
        self.container = self.process = self.holder = self.namespace = self.address = None
        self.project.write_hosts()

    def recreate(self):
        self.down()
        self.up()


class Project:
    def __init__(self, file, directory, store, network, environment):
        """The file is a copy, in a directory that has what it mounts."""
        self.file, self.directory = pathlib.Path(file), pathlib.Path(directory)
        self.store, self.network = store, network
        self.hosts = self.directory / "hosts"
        self.services = {}
        self.hosts.write_text("")
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: environment[found[1]],
                      self.file.read_text())
        for name, settings in yaml.safe_load(text)["services"].items():
            self.services[name] = Service(self, name, settings)

    def __getitem__(self, name):
        return self.services[name]

    def write_hosts(self):
        """In place: it is mounted."""
        self.hosts.write_text("127.0.0.1 localhost\n" + "".join(
            f"{service.address} {name}\n" for name, service in self.services.items()
            if service.address))

    def down(self):
        for service in reversed(self.services.values()):
            service.down()
        shutil.rmtree(self.directory / "volumes", ignore_errors=True)
