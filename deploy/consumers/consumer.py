#!/usr/bin/env python3
"""A complete consumer of acrelay's events with redis-py: each event takes effect exactly once.

    consumer.py [--url redis://127.0.0.1:6379/0] [--stream '{ac}:events'] [--group shop]
                [--name NAME] [--claim-after SECONDS] [--database shop.db]

The effect is a row in a database of our own (SQLite here), whose primary key is ce_id: an event
that comes again, after we died before acknowledging or after Redis lost its last second, changes
nothing. So the order is always: effect, commit, acknowledge. Start as many as you like, each
with a name of its own; ending one with Ctrl-C or SIGTERM finishes the event in hand."""
import argparse
import json
import signal
import socket
import sqlite3
import sys
import time

import redis

FOREVER_WRONG = 10  # deliveries of one entry after which it is set aside


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--stream", default="{ac}:events")
    parser.add_argument("--group", default="shop")
    parser.add_argument("--name", default=socket.gethostname())
    parser.add_argument("--claim-after", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--database", default="shop.db")
    return parser.parse_args()


def open_database(path):
    database = sqlite3.connect(path, timeout=30)
    database.execute("CREATE TABLE IF NOT EXISTS contacts_seen"
                     " (ce_id TEXT PRIMARY KEY, type TEXT, subject TEXT, email TEXT)")
    return database


def take_effect(database, event):
    """The work itself. Committed before the event is acknowledged."""
    data = json.loads(event["data"])
    contact = data.get("contact")
    email = contact.get("email") if isinstance(contact, dict) else None
    with database:
        database.execute("INSERT OR IGNORE INTO contacts_seen VALUES (?, ?, ?, ?)",
                         (event["ce_id"], event["ce_type"], event["ce_subject"], email))


def make_group(client, stream, group):
    try:  # at 0, so that what came before the first consumer is read too
        client.xgroup_create(stream, group, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


def entries(client, given):
    """Entries to work on: those that someone took and left, else new ones."""
    _, left, *_ = client.xautoclaim(given.stream, given.group, given.name,
                                    int(given.claim_after * 1000), "0-0", count=100)
    if left:
        return left
    found = client.xreadgroup(given.group, given.name, {given.stream: ">"}, count=100, block=1000)
    return found[0][1] if found else []


def is_hopeless(client, given, entry_id):
    [pending] = client.xpending_range(given.stream, given.group, entry_id, entry_id, 1) or [{}]
    return pending.get("times_delivered", 0) > FOREVER_WRONG


def work(client, database, given, entry_id, event):
    if not event:  # trimmed from the stream before anyone read it
        print(f"{entry_id}: trimmed unread", file=sys.stderr)
    else:
        try:
            take_effect(database, event)
        except (ValueError, KeyError, sqlite3.Error) as error:
            if not is_hopeless(client, given, entry_id):
                print(f"{event.get('ce_id')}: {error}; again later", file=sys.stderr)
                return
            print(f"{event.get('ce_id')}: given up: {error}", file=sys.stderr)
    client.xack(given.stream, given.group, entry_id)


def main():
    given = arguments()
    stopping = []
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stopping.append(True))
    client = redis.Redis.from_url(given.url, decode_responses=True, socket_timeout=30)
    database = open_database(given.database)
    while not stopping:
        try:
            make_group(client, given.stream, given.group)  # Redis may have been emptied
            for entry_id, event in entries(client, given):
                work(client, database, given, entry_id, event)
                if stopping:
                    break
        except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError) as error:
            print(f"Redis: {error}; trying again", file=sys.stderr)
            time.sleep(1)


if __name__ == "__main__":
    main()
