"""What a consumer lives by: the programs in deploy/consumers as they stand, killed in the middle
of their work; the users in deploy/redis; the AsyncAPI document."""
import os
import re
import shutil
import sqlite3
import subprocess

import harness
import pytest
import redis as redis_py
import simulator
import yaml

CONSUMERS = harness.ROOT / "deploy" / "consumers"
NODE_MODULES = "/usr/share/nodejs"


def need_node():
    if not shutil.which("node") or not os.path.isdir(f"{NODE_MODULES}/redis"):
        pytest.skip("node with node-redis is not installed")


def compiled(name, directory):
    """The program of deploy/consumers/NAME.c."""
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", directory / name,
                    CONSUMERS / f"{name}.c", "-lhiredis"], check=True)
    return directory / name


class Kind:
    claim_after = 0.3


class Python(Kind):
    group = "shop"
    events = 600  # each committed to disk

    def __init__(self, directory, redis):
        self.directory, self.redis = directory, redis
        self.place = self.database = directory / "shop.db"

    def command(self, name):
        return ["/usr/bin/python3", CONSUMERS / "consumer.py", "--name", name, "--claim-after",
                str(self.claim_after), "--database", self.database, "--url",
                f"redis://127.0.0.1:{self.redis.port}/0"], {}

    def results(self):
        if not self.database.exists():
            return []
        try:
            with sqlite3.connect(self.database, timeout=30) as database:
                return [row[0] for row in database.execute("SELECT ce_id FROM contacts_seen")]
        except sqlite3.OperationalError:  # no table yet
            return []


class Node(Kind):
    group = "shop-js"
    place = "{ac}:shop-js"
    events = 3000

    def __init__(self, directory, redis):
        need_node()
        self.redis = redis

    def command(self, name):
        return ["node", CONSUMERS / "consumer.js"], {
            "NODE_PATH": NODE_MODULES, "NAME": name, "CLAIM_AFTER_MS": str(int(1000 * self.claim_after)),
            "REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0"}

    def results(self):
        return [key.decode() for key in self.redis.client.hkeys("{ac}:shop-js")]


class C(Kind):
    group = "shop-c"
    place = "{ac}:shop-c"
    events = 3000

    def __init__(self, directory, redis):
        self.program, self.redis = compiled("consumer", directory), redis

    def command(self, name):
        return [self.program, "127.0.0.1", str(self.redis.port), "{ac}:events", "shop-c", name,
                str(int(1000 * self.claim_after))], {}

    def results(self):
        return [key.decode() for key in self.redis.client.hkeys("{ac}:shop-c")]


@pytest.fixture
def start(tmp_path, spawn):
    def run(consumer, name):
        with open(tmp_path / f"{name}.log", "ab") as log:
            return spawn(*consumer.command(name), stdout=log, stderr=log)
    return run


def post_events(receiver, count):
    """Many events quickly: one entry is real, the others are its copies with ids of their own."""
    assert receiver.post("type=subscribe&contact[id]=7&contact[email]=a%40example.com") == 200
    receiver.wait_shipped()
    return add_events(receiver, 2, count)


def add_events(receiver, first, last):
    """Copies of the first entry, numbered so; the ce_ids of all."""
    client = redis_py.Redis("127.0.0.1", receiver.redis_port)
    [(_, fields)] = client.xrange("{ac}:events", count=1)
    pipe = client.pipeline(transaction=False)
    for n in range(first, last + 1):
        pipe.xadd("{ac}:events", {**fields, b"ce_id": fields[b"ce_id"][:-20] + b"%020d" % n})
    pipe.execute()
    return [(fields[b"ce_id"][:-20] + b"%020d" % n).decode() for n in range(1, last + 1)]


