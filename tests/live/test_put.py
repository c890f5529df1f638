"""acrelay put and results: a command as a service would write it, with its result; and what is
refused before anything is written."""
import json
import pathlib
import re
import signal
import subprocess

import harness
import jsonschema
import pytest
import simulator

SCHEMAS = harness.ROOT / "conf" / "schemas"
COMMANDS, RESULTS = "{ac}:commands:cli", "{ac}:results:cli"
BODY = '{ "contact": {"firstName": "Ann"} }'
SERVICES = ("commands:\n  services:\n"
            "    - {name: cli, allow: [contacts, Deal_updateStage, customObjects]}\n"
            "    - {name: crm, allow: [contacts]}\n")


@pytest.fixture
def worker(redis, make_worker):
    return make_worker(redis_port=redis.port, extra=SERVICES)


@pytest.fixture
def config(worker):
    return worker.config


@pytest.fixture
def acrelay(config):
    def run(*words, code=0, body=BODY, **environment):
        done = subprocess.run([harness.BUILD / "acrelay", "-c", config, *words], input=body,
                              capture_output=True, text=True, timeout=60,
                              env={"PATH": "/usr/bin:/bin", **environment})
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        run.progress = done.stderr
        return done.stdout + harness.without_progress(done.stderr)
    return run


@pytest.fixture
def lane(worker, running, redis):
    """The worker, which carries out what is added."""
    process = running(worker)
    harness.wait_for("its lease", lambda: redis.client.get("{ac}:leader"))
    return process


@pytest.fixture
def waiting(config, redis, spawn):
    """A put whose worker is busy: its command is in the stream, and it waits for the result."""
    def start(*words, more=None):
        redis.client.set("{ac}:leader", "a worker that is busy")
        process = spawn([harness.BUILD / "acrelay", "-c", config, "put", "contacts/66", "--data",
                         "-", "--wait", *words], more, stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        process.stdin.write(BODY)
        process.stdin.close()
        harness.wait_for("the command", lambda: redis.client.xlen(COMMANDS) == 1)
        return process
    return start


def puts(sim):
    """How many requests reached ActiveCampaign for commands."""
    return sum(line["method"] == "PUT" for line in sim.log())


def put(acrelay, *words, path="contacts/66", **more):
    return acrelay("put", path, "--data", "-", *words, **more)


def must_fit(schema, fields):
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / schema).read_text())).validate(fields)


# --- the operations --------------------------------------------------------------------------

def test_the_list_has_every_operation_and_agrees_with_the_schema(acrelay):
    rows = [json.loads(line) for line in acrelay("put", "--list", "--json").splitlines()]
    assert len(rows) == 38
    shapes = json.loads((SCHEMAS / "command.json").read_text())["$defs"]
    assert {row["operation"] for row in rows if "refused" not in row} == set(shapes)
    for row in rows:
        if "refused" in row:
            assert row["path"] == "webhooks/{id}"
            continue
        shape = shapes[row["operation"]]["properties"]
        pattern = re.sub(r"\{\w+\}", lambda _: "[A-Za-z0-9._~-]{1,64}", row["path"])
        assert shape["ce_subject"]["pattern"] == f"^{pattern}$"
        assert shape["data"]["contentSchema"].get("required", [None]) == [row.get("envelope")]
        assert ("query" in row) == bool(shape["query"])
        assert ("header" in row) == ("validateOnly" not in shape)
    assert "taskOutccomes/{id}" in acrelay("put", "--list")


# --- adding a command ------------------------------------------------------------------------

def test_a_command_is_added_as_its_schema_says(acrelay, redis):
    said = put(acrelay, "--id", "order-1", "--priority", "high", "--not-after",
               "2099-03-02T11:20:00Z", "--replace", "--json")
    [command] = redis.entries(COMMANDS)
    command = {name: value.decode() for name, value in command.items()}
    must_fit("command.json", command)
    assert command["ce_type"] == "com.activecampaign.command.Contact_updateContact"
    assert command["data"] == '{"contact":{"firstName":"Ann"}}'
    assert (command["priority"], command["replace"]) == ("high", "1")
    added = json.loads(said.splitlines()[0])
    assert added["ce_id"] == "order-1" and added["stream"] == COMMANDS
    assert "no worker leads" in said


def test_each_command_has_an_id_of_its_own_unless_one_is_given(acrelay, redis):
    for _ in range(2):
        put(acrelay)
    first, second = redis.entries(COMMANDS)
    assert first["ce_id"] != second["ce_id"] and len(first["ce_id"]) == 32


