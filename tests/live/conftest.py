import os
import shutil
import signal
import subprocess

import pytest

import harness
from certificates import Certificates
from simulator import Simulator, Worker, stanza

# The relay asks Redis again ten times as soon as it does in production, after an alarm as well.
os.environ.setdefault("ACRELAY_TEST_TIMES",
                      "cursor-check=500 relay-backoff-max=500 relay-stop-wait=300")


@pytest.fixture
def redis(tmp_path):
    server = harness.Redis(tmp_path)
    yield server
    if server.process.poll() is None:
        server.kill()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def make_receiver(tmp_path, redis):
    made = []

    def make(**settings):
        made.append(harness.Receiver(tmp_path, redis.port, **settings))
        return made[-1]

    yield make
    for receiver in made:
        if receiver.process.poll() is None:
            receiver.kill()


@pytest.fixture
def receiver(make_receiver):
    return make_receiver()


@pytest.fixture
def second():
    """What a second of the account's limit takes, in ms."""
    return 200


@pytest.fixture
def sim(tmp_path, second):
    simulator = Simulator(tmp_path, second=second)
    yield simulator
    simulator.stop()


@pytest.fixture
def make_worker(tmp_path, sim):
    def make(hooks=stanza("contacts"), **more):
        return Worker(tmp_path, sim, hooks, **more)
    return make


@pytest.fixture
def running(tmp_path):
    """Starts `acrelay-worker run`, and ends it with the test."""
    started = []

    def start(worker, log="worker.log", **more):
        started.append(worker.start(tmp_path / log, **more))
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@pytest.fixture
def spawn():
    """Starts a program, with more environment, and ends it with the test."""
    started = []

    def start(command, more=None, **options):
        started.append(subprocess.Popen(command, env={**os.environ, **(more or {})}, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def small_disk(tmp_path, request):
    """80 MiB unless told, loop-mounted; a tmpfs where there are no loop devices."""
    size = getattr(request, "param", "80M")
    place, image = tmp_path / "disk", tmp_path / "image"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    subprocess.run(["truncate", "-s", size, image], check=True)
    made = shutil.which("mkfs.ext4") and subprocess.run(
        ["mkfs.ext4", "-q", "-m", "0", image], capture_output=True).returncode == 0
    if not made or subprocess.run(["mount", "-o", "loop", image, place],
                                  capture_output=True).returncode != 0:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place],
                              capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)