def kill_in_the_middle(consumer, receiver, start):
    """The ce_ids of all events. One that is faster than it is looked at gets as many more."""
    wanted, done = post_events(receiver, consumer.events), 0
    for _ in range(6):
        first = start(consumer, "first")
        harness.wait_for("some work", lambda: len(consumer.results()) > done + 50)
        first.kill()
        first.wait()
        done = len(consumer.results())
        if done < len(wanted):
            return wanted
        wanted = add_events(receiver, len(wanted) + 1, 2 * len(wanted))
    raise AssertionError("it is never killed in the middle")


@pytest.mark.parametrize("kind", [Python, Node, C])
def test_a_consumer_that_dies_in_the_middle_loses_and_repeats_nothing(
        kind, tmp_path, redis, receiver, start):
    consumer = kind(tmp_path, redis)
    receiver.redis_port = redis.port
    wanted = kill_in_the_middle(consumer, receiver, start)
    second = start(consumer, "second")

    def is_done():
        assert second.poll() is None
        [group] = [g for g in redis.client.xinfo_groups("{ac}:events")
                   if g["name"].decode() == consumer.group]
        return group["lag"] == 0 and group["pending"] == 0
    harness.wait_for("the rest", is_done, 180)
    assert sorted(consumer.results()) == sorted(wanted)
    # Redis lost its last second, acrelay sends again: new entry ids, the same ce_id.
    for _, fields in redis.client.xrange("{ac}:events", count=5):
        redis.client.xadd("{ac}:events", fields)
    harness.wait_for("the repeats", is_done, 180)
    assert sorted(consumer.results()) == sorted(wanted)
    second.terminate()
    assert second.wait(20) == 0, "ends when asked to"
    first_line, *lines = (tmp_path / "second.log").read_text().splitlines()
    assert "effects go into" in first_line and str(consumer.place) in first_line
    assert any(re.fullmatch(r"\d+-\d+: com.activecampaign.subscribe.*: stored", line)
               for line in lines)
    assert sum(line.endswith(": already stored") for line in lines) >= 5


@pytest.mark.parametrize("command, needs", [
    (["/usr/bin/python3", "-I", "-S", "consumer.py"], "apt install python3-redis"),
    (["/usr/bin/node", "--require", "{no_redis}", "consumer.js"],
     "apt install nodejs node-redis"),
    (["/usr/bin/python3", "-I", "-S", "producer.py"], "apt install python3-redis"),
    (["/usr/bin/node", "--require", "{no_redis}", "producer.js"], "apt install nodejs node-redis"),
    (["cc", "-E", "-nostdinc", "-I.", "consumer.c"], "apt install libhiredis-dev")],
    ids=["python", "node", "python_producer", "node_producer", "c"])