def test_queries_and_headers_go_with_their_operations(acrelay, redis):
    put(acrelay, "--query", "reorder=1", path="dealStages/4", body='{"dealStage":{}}')
    put(acrelay, "--validate-only", path="customObjects/schemas/a-b", body='{"schema":{}}')
    stage, schema = redis.entries(COMMANDS)
    assert stage["query"] == b"reorder=1" and schema["validateOnly"] == b"1"


@pytest.mark.parametrize("words, path, body, code, said", [
    ((), "contact/66", BODY, 64, "did you mean contacts?"),
    ((), "contacts/66/tags", BODY, 64, "put --list"),
    (("--type", "Contact_updateContcat"), "contacts/66", BODY, 64, "Contact_updateContact?"),
    (("--type", "Deal_updateStage"), "contacts/66", BODY, 1, "does not fit"),
    (("--priority", "urgent"), "contacts/66", BODY, 64, "--priority"),
    (("--wait=soon",), "contacts/66", BODY, 64, "30s"),
    (("--service", "shop"), "contacts/66", BODY, 78, "has no service shop"),
    (("--service", "crm"), "dealStages/4", '{"dealStage":{}}', 1, "may not use"),
    (("--not-after", "tomorrow"), "contacts/66", BODY, 1, "not_after"),
    (("--query", "limit=1"), "contacts/66", BODY, 1, "takes no query"),
    (("--validate-only",), "contacts/66", BODY, 1, "takes no validateOnly"),
    (("--id", "x" * 129), "contacts/66", BODY, 1, "129 bytes"),
    ((), "contacts/66", "[]", 1, "not a JSON object"),
    ((), "contacts/66", '{"deal":{}}', 1, '{"contact":{...}}'),
    pytest.param((), "contacts/66", "x" * (1 << 20) + "x", 1, "larger than", id="large"),
    ((), "webhooks/1", '{"webhook":{}}', 1, "webhooks are the worker's"),
])
def test_what_would_be_refused_is_refused_before_it_is_written(acrelay, redis, words, path, body,
                                                               code, said):
    assert said in put(acrelay, *words, path=path, body=body, code=code)
    assert redis.client.keys("*") == []


def test_a_body_and_a_path_are_needed(acrelay):
    assert "--data" in acrelay("put", "contacts/66", code=64)
    assert "contacts/66" in acrelay("put", "--data", "-", code=64)
    assert "No such file" in acrelay("put", "contacts/66", "--data", "/nowhere", code=1)


def test_a_file_without_commands_is_said(acrelay, config):
    config.write_text(config.read_text().replace(SERVICES, ""))
    assert "no service cli" in put(acrelay, code=78)


# --- its result ------------------------------------------------------------------------------

def test_the_result_is_waited_for_and_shown(acrelay, lane, sim):
    said = put(acrelay, "--wait", "--id", "order-1")
    assert "ok" in said and "200" in said and '"firstName":"Ann"' in said
    assert sim.objects()["contacts/66"]["firstName"] == "Ann"
    result = json.loads(put(acrelay, "--wait=30s", "--id", "order-1", "--json"))
    must_fit("result.json", {name: result[name] for name in result if name != "id"})
    assert (result["ce_id"], result["outcome"], result["repeat"]) == ("order-1", "ok", "1")
    assert puts(sim) == 1


def test_any_other_outcome_is_a_failure(acrelay, lane, sim):
    sim.remove_object("contacts/66")
    said = put(acrelay, "--wait", "--id", "order-1", code=1)
    assert "failed" in said and "404" in said
    said = put(acrelay, "--wait", "--id", "order-1", code=1, body='{"contact":{"a":"other"}}')
    assert "refused" in said
    said = put(acrelay, "--wait", "--not-after", "2026-03-02T11:20:00Z", code=1)
    assert "expired" in said
    assert puts(sim) == 1


def test_who_waits_is_told_that_a_newer_command_took_its_place(acrelay, waiting, redis, worker,
                                                                running):
    process = waiting("--replace")
    put(acrelay, "--replace", body='{"contact":{"firstName":"Eve"}}')
    redis.client.delete("{ac}:leader")
    running(worker)
    assert process.wait(30) == 1
    said = process.stdout.read()
    assert "superseded" in said and "a newer command of its subject replaces it" in said


def test_without_a_leader_nobody_waits_and_nothing_is_written(acrelay, redis):
    assert "nothing was written" in put(acrelay, "--wait", code=69)
    assert redis.client.keys("*") == []


