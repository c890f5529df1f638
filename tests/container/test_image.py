"""The image built from the repository's Containerfile, and run as compose.yaml says, with the
simulator as ActiveCampaign. Each step leaves the services as the next one needs them; at the end
every delivery that was answered 200 is in the stream once. `make test-container`; DEBIAN=12 for
that base."""
import http.client
import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import compose
import engine
import harness
import pytest
import redis as redis_client
import test_pod
from fault_proxy import FaultProxy
from simulator import TOKEN, Simulator

DEBIAN = os.environ.get("DEBIAN", "13")
LACKS = engine.missing()
pytestmark = pytest.mark.skipif(LACKS is not None, reason=str(LACKS))
HOST = "hooks.acme.example"
OWNER = 980


@pytest.fixture(scope="module")
def place():
    """On a disk, and gone afterwards; those of runs that were killed are removed too."""
    for old in engine.PLACE.glob("run-*"):
        if not os.path.exists(f"/proc/{old.name.partition('-')[2]}"):
            shutil.rmtree(old)
    directory = engine.PLACE / f"run-{os.getpid()}"
    directory.mkdir(parents=True)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def store(place):
    """The images: Debian's by debootstrap, ours and the others' from Containerfiles."""
    store = engine.Store(place)
    started = time.monotonic()
    store.make_image(f"docker.io/library/debian:{DEBIAN}", engine.make_base(engine.SUITES[DEBIAN]))
    base = time.monotonic()
    logs = engine.PLACE
    argument = f"--build-arg=DEBIAN={DEBIAN}"
    store.build("acrelay", "deploy/container/Containerfile", logs / "image.log", argument)
    ours = time.monotonic()
    for name, tag in (("redis", "8.0"), ("caddy", "2")):
        store.build(f"docker.io/library/{name}:{tag}", "tests/container/Containerfile.others",
                    logs / f"{name}.log", argument, "--target", name)
    print(f"\nDebian {DEBIAN}: base {base - started:.0f} s, image {ours - base:.0f} s, "
          f"stand-ins {time.monotonic() - ours:.0f} s")
    return store


def own(path, text, mode=0o600):
    """As a careful writer does: beside it, then renamed."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.chmod(mode)
    os.chown(new, OWNER, OWNER)
    new.rename(path)


def write_project(place, api):
    """The shipped directory with the operator's edits: secrets, and the simulator's address."""
    shutil.copytree(harness.ROOT / "deploy" / "container", place / "container")
    shutil.copytree(harness.ROOT / "deploy" / "proxy", place / "proxy")
    config = place / "container" / "config"
    text = (config / "acrelay.yaml").read_text()
    assert "https://acme.api-us1.com" in text
    own(config / "acrelay.yaml", text.replace("https://acme.api-us1.com", api), 0o644)
    own(config / "hook-secret", harness.SECRET.decode() + "\n")
    own(place / "container" / "api-token", TOKEN + "\n")
    return place / "container" / "compose.yaml"


class World:
    """The project, who posts, and what was answered."""

    def __init__(self, place, store):
        self.network = compose.Network()
        self.api_port = 4000
        self.place = place
        file = write_project(place, f"http://127.0.0.1:{self.api_port}")
        # The proxy without TLS: there is nobody here who gives a certificate.
        self.project = compose.Project(file, place, store, self.network,
                                       {"ACRELAY_HOST": f"http://{HOST}"})
        # Debian's Caddy has another word for it.
        del self.project["proxy"].settings["environment"]["ACRELAY_BUFFER"]
        self.simulator = Simulator(place)
        self.api = []
        self.numbers = itertools.count(1)
        self.answers = {}
        self.lock = threading.Lock()

    def __getitem__(self, name):
        return self.project[name]

    def config(self):
        return self.project.file.parent / "config" / "acrelay.yaml"

    def reach_api(self):
        """The simulator is on loopback in the receiver's network too: http is for loopback."""
        listener = compose.listen(self["receiver"].namespace, self.api_port)
        self.api.append(FaultProxy(int(self.simulator.url.rpartition(":")[2]), listener=listener))

    def up(self, name):
        service = self[name]
        service.up()
        if name == "receiver":
            self.reach_api()
        if "healthcheck" in service.settings:
            harness.wait_for(f"{name} is healthy", service.is_healthy, 60)

    def recreate(self, name):
        self[name].down()
        self.up(name)

    def post(self, to="receiver", timeout=60):
        """One delivery; its number, and what was answered."""
        port, host = {"receiver": (8080, "receiver"), "proxy": (80, HOST)}[to]
        with self.lock:
            number = next(self.numbers)
        try:
            connection = http.client.HTTPConnection(self[to].address, port, timeout=timeout)
            connection.request("POST", f"/hook/contacts/{harness.token('contacts')}",
                               f"type=subscribe&contact[id]={number}",
                               {"Content-Type": "application/x-www-form-urlencoded",
                                "Host": host})
            answer = connection.getresponse().status
            connection.close()
        except (OSError, TypeError, http.client.HTTPException) as error:
            answer = type(error).__name__
        with self.lock:
            self.answers[number] = answer
        return answer

    def redis(self):
        return redis_client.Redis(self["redis"].address, socket_timeout=30)

    def in_stream(self):
        """The number of each entry."""
        return [int(json.loads(fields[b"data"])["contact"]["id"])
                for _, fields in self.redis().xrange("{ac}:events")]

    def answered(self):
        with self.lock:
            return {number for number, answer in self.answers.items() if answer == 200}

    def wait_shipped(self):
        """Every delivery that was answered 200 is in the stream, and none twice."""
        try:
            harness.wait_for("every delivery in the stream", lambda: self.answered() <= set(
                self.in_stream()) or time.sleep(0.1), 60)
        except AssertionError:
            missing = sorted(self.answered() - set(self.in_stream()))
            raise AssertionError(f"{len(missing)} missing: {missing[:10]}\n"
                                 f"{self.log('receiver')[-3000:]}") from None
        found = self.in_stream()
        assert len(found) == len(set(found))

    def log(self, name):
        return self[name].log.read_text()

    def close(self):
        for forward in self.api:
            forward.__exit__()
        self.simulator.stop()
        self.project.down()


