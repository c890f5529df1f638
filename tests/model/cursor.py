#!/usr/bin/env python3
"""The cursor protocol as a model, every state of it visited (src/relay/relay.h).

State of the world: a journal (how many records it holds and which of them are kept), a Redis
(its stream and cursor, and an older saved pair), relays (where each believes the cursor is),
and calls that are under way: a call may be executed late, after its connection is gone, or
never. Steps: append, read the cursor (also while there is nothing to send), send a batch,
execute, lose the answer, crash, save, roll back, drop records that are no longer needed.

Held in every state: the stream is the journal's records 1..cursor, in order, none twice; what
Redis may yet ask for again is kept; and when nothing happens any more, no delivery either, a
relay makes the stream whole.

Broken variants of the protocol must fail, or the checker is broken itself.

Usage: tests/model/cursor.py        ends with "N passed, N failed"
"""
import sys
from typing import NamedTuple

RECORDS = 3  # that are ever appended
BATCH = 2
CALLS = 2  # under way at once
ROLLBACKS = 2


class World(NamedTuple):
    appended: int = 0
    dropped: int = 0  # records 1..dropped are no longer kept
    stream: tuple = ()
    cursor: int = 0
    saved: tuple = ((), 0)  # stream and cursor as of the last save
    rollbacks: int = 0
    relays: tuple = (None,)  # cursor each believes in; None: not connected
    calls: frozenset = frozenset()  # (prev, first, last, half done)


class Protocol(NamedTuple):
    """What the real one does; each False breaks it."""
    refuses_before: bool = True  # AT: nothing is written when the cursor is before prev
    refuses_beyond: bool = True  # nor when it is beyond: those records are in, or another's
    atomic: bool = True  # entries and cursor in one step
    keeps_for_rollback: bool = True  # drops only what no rollback can ask for
    reads_cursor: bool = True  # after a connection was lost
    polls: bool = True  # reads the cursor while there is nothing to send


def execute(world, call, protocol):
    """All worlds that the execution of a call can give."""
    prev, first, last, half = call
    rest = world.calls - {call}
    refused = (protocol.refuses_before and world.cursor < prev
               or protocol.refuses_beyond and world.cursor > prev)
    if refused and not half:
        return [world._replace(calls=rest)]
    records = tuple(range(first, last + 1))
    if half:
        return [world._replace(cursor=max(world.cursor, last), calls=rest)]
    stream = world.stream + records
    if not protocol.atomic:
        return [world._replace(stream=stream, calls=rest | {(prev, first, last, True)}),
                world._replace(stream=stream, calls=rest)]
    done = [world._replace(stream=stream, cursor=last, calls=rest)]
    if len(records) > 1:  # a record refused in the middle: those before it are in
        done.append(world._replace(stream=world.stream + records[:1], cursor=first,
                                   calls=rest))
    return done


def believing(world, i, cursor):
    relays = list(world.relays)
    relays[i] = cursor
    return world._replace(relays=tuple(relays))


def relay_steps(world, i, protocol):
    believed = world.relays[i]
    if believed is None:
        yield "connect", believing(world, i, world.cursor)
        return
    yield "crash", believing(world, i, None)
    if protocol.polls and believed != world.cursor:
        yield "poll", believing(world, i, world.cursor)
    if believed < world.appended and len(world.calls) < CALLS:
        for last in range(believed + 1, min(believed + BATCH, world.appended) + 1):
            first = max(believed, world.dropped) + 1
            if first > last:
                continue
            sent = world._replace(calls=world.calls | {(believed, first, last, False)})
            # The answer is lost, or comes (below, by reading the cursor).
            yield "send, answer lost", believing(sent, i, None if protocol.reads_cursor
                                                 else believed)
            for after in execute(sent, (believed, first, last, False), protocol):
                yield "send, answered", believing(after, i, after.cursor)
            if not protocol.reads_cursor:
                yield "send, believed", believing(sent, i, last)


def steps(world, protocol):
    if world.appended < RECORDS:
        yield "append", world._replace(appended=world.appended + 1)
    for i in range(len(world.relays)):
        yield from relay_steps(world, i, protocol)
    for call in world.calls:
        yield "drop call", world._replace(calls=world.calls - {call})
        for after in execute(world, call, protocol):
            yield "execute late", after
    if world.saved != (world.stream, world.cursor):
        yield "save", world._replace(saved=(world.stream, world.cursor))
    if world.rollbacks < ROLLBACKS and world.saved[1] < world.cursor:
        yield "roll back", world._replace(stream=world.saved[0], cursor=world.saved[1],
                                          rollbacks=world.rollbacks + 1)
    bound = world.saved[1] if protocol.keeps_for_rollback else world.cursor
    if world.dropped < bound:
        yield "drop records", world._replace(dropped=world.dropped + 1)


def settles(world, protocol):
    """Whether the first relay alone makes the stream whole, when no call is under way."""
    world = world._replace(calls=frozenset())
    if world.relays[0] is None:
        world = believing(world, 0, world.cursor)
    while True:
        if protocol.polls:
            world = believing(world, 0, world.cursor)
        believed = world.relays[0]
        if believed >= world.appended:
            return world.cursor == world.appended
        call = (believed, max(believed, world.dropped) + 1, world.appended, False)
        after = execute(world._replace(calls=frozenset({call})), call, protocol)[0]
        after = believing(after, 0, after.cursor)
        if after == world:
            return False
        world = after


def wrong(world, protocol):
    """What the state breaks, or None."""
    if len(set(world.stream)) != len(world.stream):
        return "a record twice"
    if list(world.stream) != sorted(world.stream):
        return "order lost"
    if world.stream != tuple(range(1, len(world.stream) + 1)):
        return "a record missing"
    if not any(half for *_, half in world.calls) and world.cursor != len(world.stream):
        return "cursor and stream differ"
    if world.dropped > world.cursor:
        return "a record that is missing is no longer kept"
    if protocol.atomic and not settles(world, protocol):
        return "a loss that no delivery shows is not made good"
    return None


def visit(protocol, relays=1):
    """(states, None), or (states, (what is wrong, the way there))."""
    start = World(relays=(None,) * relays)
    came, queue = {start: None}, [start]
    for world in queue:
        broken = wrong(world, protocol)
        if broken:
            way = []
            while came[world]:
                name, world = came[world]
                way.append(name)
            return len(came), (broken, way[::-1])
        for name, after in steps(world, protocol):
            if after not in came:
                came[after] = (name, world)
                queue.append(after)
    return len(came), None


VARIANTS = [
    ("the protocol", Protocol(), 1, False),
    ("two relays with one journal", Protocol(), 2, False),
    ("a cursor before prev is not refused", Protocol(refuses_before=False), 1, True),
    ("a cursor beyond prev is not refused", Protocol(refuses_beyond=False), 1, True),
    ("entries and cursor not atomic", Protocol(atomic=False), 1, True),
    ("records dropped at the cursor", Protocol(keeps_for_rollback=False), 1, True),
    ("an idle relay does not poll", Protocol(polls=False), 1, True),
    ("cursor not read after doubt", Protocol(reads_cursor=False, refuses_before=False), 1, True),
]


def main():
    passed = failed = 0
    for name, protocol, relays, must_break in VARIANTS:
        states, broken = visit(protocol, relays)
        good = bool(broken) == must_break
        passed, failed = passed + good, failed + (not good)
        says = f"{broken[0]}: {', '.join(broken[1])}" if broken else "holds"
        print(f"{'ok' if good else 'NOT OK'}  {name}: {states} states; {says}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
