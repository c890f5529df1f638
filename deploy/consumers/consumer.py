#!/usr/bin/python3
"""A complete consumer of acrelay's events with redis-py: each event takes effect exactly once.

    consumer.py [--url redis://127.0.0.1:6379/0] [--stream '{ac}:events'] [--group shop]
                [--name NAME] [--claim-after SECONDS] [--database shop.db]
                [--partitions N [--before N]]

The effect is a row in a database of our own (SQLite here), whose primary key is ce_id. An event may
arrive again, because the consumer died before acknowledging it or because Redis lost its last second
of writes; it then changes nothing. So the order is always: effect, commit, acknowledge.

There are two kinds of failure. If the event itself cannot be processed, it never will be: the
consumer reports it, stores it in the table `set_aside`, and only then acknowledges it. If the
database fails (locked, full, unreachable), the event stays pending, for an hour or a day, until it
can be processed. Nothing else is ever acknowledged.

With --partitions N (as redis.partitions) it reads {ac.0}:events to {ac.N-1}:events. When that number is
changed, give the earlier one as --before: what is still in those streams is finished first, so that the
events of each subject stay in order. One consumer for each partition (--stream '{ac.2}:events') keeps the
order of subjects while several work side by side, also when it is restarted under the same name; only an
event whose effect failed comes after newer ones.

It needs redis-py (apt install python3-redis), and prints a line for each event.

Start as many consumers as you like, each with its own name. Ctrl-C or SIGTERM lets one finish the
current event and exit."""
import argparse
import json
import os
import signal
import socket
import sqlite3
import sys
import time

try:
    import redis
except ImportError:
    sys.exit(f"consumer.py: redis-py is not installed for {sys.executable}: apt install python3-redis "
             "and run it with /usr/bin/python3, or pip install redis")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    option = parser.add_argument
    option("--url", default="redis://127.0.0.1:6379/0", help="URL of Redis (default: %(default)s)")
    option("--stream", default="{ac}:events", help="the stream to read (default: %(default)s)")
    option("--group", default="shop", help="the consumer group, created if missing (default: %(default)s)")
    option("--name", default=socket.gethostname(), help="this consumer's name in the group (default: the host name)")
    option("--claim-after", type=float, default=60, metavar="SECONDS",
           help="claim entries that have been pending for this long (default: %(default)s)")
    option("--database", default="shop.db", help="the SQLite file with the effects (default: %(default)s)")
    option("--partitions", type=int, default=1, metavar="N", help="as redis.partitions (default: %(default)s)")
    option("--before", type=int, metavar="N", help="the previous redis.partitions: those streams come first")
    return parser.parse_args()


def partitions(stream, count):
    """{ac}:events, or {ac.0}:events and so on."""
    return [stream] if count == 1 else [stream.replace("}", f".{i}}}", 1) for i in range(count)]


class WrongEvent(Exception):
    """This event can never have its effect; the text says why."""


def read_event(event):
    """The row that the event becomes. Pure: whatever fails here will fail again."""
    try:
        data = json.loads(event["data"])
        if event.get("content-type") == "application/cloudevents+json":  # format: structured
            data = data["data"]
        contact = data.get("contact")
        email = contact.get("email") if isinstance(contact, dict) else None
        row = (event["ce_id"], event["ce_type"], event["ce_subject"], email)
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise WrongEvent(repr(error)) from error
    if not isinstance(email, (str, type(None))):
        raise WrongEvent("the e-mail address is not a string")
    return row


