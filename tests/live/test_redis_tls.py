"""Redis over TLS: receiver, worker and command line, certificates that do not count, and servers
that speak something else."""
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest

import harness
import simulator
from certificates import Certificates


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server_pair(ca):
    return ca.issue("server")


class TlsRedis(harness.Redis):
    """With a TLS port beside the plain one, which the test's own client uses."""

    def __init__(self, ca, pair, *options, clients="no", **more):
        self.tls_port = harness.free_port()
        super().__init__(None, "--tls-port", str(self.tls_port), "--tls-cert-file", str(pair[0]),
                         "--tls-key-file", str(pair[1]), "--tls-ca-cert-file", str(ca.ca),
                         "--tls-auth-clients", clients, *options, **more)

    def serve(self, pair):
        """Another certificate from now on."""
        self.client.config_set("tls-cert-file", str(pair[0]), "tls-key-file", str(pair[1]))


@pytest.fixture
def redis(ca, server_pair):
    with TlsRedis(ca, server_pair) as server:
        yield server


def setting(port, ca_file, host="localhost", scheme="rediss", **tls):
    words = "".join(f", {name}: '{value}'" for name, value in tls.items())
    files = f"tls: {{ca_file: '{ca_file}'{words}}}, " if scheme == "rediss" else ""
    return f"redis: {{{files}url: '{scheme}://{host}:{port}/0'}}\n"


def set_redis(path, line):
    """In a configuration file."""
    text = pathlib.Path(path).read_text()
    old = next(each for each in text.splitlines(True) if each.startswith("redis: "))
    pathlib.Path(path).write_text(text.replace(old, line))


class Receiver(harness.Receiver):
    """Started with that setting of Redis."""

    def __init__(self, directory, line, **more):
        self.line = line
        super().__init__(directory, 1, **more)

    def start(self):
        set_redis(self.config, self.line)
        super().start()


@pytest.fixture
def start(tmp_path):
    started = []

    def start(line, **more):
        started.append(Receiver(tmp_path, line, **more))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.socket.close()
        each.log.close()


def acrelay(config, *words, code=0, **env):
    done = subprocess.run([harness.BUILD / "acrelay", *words, "--config", config],
                          capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
                          env={**os.environ, **{k: str(v) for k, v in env.items()}})
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_a_delivery_reaches_its_stream(redis, ca, start):
    receiver = start(setting(redis.tls_port, ca.ca))
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    receiver.wait_shipped()
    assert [e["ce_subject"] for e in redis.entries()] == [b"contact/7"]


# --- all three programs, with a client certificate -------------------------------------------------

def test_all_programs_with_a_client_certificate(ca, server_pair, tmp_path, start):
    certificate, key = ca.client()
    sim = simulator.Simulator(tmp_path)
    with TlsRedis(ca, server_pair, clients="yes") as redis:
        line = setting(redis.tls_port, ca.ca, cert_file=certificate, key_file=key)
        receiver = start(line)
        worker = simulator.Worker(tmp_path, sim, simulator.stanza("contacts"),
                                  worker=", leader: redis, interval: 1s")
        set_redis(worker.config, line)
        process = worker.start(tmp_path / "worker.log")
        try:
            assert receiver.post("type=subscribe&contact[id]=7") == 200
            receiver.wait_shipped()
            harness.wait_for("the hook", lambda: redis.client.hget("{ac}:hooks", "contacts"))
        finally:
            process.kill()
            process.wait()
        assert "contact/7" in acrelay(receiver.config, "tail", "--from", "0", "--count", "1")
        told = acrelay(receiver.config, "check")
        for certificate in "TLSv1.3: the server's certificate (CN = server)", str(certificate):
            assert re.search(re.escape(certificate) + " is valid for (29|30) more days, until 20", told)
    sim.stop()


def test_what_is_large_and_much_arrives(redis, ca, start):
    receiver = start(setting(redis.tls_port, ca.ca, host="127.0.0.1"), receiver=", body_max: 8MiB")
    bodies = [f"type=subscribe&contact[id]={i}&x=" + "y" * size
              for i, size in enumerate((4 << 20, 1 << 20, 100000, 16384, 16383, 1, 0))]
    for body in bodies:
        assert receiver.post(body) == 200
    receiver.wait_shipped()
    assert [e["ce_subject"] for e in redis.entries()] == [b"contact/%d" % i for i in range(7)]
    assert f'"x":"{"y" * (4 << 20)}"'.encode() in redis.entries()[0]["data"]


