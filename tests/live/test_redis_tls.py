"""Redis over TLS: receiver, worker and command line, certificates that do not count, and servers
that speak something else."""
import json
import os
import pathlib
import signal
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

    def __init__(self, ca, pair, *options, clients="no"):
        self.tls_port = harness.free_port()
        super().__init__(None, "--tls-port", str(self.tls_port), "--tls-cert-file", str(pair[0]),
                         "--tls-key-file", str(pair[1]), "--tls-ca-cert-file", str(ca.ca),
                         "--tls-auth-clients", clients, *options)

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
    began = time.monotonic()
    done = subprocess.run([harness.BUILD / "acrelay", *words, "--config", config],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, **{k: str(v) for k, v in env.items()}})
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert time.monotonic() - began < 12
    return done.stdout + done.stderr


def test_a_delivery_reaches_its_stream(redis, ca, start):
    receiver = start(setting(redis.tls_port, ca.ca))
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    receiver.wait_shipped()
    assert [e["ce_subject"] for e in redis.entries()] == [b"contact/7"]
