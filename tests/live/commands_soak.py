#!/usr/bin/env python3
"""Commands under random faults: services add them while the worker or Redis is killed, Redis goes
back, leaders change, connections are cut before and after the write, and ActiveCampaign answers
429, 503, 522, HTML, half or nothing, in an order that a seed gives. In the end each entry that Redis
kept has exactly one result; the effects are in order for each service and subject, after folding
what was run again together with all that came after it; no result is without its effect or its
reason; and no second had more calls than the rates allow, by the simulator's own count.

    tests/live/commands_soak.py --seeds 500 [--first 1] [--parallel 6]

A run that fails prints its seed; the same seed gives the same faults in the same order."""
import argparse
import collections
import concurrent.futures
import datetime
import json
import random
import signal
import sys
import tempfile
import time

import harness
from commands import Commands
from fault_proxy import FaultProxy

SECONDS = 12  # that a run may take; most take 3 or 4
SECOND_MS = 250  # of the rates, and of the simulator's switches
RATE, API_RATE = 4, 5
SERVICES = ("[{name: crm, allow: [contacts, deals, dealStages], weight: 2},"
            " {name: shop, allow: [contacts]}]")
SUBJECTS = {"crm": ["contacts/1", "contacts/2", "deals/1", "dealStages/1/deals"],
            "shop": ["contacts/1", "contacts/3"]}
OPERATIONS = {"contacts/": ("Contact_updateContact", "contact"),
              "deals/": ("Deal_updateExistingDeal", "deal"),
              "dealStages/": ("Deal_moveDealsToAnotherStage", "deal")}
POISONED = "contacts/9"  # answers 522, whatever is tried
ABSENT = "contacts/99999"
TIMES = ("command-backoff=10 command-backoff-max=60 command-pause=30 command-trial=30 "
         "api-timeout=300 round-again=200 worker_gone=1000 worker_unclear=300 ")
STOPS = "command-stop=400 command-probe=40 command-probe-max=100"
PERSISTENCE = {  # what a Redis that is killed has when it is back
    "always": ("--appendonly", "yes", "--appendfsync", "always"),
    "everysec": ("--appendonly", "yes", "--appendfsync", "everysec"),
    "snapshots": (),
}
CHAOS = {"seed": 0, "slow_ms": 2000, "retry_dates": 500}


class Command:
    """What a service wants; `entries` are its entries that Redis kept."""

    def __init__(self, number, service, subject, kind):
        self.number, self.service, self.subject, self.kind = number, service, subject, kind
        self.entries = []


class Node:
    """A worker and its own way to Redis."""

    def __init__(self, world, number):
        self.proxy = FaultProxy(world.redis.port)
        self.config = world.worker.config.with_name(f"worker-{number}.yaml")
        self.config.write_text(world.worker.config.read_text().replace(
            f":{world.redis.port}/0", f":{self.proxy.port}/0").replace(
            f"admin: '127.0.0.1:{world.worker.admin}'",
            f"admin: '127.0.0.1:{harness.free_port()}'"))
        self.process = None