def test_a_wait_ends_and_says_where_the_result_will_be(acrelay, redis):
    redis.client.set("{ac}:leader", "a worker that is busy")
    said = put(acrelay, "--wait=3s", code=69)
    assert "no result yet" in said and "acrelay results --service cli --from 0" in said
    [(entry, _)] = redis.client.xrange(COMMANDS)
    assert f"waiting for the result of {entry.decode()}" in acrelay.progress, "for whoever watches, or breaks it off"


def test_a_wait_ends_when_no_worker_leads_any_more(waiting, redis):
    process = waiting(more={"ACRELAY_TEST_TIMES": "put_leaderless=1000"})
    redis.client.delete("{ac}:leader")
    assert process.wait(30) == 69
    assert "no worker leads; the command is in the stream" in process.stdout.read()


def test_a_wait_ends_when_the_command_is_gone(waiting, redis):
    process = waiting("--id", "order-1")
    redis.client.xtrim(COMMANDS, maxlen=0, approximate=False)
    assert process.wait(30) == 1
    assert "is gone without a result" in process.stdout.read()


def test_a_result_is_found_after_many_others(waiting, redis):
    process = waiting()
    [(entry, _)] = redis.client.xrange(COMMANDS)
    pipe = redis.client.pipeline()
    for _ in range(200):
        pipe.xadd(RESULTS, {"ce_command": "1-1", "outcome": "refused"})
    pipe.xadd(RESULTS, {"ce_command": entry, "outcome": "ok"})
    pipe.xdel(COMMANDS, entry)
    pipe.execute()
    assert process.wait(30) == 0


def test_a_redis_that_is_away_is_said(acrelay, redis):
    redis.kill()
    assert "Connection refused" in put(acrelay, code=69)
    assert "Connection refused" in acrelay("results", code=69)


def test_a_redis_that_goes_away_while_waiting_is_said(waiting, redis):
    process = waiting()
    redis.kill()
    assert process.wait(30) == 69
    assert "the command is in the stream as" in process.stdout.read()


def test_the_echo_of_a_change_is_known_by_its_origin_and_values(tmp_path, redis, make_receiver,
                                                                running):
    """As acrelay-commands(7) says: an event of the subject, from the API, with the values."""
    receiver = make_receiver(hooks="  - {name: contacts, events: [update]}\n")
    sim = simulator.Simulator(tmp_path, deliver_to=receiver.port)
    try:
        worker = simulator.Worker(tmp_path, sim, simulator.stanza("contacts", "[update]"),
                                  redis_port=redis.port, extra=SERVICES)
        running(worker)
        harness.wait_for("the webhook", sim.hooks)
        subprocess.run([harness.BUILD / "acrelay", "-c", worker.config, "put", "contacts/66",
                        "--data", "-", "--wait"], input=BODY, text=True, check=True, timeout=60)
        harness.wait_for("its event", redis.entries)
    finally:
        sim.stop()
    [event] = redis.entries()
    data = json.loads(event["data"])
    assert event["ce_subject"] == b"contact/66" and data["initiated_from"] == "api"
    assert data["contact"]["first_name"] == "Ann"


# --- results ---------------------------------------------------------------------------------

def test_results_are_listed_from_any_place(acrelay, lane, sim):
    assert "service cli has no results" in acrelay("results")
    assert acrelay("results", "--json") == ""
    sim.remove_object("contacts/67")
    for name in ("one", "two", "three"):
        put(acrelay, "--wait", "--id", name, path=f"contacts/{66 + (name == 'two')}",
            code=int(name == "two"))
    rows = [json.loads(line) for line in acrelay("results", "--json").splitlines()]
    assert [row["ce_id"] for row in rows] == ["one", "two", "three"]
    rest = acrelay("results", "--from", rows[0]["id"], "--count", "1")
    assert "two" in rest and "ActiveCampaign answers 404" in rest and "one" not in rest
    assert f"no results after {rows[2]['id']}" in acrelay("results", "--from", rows[2]["id"])
    assert "service crm has no results" in acrelay("results", "--service", "crm")


def test_results_are_followed_over_a_restart_of_redis(config, acrelay, redis, tmp_path, lane):
    path = pathlib.Path(tmp_path / "followed")
    with open(path, "w") as out:
        process = subprocess.Popen(
            [harness.BUILD / "acrelay", "-c", config, "results", "--follow", "--json"],
            stdout=out, stderr=subprocess.DEVNULL)
    try:
        for name in ("one", "two"):
            harness.wait_for("a leader", lambda: redis.client.get("{ac}:leader"))
            put(acrelay, "--wait", "--id", name)
            harness.wait_for("its line", lambda: f'"ce_id":"{name}"' in path.read_text(), 60)
            redis.kill()
            redis.start()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


