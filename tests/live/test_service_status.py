"""The line that `systemctl status` shows (sd_notify's STATUS=), as the service manager hears it."""
import re
import signal
import socket

import harness
import pytest
from simulator import stanza
from test_worker import ours

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


class Manager:
    """Hears what a program notifies."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(str(path))
        self.listener.settimeout(1)
        self.lines = []

    def hear(self):
        try:
            text = self.listener.recv(4096).decode()
        except TimeoutError:
            return
        self.lines += [line[7:] for line in text.splitlines() if line.startswith("STATUS=")]

    def wait_for(self, pattern, seconds=30):
        """Until the newest line is like this; gives it."""
        def like():
            self.hear()
            return self.lines and re.fullmatch(pattern, self.lines[-1]) and self.lines[-1]
        try:
            return harness.wait_for(pattern, like, seconds)
        except AssertionError as error:
            raise AssertionError(self.lines[-5:]) from error


@pytest.fixture
def manager(tmp_path, monkeypatch):
    found = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "status=100 config_look=50")
    yield found
    found.listener.close()


def test_the_receiver_says_where_it_listens_and_what_waits_why(manager, make_receiver, redis):
    receiver = make_receiver()
    place = f"accepting posts on 127.0.0.1:{receiver.port}; "
    manager.wait_for(place + "0 stored, 0 published since the start; none waits")
    assert manager.lines[0].startswith("Opening the journal")
    for _ in range(2):
        assert receiver.post("type=subscribe&contact[id]=1") == 200
    manager.wait_for(place + "2 stored, 2 published since the start; none waits")
    redis.kill()
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    manager.wait_for(place + "3 stored, 2 published since the start; "
                     "1 waits in the journal: .*Connection refused.*")
    redis.start()
    manager.wait_for(place + "3 stored, [35] published since the start; none waits")
    receiver.process.send_signal(signal.SIGTERM)
    manager.wait_for("Stopping: .*")


def test_the_receiver_says_that_its_file_is_not_valid(manager, make_receiver, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir(0o700)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "kept"))
    receiver = make_receiver()
    good = receiver.config.read_text()
    harness.wait_for("its copy", lambda: (tmp_path / "kept/last-good.yaml").exists())
    receiver.stop()
    receiver.config.write_text(good.replace("secret_files", "secret_file"))
    receiver.start()
    manager.wait_for("the configuration file is not valid, running with the last good one; "
                     "accepting posts on .*")
    receiver.config.write_text(good)
    manager.wait_for("accepting posts on .*")


def test_a_status_is_not_sent_with_every_delivery(manager, make_receiver, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "status=600000")
    receiver = make_receiver()
    manager.wait_for("accepting posts on .*")
    for _ in range(20):
        assert receiver.post("type=subscribe&contact[id]=1") == 200
        manager.hear()
    assert len(manager.lines) == 2 and "; 0 stored" in manager.lines[-1]


def test_the_worker_says_how_its_hooks_are_and_when_it_looks_again(
        manager, sim, make_worker, running, redis):
    worker = make_worker(hooks=stanza("contacts") + stanza("deals"), redis_port=redis.port,
                         worker=", interval: 1s")
    process = running(worker, times="status=100 round-again=200 api-backoff=10")
    good = f"leader; 2 of 2 hooks match the file, 0 silent; next round: ({TIME}|now)"
    manager.wait_for(good)
    assert len(ours(sim)) == 2
    sim.answer(502, "bad gateway", count=1000)
    manager.wait_for(f"its last round failed at {TIME}: .*502.*; next round: ({TIME}|now)", 60)
    sim.answer(502, count=0)
    manager.wait_for(good, 60)
    process.send_signal(signal.SIGTERM)
    manager.wait_for("Stopping")


def test_a_worker_that_does_not_lead_says_so(manager, sim, make_worker, running, redis):
    worker = make_worker(redis_port=redis.port, worker=", leader: redis")
    redis.client.set("{ac}:leader", "another", ex=600)
    running(worker, times="status=100")
    manager.wait_for(f"on standby: another worker is the leader; next round: ({TIME}|now)")
    redis.kill()
    manager.wait_for(f"no worker leads while Redis is away; .*next round: ({TIME}|now)")
