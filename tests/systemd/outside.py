#!/usr/bin/env python3
"""What runs in the machine's network, but not in the machine: the sender, who posts each
delivery once, and the reader of the stream.

Usage: outside.py load PATH FIRST   posts numbered deliveries until its input ends, and writes
                                    "NUMBER ANSWER SECONDS" for each
       outside.py ids               writes the number of each entry of the stream
"""
import http.client
import itertools
import json
import sys
import threading
import time

CLIENTS, PAUSE = 8, 0.03


def post(path, number):
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=120)
    try:
        connection.request("POST", path, f"type=subscribe&contact[id]={number}", {
            "Content-Type": "application/x-www-form-urlencoded"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def load(path, first):
    numbers, lock, over = itertools.count(first), threading.Lock(), threading.Event()

    def post_on():
        while not over.wait(PAUSE):
            with lock:
                number = next(numbers)
            start = time.monotonic()
            answer = post(path, number)
            with lock:
                print(number, answer, f"{time.monotonic() - start:.3f}", flush=True)

    threads = [threading.Thread(target=post_on) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()


def ids():
    import redis
    for _, fields in redis.Redis(socket_timeout=30).xrange("{ac}:events"):
        print(json.loads(fields[b"data"])["contact"]["id"])


if __name__ == "__main__":
    if sys.argv[1] == "load":
        load(sys.argv[2], int(sys.argv[3]))
    else:
        ids()