# --- status and doctor -----------------------------------------------------------------------

def status(acrelay):
    """What status shows; no receiver runs here."""
    return json.loads(acrelay("status", "--json", code=69).splitlines()[0])


def of_commands(acrelay, code=69):
    """What doctor finds of commands."""
    text = acrelay("doctor", "--offline", "--json", code=code)
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [(row["result"], row["text"]) for row in rows if row["what"] == "commands"]


def test_status_and_doctor_tell_what_waits_and_who_leads(acrelay, redis):
    assert "no worker leads" in status(acrelay)["commands"]
    [(result, text)] = of_commands(acrelay)
    assert result == "error" and text.endswith("waiting: 0")
    put(acrelay)
    redis.client.set("{ac}:leader", "a worker that is busy")
    redis.client.xadd("{ac}:commands:crm", {"ce_id": "old"}, id="1-0")
    shown = status(acrelay)
    assert shown["commands"] == "another worker leads"
    cli, crm = shown["services"]
    assert (cli["name"], cli["waiting"], crm["name"], crm["waiting"]) == ("cli", 1, "crm", 1)
    assert cli["oldest_seconds"] < 60 < 10**9 < crm["oldest_seconds"]
    [(warning, old), (level, sum_)] = of_commands(acrelay)
    assert warning == "warning" and old.startswith("commands of crm that wait: 1, the oldest for")
    assert level == "ok" and sum_.endswith("2 services that wait: 2")


@pytest.mark.parametrize("right", ["xlen", "get"])
def test_what_doctor_may_not_ask_is_not_good(acrelay, config, redis, tmp_path, right):
    as_user(config, redis, tmp_path, f"-{right}")
    redis.client.set("{ac}:leader", "a worker")
    found = of_commands(acrelay, 77)
    assert "ok" not in dict(found)
    assert any(result == "warning" and "is not known: " in text for result, text in found)


def test_status_shows_results_when_asked(acrelay, redis):
    redis.client.set("{ac}:leader", "a worker")
    for n in range(21):
        redis.client.xadd("{ac}:results:crm", {"ce_id": f"order-{n}", "ce_type": "com.activecampaign.result.Contact_update",
                                               "outcome": "failed", "status": "422", "detail": "\x1b[2Jtaken"})
    assert "results" not in status(acrelay)["services"][1]
    cli, crm = json.loads(acrelay("status", "--json", "--results", code=69))["services"]
    assert cli["results"] == [] and "contacts" in crm["allow"]
    assert [result["ce_id"] for result in crm["results"]] == [f"order-{n}" for n in range(20, 0, -1)]
    assert crm["results"][0]["outcome"] == "failed" and crm["results"][0]["detail"] == "\\x1b[2Jtaken"
    text = acrelay("status", "--results", code=69)
    assert text.count("Contact_update") == 20 and "\\x1b[2Jtaken" in text


def test_status_names_the_worker_here(acrelay, lane):
    harness.wait_for("its metrics", lambda: status(acrelay)["commands"] == "the worker here leads")


def test_put_and_status_agree_while_the_worker_here_has_not_loaded_the_services(
        acrelay, config, worker, running, redis):
    """It keeps the webhooks in sync, and leads these."""
    text = config.read_text()
    config.write_text(text.replace(SERVICES, ""))
    process = running(worker, times="file-still=600000 worker_lag=300")
    harness.wait_for("its round", lambda: worker.metric("acrelay_worker_leader") == 1)
    config.write_text(text)
    assert "no worker leads" in status(acrelay)["commands"]
    assert "no worker leads" in put(acrelay, "--wait", code=69)
    redis.client.set("{ac}:leader", "a worker elsewhere")
    assert status(acrelay)["commands"] == "another worker leads"
    redis.client.delete("{ac}:leader")
    process.send_signal(signal.SIGHUP)
    harness.wait_for("the services", lambda: status(acrelay)["commands"] == "the worker here leads")
    put(acrelay, "--wait")
    redis.client.set("{ac}:leader", "a worker elsewhere")
    harness.wait_for("the loss", lambda: status(acrelay)["commands"] == "another worker leads")