class World(Commands):
    def __init__(self, directory, seed):
        self.random = random.Random(seed)
        self.persistence = self.random.choice(sorted(PERSISTENCE))
        pair = self.random.random() < 0.4
        super().__init__(
            directory, SERVICES, f"rate: {RATE}", rate=API_RATE, lease=600, second=SECOND_MS,
            worker=", interval: 1s" + ", leader: redis" * pair,
            times=TIMES + STOPS * self.random.randrange(2),
            redis_options=PERSISTENCE[self.persistence])
        self.nodes = [Node(self, n) for n in range(1 + pair)]
        self.commands, self.by_entry = [], {}
        self.added, self.lost, self.started, self.done_faults = 0, 0, [], []
        self.simulator.switch(**dict(CHAOS, seed=seed, retry_after=self.random.choice([0, 4]),
                                     chaos=self.random.choice([0, 60, 150, 250])))
        if self.random.random() < 0.3:
            self.simulator.answer(522, "<html>Connection timed out</html>", 1000, POISONED)
        for node in self.nodes:
            self.run_worker(node)

    def __exit__(self, *_):
        super().__exit__()
        for node in self.nodes:
            node.proxy.__exit__()

    def run_worker(self, node):
        config, self.worker.config = self.worker.config, node.config
        node.process = self.start()
        self.worker.config = config
        self.started.append(time.monotonic())

    def pause(self, most=0.15):
        time.sleep(self.random.uniform(0, most))

    # --- what services add ----------------------------------------------------------------------

    def add(self, command, body=None, **fields):
        operation, envelope = next(OPERATIONS[k] for k in OPERATIONS
                                   if command.subject.startswith(k))
        entry = self.put(command.subject,
                         body or {envelope: {"n": command.number, "stage": "2"}},
                         command.service, operation, **{"ce_id": f"id-{command.number}", **fields})
        self.by_entry[command.service, entry] = command
        command.entries.append(entry)
        self.added += 1

    def add_some(self):
        for _ in range(self.random.randrange(1, 4)):
            self.add_one()

    def add_one(self):
        service = self.random.choice(["crm", "crm", "shop"])
        command = Command(len(self.commands), service,
                          self.random.choice(SUBJECTS[service]), "plain")
        kind = self.random.choices(
            ["plain", "replace", "late", "refused", "again", "other", "absent", "poisoned"],
            [60, 12, 6, 5, 6, 2, 4, 5])[0]
        plain = [c for c in self.commands if c.kind == "plain" and c.entries]
        if kind in ("again", "other"):
            if not plain:
                return
            old = self.random.choice(plain)
            if kind == "again":
                self.add(old)
                return
            command.service, command.subject = old.service, old.subject
        command.kind = kind
        command.subject = {"absent": ABSENT, "poisoned": POISONED}.get(kind, command.subject)
        self.commands.append(command)
        fields = {"priority": self.random.choice(["high", "normal", "low", None])}
        if kind == "replace":
            fields["replace"] = "1"
        elif kind == "late":
            fields["not_after"] = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(
                seconds=self.random.uniform(0, 1))).isoformat(timespec="milliseconds")
        elif kind == "refused":
            fields["body"] = "[]"
        elif kind == "other":
            fields["ce_id"] = f"id-{old.number}"
        self.add(command, **fields)

    # --- faults ---------------------------------------------------------------------------------

    def node(self):
        return self.random.choice(self.nodes)

    def fault_kill_worker(self):
        node = self.node()
        node.process.kill()
        node.process.wait()
        self.pause()
        self.run_worker(node)

    def fault_restart_worker(self):
        node = self.node()
        node.process.terminate()
        # it may not have come so far yet as to take signals
        assert node.process.wait(20) in (0, -signal.SIGTERM), node.process.returncode
        self.run_worker(node)

    def fault_cut_reply(self):
        self.node().proxy.fault_reply(self.random.randrange(1, 8),
                                      self.random.choice(["cut", "half"]))

    def fault_refused_reply(self):
        self.node().proxy.fault_reply(self.random.randrange(1, 8), self.random.choice([
            b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
            b"-READONLY You can't write against a read only replica.\r\n"]))

    def fault_cut_request(self):
        self.node().proxy.cut_after(self.random.randrange(1, 20000))

    def fault_reset(self):
        self.node().proxy.reset()

    def fault_out_of_memory(self):
        self.redis.client.config_set("maxmemory", "1")
        self.pause()
        self.redis.client.config_set("maxmemory", "0")

    def fault_lost_leader(self):
        """Who leads does not reach Redis any more, for longer than its lease."""
        if len(self.nodes) < 2:
            return
        held = self.redis.client.get("{ac}:leader")
        for node in self.nodes:
            self.part(node)
            self.pause(0.4)
            if self.redis.client.get("{ac}:leader") != held:
                break
            node.proxy.heal()
        time.sleep(0.7)
        for node in self.nodes:
            node.proxy.heal()

    def fault_frozen_leader(self):
        if len(self.nodes) < 2:
            return
        node = self.node()
        node.process.send_signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.1, 1))
        node.process.send_signal(signal.SIGCONT)

    def part(self, node):
        node.proxy.refuse()
        node.proxy.reset()

    def fault_one_call(self):
        self.simulator.fail(self.random.choice(
            ["cut_before", "cut_after", "truncate", "html", "html_524", "slow"]),
            self.random.choice(SUBJECTS["crm"]), self.random.randrange(1, 3), 2000)

    def fault_busy(self):
        self.simulator.answer(self.random.choice([429, 503]), "", self.random.randrange(1, 3),
                              **self.random.choice([{"Retry_After": "1"}, {}]))

    # --- a Redis that loses what it had -----------------------------------------------------------

    def forget_lost(self):
        """Services know by their own entries and results what Redis lost; who wants it, adds it
        again with the same id."""
        kept = self.kept()
        missing = [entry for entry in self.by_entry if entry not in kept]
        again = []
        for entry in missing:
            command = self.by_entry.pop(entry)
            command.entries.remove(entry[1])
            if not command.entries and command.kind == "plain" and self.random.random() < 0.5:
                again.append(command)
        self.lost += len(missing)
        return again

    def kept(self):
        kept = set()
        for service in SUBJECTS:
            entries = self.redis.client.xrange(f"{{ac}}:commands:{service}")
            kept |= {(service, entry.decode()) for entry, _ in entries}
            kept |= {place_of(r) for r in self.results(service)}
        return kept

    def fault_kill_redis(self):
        if self.persistence == "snapshots" and self.random.random() < 0.7:
            self.redis.client.save()
            self.add_some()
            self.pause()
        for node in self.nodes:
            self.part(node)
        self.redis.kill()
        if self.persistence == "everysec":
            self.lose_the_last_moments()
        self.redis.start()
        again = self.forget_lost()
        assert self.persistence != "always" or not self.lost, "with appendfsync always"
        for node in self.nodes:
            node.proxy.heal()
        for command in again:
            self.add(command)

    def lose_the_last_moments(self):
        """What a machine that loses its power had not synced, up to a second of it."""
        newest = max((self.redis.directory / "appendonlydir").glob("*.incr.aof"))
        size = newest.stat().st_size
        with open(newest, "ab") as file:
            file.truncate(max(0, size - self.random.choice([0, 300, 3000, 30000])))

    def fault_roll_back(self):
        """Behind connections that stay."""
        if self.persistence != "snapshots":
            return
        if self.random.random() < 0.5:
            before = self.save_unread()
        else:
            before = dict(self.by_entry)
            self.redis.client.save()
            self.add_some()
        self.pause(0.3)
        self.redis.client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        for entry in [e for e in self.by_entry if e not in before]:
            command = self.by_entry.pop(entry)
            command.entries.remove(entry[1])
            self.lost += 1

    def save_unread(self):
        """What no worker has read yet, so that it is read twice."""
        for node in self.nodes:
            node.process.send_signal(signal.SIGSTOP)
        subject = self.random.choice(SUBJECTS["crm"])
        self.simulator.fail("slow", subject, 1, 800)
        for _ in range(4):
            self.commands.append(Command(len(self.commands), "crm", subject, "plain"))
            self.add(self.commands[-1])
        self.redis.client.save()
        for node in self.nodes:
            node.process.send_signal(signal.SIGCONT)
        return dict(self.by_entry)

    # --- the end ----------------------------------------------------------------------------------

    def settle(self):
        self.simulator.switch(chaos=0)
        for node in self.nodes:
            node.proxy.heal()
        try:
            harness.wait_for("an end", lambda: not any(
                self.redis.client.xlen(f"{{ac}}:commands:{s}") for s in SUBJECTS), 40)
            self.check_nothing_is_left(*SUBJECTS)
        except AssertionError as error:
            return [f"{error!r}: {self.left()}"]
        return []

    def left(self):
        client, left = self.redis.client, {}
        for service in SUBJECTS:
            key = f"{{ac}}:commands:{service}"
            left[service] = (client.xrange(key, count=5), client.xinfo_groups(key),
                             client.xpending_range(key, "acrelay", "-", "+", 5))
        return left, client.hgetall("{ac}:commands.tried"), client.get("{ac}:leader")