def test_a_quiet_connection_stays_and_its_end_is_noticed(redis, ca, start, monkeypatch):
    """The server's session tickets come when nothing was asked, and are no reply."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "cursor-check=600000")
    receiver = start(setting(redis.tls_port, ca.ca))
    receiver.wait_shipped()
    harness.wait_for("the cursor's being read again", lambda: receiver.metric("acrelay_redis_up"))
    before = redis.client.info("stats")["total_connections_received"]
    time.sleep(1.5)  # several looks at a connection that nothing is asked of
    assert redis.client.info("stats")["total_connections_received"] == before
    redis.kill()
    harness.wait_for("the end", lambda: receiver.metric("acrelay_redis_up") == 0)


def days_left(receiver, certificate):
    name = f'acrelay_redis_certificate_expiry_timestamp_seconds{{certificate="{certificate}"}}'
    return round((receiver.metric(name) - time.time()) / 86400)


@pytest.mark.parametrize("in_file", [False, True])
def test_the_certificates_ends_are_metrics_and_a_renewed_one_is_seen(ca, start, monkeypatch,
                                                                     tmp_path, in_file):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "tls-connection=300")
    certificate, key = ca.client("of-20-days", days=20)
    with TlsRedis(ca, ca.issue("of-10-days", days=10), clients="yes") as redis:
        line = setting(redis.tls_port, ca.ca, cert_file=certificate, key_file=key)
        if in_file:
            url = f"rediss://localhost:{redis.tls_port}/0"
            (tmp_path / "redis-url").write_text(url)
            (tmp_path / "redis-url").chmod(0o600)
            line = line.replace(f"url: '{url}'", "url_file: redis-url")
        receiver = start(line)
        receiver.wait_shipped()
        assert [days_left(receiver, which) for which in ("server", "client")] == [10, 20]
        redis.serve(ca.issue("of-60-days", days=60))
        harness.wait_for("the new one", lambda: days_left(receiver, "server") == 60)


def test_certificates_that_are_used_no_more_alarm_nobody(ca, start, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.ca))
    with TlsRedis(ca, ca.issue("of-10-days", days=10)) as redis:
        url = f"rediss://localhost:{redis.tls_port}/0"
        (tmp_path / "redis-url").write_text(url)
        (tmp_path / "redis-url").chmod(0o600)
        receiver = start("redis: {url_file: redis-url}\n")
        receiver.wait_shipped()
        assert days_left(receiver, "server") == 10
        (tmp_path / "redis-url").write_text(f"redis://127.0.0.1:{redis.port}/0")
        assert receiver.reload()
        redis.kill()
        redis.start()
        harness.wait_for("the connection without TLS", lambda: (
            "certificate_expiry" not in receiver.get("/metrics")[1]
            and receiver.metric("acrelay_redis_up") == 1))


# --- what does not count ------------------------------------------------------------------------------

def expired(ca):
    return ca.issue("expired", days=-1)


def of_another_name(ca):
    return ca.issue("other", names="DNS:other.example,IP:192.0.2.1")


def of_an_address_that_is_none(ca):  # a network, as a mistake for an address: 8 bytes
    return ca.issue("network", names="DER:300A87080A000000FF000000")


def of_an_unknown_authority(ca):
    return Certificates(ca.directory / "unknown", "somebody else").issue("server")


SERVERS = [(expired, "localhost has expired (20"),
           (of_another_name, "not for localhost but for other.example, 192.0.2.1: "),
           (of_an_address_that_is_none, "not for localhost but for no name at all: "),
           (of_an_unknown_authority, "not trusted here (CN = somebody else): ")]


@pytest.mark.parametrize("pair, sentence", SERVERS)
def test_a_certificate_that_does_not_count(redis, ca, server_pair, start, pair, sentence):
    redis.serve(pair(ca))
    receiver = start(setting(redis.tls_port, ca.ca))
    assert sentence in acrelay(receiver.config, "check", code=69)
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    harness.wait_for("the alarm", lambda: any(
        " alarm " in line and sentence in line for line in receiver.read_log().splitlines()))
    assert receiver.metric("acrelay_journal_unpublished_records") == 1
    redis.serve(server_pair)
    receiver.wait_shipped()
    assert [e["ce_subject"] for e in redis.entries()] == [b"contact/7"]


def test_an_address_must_be_in_the_certificate_too(redis, ca, start):
    redis.serve(ca.issue("names", names="DNS:localhost"))
    receiver = start(setting(redis.tls_port, ca.ca, host="127.0.0.1"))
    told = acrelay(receiver.config, "check", code=69)
    assert "the certificate is not for 127.0.0.1 but for localhost: " in told
    set_redis(receiver.config, setting(redis.tls_port, ca.ca, host="127.0.0.1",
                                       server_name="localhost"))
    assert "is valid for" in acrelay(receiver.config, "check")


def test_the_systems_authorities_are_those_without_ca_file(redis, ca, start):
    receiver = start(setting(redis.tls_port, ca.ca))
    line = f"redis: {{url: 'rediss://localhost:{redis.tls_port}'}}\n"
    set_redis(receiver.config, line)
    assert "not trusted here" in acrelay(receiver.config, "check", code=69)
    assert "is valid for" in acrelay(receiver.config, "check", SSL_CERT_FILE=ca.ca)


def test_a_certificate_that_soon_expires_is_a_warning(redis, ca, start):
    redis.serve(ca.issue("soon", days=13))
    receiver = start(setting(redis.tls_port, ca.ca))
    told = acrelay(receiver.config, "check")
    assert re.search(r"certificate \(CN = soon\) expires in 1[23] days, on 20", told)


def test_a_client_certificate_that_is_required(ca, server_pair, start):
    stranger = Certificates(ca.directory / "stranger").client()
    late = ca.client("late", days=-1)
    certificate, key = ca.client("renewed")
    with TlsRedis(ca, server_pair, clients="yes") as redis:
        receiver = start(setting(redis.tls_port, ca.ca))
        told = acrelay(receiver.config, "check", code=69)
        assert "requires a client certificate: set redis.tls.cert_file and key_file" in told
        for pair, sentence in ((stranger, "does not trust the authority that signed"),
                               (late, "redis.tls.cert_file, which has expired: renew it")):
            set_redis(receiver.config, setting(redis.tls_port, ca.ca, cert_file=pair[0],
                                               key_file=pair[1]))
            assert sentence in acrelay(receiver.config, "check", code=69)
        assert receiver.post("type=subscribe&contact[id]=7") == 200
        receiver.stop()
        receiver.line = setting(redis.tls_port, ca.ca, cert_file=late[0], key_file=late[1])
        receiver.start()
        harness.wait_for("the alarm", lambda: "which has expired: renew it" in receiver.read_log())
        # Renewed on the disk: the next connection takes it.
        os.replace(key, late[1])
        os.replace(certificate, late[0])
        receiver.wait_shipped()


def test_files_that_cannot_be_used(redis, ca, server_pair, start, tmp_path):
    certificate, key = ca.client("a")
    other = ca.client("b")[1]
    readable = tmp_path / "readable.key"
    readable.write_bytes(key.read_bytes())
    readable.chmod(0o644)
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "pkcs8", "-topk8", "-in", key, "-out", locked, "-passout",
                    "pass:x"], check=True, capture_output=True)
    locked.chmod(0o600)
    receiver = start(setting(redis.tls_port, ca.ca))
    for tls, sentence in (
            ({"cert_file": certificate, "key_file": other}, "redis.tls.key_file: "),
            ({"cert_file": certificate, "key_file": readable}, f"chmod 600 {readable}"),
            ({"cert_file": certificate, "key_file": locked}, "redis.tls.key_file: "),
            ({"cert_file": tmp_path / "none", "key_file": key}, "redis.tls.cert_file: "),
            ({"cert_file": key, "key_file": key}, "redis.tls.cert_file: ")):
        set_redis(receiver.config, setting(redis.tls_port, ca.ca, **tls))
        assert sentence in acrelay(receiver.config, "check", code=78)
    set_redis(receiver.config, setting(redis.tls_port, tmp_path / "none"))
    assert "redis.tls.ca_file: " in acrelay(receiver.config, "check", code=78)


# --- servers that speak something else -------------------------------------------------------------------

def test_tls_to_a_plain_port_and_plain_to_a_tls_port(redis, ca, start):
    receiver = start(setting(redis.port, ca.ca))
    said = "the server does not speak TLS on this port: "
    assert said in acrelay(receiver.config, "check", code=69)
    harness.wait_for("the alarm", lambda: said in receiver.read_log())
    said = "the server speaks TLS on this port: write rediss:// in the URL"
    set_redis(receiver.config, setting(redis.tls_port, ca.ca, scheme="redis"))
    assert said in acrelay(receiver.config, "check", code=69)
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    receiver.stop()
    receiver.line = setting(redis.tls_port, ca.ca, scheme="redis")
    receiver.start()
    harness.wait_for("the alarm", lambda: said in receiver.read_log())
    assert receiver.metric("acrelay_journal_unpublished_records") == 1


class Server:
    """Each connection is handled by `serve`, in a thread of its own."""

    def __init__(self, serve):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.arrived = threading.Event()
        self.serve = serve
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.arrived.set()
            threading.Thread(target=self.handle, args=(client,), daemon=True).start()

    def handle(self, client):
        with client:
            try:
                self.serve(client)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def drain(client):
    while client.recv(65536):
        pass


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x03", b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76"],
                         ids=range(3))
def test_a_stop_does_not_wait_for_a_handshake(first, ca, start, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "redis-connect=60000")

    def serve(client):
        client.sendall(first)
        drain(client)

    with Server(serve) as silent:
        receiver = start(setting(silent.port, ca.ca))
        assert receiver.post("type=subscribe&contact[id]=7") == 200
        assert silent.arrived.wait(30)
        receiver.stop()  # which waits 40 s at most


@pytest.mark.parametrize("answer, sentence", [
    (b"-DENIED Redis is running in protected mode\r\n", "does not speak TLS on this port"),
    (b"\x15\x03\x03\x00\x02\x02\x28", "refuses the connection: it may require"),
    (b"\x15\x03\x03\x00\x02\x02\x46", "speaks no TLS of version 1.2 or later"),
    (b"\x16\x03\x03\x00\x04\xff\xff\xff\xff", "TLS with localhost failed: "),
    (b"\x17\x03\x03\x40\x00" + b"x" * 16384, "TLS with localhost failed: "),
    (b"", "closed the connection")], ids=range(6))
def test_answers_that_are_no_handshake(answer, sentence, ca, start):
    def serve(client):
        client.recv(65536)
        client.sendall(answer)

    with Server(serve) as server:
        receiver = start(setting(server.port, ca.ca))
        assert sentence in acrelay(receiver.config, "check", code=69)


def test_garbage_within_tls_and_a_cut_without_a_goodbye(ca, server_pair, start):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_pair)
    answers = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$5\r\nab"]

    def serve(client):
        with context.wrap_socket(client, server_side=True) as stream:
            stream.recv(100)
            stream.sendall(answers[0])
            os.close(stream.detach())

    with Server(serve) as server:
        receiver = start(setting(server.port, ca.ca))
        assert "Protocol error, got \"H\"" in acrelay(receiver.config, "check", code=78)
        answers.pop(0)
        assert "closed the connection" in acrelay(receiver.config, "check", code=69)


def test_a_server_cannot_renegotiate(ca, server_pair, start):
    port = harness.free_port()
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", str(port), "-tls1_2", "-cert", server_pair[0], "-key",
         server_pair[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, bufsize=1)

    def wait_line(text):
        harness.wait_for(text, lambda: text in server.stdout.readline())

    try:
        wait_line("ACCEPT")
        start(setting(port, ca.ca))
        wait_line("Secure Renegotiation IS supported")
        server.stdin.write("r\n")  # its command for it
        wait_line("no renegotiation")
    finally:
        server.kill()
        server.communicate()


# --- a URL with a password --------------------------------------------------------------------------------

def test_a_url_as_a_hosted_service_gives_it(ca, server_pair, start, tmp_path):
    password = "p@ss/wo:rd%"
    with TlsRedis(ca, server_pair, password=password) as redis:
        url = tmp_path / "redis-url"
        url.write_text(f"rediss://default:p%40ss%2Fwo:rd%25@localhost:{redis.tls_port}/0\n")
        url.chmod(0o600)
        receiver = start(f"redis: {{url_file: redis-url, tls: {{ca_file: '{ca.ca}'}}}}\n")
        assert receiver.post("type=subscribe&contact[id]=7") == 200
        receiver.wait_shipped()
        told = acrelay(receiver.config, "check") + receiver.read_log()
        assert "redis.url_file's URL" in told and "p@ss" not in told and "p%40" not in told
        set_redis(receiver.config, f"redis: {{url_file: 'env:URL', tls: {{ca_file: '{ca.ca}'}}}}\n")
        acrelay(receiver.config, "check", URL=url.read_text())
        told = acrelay(receiver.config, "check", code=77, URL=url.read_text().replace("%25", ""))
        assert "WRONGPASS" in told and "p@ss" not in told
