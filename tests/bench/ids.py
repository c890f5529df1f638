#!/usr/bin/env python3
"""The ceilings of commands at full size: 1,000,000 remembered ids in Redis, of which the oldest go
when new ones come, and 100,000 commands of as many subjects that wait in the worker. Prints what
both take in memory; 1 when a ceiling does not hold.

Usage: ids.py
"""
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
import harness  # noqa: E402
from commands import Commands  # noqa: E402

IDS, WAITING, NEW = 1_000_000, 100_000, 50
RSS_MAX, REDIS_MAX = 128 << 20, 512 << 20
# as "finish" of commands.lua writes them
FILL = """
local now = redis.call('TIME')[1] * 1000000
local digest = string.rep('0123456789abcdef', 4)
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local us, id = string.format('%.0f', now - 3600000000 + i), redis.sha1hex('crm\\0old-' .. i)
  redis.call('HSET', '{ac}:commands.ids', id, us .. ' ' .. digest .. ' ok 200 1')
  redis.call('ZADD', '{ac}:commands.order', us, id)
end
"""


def rss(process):
    pages = pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def fill(client):
    for first in range(0, IDS, 10000):
        client.eval(FILL, 0, first, first + 9999)


def add_waiting(client):
    pipe = client.pipeline(transaction=False)
    for n in range(WAITING):
        pipe.xadd("{ac}:commands:shop", {
            "ce_id": f"waits-{n}", "ce_subject": f"contacts/{n + 1}",
            "ce_type": "com.activecampaign.command.Contact_updateContact",
            "data": '{"contact":{"firstName":"Ann"}}'})
    pipe.execute()


def main():
    with tempfile.TemporaryDirectory(prefix="acrelay-ids-") as directory, Commands(
            directory, settings="rate: 5\n  max: 100000", second=100) as lane:
        client = lane.redis.client
        before = client.info("memory")["used_memory"]
        fill(client)
        ids = client.info("memory")["used_memory"] - before
        process = lane.start()
        for n in range(NEW):
            lane.put(f"contacts/{n + 1}")
        lane.wait_for_results(NEW)
        counts = client.hlen("{ac}:commands.ids"), client.zcard("{ac}:commands.order")
        oldest = [client.hexists("{ac}:commands.ids", client.eval(
            "return redis.sha1hex('crm\\0old-' .. ARGV[1])", 0, n)) for n in range(NEW + 1)]
        said = lane.log().count("more than 1,000,000 ids")
        idle = rss(process)
        print(f"{counts[0]:,} ids after {NEW} new ones: {ids >> 20} MiB of Redis; the oldest "
              f"{NEW - sum(oldest[:NEW])} are forgotten, which the log says {said} time")
        lane.simulator.answer(429, "", 1000, Retry_After="900")  # so that all of it waits
        add_waiting(client)
        start = time.monotonic()
        harness.wait_for("all waiting", lambda: lane.worker.metric(
            'acrelay_commands_waiting{service="shop"}') == WAITING, 300)
        seconds, waiting = time.monotonic() - start, rss(process)
        print(f"{WAITING:,} commands of as many subjects wait: {waiting >> 20} MiB of the worker "
              f"({idle >> 20} MiB without), read in {seconds:.0f} s")
        good = [counts == (IDS, IDS), not any(oldest[:NEW]) and oldest[NEW], said == 1,
                ids < REDIS_MAX, waiting < RSS_MAX]
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    sys.exit(not all(good))


main()
