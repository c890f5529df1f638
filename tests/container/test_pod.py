"""The programs in the pod that deploy/kubernetes/acrelay.yaml describes, without a cluster."""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import harness
import pod
import pytest
from simulator import TOKEN, Simulator

LACKS = [tool for tool in ("unshare", "setpriv") if not shutil.which(tool)]
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="imitating a pod needs root"),
              pytest.mark.skipif(LACKS != [], reason=f"not installed: {LACKS}")]


class World:
    """A pod, what it talks to, and who posts."""

    def __init__(self, directory, image=None):
        """On this machine's programs, or on those of an image's root."""
        self.directory = directory
        self.redis = harness.Redis(directory)
        self.simulator = Simulator(directory)
        self.ports = {port: harness.free_port() for port in ("8080", "9180", "9181")}
        root, self.mounts = (image, []) if image else pod.machine_root(directory / "root")
        self.pods = []
        self.pod = self.add("acrelay-0", root)
        self.receiver = self.start()

    def text(self):
        """The ConfigMap's, with the addresses of this test."""
        text = pod.manifests()["ConfigMap"]["data"]["acrelay.yaml"]
        for old, new in {**{f":{a}": f":{b}" for a, b in self.ports.items()},
                         "https://acme.api-us1.com": self.simulator.url,
                         "redis://redis:6379/0": f"redis://127.0.0.1:{self.redis.port}/0"}.items():
            assert old in text
            text = text.replace(old, new)
        return text

    def add(self, name, root):
        place = self.directory / name
        place.mkdir()
        new = pod.Pod(place, root, self.mounts, name)
        new.claim()
        self.config = new.project("config", {"acrelay.yaml": self.text()})
        self.hook = new.project("hook", {"hook-secret": harness.SECRET.decode() + "\n"})
        new.project("api", {"api-token": TOKEN + "\n"})
        self.pods.append(new)
        return new

    def start(self, which=None):
        receiver = (which or self.pod).start("receiver")
        harness.wait_for("the receiver", lambda: self.probe(receiver, "/readyz"))
        return receiver

    def probe(self, process, path, port="9180"):
        """As the kubelet does it: by the pod's address."""
        assert process.is_running(), self.pod.log("receiver")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=5)
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except OSError:
            return False

    def post(self, number=0, secret=harness.SECRET, hook="contacts"):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports["8080"], timeout=30)
            connection.request("POST", f"/hook/{hook}/{harness.token(hook, secret)}",
                               f"type=subscribe&contact[id]={number}",
                               {"Content-Type": "application/x-www-form-urlencoded"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__

    def in_stream(self):
        return [int(json.loads(entry["data"])["contact"]["id"]) for entry in self.redis.entries()]

    def wait_shipped(self, numbers):
        harness.wait_for("the stream", lambda: set(numbers) <= set(self.in_stream()))
        assert len(self.in_stream()) == len(set(self.in_stream()))

    def reload(self):
        return self.pod.execute("receiver", "acrelay", "reload")

    def close(self):
        for one in self.pods:
            one.destroy()
        self.simulator.stop()
        self.redis.__exit__()


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def test_the_pod_is_as_narrow_as_the_manifests_say(world):
    done = world.pod.execute("receiver", "sh", "-c", """
        id -u; id -G; hostname; id -un; touch /x /etc/acrelay/x /tmp/x; cat /etc/machine-id
        stat -Lc '%a %u:%g' /run/secrets/acrelay-hook/hook-secret
        grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status""")
    lines = done.stdout.splitlines()
    assert lines[:3] == ["980", "980", "acrelay-0"]
    assert "cannot find name for user ID 980" in done.stderr
    assert done.stderr.count("Read-only file system") == 3
    assert "/etc/machine-id: No such file" in done.stderr
    assert "440 0:980" in lines
    assert [line.split()[1] for line in lines[-3:]] == ["0" * 16, "0" * 16, "1"]


def test_a_delivery_is_stored_and_published(world):
    assert world.probe(world.receiver, "/livez")
    assert world.post(7) == 200
    world.wait_shipped([7])
    log = world.pod.log("receiver")
    assert "warn" not in log and "alarm" not in log, log


def test_ready_means_that_deliveries_can_be_stored(world):
    world.redis.kill()
    assert world.post(1) == 200
    assert world.probe(world.receiver, "/readyz")
    world.redis.start()
    world.wait_shipped([1])


def test_the_worker_runs_and_notices_a_new_configmap(world):
    worker = world.pod.start("worker")
    harness.wait_for("its first round", lambda: world.probe(worker, "/readyz", "9181"))
    assert len(world.simulator.hooks()) == 1
    done = world.pod.execute("worker", "acrelay", "status")
    assert done.returncode == 0, done.stdout + done.stderr
    world.config.publish({"acrelay.yaml": world.text() + "  - {name: deals, events: [deal_add]}\n"})
    assert world.reload().returncode == 0
    harness.wait_for("the new webhook", lambda: len(world.simulator.hooks()) == 2)
    assert world.post(3, hook="deals") == 200
    assert worker.stop() == 0


def test_a_rotated_secret_is_noticed_on_reload(world):
    new = b"another secret of at least thirty-two bytes"
    assert world.post(1, new) == 404
    world.hook.publish({"hook-secret": new.decode() + "\n"})
    assert world.post(1) == 200  # until the reload
    done = world.reload()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (world.post(2, new), world.post(2)) == (200, 404)


def test_a_pod_with_a_broken_configmap_starts_with_the_last_good_one(world):
    assert world.receiver.stop() == 0
    world.config.publish({"acrelay.yaml": world.text().replace("hooks:", "hocks:")})
    world.receiver = world.start()
    assert world.post(4) == 200
    assert "last good" in world.pod.log("receiver")


def test_a_recreated_pod_goes_on_and_a_copy_of_its_volume_is_noticed(world):
    assert world.post(1) == 200
    world.wait_shipped([1])
    assert world.receiver.stop() == 0
    copy = world.add("acrelay-1", world.pod.root)
    shutil.rmtree(copy.volumes["journal"])
    subprocess.run(["cp", "-a", world.pod.volumes["journal"], copy.volumes["journal"]], check=True)
    world.receiver = world.start()
    assert world.post(2) == 200
    world.wait_shipped([1, 2])
    assert world.receiver.stop() == 0
    world.receiver = world.start(copy)
    assert world.post(3) == 200
    harness.wait_for("the alarm", lambda: "journal claim" in copy.log("receiver"))
    assert world.in_stream() == [1, 2]


def load(world, answers, over):
    number = 0
    while not over.is_set():
        number += 1
        answers[number] = world.post(number)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_end_of_the_pod_under_load_loses_no_answered_post(world, end):
    answers, over = {}, threading.Event()
    thread = threading.Thread(target=load, args=(world, answers, over))
    thread.start()
    harness.wait_for("answers", lambda: len(answers) > 50)
    with socket.create_connection(("127.0.0.1", world.ports["8080"])) as slow:
        # one who never ends his request; the pod ends all the same
        slow.sendall(b"POST /hook/contacts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
        started = time.monotonic()
        code = getattr(world.receiver, end)()
        taken = time.monotonic() - started
    assert taken < pod.GRACE and (code == 0) == (end == "stop")
    over.set()
    thread.join()
    world.receiver = world.start()
    world.wait_shipped(number for number, answer in answers.items() if answer == 200)


def test_a_pod_that_hangs_is_killed_after_the_grace_time_and_starts_again(world):
    assert world.post(1) == 200
    world.receiver.send(signal.SIGSTOP)
    assert world.receiver.stop(grace=1) != 0
    world.receiver = world.start()
    assert world.post(2) == 200
    world.wait_shipped([1, 2])
