"""Entries are CloudEvents: the official JavaScript SDK reads them as they are in the stream, in binary
and in structured mode, and validates them. `make cloudevents` installs it, which the tests do
themselves; where npm cannot get it they are skipped."""
import json
import re
import shutil
import subprocess

import harness
import jsonschema
import pytest
import yaml
from test_schemas import ENTRY, NASTY, SCHEMAS, samples

STRUCTURED = json.loads((SCHEMAS / "entry-structured-v1.json").read_text())
MODULES = harness.ROOT / "build" / "cloudevents" / "node_modules"
HOOKS = ("  - {name: contacts, events: [subscribe]}\n"
         "  - {name: shop, events: [subscribe], stream: shop, format: structured}\n"
         "  - {name: raw, events: [subscribe], stream: shop, format: structured, include_raw: true}\n"
         "  - {name: once, events: [subscribe], stream: shop, format: structured, duplicates: drop}\n")


@pytest.fixture(scope="session")
def sdk():
    """Reads entries with the SDK and gives the events, or raises with its words."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    done = subprocess.run(["make", "-s", "cloudevents"], cwd=harness.ROOT, capture_output=True,
                          text=True, timeout=120)
    if done.returncode != 0:
        pytest.skip(f"make cloudevents: npm cannot get the SDK: {done.stderr.strip()[-300:]}")

    def read(entries):
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        done = subprocess.run(["node", harness.ROOT / "tests/live/cloudevents.js"], input=lines,
                              env={"NODE_PATH": str(MODULES), "PATH": "/usr/bin:/bin"},
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]
    return read


@pytest.fixture
def both(make_receiver, redis):
    """Posts bodies to a hook of each mode; the entries of both streams, as text."""
    receiver = make_receiver(hooks=HOOKS)

    def post(*bodies, hooks=("contacts", "shop")):
        for hook in hooks:
            for body in bodies:
                assert receiver.post(body.encode(), hook) == 200
        receiver.wait_shipped()
        return [[{k: v.decode() for k, v in entry.items()} for entry in redis.entries(stream)]
                for stream in ("{ac}:events", "{ac}:shop")]
    post.receiver = receiver
    return post


def is_received_then(event):
    return event["time"][:19] == event["recordedtime"][:19]


def test_the_sdk_reads_both_modes_unchanged_and_finds_the_same_events(sdk, both):
    bodies = [body for _, body in samples()] + NASTY
    binary, structured = both(*bodies)
    assert len(binary) == len(structured) == len(bodies) > 40
    for entry, one, other in zip(binary, sdk(binary), sdk(structured)):
        assert one["data"] == json.loads(entry["data"]) and one["specversion"] == "1.0"
        assert (one["id"], one["subject"]) == (entry["ce_id"], entry["ce_subject"])
        assert one["subject"].replace("hook/contacts", "hook/shop") == other["subject"]
        for attribute in ("type", "data", "dataschema", "datacontenttype", "repeat"):
            assert one[attribute] == other[attribute], attribute
        assert set(one) == set(other)
        assert other["source"] == "/activecampaign/acme/shop"
        # what has no time of its own, or none that can be read, has its receipt's
        assert one["time"] == other["time"] or is_received_then(one) and is_received_then(other)


def test_the_sdk_refuses_what_is_no_event(sdk, both):
    binary, structured = both("type=subscribe&contact[id]=7")
    for wrong in ({**binary[0], "ce_source": ""}, {**binary[0], "data": "{"},
                  {**structured[0], "data": structured[0]["data"].replace('"source"', '"sauce"')}):
        with pytest.raises(AssertionError, match="ValidationError|SyntaxError"):
            sdk([wrong])


def test_a_structured_entry_fits_its_schema_and_tells_its_attributes_beside(both):
    binary, structured = both("type=subscribe&contact[id]=7", hooks=("contacts", "shop", "raw"))
    for entry in structured:
        jsonschema.Draft202012Validator(STRUCTURED).validate(entry)
        assert list(entry) == STRUCTURED["required"], "all fields, in order"
        event = json.loads(entry["data"])
        assert list(event)[0] == "specversion" and list(event)[-1] == "data"
        assert {f"ce_{name}" for name in event} - {"ce_datacontenttype", "ce_data"} == {
            name for name in ENTRY["required"] if name.startswith("ce_")}
        assert (event["id"], event["type"], event["subject"]) == (
            entry["ce_id"], entry["ce_type"], entry["ce_subject"])
        assert event["fingerprint"] != binary[0]["ce_fingerprint"], "another hook"
    assert [entry["raw"] for entry in structured] == ["", "type=subscribe&contact[id]=7"]


def test_duplicates_are_marked_and_dropped_in_structured_mode_too(both):
    body = "type=subscribe&contact[id]=7"
    _, structured = both(body, body, hooks=("shop", "once", "shop"))
    found = [(event["source"].split("/")[-1], event["repeat"])
             for event in (json.loads(entry["data"]) for entry in structured)]
    assert found == [("shop", "0"), ("shop", "1"), ("once", "0"), ("shop", "1"), ("shop", "1")]


def test_the_command_line_reads_structured_entries(both, redis):
    """tail with its filters, replay of a dead letter and of the journal, status."""
    _, [entry] = both("type=subscribe&contact[id]=7&contact[email]=a%40b.example", hooks=("shop",))

    def run(*words):
        done = subprocess.run([harness.BUILD / "acrelay", "--config", both.receiver.config, *words],
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout
    event = json.loads(entry["data"])
    line = run("tail", "--stream", "shop", "--from", "0", "--count", "1", "--hook", "shop")
    assert re.match(rf"{event['recordedtime'][:19]} +subscribe +contact/7 +{event['source']}\n", line)
    shown = json.loads(run("--json", "tail", "--stream", "shop", "--from", "0", "--count", "1"))
    assert shown["data"] == event and shown["ce_subject"] == "contact/7"
    assert "entries in shop                1" in run("status")

    both("", "type=subscribe&contact[id]=9", hooks=("shop",))
    [letter] = redis.client.xrange("{ac}:dead")
    assert letter[1][b"reason"] == b"empty" and letter[1][b"hook"] == b"shop"
    fixed = redis.client.xadd("{ac}:dead", {**letter[1], b"raw": b"type=update&contact[id]=8"})
    run("dead", "replay", fixed.decode())
    *_, replayed = redis.entries("{ac}:shop")
    assert list(replayed)[-1] == "ce_replay"
    assert replayed["content-type"] == b"application/cloudevents+json"
    assert json.loads(replayed["data"])["subject"] == "contact/8"


def test_records_that_are_sent_again_keep_the_mode_they_were_received_in(both, redis):
    _, before = both("type=subscribe&contact[id]=7", hooks=("shop",))
    config = both.receiver.config
    config.write_text(config.read_text().replace(", format: structured", ""))
    assert both.receiver.reload()
    redis.client.flushall()
    binary, again = both("type=subscribe&contact[id]=8", hooks=("shop",))
    harness.wait_for("both", lambda: redis.client.xlen("{ac}:shop") == 2)
    first, second = redis.entries("{ac}:shop")
    assert {k: v.decode() for k, v in first.items()} == before[0]
    assert second["content-type"] == b"application/json" and len(second) == 15


def test_hooks_of_one_stream_need_the_same_format(both):
    config = both.receiver.config
    config.write_text(config.read_text().replace(", format: structured", "", 1))
    done = subprocess.run([harness.BUILD / "acrelay", "--config", config, "check", "--offline"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 78
    assert "hook raw: format differs from that of another hook of its stream" in (
        done.stdout + done.stderr)


def test_the_recipes_are_valid_and_name_what_entries_have():
    """Those whose clients cannot be had here: see what deploy/consumers/README.md says of each."""
    text = (harness.ROOT / "deploy" / "consumers" / "README.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.S)
    assert [kind for kind, _ in blocks] == ["js", "yaml", "yaml", "java", "python"]
    for kind, block in blocks:
        if kind == "yaml":
            assert all(isinstance(part, dict) for part in yaml.safe_load_all(block))
        elif kind == "python":
            compile(block, "README.md", "exec")
    fields = {*ENTRY["required"], *STRUCTURED["required"]}
    named = re.findall(r"\b(ce_[a-z]+)\b|body_key: (\w+)|fields\[\"([\w-]+)\"\]", text)
    assert {word for words in named for word in words if word} <= fields