def place_of(result):
    """Service and id of the entry that has this result."""
    return result["ce_source"].rsplit("/", 1)[1], result["ce_command"]


FAULTS = sorted(name for name in dir(World) if name.startswith("fault_"))


def fold(ranks):
    """What was run again takes back all that came after it."""
    kept = []
    for rank in ranks:
        while kept and kept[-1] >= rank:
            kept.pop()
        kept.append(rank)
    return kept


def place(entry):
    """Service and id of an entry, as a place in the order of its stream."""
    return *map(int, entry[1].split("-")), entry[0]


def wrong_reason(result, command):
    """What is wrong with a result that is not ok, or None."""
    outcome, status, detail = result["outcome"], int(result["status"]), result["detail"]
    if outcome == "failed" and not (
            (status == 404 and command.kind == "absent")
            or (result["attempts"] == "10" and detail)):
        return "failed without a reason"
    if outcome == "refused" and not (detail and command.kind in ("refused", "other")):
        return "refused without a reason"
    if outcome == "expired" and not (command.kind == "late" and "not_after" in detail):
        return "expired without a reason"
    if outcome == "superseded" and not (command.kind == "replace" and "newer" in detail):
        return "superseded without a reason"
    return None


def check_results(world, results):
    problems = []
    counts = collections.Counter(map(place_of, results))
    problems += [f"{count} results of {entry}" for entry, count in counts.items() if count != 1]
    problems += [f"no result of {e} ({world.by_entry[e].kind})" for e in world.by_entry
                 if e not in counts]
    problems += [f"a result of {e}, which Redis lost" for e in counts if e not in world.by_entry]
    if problems:
        return problems
    for result in results:
        wrong = result["outcome"] != "ok" and result["repeat"] == "0" and wrong_reason(
            result, world.by_entry[place_of(result)])
        if wrong:
            problems.append(f"{wrong}: {result}")
    return problems


