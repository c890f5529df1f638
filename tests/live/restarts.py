#!/usr/bin/env python3
"""Restarts of acrelayd under load, the listening socket kept as a service manager keeps it.

Usage: restarts.py [--restarts N] [--kill] [--through nginx|haproxy] [--clients N]

SIGTERM and a successor (or, with --kill, kill -9 and a successor) while 12 clients post
numbered deliveries. Ends with 1 when a request failed that should not, an answered delivery is
not in the stream, or one is there twice.
"""
import argparse
import collections
import http.client
import json
import pathlib
import ssl
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness  # noqa: E402
import proxies  # noqa: E402


class Clients:
    """Threads that post numbers, a connection each, and note what was answered."""

    def __init__(self, count, port, path, secure):
        self.answers = {}
        self.port, self.path, self.secure = port, path, secure
        self.next, self.lock, self.over = 0, threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.post_on) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def connect(self):
        if not self.secure:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)

    def post(self, number):
        connection = self.connect()
        try:
            connection.request("POST", self.path, f"type=subscribe&contact[id]={number}", {
                "Content-Type": "application/x-www-form-urlencoded"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def post_on(self):
        while not self.over.is_set():
            with self.lock:
                number, self.next = self.next, self.next + 1
            self.answers[number] = self.post(number)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def restart(receiver, kill):
    old = receiver.process
    if kill:
        old.kill()
        old.wait()
        receiver.process = receiver.spawn()
    else:
        receiver.process = receiver.spawn()
        old.terminate()
        code = old.wait(60)
        if code != 0:
            raise AssertionError(f"acrelayd ended with {code}")
    harness.wait_for("the successor", receiver.is_ready)


def run(directory, count, kill=False, through=None, clients=12):
    """Returns what went wrong, and figures."""
    redis = harness.Redis(directory)
    receiver = harness.Receiver(directory, redis.port)
    proxy = proxies.KINDS[through](directory, receiver.port) if through else None
    load = Clients(clients, proxy.port if proxy else receiver.port, receiver.path(), bool(proxy))
    try:
        for _ in range(count):
            before = len(load.answers)
            harness.wait_for("some requests", lambda: len(load.answers) >= before + clients)
            restart(receiver, kill)
    finally:
        load.stop()
    receiver.wait_shipped()
    found = collections.Counter(
        int(json.loads(entry["data"])["contact"]["id"]) for entry in redis.entries())
    failed = [answer for answer in load.answers.values() if answer != 200]
    answered = {number for number, answer in load.answers.items() if answer == 200}
    wrong = []
    if failed and not kill:
        wrong.append(f"failed requests: {collections.Counter(failed)}")
    if len(failed) > count * clients:
        wrong.append(f"{len(failed)} requests failed, {count * clients} can have been in progress")
    if missing := answered - set(found):
        wrong.append(f"answered and not in the stream: {sorted(missing)[:5]}")
    if twice := [number for number, times in found.items() if times > 1]:
        wrong.append(f"in the stream more than once: {twice[:5]}")
    if unknown := set(found) - set(load.answers):
        wrong.append(f"never posted: {sorted(unknown)[:5]}")
    if proxy and harness.token("contacts") in proxy.logs():
        wrong.append(f"{through} wrote a token into its log")
    figures = (f"{count} {'kills' if kill else 'restarts'}"
               f"{f' through {through}' if through else ''}, {clients} clients: "
               f"{len(load.answers)} posts, {len(answered)} answered 200, {len(failed)} failed, "
               f"{sum(found.values())} in the stream")
    if proxy:
        proxy.stop()
    receiver.stop()
    receiver.socket.close()
    redis.kill()
    return wrong, figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--through", choices=sorted(proxies.KINDS))
    parser.add_argument("--clients", type=int, default=12)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="acrelay-restarts-") as place:
        bad, said = run(pathlib.Path(place), given.restarts, given.kill, given.through,
                        given.clients)
    print("\n".join([said, *bad]))
    sys.exit(1 if bad else 0)