def test_dead_letters_of_commands_are_told(acrelay, redis):
    redis.client.set("{ac}:leader", "a worker")
    redis.client.xadd("{ac}:commands.dead", {"ce_id": "1"})
    assert status(acrelay)["commands_dead"] == 1
    assert ("warning", "commands that failed or expired, kept as dead letters: 1") in \
        of_commands(acrelay)


def as_user(config, redis, tmp_path, *rights):
    """The file's user of Redis from here on: half, who may what is left of all."""
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    config.write_text(re.sub(r"redis: \{", "redis: {user: half, password_file: password, ",
                             config.read_text()))
    redis.add_user("half", "secret", "~{ac}:*", "+@all", *rights)


def doctor(acrelay, code):
    text = acrelay("doctor", "--offline", "--json", code=code)
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("key", ["results:crm", "commands:cli", "commands.tried", "commands.dead"])
def test_doctor_names_a_key_that_holds_up_commands(acrelay, redis, key):
    redis.client.lpush(f"{{ac}}:{key}", "")
    wrong = [row for row in doctor(acrelay, 69) if f"{{ac}}:{key} is a list" in row["text"]]
    assert len(wrong) == 1 and wrong[0]["result"] == "error"


def test_doctor_says_what_the_worker_may_not(acrelay, config, redis, tmp_path):
    as_user(config, redis, tmp_path)
    assert not [text for _, text in of_commands(acrelay) if "may not" in text]
    redis.add_user("half", "secret", "-xreadgroup", "-hsetnx")
    [(result, text)] = [row for row in of_commands(acrelay) if "may not" in row[1]]
    assert result == "warning" and "user half may not" in text
    assert "XREADGROUP" in text and "HSETNX on {ac}:commands.ids" in text


def test_a_file_without_services_shows_nothing_of_commands(acrelay, config):
    config.write_text(config.read_text().replace(SERVICES, ""))
    assert not {"commands", "services", "commands_dead"} & set(status(acrelay))
    assert of_commands(acrelay) == []


# --- dead letters of commands ----------------------------------------------------------------

LETTER = {"ce_specversion": "1.0", "ce_id": "order-" + "9" * 100, "ce_source": "shop",
          "ce_type": "com.activecampaign.command.Contact_updateContact",
          "ce_subject": "contacts/66", "content-type": "application/json", "priority": "high",
          "not_after": "2026-03-02T11:20:00Z", "data": '{"contact":{}}', "service": "crm",
          "outcome": "expired", "status": "0", "attempts": "0", "detail": "it came too late"}


def test_dead_commands_are_listed_shown_replayed_and_dropped(acrelay, redis):
    first = redis.client.xadd("{ac}:commands.dead", LETTER).decode()
    second = redis.client.xadd("{ac}:commands.dead", {**LETTER, "service": "gone"}).decode()
    redis.client.xadd("{ac}:dead", {"reason": "json"})
    listed = acrelay("dead", "list", "--commands")
    assert first in listed and "expired" in listed and "it came too late" in listed
    assert len(listed.splitlines()) == 2, "and no delivery"
    shown = json.loads(acrelay("dead", "show", first, "--commands", "--json"))
    assert shown["service"] == "crm" and shown["data"] == {"contact": {}}
    said = acrelay("dead", "replay", first, second, "--commands", code=78)
    assert "no service gone" in said
    [command] = redis.entries("{ac}:commands:crm")
    command = {name: value.decode() for name, value in command.items()}
    must_fit("command.json", command)
    assert command == {**{k: v for k, v in LETTER.items() if k in command},
                       "ce_id": f"replay-{first}",
                       "ce_source": f"acrelay dead replay of {LETTER['ce_id']}"}
    assert "not_after" not in command and command["priority"] == "high"
    assert "cannot be combined" in acrelay("dead", "drop", "--reason", "json", "--commands", code=64)
    acrelay("dead", "drop", "--all", "--commands")
    assert redis.client.xlen("{ac}:commands.dead") == 0
    assert redis.client.xlen("{ac}:dead") == 1


def test_a_command_that_expired_is_replayed_and_carried_out(acrelay, lane, sim):
    put(acrelay, "--wait", "--not-after", "2026-03-02T11:20:00Z", code=1)
    letter = json.loads(acrelay("dead", "list", "--commands", "--json"))
    assert (letter["service"], letter["outcome"]) == ("cli", "expired")
    acrelay("dead", "replay", "--commands", letter["id"])
    harness.wait_for("its result", lambda: f"replay-{letter['id']}" in acrelay("results"))
    assert sim.objects()["contacts/66"]["firstName"] == "Ann"
    assert acrelay("dead", "list", "--commands") == "no dead letters\n"
