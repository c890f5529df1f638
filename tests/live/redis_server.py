"""A private redis-server for a test: its own directory, port and unix socket, ended with it.

    with RedisServer() as redis:
        redis.client.set("a", "b")
        redis.kill()                    # as a crash
        redis.start()
        redis.rollback(lambda: ...)     # what happens inside is forgotten by Redis
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import redis as redis_py

from harness import REDIS_SERVER, free_port


def wait_for(condition, seconds=20, what="condition"):
    """Asks until the condition is true and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


class RedisServer:
    def __init__(self, password=None, aof=None, settings=()):
        """aof: None, "always" or "everysec"; settings: more words for the command line."""
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="acrelay-redis-"))
        self.socket = str(self.directory / "redis.sock")
        self.port = free_port()
        self.password = password
        self.words = ["--save", "", "--enable-debug-command", "yes",
                      "--repl-diskless-sync-delay", "0", *settings]
        if aof:
            self.words += ["--appendonly", "yes", "--appendfsync", aof]
        if password:
            self.words += ["--requirepass", password]
        self.process = None
        self.client = redis_py.Redis(unix_socket_path=self.socket, password=password,
                                     socket_timeout=20)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()

    def start(self):
        log = open(self.directory / "redis.log", "ab")
        self.process = subprocess.Popen(
            [REDIS_SERVER, "--port", str(self.port), "--bind", "127.0.0.1",
             "--unixsocket", self.socket, "--dir", str(self.directory), *self.words],
            stdout=log, stderr=log)
        wait_for(self.answers, what="redis-server answers")
        return self

    def answers(self):
        assert self.process.poll() is None, (self.directory / "redis.log").read_text()
        try:
            return self.client.ping()
        except (redis_py.ConnectionError, redis_py.TimeoutError):
            return False

    def signal(self, number):
        self.process.send_signal(number)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """As a crash: SIGKILL."""
        self.process.kill()
        self.process.wait()
        if os.path.exists(self.socket):
            os.unlink(self.socket)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)

    def rollback(self, meanwhile):
        """Saves, lets things happen, and goes back to what was saved."""
        self.client.save()
        result = meanwhile()
        self.client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        return result

    def add_user(self, name, password, *rules):
        self.client.execute_command("ACL", "SETUSER", name, "on", f">{password}", *rules)

    def entries(self, key):
        """(id, {field: value}) of a stream, decoded."""
        return [(i.decode(), {k.decode(): v.decode("utf-8", "replace") for k, v in f.items()})
                for i, f in self.client.xrange(key)]

    def remove(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self.client.close()
        shutil.rmtree(self.directory, ignore_errors=True)