def test_an_example_says_what_it_needs_when_it_is_missing(tmp_path, command, needs):
    no_redis = tmp_path / "no_redis.js"  # node as it is where no package is installed
    no_redis.write_text('const load = require("module")._load; require("module")._load = '
                        '(name, ...rest) => { if (name !== "redis") return load(name, ...rest); '
                        'throw Object.assign(new Error(name), { code: "MODULE_NOT_FOUND" }); };')
    done = subprocess.run([word.format(no_redis=no_redis) for word in command], cwd=CONSUMERS,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and needs in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "    at " not in done.stderr


def entry(number, **changes):
    return {"ce_id": f"id-{number}", "ce_type": "com.activecampaign.update", "ce_time": "",
            "ce_subject": f"contact/{number}", "data": '{"contact":{"email":"a@b.example"}}',
            **changes}


def pending(redis, consumer):
    try:
        return redis.client.xpending_range("{ac}:events", consumer.group, "-", "+", 100)
    except redis_py.ResponseError as error:
        assert "NOGROUP" in str(error)  # not yet
        return []


def is_idle(redis, consumer):
    try:
        [group] = redis.client.xinfo_groups("{ac}:events")
    except (redis_py.ResponseError, ValueError):
        return False
    return group["lag"] == 0 and group["pending"] == 0


class Away:
    """What the consumer writes to cannot take anything."""

    def __init__(self, consumer, redis):
        self.consumer, self.redis = consumer, redis

    def __enter__(self):
        if isinstance(self.consumer, Python):
            with sqlite3.connect(self.consumer.database) as database:
                database.execute("CREATE TABLE contacts_seen (of_another_program TEXT)")
        else:
            self.redis.client.set(f"{{ac}}:{self.consumer.group}", "of another program")

    def __exit__(self, *_):
        if isinstance(self.consumer, Python):
            with sqlite3.connect(self.consumer.database, timeout=30) as database:
                database.execute("DROP TABLE contacts_seen")
        else:
            self.redis.client.delete(f"{{ac}}:{self.consumer.group}")


@pytest.mark.parametrize("kind", [Python, Node, C])
def test_what_had_no_effect_is_never_acknowledged(kind, tmp_path, redis, start):
    consumer = kind(tmp_path, redis)
    redis.client.xadd("{ac}:events", entry(1))
    with Away(consumer, redis):
        process = start(consumer, "one")
        harness.wait_for("a dozen tries", lambda: any(
            p["times_delivered"] > 12 for p in pending(redis, consumer)), 60)
        assert process.poll() is None
    harness.wait_for("its effect", lambda: is_idle(redis, consumer), 30)
    assert consumer.results() == ["id-1"]


@pytest.mark.parametrize("kind", [Python, Node, C])
def test_an_event_that_cannot_be_read_is_set_aside_and_holds_up_nobody(
        kind, tmp_path, redis, start):
    consumer = kind(tmp_path, redis)
    wrong = [{"no": "event"}]
    if kind is not C:  # which does not read `data`
        wrong += [entry(100, data="{"), entry(101, data='["no object"'), entry(102, data="null")]
    for number, each in enumerate([entry(1), *wrong, entry(2, raw=b"\xff\0\xfe"), entry(3)]):
        redis.client.xadd("{ac}:events", each, id=f"{number + 1}-0")
    start(consumer, "one")
    harness.wait_for("all of them", lambda: is_idle(redis, consumer), 30)
    assert sorted(consumer.results()) == ["id-1", "id-2", "id-3"]
    if kind is Python:
        with sqlite3.connect(consumer.database) as database:
            aside = [row[0] for row in database.execute("SELECT entry FROM set_aside")]
    else:
        aside = [k.decode() for k in redis.client.hkeys(f"{{ac}}:{consumer.group}-aside")]
    assert sorted(aside) == [f"{n + 2}-0" for n in range(len(wrong))]
    log = (tmp_path / "one.log").read_text()
    assert all(f"{n + 2}-0: set aside" in log for n in range(len(wrong))), log


@pytest.mark.parametrize("kind", [Python, Node])
def test_a_structured_event_takes_the_same_effect(kind, tmp_path, redis, start):
    consumer = kind(tmp_path, redis)
    data = '{"specversion":"1.0","data":{"contact":{"email":"a@b.example"}}}'
    redis.client.xadd("{ac}:events", entry(1, data=data, **{
        "content-type": "application/cloudevents+json"}))
    redis.client.xadd("{ac}:events", entry(2))
    start(consumer, "one")
    harness.wait_for("both", lambda: is_idle(redis, consumer), 30)
    if kind is Python:
        with sqlite3.connect(consumer.database) as database:
            emails = [row[0] for row in database.execute("SELECT email FROM contacts_seen")]
    else:
        emails = [value.split()[-1].decode() for value in redis.client.hvals("{ac}:shop-js")]
    assert emails == ["a@b.example"] * 2


@pytest.mark.parametrize("kind", [Python, Node])
def test_an_entry_that_stays_pending_holds_up_nobody(kind, tmp_path, redis, start):
    """A hundred of them: as many as are claimed at a time."""
    consumer = kind(tmp_path, redis)
    redis.client.xgroup_create("{ac}:events", consumer.group, "0", mkstream=True)
    for number in range(150):
        redis.client.xadd("{ac}:events", entry(number))
    redis.client.xreadgroup(consumer.group, "died", {"{ac}:events": ">"}, count=150)
    with Away(consumer, redis):
        process = start(consumer, "one")
        new = redis.client.xadd("{ac}:events", entry(999))
        harness.wait_for("the new one to be read", lambda: redis.client.xpending_range(
            "{ac}:events", consumer.group, new, new, 1), 30)
        assert process.poll() is None
    harness.wait_for("all of them", lambda: is_idle(redis, consumer), 60)
    assert len(consumer.results()) == 151


@pytest.mark.parametrize("kind", [Python, Node, C])
def test_a_consumer_that_is_restarted_begins_with_what_it_had_read(kind, tmp_path, redis, start):
    """In order, though the claiming of what others left is as good as off; one entry was trimmed meanwhile."""
    consumer = kind(tmp_path, redis)
    consumer.claim_after = 3600
    redis.client.xgroup_create("{ac}:events", consumer.group, "0", mkstream=True)
    ids = [redis.client.xadd("{ac}:events", entry(number)) for number in range(150)]
    redis.client.xreadgroup(consumer.group, "one", {"{ac}:events": ">"}, count=120)
    redis.client.xdel("{ac}:events", ids[60])
    start(consumer, "one")
    harness.wait_for("all of them", lambda: len(consumer.results()) == 149 and not pending(
        redis, consumer), 30)
    done = [line.split(":")[0] for line in (tmp_path / "one.log").read_text().splitlines()
            if line.endswith("stored")]
    assert done == [each.decode() for each in ids if each != ids[60]]


@pytest.mark.parametrize("kind", [Python, Node])
def test_a_consumer_whose_lines_nobody_reads_ends_quietly(kind, tmp_path, redis):
    consumer = kind(tmp_path, redis)
    words, environment = consumer.command("one")
    run = subprocess.Popen(words, env={**os.environ, **environment}, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    assert "reading {ac}:events" in run.stdout.readline()
    run.stdout.close()
    redis.client.xadd("{ac}:events", entry(1))
    assert (run.wait(30), run.stderr.read()) == (1, "")
    run.stderr.close()


def test_node_takes_the_url_of_a_unix_socket(tmp_path, spawn):
    with harness.Redis() as redis:  # in a directory of its own it has one
        consumer = Node(tmp_path, redis)
        words, environment = consumer.command("one")
        redis.client.xadd("{ac}:events", entry(1))
        spawn(words, {**environment, "REDIS_URL": f"unix://{redis.socket}"})
        harness.wait_for("its effect", lambda: consumer.results() == ["id-1"], 30)


@pytest.mark.parametrize("name", ["consumer.js", "producer.js"])
def test_a_url_that_node_redis_cannot_use_is_one_line(name):
    need_node()
    done = subprocess.run(["node", CONSUMERS / name], input="", capture_output=True, text=True, timeout=60, env={
        **os.environ, "NODE_PATH": NODE_MODULES, "REDIS_URL": "memcached://127.0.0.1"})
    assert (done.returncode, done.stderr) == (1, f"{name}: REDIS_URL: Invalid protocol\n")


# --- the users ------------------------------------------------------------------------------

def acl_lines():
    lines = (harness.ROOT / "deploy" / "redis" / "acrelay.acl").read_text().splitlines()
    return [line for line in lines if line.startswith("user ")]


@pytest.fixture
def guarded(redis):
    """The same Redis with the shipped users, and the default user shut out."""
    for line in acl_lines():
        redis.client.execute_command("ACL", "SETUSER", *line.split()[1:])
    redis.client.acl_setuser("admin", enabled=True, passwords=["+admin"], keys=["*"],
                             categories=["+@all"])
    redis.client.execute_command("AUTH", "admin", "admin")
    redis.client = redis_py.Redis("127.0.0.1", redis.port, username="admin", password="admin")
    redis.client.execute_command("ACL", "SETUSER", "default", "off")
    return redis


def as_user(redis, who, number):
    return redis_py.Redis("127.0.0.1", redis.port, username=f"acrelay-{who}",
                          password=f"CHANGE-ME-{number}")


def test_the_receivers_user_is_enough_for_the_receiver(tmp_path, guarded, make_receiver):
    password = tmp_path / "redis-password"
    password.write_text("CHANGE-ME-1\n")
    password.chmod(0o600)
    receiver = make_receiver(hooks="  - {name: contacts, events: [subscribe]}\n")
    receiver.kill()
    receiver.config.write_text(receiver.config.read_text().replace(
        "/0'}", "/0', user: acrelay-receiver, password_file: redis-password}"))
    receiver.start()
    for body in ("type=subscribe&contact[id]=1", "type=subscribe&contact[id]=1", ""):
        assert receiver.post(body) == 200
    receiver.wait_shipped()
    assert guarded.client.xlen("{ac}:events") == 2
    assert guarded.client.xlen("{ac}:dead") == 1
    assert guarded.client.hget("{ac}:last", "contacts")
    denied = [entry for entry in guarded.client.acl_log()
              if entry["username"] == "acrelay-receiver"]
    assert denied == [], denied


def test_the_operators_user_is_enough_for_the_command_line(tmp_path, guarded, make_receiver):
    test_the_receivers_user_is_enough_for_the_receiver(tmp_path, guarded, make_receiver)
    (tmp_path / "redis-password").write_text("CHANGE-ME-3\n")
    text = (tmp_path / "acrelay.yaml").read_text().replace("acrelay-receiver", "acrelay-operator")
    (tmp_path / "acrelay.yaml").write_text(
        text + "commands: {services: [{name: cli, allow: [contacts]}]}\n")
    (tmp_path / "body").write_text('{"contact":{}}')
    guarded.client.set("{ac}:leader", "a worker")
    letter = guarded.client.xadd("{ac}:commands.dead", {"service": "cli"})
    for command in (["status"], ["tail", "--from", "0", "--count", "2"], ["dead", "list"],
                    ["tail", "--group", "me", "--count", "2"], ["results"],
                    ["put", "contacts/66", "--data", tmp_path / "body"],
                    ["dead", "replay", "--commands", letter.decode()]):
        done = subprocess.run([harness.BUILD / "acrelay", "--config", tmp_path / "acrelay.yaml",
                               *command], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, (command, done.stderr)
    denied = [entry for entry in guarded.client.acl_log()
              if entry["username"] == "acrelay-operator"]
    assert denied == [], denied


def test_the_workers_user_is_enough_for_the_worker(tmp_path, guarded):
    password = tmp_path / "redis-password"
    password.write_text("CHANGE-ME-2\n")
    password.chmod(0o600)
    sim = simulator.Simulator(tmp_path)
    sim.switch(ids=100)
    worker = simulator.Worker(
        tmp_path, sim, "  - {name: contacts, events: [subscribe], expect_every: 1h}\n",
        redis_port=guarded.port, worker=", leader: redis",
        extra="commands: {services: [{name: crm, allow: [contacts]}]}\n")
    worker.config.write_text(worker.config.read_text().replace(
        "/0'}", "/0', user: acrelay-worker, password_file: redis-password}"))
    process = worker.start(tmp_path / "worker.log")
    try:
        harness.wait_for("its state", lambda: guarded.client.hget("{ac}:hooks", "contacts"))
        assert guarded.client.get("{ac}:leader")
        service = as_user(guarded, "service-crm", 5)
        for more in ({}, {}, {"not_after": "2020-01-01T00:00:00Z"}, {"ce_type": "odd"}):
            service.xadd("{ac}:commands:crm", {
                "ce_id": "1", "ce_subject": "contacts/1", "data": '{"contact":{}}',
                "ce_type": "com.activecampaign.command.Contact_updateContact", **more})
        harness.wait_for("their results", lambda: len(service.xrange("{ac}:results:crm")) == 4)
        outcomes = [fields[b"outcome"] for _, fields in service.xrange("{ac}:results:crm")]
        assert sorted(outcomes) == [b"expired", b"ok", b"ok", b"refused"]
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        sim.stop()
    denied = [entry for entry in guarded.client.acl_log()
              if entry["username"] == "acrelay-worker"]
    assert denied == [], denied


def test_a_service_can_add_commands_and_read_results_and_nothing_else(guarded):
    service = as_user(guarded, "service-crm", 5)
    guarded.client.xadd("{ac}:results:crm", {"outcome": "ok"})
    guarded.client.xadd("{ac}:results:shop", {"outcome": "ok"})
    assert service.xadd("{ac}:commands:crm", {"ce_id": "1"})
    assert len(service.xread({"{ac}:results:crm": "0"})[0][1]) == 1
    assert len(service.xrevrange("{ac}:results:crm", count=1)) == 1
    for command in (["XADD", "{ac}:commands:shop", "*", "a", "b"],
                    ["XADD", "{ac}:commands.dead", "*", "a", "b"],
                    ["XADD", "{ac}:results:crm", "*", "a", "b"],
                    ["XADD", "{ac}:events", "*", "a", "b"],
                    ["XRANGE", "{ac}:commands:crm", "-", "+"],
                    ["XRANGE", "{ac}:results:shop", "-", "+"],
                    ["XREAD", "STREAMS", "{ac}:events", "0"],
                    ["XDEL", "{ac}:commands:crm", "0-1"], ["DEL", "{ac}:commands:crm"],
                    ["XTRIM", "{ac}:commands:crm", "MAXLEN", "0"], ["GET", "{ac}:leader"],
                    ["XGROUP", "CREATE", "{ac}:commands:crm", "mine", "0"],
                    ["EVAL", "return 1", "0"], ["CONFIG", "GET", "*"], ["FLUSHALL"]):
        with pytest.raises(redis_py.exceptions.NoPermissionError):
            service.execute_command(*command)


def test_a_consumer_can_read_and_acknowledge_and_nothing_else(guarded):
    consumer = as_user(guarded, "consumer", 4)
    consumer.xgroup_create("{ac}:events", "shop", "0", mkstream=True)
    entry = guarded.client.xadd("{ac}:events", {"ce_id": "1"})
    assert consumer.xreadgroup("shop", "one", {"{ac}:events": ">"})[0][1][0][0] == entry
    consumer.xautoclaim("{ac}:events", "shop", "two", 0)
    assert consumer.xack("{ac}:events", "shop", entry) == 1
    for command in (["XADD", "{ac}:events", "*", "a", "b"], ["XDEL", "{ac}:events", entry],
                    ["XTRIM", "{ac}:events", "MAXLEN", "0"], ["DEL", "{ac}:events"],
                    ["XRANGE", "{ac}:dead", "-", "+"], ["HGETALL", "{ac}:cursor:x"],
                    ["CONFIG", "GET", "*"], ["FLUSHALL"], ["EVAL", "return 1", "0"]):
        with pytest.raises(redis_py.exceptions.NoPermissionError):
            consumer.execute_command(*command)


# --- the AsyncAPI document -----------------------------------------------------------------------

def references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document, reference):
    path, _, pointer = reference.partition("#")
    at = document
    if path:
        at = yaml.safe_load((harness.ROOT / "conf" / path).read_text())
    for step in filter(None, pointer.split("/")):
        at = at[step]
    return at


def test_the_asyncapi_document_is_whole_and_says_what_entries_hold(redis, receiver):
    document = yaml.safe_load((harness.ROOT / "conf" / "asyncapi.yaml").read_text())
    assert document["asyncapi"] == "3.0.0"
    found = list(references(document))
    assert len(found) > 5
    for reference in found:
        assert resolve(document, reference) is not None, reference
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    assert receiver.post("") == 200
    receiver.wait_shipped()
    [entry], [dead] = redis.entries(), redis.entries("{ac}:dead")
    message = document["components"]["messages"]
    fields = resolve(document, message["event"]["headers"]["$ref"])["required"]
    assert list(entry) == fields
    payload = message["deadLetter"]["payload"]
    assert list(dead) == payload["required"] == list(payload["properties"])
