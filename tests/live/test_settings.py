"""Settings as people have them: each taken by the programs as they run, and not only by the reader
of the file (tests/unit/config_places.c, config_values.c and secret_file.c have the words for what
is refused)."""
import os
import pathlib
import shutil
import subprocess
import tempfile

import harness
import pytest
from fault_proxy import FaultProxy
from simulator import TOKEN, stanza
from test_worker import ours

GROUP = 4242  # of a volume (fsGroup), or of Redis's socket
BOM = b"\xef\xbb\xbf"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and other users need root")


def as_windows_writes(path):
    path.write_bytes(BOM + path.read_bytes().replace(b"\n", b"\r\n"))


def change(path, old, new):
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new))


def assert_publishes(receiver, client, body="type=subscribe&contact[id]=7"):
    before = client.xlen("{ac}:events")
    assert receiver.post(body) == 200
    receiver.wait_shipped()
    assert client.xlen("{ac}:events") == before + 1


def test_a_redirection_by_the_redis_before_does_not_outlive_it(tmp_path, monkeypatch):
    """It would be followed for as long as that connection lasts."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "relay-backoff=600000 relay-backoff-max=600000")
    with harness.Redis() as before, harness.Redis() as other, harness.Redis() as after, \
            FaultProxy(before.port) as proxy:
        url = tmp_path / "redis-url"
        url.write_text(harness.redis_url(proxy.port))
        url.chmod(0o600)
        receiver = harness.Receiver(tmp_path, f"{{url_file: {url}}}")
        try:
            receiver.wait_shipped()
            proxy.fault_reply(b"OK", b"-MOVED 1 127.0.0.1:%d\r\n" % other.port)
            assert receiver.post("type=subscribe&contact[id]=7") == 200
            harness.wait_for("the redirection", lambda: "MOVED" in receiver.read_log())
            url.write_text(harness.redis_url(after.port))
            assert receiver.reload()
            receiver.wait_shipped()
            assert after.client.xlen("{ac}:events") == 1
            assert other.client.dbsize() == 0
        finally:
            receiver.kill()


def run(program, receiver, *words, **more):
    return subprocess.run([harness.BUILD / program, *words, "--config", receiver.config],
                          capture_output=True, text=True, timeout=60, **more)


# --- Redis ----------------------------------------------------------------------------------

@pytest.fixture
def any_redis():
    """One that listens on IPv6 too; all its files are where other users may go."""
    with harness.Redis(None, "--bind", "127.0.0.1", "::1", "--unixsocketperm", "770") as redis:
        yield redis


@needs_root
@pytest.mark.parametrize("url, database", [
    ("redis://[::1]:{port}/2", 2), ("redis://localhost:{port}", 0), ("redis://:{port}/1", 1),
    ("REDIS://127.0.0.1:{port}", 0), ("redis://stack_redis:{port}/4", 4),
    ("redis://only-ipv6:{port}", 0), ("unix:{socket}", 0), ("unix://{socket}?db=3", 3),
    ("UNIX://{socket}", 0)])
def test_a_redis_is_reached_as_its_url_says(tmp_path, any_redis, redis, make_receiver, url,
                                            database):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost stack_redis\n::1 only-ipv6\n")
    (tmp_path / "with_hosts").write_text(
        f'#!/bin/sh\nmount --bind {hosts} /etc/hosts && exec "$@"\n')
    (tmp_path / "with_hosts").chmod(0o755)
    receiver = make_receiver()
    receiver.kill()
    receiver.prefix = f"unshare --mount {tmp_path}/with_hosts"
    url = harness.redis_url(any_redis.port, url.replace("{socket}", str(any_redis.socket)))
    change(receiver.config, harness.redis_settings(redis.port), harness.url_settings(url))
    receiver.start()
    any_redis.client.select(database)
    assert_publishes(receiver, any_redis.client)
    told = subprocess.run([*receiver.prefix.split(), harness.BUILD / "acrelay", "tail", "--from",
                           "0", "--count", "1", "--config", receiver.config],
                          capture_output=True, text=True, timeout=30)
    assert "contact/7" in told.stdout, told.stderr


@pytest.fixture
def foreign():
    """A directory of another user, as a container or a unit with a user of its own has it."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="acrelay-settings-"))
    place.chmod(0o755)
    (place / "state").mkdir(0o700)
    os.chown(place / "state", 65534, 65534)
    shutil.copy(harness.BUILD / "acrelayd", place)
    (place / "run").write_text(f'#!/bin/sh\nshift\nexec {place}/acrelayd "$@"\n')
    (place / "run").chmod(0o755)
    yield place
    shutil.rmtree(place)