def check_effects(world, results):
    """By service and subject; a command is carried out where its first entry stands."""
    writes = [w["body"].get("contact") or w["body"].get("deal") for w in world.simulator.writes()
              if w["operation"] != "Webhook_updateExisting"]
    outcome = {place_of(r): r for r in results if r["repeat"] == "0"}
    rank, must, never = {}, set(), set()
    for entry, result in outcome.items():
        number = world.by_entry[entry].number
        rank[number] = place(entry)
        if result["outcome"] == "ok":
            must.add(place(entry))
        elif result["outcome"] == "refused" or (
                result["attempts"] == "0" and world.by_entry[entry].kind != "plain"):
            never.add(number)
    problems = []
    if not world.lost_anything:
        problems += [f"an effect of a command that was never sent: {w['n']}" for w in writes
                     if w["n"] in never]
    for service, subjects in SUBJECTS.items():
        for subject in subjects + [POISONED, ABSENT]:
            ours = {c.number for c in world.commands
                    if (c.service, c.subject) == (service, subject)}
            done = [rank[w["n"]] for w in writes if w["n"] in ours and w["n"] in rank]
            wanted = sorted(rank[n] for n in ours if n in rank and rank[n] in must)
            if [r for r in fold(done) if r in must] != wanted:
                problems.append(f"effects of {service} at {subject}: {done}; wanted {wanted}")
    return problems


def check_rates(world):
    calls = world.simulator.calls()
    problems = []
    if calls["commands"]["max_per_second"] > RATE:
        times = [line["us"] // 1000 for line in world.simulator.log()
                 if line["method"] == "PUT" and not line["path"].startswith("/api/3/webhooks/")]
        problems.append(f"{calls['commands']['max_per_second']} calls of commands in a second: "
                        f"{[t - times[0] for t in times]} ms, workers started at "
                        f"{[int(t * 1000) - times[0] for t in world.started]} ms")
    # a worker that was killed has told nobody what it did in its last second
    if len(world.started) == 1 and calls["all"]["max_per_second"] > API_RATE:
        problems.append(f"{calls['all']['max_per_second']} calls in a second")
    return problems


def run(seed, faults):
    """(problems, figures) of one seed."""
    random.seed()  # of ports: processes that were forked have the same one
    totals = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="acrelay-commands-") as directory, \
            World(directory, seed) as world:
        world.add_some()
        for _ in range(faults):
            world.pause()
            world.add_some()
            kind = world.random.choice(FAULTS)
            world.done_faults.append(kind[6:])
            getattr(world, kind)()
        problems = world.settle()
        results = [r for s in SUBJECTS for r in world.results(s)]
        world.lost_anything = any(f in world.done_faults for f in ("kill_redis", "roll_back"))
        problems = problems or (check_results(world, results) or check_effects(world, results)
                                ) + check_rates(world)
        if problems:
            problems.append(f"{world.persistence}, {len(world.nodes)} workers, faults: "
                            + " ".join(world.done_faults) + "\n" + world.log()[-3000:])
        totals["entries added"] += world.added
        totals["lost by Redis"] += world.lost
        totals["workers started"] += len(world.started)
        totals.update(f"results {r['outcome']}" for r in results)
        totals["calls"] += world.simulator.calls()["commands"]["requests"]
        totals["effects"] += len(world.simulator.writes())
        totals.update(f"fault {f}" for f in world.done_faults)
    return problems, totals


def run_safely(seed, faults):
    try:
        return run(seed, faults)
    except Exception as error:  # of a seed, not of all
        return [f"{type(error).__name__}: {error}"], collections.Counter()


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("seeds", 20), ("first", 1), ("faults", 7), ("parallel", 6)):
        parser.add_argument("--" + name, type=int, default=default)
    given = parser.parse_args()
    most = given.seeds * SECONDS / given.parallel
    print(f"{given.seeds} seeds, {given.parallel} at a time: at most {most / 60:.0f} minutes, "
          f"some {most / 180:.0f} on an idle machine", flush=True)
    begun, failed, totals = time.monotonic(), [], collections.Counter()
    seeds = range(given.first, given.first + given.seeds)
    with concurrent.futures.ProcessPoolExecutor(given.parallel) as pool:
        for seed, (problems, figures) in zip(seeds, pool.map(
                run_safely, seeds, [given.faults] * len(seeds))):
            totals += figures
            if problems:
                failed.append(seed)
                print(f"seed {seed}: {len(problems)} problems", *problems[:-1][:4], problems[-1],
                      sep="\n  ", flush=True)
    for name, count in sorted(totals.items()):
        print(f"{count:7} {name}")
    print(f"{time.monotonic() - begun:.0f} s; each entry that Redis kept has one result, effects are "
          "in order, rates were kept" if not failed else f"failed: {failed}")
    print(f"{given.seeds - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
