"""The producers in deploy/consumers as they stand: each command reaches the stream as the schema
says, each result is printed, and what is not known to be there is added again with its id."""
import json
import os
import subprocess

import harness
import jsonschema
import pytest
from lane_double import LaneDouble
from test_consumers import NODE_MODULES

PRODUCERS = harness.ROOT / "deploy" / "consumers"
SCHEMAS = harness.ROOT / "conf" / "schemas"
INPUT = ('order-1 Contact_updateContact contacts/66 {"contact":{"firstName":"Ann Bel"}}\n'
         'order-2 Deal_updateNote deals/3/notes/7 {"note":{"note":"größer"}}\n'
         'order-3 Tracking_enableDisableSite siteTracking {"siteTracking":{"enabled":true}}\n')


def python(tmp_path, port):
    return ["/usr/bin/python3", PRODUCERS / "producer.py", "--url",
            f"redis://127.0.0.1:{port}/0"], {}


def node(tmp_path, port):
    if not os.path.isdir(f"{NODE_MODULES}/redis"):
        pytest.skip("node with node-redis is not installed")
    return ["node", PRODUCERS / "producer.js"], {
        "NODE_PATH": NODE_MODULES, "REDIS_URL": f"redis://127.0.0.1:{port}/0"}


def c(tmp_path, port):
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "producer",
                    PRODUCERS / "producer.c", "-lhiredis"], check=True)
    return [tmp_path / "producer", "127.0.0.1", str(port)], {}


@pytest.fixture
def lane(redis):
    double = LaneDouble(redis.port)
    yield double
    double.stop()


@pytest.fixture
def start(tmp_path, redis):
    started = []

    def run(kind):
        command, more = kind(tmp_path, redis.port)
        started.append(subprocess.Popen(
            command, env={**os.environ, **more}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=open(tmp_path / "producer.log", "ab"), text=True))
        started[-1].stdin.write(INPUT)
        started[-1].stdin.close()
        return started[-1]
    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def must_fit(schema, entries):
    validator = jsonschema.Draft202012Validator(json.loads((SCHEMAS / schema).read_text()))
    assert entries
    for fields in entries:
        validator.validate(fields)


@pytest.mark.parametrize("kind", [python, node, c])
def test_each_command_is_added_and_its_result_printed(kind, lane, redis, start):
    lane.outcomes["order-2"] = "failed", "404", "there is no such note"
    process = start(kind)
    assert process.wait(60) == 1, "one of them failed"
    assert process.stdout.read().splitlines() == [
        "order-1 ok 200 ", "order-2 failed 404 there is no such note", "order-3 ok 200 "]
    must_fit("command.json", lane.seen)
    must_fit("result.json", [fields for _, fields in lane.client.xrange(lane.results)])
    assert [command["data"] for command in lane.seen] == [
        line.split(" ", 3)[3] for line in INPUT.splitlines()]


@pytest.mark.parametrize("kind", [python, node, c])
def test_what_redis_lost_is_added_again_with_its_id(kind, redis, start):
    process = start(kind)
    harness.wait_for("the commands", lambda: redis.client.xlen("{ac}:commands:crm") == 3)
    redis.kill()
    redis.start()  # empty, as nothing was saved
    harness.wait_for("the commands again", lambda: redis.client.xlen("{ac}:commands:crm") == 3, 60)
    lane = LaneDouble(redis.port)
    assert process.wait(60) == 0
    lane.stop()
    assert [command["ce_id"] for command in lane.seen] == ["order-1", "order-2", "order-3"]


def test_a_command_with_redis_cli(lane, redis):
    def run(name, code):
        done = subprocess.run(
            [PRODUCERS / "producer.sh", "crm", name, "Contact_updateContact", "contacts/66",
             '{"contact":{"firstName":"Ann Bel"}}'], capture_output=True, text=True, timeout=60,
            env={**os.environ, "REDIS": f"redis-cli -p {redis.port}"})
        assert done.returncode == code, done.stderr
        return dict(line.split("\t") for line in done.stdout.splitlines())
    lane.outcomes["order-2"] = "refused", "0", "not allowed"
    first, second = run("order-1", 0), run("order-2", 1)
    assert first["ce_id"] == "order-1" and first["outcome"] == "ok"
    assert second["detail"] == "not allowed"
    must_fit("command.json", lane.seen)
    must_fit("result.json", [first, second])