class Consumer:
    def __init__(self, given):
        self.given = given
        self.stopping = False
        self.failed = False
        self.streams = partitions(given.stream, given.partitions)
        self.earlier = [stream for stream in partitions(given.stream, given.before or 1)
                        if given.before and stream not in self.streams]
        self.claim_from = {stream: "0-0" for stream in self.streams + self.earlier}
        self.read_from = dict.fromkeys(self.claim_from, "0")
        # `raw` may hold any bytes: they are shown, never a reason to stop.
        self.client = redis.Redis.from_url(given.url, decode_responses=True, socket_timeout=30,
                                           encoding_errors="backslashreplace")
        self.database = None

    def open_database(self):
        if not self.database:
            self.database = sqlite3.connect(self.given.database, timeout=5)
            with self.database as database:
                database.execute("CREATE TABLE IF NOT EXISTS contacts_seen"
                                 " (ce_id TEXT PRIMARY KEY, type TEXT, subject TEXT, email TEXT)")
                database.execute("CREATE TABLE IF NOT EXISTS set_aside"
                                 " (entry TEXT PRIMARY KEY, reason TEXT, event TEXT)")
        return self.database

    def take_effect(self, entry_id, event):
        """The work itself, committed when this returns; what was done."""
        with self.open_database() as database:
            try:
                row = read_event(event)
                added = database.execute("INSERT OR IGNORE INTO contacts_seen VALUES (?, ?, ?, ?)",
                                         row).rowcount
                return f"{row[1]} {row[2]}: {'stored' if added else 'already stored'}"
            except WrongEvent as wrong:
                database.execute("INSERT OR IGNORE INTO set_aside VALUES (?, ?, ?)",
                                 (entry_id, str(wrong), json.dumps(event)))
                return f"set aside, {event.get('ce_id')}: {wrong}"

    def work(self, stream, entry_id, event):
        """One entry. If it had no effect, it stays pending and is retried after --claim-after."""
        # Partitions give the same entry ids.
        name = entry_id if len(self.claim_from) == 1 else f"{stream}/{entry_id}"
        if event:  # else it was trimmed from the stream before anyone read it
            try:
                print(f"{name}: {self.take_effect(name, event)}", flush=True)
            except sqlite3.Error as error:
                print(f"{name}: no effect yet: {error}; it will be retried", file=sys.stderr)
                if self.database:
                    self.database.close()
                self.database = None  # a new connection next time
                self.failed = True
                return
        self.client.xack(stream, self.given.group, entry_id)

    def make_group(self, stream):
        try:  # at 0, so that what came before the first consumer is read too
            self.client.xgroup_create(stream, self.given.group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def is_finished(self, stream):
        """Whether the group has read all of it, and acknowledged it."""
        [group] = [group for group in self.client.xinfo_groups(stream)
                   if group["name"] == self.given.group]
        last = self.client.xinfo_stream(stream)["last-generated-id"]
        return group["pending"] == 0 and group["last-delivered-id"] == last

    def streams_now(self):
        """The streams of the earlier number of partitions alone, until they are finished."""
        unfinished = [stream for stream in self.earlier if not self.is_finished(stream)]
        return unfinished or self.streams + self.earlier

    def left_entries(self, stream):
        """Entries that a consumer read and did not acknowledge, a hundred at a time."""
        given = self.given
        self.claim_from[stream], left, *_ = self.client.xautoclaim(
            stream, given.group, given.name, int(given.claim_after * 1000),
            self.claim_from[stream], count=100)
        return [(stream, *entry) for entry in left]

    def new_entries(self, streams, block_ms):
        """After a start, first what this consumer had read before and not acknowledged (from "0" on)."""
        given = self.given
        found = self.client.xreadgroup(given.group, given.name,
                                       {stream: self.read_from[stream] for stream in streams},
                                       count=100, block=block_ms)
        for stream, entries in found or []:
            if self.read_from[stream] != ">":
                self.read_from[stream] = entries[-1][0] if entries else ">"
        return [(stream, *entry) for stream, entries in found or [] for entry in entries]

    def turn(self):
        """Old pending entries and new ones alternate, so that neither holds up the other."""
        streams = self.streams_now()
        left = [entry for stream in streams for entry in self.left_entries(stream)]
        for entry in left:
            if not self.stopping:
                self.work(*entry)
        for entry in self.new_entries(streams, 1 if left else 1000):
            if not self.stopping:
                self.work(*entry)
        if self.failed:
            time.sleep(min(1, self.given.claim_after))
        self.failed = False

    def run(self):
        given = self.given
        print(f"reading {', '.join(self.claim_from)} as {given.name} of group {given.group}; effects go into "
              f"{os.path.abspath(given.database)}, tables contacts_seen and set_aside", flush=True)
        while not self.stopping:
            try:
                for stream in self.claim_from:
                    self.make_group(stream)  # Redis may have been emptied
                self.turn()
            except redis.RedisError as error:
                print(f"Redis: {error}; trying again", file=sys.stderr)
                self.read_from = dict.fromkeys(self.claim_from, "0")
                time.sleep(1)


def main():
    consumer = Consumer(arguments())

    def stop(*_):
        consumer.stopping = True
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, stop)
    try:
        consumer.run()
    except BrokenPipeError:  # nobody reads what is printed: `| head`. What was not acknowledged stays pending
        os._exit(1)  # without a flush, which would fail again


if __name__ == "__main__":
    main()
