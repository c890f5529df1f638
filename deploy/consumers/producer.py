#!/usr/bin/python3
"""A producer of commands with redis-py: each change reaches ActiveCampaign, or is reported.

    producer.py [--url redis://127.0.0.1:6379/0] [--namespace ac] [--service crm] <commands

Each line of the input is a command: its id, operation, subject and body, separated by spaces:

    order-4711 Contact_updateContact contacts/66 {"contact":{"firstName":"Ann"}}

The id names the change, not the attempt. That is what makes sending again harmless: whenever it is
not known whether a command is in the stream (the connection broke, Redis lost its last second of
writes), it is added again with the same id, and acrelay carries it out once. So a service keeps a
command (here in `waiting`; in a real one, in its database) until the result is there.

It needs redis-py (apt install python3-redis)."""
import argparse
import json
import sys
import time

try:
    import redis
except ImportError:
    sys.exit(f"producer.py: redis-py is not installed for {sys.executable}: apt install python3-redis "
             "and run it with /usr/bin/python3, or pip install redis")

SILENCE = 600  # seconds without any result, after which commands are added again


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", default="redis://127.0.0.1:6379/0", help="URL of Redis (default: %(default)s)")
    parser.add_argument("--namespace", default="ac", help="redis.namespace (default: %(default)s)")
    parser.add_argument("--service", default="crm", help="one of commands.services (default: %(default)s)")
    return parser.parse_args()


class Producer:
    def __init__(self, given):
        self.client = redis.Redis.from_url(given.url, decode_responses=True, socket_timeout=30)
        self.commands = f"{{{given.namespace}}}:commands:{given.service}"
        self.results = f"{{{given.namespace}}}:results:{given.service}"
        self.waiting = {}  # by id
        self.after = None  # the result that was read last
        self.is_ok = True

    def add(self, name, operation, subject, body):
        self.client.xadd(self.commands, {
            "ce_specversion": "1.0", "ce_id": name, "ce_source": "producer.py",
            "ce_type": f"com.activecampaign.command.{operation}", "ce_subject": subject,
            "content-type": "application/json", "data": body})

    def take(self, result):
        if self.waiting.pop(result["ce_id"], None):
            print(result["ce_id"], result["outcome"], result["status"], result["detail"], flush=True)
            self.is_ok = self.is_ok and result["outcome"] == "ok"

    def read(self):
        """Takes what comes within some seconds; whether anything came."""
        found = self.client.xread({self.results: self.after}, count=100, block=5000)
        for _, entries in found:
            for self.after, result in entries:
                self.take(result)
        return bool(found)

    def turn(self):
        """Adds what waits for its result, and reads until all are there, or none for too long."""
        if self.after is None:  # what is there already is not ours
            newest = self.client.xrevrange(self.results, count=1)
            self.after = newest[0][0] if newest else "0"
        for command in self.waiting.values():
            self.add(*command)
        end = time.monotonic() + SILENCE
        while self.waiting and time.monotonic() < end:
            if self.read():
                end = time.monotonic() + SILENCE

    def run(self, commands):
        self.waiting = {command[0]: command for command in commands}
        while self.waiting:
            try:
                self.turn()
            except (redis.ConnectionError, redis.TimeoutError) as error:
                print(f"Redis: {error}; adding again", file=sys.stderr)
                time.sleep(1)
        return 0 if self.is_ok else 1


def read_commands():
    for line in filter(str.strip, sys.stdin):
        words = line.strip().split(" ", 3)
        if len(words) < 4:
            sys.exit(f"producer.py: {line.strip()}: not ID OPERATION SUBJECT BODY")
        try:  # a mistake shows here, not as a result
            json.loads(words[3])
        except ValueError as error:
            sys.exit(f"producer.py: {words[0]}: the body is not JSON: {error}")
        yield words


if __name__ == "__main__":
    sys.exit(Producer(arguments()).run(read_commands()))