def mount(file, content, mode):
    """What Kubernetes does with a file of a volume: a directory for each version of it, which
    takes the place of the one before in one step, `..data`."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="..2026_", dir=file.parent))
    made.chmod(0o755)
    (made / file.name).write_bytes(content)
    (made / file.name).chmod(mode)
    (file.parent / "..data_tmp").symlink_to(made.name)
    os.replace(file.parent / "..data_tmp", file.parent / "..data")
    if not file.is_symlink():
        file.unlink()
        file.symlink_to(f"..data/{file.name}")
    return made / file.name


class ForeignReceiver(harness.Receiver):
    """As uid 65534, in the group GROUP; its secret is that of a volume with fsGroup."""

    def spawn(self):
        self.prefix = (f"setpriv --reuid 65534 --regid 65534 --groups {GROUP} --no-new-privs "
                       f"{self.directory}/run")
        if not self.secret.is_symlink():
            self.mount_secret(self.secret.read_bytes())
        self.config.chmod(0o644)
        return super().spawn()

    def mount_secret(self, content):
        os.chown(mount(self.secret, content, 0o440), 0, GROUP)


@needs_root
def test_a_secret_is_taken_as_kubernetes_mounts_it_and_changes_it(foreign, redis):
    receiver = ForeignReceiver(foreign, redis.port)
    try:
        assert_publishes(receiver, redis.client)
        new = b"another secret of at least thirty-two bytes\n"
        receiver.mount_secret(new)
        assert receiver.reload(), receiver.read_log()
        path = f"/hook/contacts/{harness.token('contacts', new.strip())}"
        answer = receiver.raw(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na".encode())
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert receiver.post("type=subscribe&contact[id]=7") == 404, "the old one is gone"
    finally:
        receiver.kill()


def test_the_worker_takes_a_file_that_kubernetes_changes(sim, make_worker, running):
    worker = make_worker()
    mount(worker.config, worker.config.read_bytes(), 0o644)
    running(worker)
    harness.wait_for("a hook", lambda: len(ours(sim)) == 1)
    mount(worker.config, worker.config.read_bytes() + stanza("deals").encode(), 0o644)
    harness.wait_for("the other", lambda: len(ours(sim)) == 2)


@needs_root
def test_a_socket_of_redis_is_reached_by_its_group(foreign, any_redis):
    """As SupplementaryGroups= has it; what is said without is in test_doctor.py."""
    any_redis.directory.chmod(0o755)
    os.chown(any_redis.socket, 0, GROUP)
    receiver = ForeignReceiver(foreign, harness.url_settings(f"unix://{any_redis.socket}"))
    try:
        assert_publishes(receiver, any_redis.client)
    finally:
        receiver.kill()


# --- what editors and environments do ---------------------------------------------------------

@pytest.fixture
def guarded():
    with harness.Redis(password="the password") as redis:
        yield redis


def with_password(path, file):
    change(path, "/0'}", f"/0', password_file: '{file}'}}")


def test_files_as_windows_writes_them_are_taken(tmp_path, guarded, sim, make_worker):
    """BOM and CRLF: configuration, secret, password and token."""
    password = tmp_path / "redis-password"
    password.write_text("the password\n")
    worker = make_worker(stanza("contacts") + stanza("deals"), redis_port=guarded.port)
    with_password(worker.config, "redis-password")
    receiver = harness.Receiver(tmp_path, guarded.port, hooks=stanza("contacts"))
    try:
        receiver.kill()
        with_password(receiver.config, "redis-password")
        for path in (receiver.config, worker.config, receiver.secret, password, sim.token):
            as_windows_writes(path)
            path.chmod(0o600)
        receiver.start()
        assert_publishes(receiver, guarded.client)
        assert worker.apply() == (2, 0, 0) and len(ours(sim)) == 2
        assert harness.token("contacts") in run("acrelay", receiver, "token", "contacts").stdout
        done = run("acrelay", receiver, "tail", "--from", "0", "--count", "1")
        assert "contact/7" in done.stdout, done.stderr
    finally:
        receiver.kill()


def test_everything_may_come_from_the_environment(tmp_path, guarded, sim, make_worker, monkeypatch):
    for name, value in (("HOOK_SECRET", harness.SECRET.decode()), ("REDIS_PASSWORD", "the password"),
                        ("AC_TOKEN", TOKEN), ("AC_URL", sim.url), ("REDIS_HOST", "127.0.0.1"),
                        ("NAME", "contacts")):
        monkeypatch.setenv(name, value)
    worker = make_worker(stanza('"${NAME}"'), redis_port=guarded.port)
    receiver = harness.Receiver(tmp_path, guarded.port, hooks=stanza('"${NAME}"'))
    try:
        receiver.kill()
        for path in (receiver.config, worker.config):
            with_password(path, "env:REDIS_PASSWORD")
            change(path, "[hook-secret]", "['env:HOOK_SECRET']")
            change(path, harness.redis_url(guarded.port),
                   harness.redis_url(guarded.port, "redis://${{REDIS_HOST}}:{port}/0"))
        change(worker.config, f"'{sim.url}', api_token_file: api-token",
               '"${AC_URL}", api_token_file: "env:AC_TOKEN"')
        receiver.secret.unlink()
        sim.token.unlink()
        receiver.start()
        assert_publishes(receiver, guarded.client)
        assert worker.apply() == (1, 0, 0)
        assert ours(sim)[0]["url"].endswith("/hook/contacts/" + harness.token("contacts"))
    finally:
        receiver.kill()


def test_schemes_in_capitals_and_names_with_underscores_are_taken(sim, make_worker):
    worker = make_worker(public_url="HTTPS://Hooks.Acme.Example:443/")
    change(worker.config, sim.url, sim.url.replace("http://", "HTTP://"))
    assert worker.apply() == (1, 0, 0)
    change(worker.config, "HTTPS://Hooks.Acme.Example:443/", "https://hooks.acme.example")
    assert worker.apply() == (0, 0, 0), "the same URL, so nothing to do"
