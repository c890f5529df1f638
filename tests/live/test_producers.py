"""The producers in deploy/consumers as they stand: each command reaches the stream as the schema
says, each result is printed, and what is not known to be there is added again with its id. The worker and
the simulator do the rest."""
import json
import os
import subprocess

import harness
import jsonschema
import pytest
from test_consumers import CONSUMERS, NODE_MODULES, compiled, need_node

SCHEMAS = harness.ROOT / "conf" / "schemas"
INPUT = ('order-1 Contact_updateContact contacts/66 {"contact":{"firstName":"Ann Bel"}}\n'
         'order-2 Deal_updateNote deals/3/notes/7 {"note":{"note":"größer"}}\n'
         'order-3 Tracking_enableDisableSite siteTracking {"siteTracking":{"enabled":true}}\n')


def python(tmp_path, port):
    return ["/usr/bin/python3", CONSUMERS / "producer.py", "--url",
            f"redis://127.0.0.1:{port}/0"], {}


def node(tmp_path, port):
    need_node()
    return ["node", CONSUMERS / "producer.js"], {
        "NODE_PATH": NODE_MODULES, "REDIS_URL": f"redis://127.0.0.1:{port}/0"}


def c(tmp_path, port):
    return [compiled("producer", tmp_path), "127.0.0.1", str(port)], {}


@pytest.fixture
def carry_out(redis, make_worker, running):
    """Starts the worker, which carries out what waits."""
    worker = make_worker(redis_port=redis.port, extra=(
        "commands: {rate: 5, services: [{name: crm, allow: [contacts, deals, siteTracking]}]}\n"))
    return lambda: running(worker)


@pytest.fixture
def start(tmp_path, redis, spawn):
    def run(kind):
        with open(tmp_path / "producer.log", "ab") as log:
            process = spawn(*kind(tmp_path, redis.port), stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=log, text=True)
        process.stdin.write(INPUT)
        process.stdin.close()
        return process
    return run


def must_fit(schema, entries):
    validator = jsonschema.Draft202012Validator(json.loads((SCHEMAS / schema).read_text()))
    assert entries
    for fields in entries:
        validator.validate(fields)


def entries(redis, stream):
    return [{name: value.decode() for name, value in fields.items()}
            for fields in redis.entries(f"{{ac}}:{stream}:crm")]


def wait_for_commands(redis):
    """Waits until each is there, some perhaps twice."""
    wanted = {"order-1", "order-2", "order-3"}
    harness.wait_for("the commands", lambda: {command["ce_id"] for command in entries(
        redis, "commands")} == wanted, 60)
    return entries(redis, "commands")


def puts(sim):
    """How many requests reached ActiveCampaign for commands."""
    return sum(line["method"] == "PUT" for line in sim.log())


@pytest.mark.parametrize("kind", [python, node, c])
def test_each_command_is_added_and_its_result_printed(kind, redis, sim, carry_out, start):
    sim.remove_object("deals/3/notes/7")
    process = start(kind)
    commands = wait_for_commands(redis)
    must_fit("command.json", commands)
    assert [command["data"] for command in commands] == [
        line.split(" ", 3)[3] for line in INPUT.splitlines()]
    carry_out()
    assert process.wait(60) == 1, "one of them failed"
    assert sorted(process.stdout.read().splitlines()) == [
        "order-1 ok 200 ", "order-2 failed 404 ActiveCampaign answers 404", "order-3 ok 200 "]
    assert sim.objects()["contacts/66"]["firstName"] == "Ann Bel"
    assert start(kind).wait(60) == 1, "the same again"
    must_fit("result.json", entries(redis, "results"))
    assert [result["repeat"] for result in entries(redis, "results")] == list("000111")
    assert puts(sim) == 3


@pytest.mark.parametrize("kind", [python, node, c])
def test_what_redis_lost_is_added_again_with_its_id(kind, redis, sim, carry_out, start):
    process = start(kind)
    wait_for_commands(redis)
    redis.kill()
    redis.start()  # empty, as nothing was saved
    wait_for_commands(redis)
    carry_out()
    assert process.wait(60) == 0
    assert puts(sim) == 3


@pytest.mark.parametrize("kind", [python, node, c])
def test_a_line_that_is_no_command_is_named_and_nothing_is_sent(kind, tmp_path, redis):
    command, environment = kind(tmp_path, redis.port)
    done = subprocess.run(command, input="order-1 contacts/66\n", capture_output=True, text=True,
                          env={**os.environ, **environment}, timeout=30)
    assert done.returncode == 1
    assert done.stderr.endswith(": not ID OPERATION SUBJECT BODY\n"), done.stderr
    assert done.stderr.count("\n") == 1 and redis.client.keys() == []


@pytest.mark.parametrize("kind", [python, node])
def test_a_body_that_is_not_json_is_named_and_nothing_is_sent(kind, tmp_path, redis):
    command, environment = kind(tmp_path, redis.port)
    done = subprocess.run(command, input="order-1 Contact_updateContact contacts/66 {x}\n",
                          capture_output=True, text=True, env={**os.environ, **environment},
                          timeout=30)
    assert done.returncode == 1
    assert ": order-1: the body is not JSON: " in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and redis.client.keys() == []


def test_a_command_with_redis_cli(redis, carry_out):
    def run(subject, code):
        done = subprocess.run(
            [CONSUMERS / "producer.sh", "crm", subject, "Contact_updateContact", subject,
             '{"contact":{"firstName":"Ann Bel"}}'], capture_output=True, text=True, timeout=60,
            env={**os.environ, "REDIS": f"redis-cli -p {redis.port}"})
        assert done.returncode == code, done.stderr
        return dict(line.split("\t") for line in done.stdout.splitlines())
    carry_out()
    first, second = run("contacts/66", 0), run("deals/66", 1)
    assert first["ce_id"] == "contacts/66" and first["outcome"] == "ok"
    assert second["outcome"] == "refused" and "does not fit" in second["detail"]
    must_fit("result.json", [first, second])