class Load:
    """Posts straight to the receiver, until it is told to end."""

    def __init__(self, world, clients=8):
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(world,)) for _ in range(clients)]
        self.before = len(world.answered())
        for thread in self.threads:
            thread.start()
        harness.wait_for("answers", lambda: len(world.answered()) > self.before + 100)

    def run(self, world):
        while not self.over.is_set():
            if world.post(timeout=10) != 200:
                self.over.wait(0.05)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture(scope="module")
def world(place, store):
    world = World(place, store)
    try:
        for name in ("redis", "receiver", "worker", "proxy"):
            world.up(name)
        yield world
    finally:
        world.close()


# --- the image --------------------------------------------------------------------------------

def test_the_image_says_how_it_is_run(store):
    config = store.config("acrelay")
    assert config["User"] == "980:980" and config["StopSignal"] == "SIGTERM"
    assert config["Cmd"][0] == "acrelayd" and not config.get("Volumes")
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "curl"]


def test_the_image_owns_its_directories_and_has_no_machine_id(world):
    done = world["receiver"].execute("sh", "-c", """
        id -u; stat -c '%U:%G %a' /var/lib/acrelay /run/acrelay-worker
        cat /etc/machine-id; grep -E '^(CapEff|CapPrm|NoNewPrivs)' /proc/self/status""")
    lines = done.stdout.split("\n")
    assert lines[:3] == ["980", "acrelay:acrelay 700", "acrelay:acrelay 700"]
    assert "/etc/machine-id: No such file" in done.stderr
    assert [line.split()[1].strip("0") for line in lines[3:5]] == ["", ""]  # no capabilities


def test_the_image_runs_in_the_pod_of_the_manifests(world, store, tmp_path):
    """With a root that cannot be written, and secrets as Kubernetes mounts them."""
    container = store.create("acrelay")
    imitated = test_pod.World(tmp_path, store.mount(container))
    try:
        assert imitated.post(1) == 200
        imitated.wait_shipped([1])
        worker = imitated.pod.start("worker")
        harness.wait_for("a round", lambda: imitated.probe(worker, "/readyz", "9181"))
        assert imitated.receiver.stop() == 0
    finally:
        imitated.close()
        store.remove(container)


# --- as compose.yaml says -----------------------------------------------------------------------

def test_the_worker_creates_the_webhook_and_an_event_arrives(world):
    [hook] = world.simulator.hooks()
    assert hook["url"].startswith(f"https://{HOST}/hook/contacts/")
    assert world["worker"].is_healthy()
    assert world.post("proxy") == 200
    world.wait_shipped()


def test_the_worker_reaches_the_receivers_admin_listener(world):
    done = world["worker"].execute("acrelay", "status", "--config", "/etc/acrelay/acrelay.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accepts and publishes deliveries" in done.stdout
    assert "keeps the webhooks in sync" in done.stdout


def test_without_redis_the_receiver_is_healthy_and_stores(world):
    world["redis"].stop()
    assert world.post() == 200
    assert world["receiver"].is_healthy()
    status = world["receiver"].execute("acrelay", "status", "-c", "/etc/acrelay/acrelay.yaml")
    assert status.returncode == 69  # which is why it is not the health check
    world.recreate("redis")
    world.wait_shipped()


def test_a_recreated_receiver_goes_on_publishing(world):
    receiver = world["receiver"]
    before, name = receiver.address, receiver.host_name()
    assert receiver.stop() == 0
    world["worker"].down()
    waiting = threading.Thread(target=world.post, args=("proxy",))
    waiting.start()  # nobody listens; the proxy waits
    world.recreate("receiver")
    world.up("worker")
    assert (receiver.address, receiver.host_name()) != (before, name)
    waiting.join()
    assert world.post() == 200
    world.wait_shipped()
    assert set(world.answers.values()) == {200}
    log = world.log("receiver")
    assert "another machine" not in log and log.count("this new journal") == 1, log


def test_a_new_secret_is_taken_over(world):
    """Files are replaced by renaming, which a mount of the file itself would not show."""
    directory = world.config().parent
    own(directory / "hook-secret-2", "another secret of at least thirty-two bytes\n")
    own(world.config(), world.config().read_text().replace(
        "[hook-secret]", "[hook-secret-2, hook-secret]"), 0o644)
    done = world["receiver"].execute("acrelay", "reload", "-c", "/etc/acrelay/acrelay.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    world["worker"].signal(signal.SIGHUP)
    new = harness.token("contacts", b"another secret of at least thirty-two bytes")
    harness.wait_for("the new URL", lambda: world.simulator.hooks()[0]["url"].endswith(new))


def test_a_stop_under_load_loses_no_answered_post(world):
    load = Load(world)
    started = time.monotonic()
    assert world["receiver"].stop() == 0
    print(f"stopped after {time.monotonic() - started:.1f} s")
    load.end()
    world.recreate("receiver")
    world.wait_shipped()


def test_a_kill_under_load_loses_no_answered_post(world):
    load = Load(world)
    world["receiver"].kill()
    load.end()
    assert world["receiver"].execute(*world["receiver"].settings["healthcheck"]["test"][1:]) \
        .returncode != 0
    world.recreate("receiver")
    world.wait_shipped()


def test_a_copy_of_the_volume_with_another_instance_publishes_nothing(world):
    """A second receiver on a copy, as when a disk was cloned."""
    receiver = world["receiver"]
    assert receiver.stop() == 0
    receiver.down()
    volumes = world.place / "volumes"
    subprocess.run(["cp", "-a", volumes / "journal", volumes / "copy"], check=True)
    world.up("receiver")
    assert world.post() == 200
    world.wait_shipped()
    count = len(world.in_stream())
    copy = compose.Service(world.project, "copy", {
        **receiver.settings, "volumes": ["./copied:/etc/acrelay:ro", "copy:/var/lib/acrelay"]})
    shutil.copytree(world.config().parent, world.project.file.parent / "copied")
    for path in (world.project.file.parent / "copied").iterdir():
        os.chown(path, OWNER, OWNER)
    text = world.config().read_text()
    own(world.project.file.parent / "copied" / "acrelay.yaml",
        text.replace("instance: acme-1", "instance: acme-2"), 0o644)
    try:
        copy.up()
        harness.wait_for("the alarm", lambda: "claim" in copy.log.read_text())
        assert copy.is_healthy()  # it stores what it gets
        assert "alarm" in copy.log.read_text()
    finally:
        copy.down()
    assert len(world.in_stream()) == count
    assert world.post() == 200
    world.wait_shipped()
