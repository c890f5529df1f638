"""The simulator's answers to the 38 PUT operations, held against ActiveCampaign's description: its
facts (operations.json beside this file), and Prism as the judge where it is installed."""
import http.client
import http.server
import json
import pathlib
import subprocess
import threading
import time
import urllib.error
import urllib.parse
from email.utils import parsedate_to_datetime

import harness
import jsonschema
import pytest
from operations import DESCRIPTION, OPERATIONS, bodies, fitting, made, openapi, path, reduced
from operations_table import rows
from simulator import Simulator
from test_dialect import PRISM, Proxy

COMMANDS = [name for name in OPERATIONS if name != "Webhook_updateExisting"]
WITH_ID = [name for name in COMMANDS if "{" in OPERATIONS[name]["path"]]
MOVES = {"Deal_moveDealsToAnotherStage": "deals", "Deal_moveTasksToAnotherTaskType": "dealTasks"}
BROKEN = (urllib.error.URLError, http.client.HTTPException, OSError)


@pytest.fixture
def second():
    return 1000


@pytest.fixture
def sim(sim):
    sim.switch(limit=0)
    return sim


def success(name):
    return next(code for code in OPERATIONS[name]["codes"] if code < 300)


def shown(name):
    return OPERATIONS[name]["envelope"] or "config"


# --- the tables ---------------------------------------------------------------------------------

@pytest.mark.skipif(not DESCRIPTION.exists(), reason=f"no description: {DESCRIPTION}")
def test_the_facts_are_those_of_the_description():
    assert reduced(json.loads(DESCRIPTION.read_text())) == OPERATIONS


def test_the_simulator_knows_the_same_operations():
    text = (pathlib.Path(harness.ROOT) / "tests/simulator/operations.txt").read_text()
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert [row[0] for row in rows] == list(OPERATIONS) and len(rows) == 38
    for name, place, envelope, codes, _, *more in rows:
        facts = OPERATIONS[name]
        expected = facts["path"][1:]
        for where, parameter, kind in facts["params"]:
            if where == "path":
                expected = expected.replace(f"{{{parameter}}}", f"{{{parameter}:{kind}}}")
        assert (place, codes) == (expected, ",".join(map(str, facts["codes"])))
        assert envelope == (facts["envelope"] or "config?")
        assert more == [":".join(p) for p in facts["params"] if p[0] != "path"]


def test_acrelay_knows_the_same_operations():
    listed = subprocess.run([harness.BUILD / "acrelay", "put", "--list", "--json"],
                            capture_output=True, text=True, check=True).stdout
    rows = {row["operation"]: row for row in map(json.loads, listed.splitlines())}
    assert list(rows) == list(OPERATIONS)
    for name, row in rows.items():
        facts = OPERATIONS[name]
        assert (row["path"], row.get("envelope")) == (facts["path"][1:], facts["envelope"]) or (
            "refused" in row and name == "Webhook_updateExisting")
        for where in ("query", "header"):  # but the message's fields, which are not headers
            described = [p for kind, p, _ in facts["params"] if kind == where and "." not in p]
            assert row.get(where) in (described or [None])


# --- each operation -------------------------------------------------------------------------------

@pytest.mark.parametrize("name", COMMANDS)
def test_an_operation_changes_its_object(sim, name):
    place, envelope = path(name), shown(name)
    for body in bodies(name):
        status, headers, answer = sim.api("PUT", place, body)
        assert status == success(name) and headers["Content-Type"] == "application/json"
        assert sim.writes()[-1]["body"] == body
        if name in MOVES:
            assert answer == {MOVES[name]: []}
            continue
        fields = dict(answer[envelope], **{key: value for key, value in answer.items()
                                           if key != envelope})
        for key, value in body[envelope].items():
            assert fields[key] == value
        if name in WITH_ID:
            assert fields["id"] == place.rsplit("/", 1)[1]
            assert fields["links"] == body[envelope].get("links", {})
        assert sim.api("GET", place)[::2] == (200, answer)
    writes = sim.writes()
    assert [(w["n"], w["operation"], w["path"], w["status"], w["fault"]) for w in writes] == [
        (n + 1, name, place[1:], success(name), "") for n in range(len(bodies(name)))]
    times = len(writes)
    assert sim.calls()["operations"][name] == {"requests": times, "accepted": times}


def test_a_hook_is_changed_as_ever_and_counted(sim):
    sim.add("a", "https://x.example/a")
    body = bodies("Webhook_updateExisting")[0]
    assert sim.api("PUT", "/webhooks/1", body)[2]["webhook"]["name"] == "My Hook"
    calls = sim.calls()
    assert calls["operations"]["Webhook_updateExisting"] == {"requests": 1, "accepted": 1}
    assert (calls["all"]["requests"], calls["commands"]["requests"]) == (1, 0)


@pytest.mark.parametrize("name", WITH_ID)
def test_an_absent_object_is_404_or_403_where_only_that_is_described(sim, name):
    codes, place = OPERATIONS[name]["codes"], path(name)
    sim.remove_object(place[1:])
    status, _, answer = sim.api("PUT", place, bodies(name)[0])
    assert status == (403 if 403 in codes and 404 not in codes else 404)
    assert answer["message"].startswith("No Result found for ")
    assert sim.api("GET", place)[0] in (status, 404)
    assert sim.api("PUT", path(name, 10**7), bodies(name)[0])[0] == status, "beyond the ids"
    sim.switch(absent_403=1)
    assert sim.api("PUT", place, bodies(name)[0])[0] == 403
    assert sim.writes() == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_body_without_the_envelope_is_refused_as_described(sim, name):
    code = 422 if 422 in OPERATIONS[name]["codes"] else 400
    wrong = [[], "text", 5]
    if OPERATIONS[name]["envelope"]:
        wrong += [{}, {"another": {"a": 1}}, {OPERATIONS[name]["envelope"]: "text"},
                  {OPERATIONS[name]["envelope"].upper(): {"a": 1}}]
    for body in [None, *wrong]:
        status, _, answer = sim.api("PUT", path(name), body)
        assert status == code, body
        if code == 422:
            assert answer["errors"][0]["source"]["pointer"] == f"/data/attributes/{shown(name)}"
        else:
            assert answer["errors"] == [f"{shown(name)}: is required"]
    assert sim.writes() == [] and sim.objects() == {}


@pytest.mark.parametrize("place", [
    "/contacts", "/contacts/", "/contacts/x", "/contacts/-1", "/contacts/1.5", "/contacts/6%2F6",
    "/contacts/66/", "/contacts/66/more", "/Contacts/66", "/taskOutcomes/1", "/deals/3/notes",
    "/deals/3/notes/", "/deals//notes/7", "/deals/3/notes/7/8", "/eventTracking/1",
    "/siteTracking/", "/dealTasktypes/1/deals", "/customObjects/schemas", "/ecomOrders/a%20b",
    "/connections/..%2fusers"])
def test_another_path_is_a_page_that_is_not_found(sim, place):
    status, headers, page = sim.api("PUT", place, {"contact": {"firstName": "Ann"}})
    assert (status, headers["Content-Type"]) == (404, "text/html") and "Not Found" in page
    assert sim.writes() == [] and sim.calls()["commands"]["requests"] == 0


def test_another_method_is_not_found(sim):
    assert sim.api("POST", "/contacts/66", {"contact": {}})[0] == 404
    assert sim.api("DELETE", "/contacts/66")[0] == 404
    assert sim.api("GET", "/dealStages/3/deals")[0] == 404


def test_ids_may_be_text_where_the_description_says_so(sim):
    for place in ("/configs/per-page", "/connections/a_b.c~d", "/ecomOrders/X1",
                  "/deals/a/notes/b", "/customObjects/schemas/6b0d-4f"):
        name = next(n for n in OPERATIONS if path(n).split("/")[1:2] == place.split("/")[1:2]
                    and place.count("/") == path(n).count("/"))
        status, _, answer = sim.api("PUT", place, bodies(name)[0])
        assert status == 200 and answer[shown(name)]["id"] == place.rsplit("/", 1)[1]


# --- state ---------------------------------------------------------------------------------------

def test_fields_merge_and_custom_fields_by_their_number(sim):
    for fields in ({"firstName": "Ann", "lastName": "Lee"}, {"firstName": "Bea"},
                   {"fieldValues": [{"field": "1", "value": "a"}, {"field": "2", "value": "b"}]},
                   {"fieldValues": [{"field": "1", "value": "c"}]}):
        assert sim.api("PUT", "/contacts/66", {"contact": fields})[0] == 200
    answer = sim.api("GET", "/contacts/66")[2]
    assert answer == {
        "fieldValues": [{"field": "2", "value": "b"}, {"field": "1", "value": "c"}],
        "contact": {"firstName": "Bea", "lastName": "Lee", "links": {}, "id": "66"}}
    assert sim.objects() == {"contacts/66": {"firstName": "Bea", "lastName": "Lee",
                                             "fieldValues": answer["fieldValues"]}}
    assert sim.api("GET", "/contacts/67")[2] == {"contact": {"links": {}, "id": "67"}}


def test_values_that_cannot_be_are_refused(sim):
    assert sim.api("PUT", "/contacts/66", {"contact": {"email": "nobody"}})[0] == 400
    assert sim.api("PUT", "/eventTracking", {"eventTracking": {"enabled": "yes"}})[0] == 400
    stage = {"dealStage": {"title": "Won"}}
    assert sim.api("PUT", "/dealStages/3?reorder=x", stage)[0] == 400
    assert sim.api("PUT", "/dealStages/3?reorder=1", stage)[0] == 200
    assert [w["query"] for w in sim.writes()] == ["reorder=1"]


def test_a_trial_changes_nothing(sim):
    schema = {"schema": {"slug": "orders"}}
    trial = sim.api("PUT", "/customObjects/schemas/a-b", schema, headers={"validateOnly": "true"})
    assert trial[0] == 200 and trial[2]["schema"]["slug"] == "orders"
    assert sim.objects() == {} and sim.writes() == []
    for place, body in (("/customObjects/schemas/a-b", schema), ("/tags/1", {"tag": {"tag": "t"}})):
        sim.api("PUT", place, body, headers={"validateOnly": "false" if "schema" in body else "true"})
    assert [w["path"] for w in sim.writes()] == ["customObjects/schemas/a-b", "tags/1"]


def test_a_move_takes_the_deals_of_a_stage(sim):
    for deal, stage in ((1, "3"), (2, 3), (3, "4"), (4, "33")):
        sim.set_object(f"deals/{deal}", {"stage": stage})
    sim.set_object("deals/1/notes/5", {"stage": "3"})
    status, _, answer = sim.api("PUT", "/dealStages/3/deals", {"deal": {"stage": "4"}})
    assert status == 200 and sorted(deal["id"] for deal in answer["deals"]) == ["1", "2"]
    assert {place: fields["stage"] for place, fields in sim.objects().items()} == {
        "deals/1": "4", "deals/2": "4", "deals/3": "4", "deals/4": "33", "deals/1/notes/5": "3"}
    assert sim.api("PUT", "/dealStages/3/deals", {"deal": {"title": "x"}})[0] == 422
    sim.set_object("dealStages/4", {"group": "1"})
    sim.set_object("dealStages/5", {"group": "2"})
    assert sim.api("PUT", "/dealStages/4/deals", {"deal": {"stage": "5"}})[0] == 422
    sim.set_object("dealTasks/8", {"dealTasktype": "1"})
    sim.api("PUT", "/dealTasktypes/1/dealTasks", {"dealTask": {"dealTasktype": "2"}})
    assert sim.objects()["dealTasks/8"] == {"dealTasktype": "2"}


# --- what goes wrong ----------------------------------------------------------------------------

TAG = ("PUT", "/tags/1", {"tag": {"tag": "vip"}})


@pytest.mark.parametrize("switch, status, text", [
    ("throttle", 429, "Too Many Requests"), ("busy", 503, ""), ("html_522", 522, "<html>"),
    ("empty_400", 400, ""), ("reject_422", 422, "field_invalid"), ("forbid_next", 403, "Forbidden"),
    ("forbid_writes", 403, "Forbidden"), ("reject_absent", 403, "No Result found")])
def test_a_refusal_changes_nothing_and_passes(sim, switch, status, text):
    sim.switch(**{switch: 2})
    for _ in range(2):
        got, headers, answer = sim.api(*TAG)
        assert got == status and text in str(answer)
        assert (headers["Retry-After"] == "1") == (status in (429, 503))
    assert sim.writes() == []
    assert sim.api(*TAG)[0] == 200
    assert sim.calls()["operations"]["Tag_updateTag"] == {"requests": 3, "accepted": 1}


@pytest.mark.parametrize("switch, status, text", [
    ("html", 200, "Just a moment"), ("html_524", 524, "524: A timeout"), ("empty_ok", 200, "")])
def test_a_strange_answer_comes_after_the_change(sim, switch, status, text):
    sim.switch(**{switch: 1})
    got, _, answer = sim.api(*TAG)
    assert got == status and isinstance(answer, str) and text in answer
    assert sim.objects() == {"tags/1": {"tag": "vip"}} and sim.writes()[0]["fault"] == switch


@pytest.mark.parametrize("switch, done", [("cut_before", 0), ("cut_after", 1), ("truncate", 1)])
def test_a_connection_ends_before_or_after_the_change(sim, switch, done):
    sim.switch(**{switch: 1})
    with pytest.raises(BROKEN):
        sim.api(*TAG)
    assert [w["fault"] for w in sim.writes()] == [switch] * done
    assert len(sim.objects()) == done and sim.api(*TAG)[0] == 200


def test_a_slow_answer_is_done_at_once(sim):
    sim.switch(slow=1, slow_ms=400)
    start = time.monotonic()
    assert sim.api(*TAG)[0] == 200 and time.monotonic() - start >= 0.4
    assert sim.writes()[0]["fault"] == "slow"


def test_a_wrong_token_and_a_user_without_rights_are_403(sim):
    assert sim.api(*TAG, token="wrong")[0] == 403
    sim.switch(forbid=1)
    assert sim.api(*TAG)[0] == 403
    assert sim.writes() == []


def test_retry_after_may_be_a_date(sim):
    sim.switch(throttle=8, retry_after=30, retry_dates=1000)
    for _ in range(4):
        headers = sim.api(*TAG)[1]
        waits = (parsedate_to_datetime(headers["Retry-After"])
                 - parsedate_to_datetime(headers["Date"])).total_seconds()
        assert waits == 30
    sim.switch(throttle=40, retry_dates=500)
    kinds = {sim.api(*TAG)[1]["Retry-After"].isdigit() for _ in range(40)}
    assert kinds == {True, False}


def test_an_answer_may_be_for_one_path_alone(sim):
    sim.answer(503, "busy", count=2, path="tags/1")
    sim.fail("cut_before", path="tags/2")
    assert sim.api("PUT", "/tags/3", TAG[2])[0] == 200
    assert sim.api(*TAG)[::2] == (503, "busy")
    with pytest.raises(BROKEN):
        sim.api("PUT", "/tags/2", TAG[2])
    assert [sim.api(*TAG)[0] for _ in range(2)] == [503, 200]
    sim.answer(502, count=1)
    assert [sim.api("PUT", "/tags/2", TAG[2])[0] for _ in range(2)] == [502, 200]
    assert [w["path"] for w in sim.writes()] == ["tags/3", "tags/1", "tags/2"]


@pytest.mark.parametrize("fault", ["cut_after", "truncate", "html", "html_524", "empty_ok", "slow"])
def test_a_fault_may_be_of_one_path_alone(sim, fault):
    sim.fail(fault, path="tags/1", slow_ms=300 if fault == "slow" else 0)
    assert sim.api("PUT", "/tags/2", TAG[2])[0] == 200
    start = time.monotonic()
    if fault in ("cut_after", "truncate"):
        with pytest.raises(BROKEN):
            sim.api(*TAG)
    else:
        status, _, answer = sim.api(*TAG)
        assert status == (524 if fault == "html_524" else 200)
        assert isinstance(answer, dict) == (fault == "slow")
    assert fault != "slow" or time.monotonic() - start >= 0.3
    assert sim.api(*TAG)[0] == 200
    assert [(w["path"], w["fault"]) for w in sim.writes()] == [
        ("tags/2", ""), ("tags/1", fault), ("tags/1", "")]
    with pytest.raises(urllib.error.HTTPError):
        sim.fail("no such fault")


def chaos(directory, seed):
    """What becomes of 60 writes, and which were done."""
    sim, outcomes = Simulator(directory), []
    try:
        sim.switch(limit=0, chaos=500, seed=seed, retry_dates=300)
        for n in range(60):
            try:
                status, _, body = sim.api("PUT", f"/contacts/{n + 1}", {"contact": {"phone": "1"}})
                outcomes.append((status, type(body).__name__))
            except BROKEN:
                outcomes.append("broken")
        return outcomes, [(w["path"], w["fault"]) for w in sim.writes()]
    finally:
        sim.stop()


def test_chaos_is_the_same_for_the_same_seed(tmp_path):
    outcomes, writes = chaos(tmp_path, 3)
    assert chaos(tmp_path, 3) == (outcomes, writes) != chaos(tmp_path, 4)
    kinds = {outcome[0] if isinstance(outcome, tuple) else outcome for outcome in outcomes}
    assert kinds >= {200, 429, 503, 500, 522, 524, "broken"}
    assert {fault for _, fault in writes} >= {"", "cut_after", "html_524"}


# --- counting ------------------------------------------------------------------------------------

def most_in_a_second(log):
    times = [entry["us"] for entry in log]
    return max(sum(last - 10**6 < us <= last for us in times) for last in times)


def test_the_most_requests_in_any_second_are_counted(sim):
    for burst, pause in ((3, 1.05), (6, 1.05), (2, 0)):
        for n in range(burst):
            sim.api("GET", "/users/me")
            sim.api("PUT", f"/contacts/{n + 1}", {"contact": {"phone": "1"}})
        time.sleep(pause)
    calls = sim.calls()
    log = sim.log()
    commands = [entry for entry in log if entry["method"] == "PUT"]
    assert calls["all"] == {"requests": 22, "max_per_second": most_in_a_second(log)}
    assert calls["commands"] == {"requests": 11, "max_per_second": most_in_a_second(commands)}
    assert calls["all"]["max_per_second"] <= 12, "the bursts are more than a second apart"
    sim.forget_calls()
    assert sim.calls()["all"] == {"requests": 0, "max_per_second": 0} and sim.writes() == []


def test_what_the_limit_refuses_counts_too(tmp_path):
    sim = Simulator(tmp_path)
    try:
        assert [sim.api(*TAG)[0] for _ in range(7)] == [200] * 5 + [429] * 2
        assert sim.calls()["commands"] == {"requests": 7, "max_per_second": 7}
        assert sim.calls()["operations"]["Tag_updateTag"] == {"requests": 7, "accepted": 5}
    finally:
        sim.stop()


# --- webhooks -------------------------------------------------------------------------------------

class Hooks:
    """A server that keeps the forms that are posted to it."""

    def __init__(self):
        posts = self.posts = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                pairs = urllib.parse.parse_qsl(body, keep_blank_values=True, strict_parsing=True)
                posts.append((self.path, dict(pairs)))
                assert len(pairs) == len(dict(pairs)), "a name twice"
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hooks():
    server = Hooks()
    yield server
    server.server.shutdown()


@pytest.fixture
def echo(tmp_path, hooks):
    simulator = Simulator(tmp_path, deliver_to=hooks.server.server_port)
    simulator.switch(limit=0)
    yield simulator
    simulator.stop()


def all_posted(sim):
    harness.wait_for("posts", lambda: sim.figures()["waiting"] == 0, 20)


EVENTS = ["update", "deal_update", "account_update", "account_contact_update",
          "deal_task_complete"]


@pytest.mark.parametrize("place, body, event, pairs", [
    ("/contacts/66", {"contact": {"firstName": "Ann & Bo", "email": "a@b.example", "fieldValues": [
        {"field": "30", "value": "x=1"}, {"field": 99, "value": 5}]}}, "update",
     {"contact[id]": "66", "contact[first_name]": "Ann & Bo", "contact[email]": "a@b.example",
      "contact[fields][30]": "x=1", "contact[fields][99]": "5", "contact[last_name]": "Okafor"}),
    ("/fieldValues/8", {"fieldValue": {"field": 7, "value": "Blue", "contact": 2}}, "update",
     {"contact[id]": "2", "contact[fields][7]": "Blue"}),
    ("/deals/12", {"deal": {"title": "40 seats", "value": 45600, "stage": "5"}}, "deal_update",
     {"deal[id]": "12", "deal[title]": "40 seats", "deal[value]": "456.00", "deal[stageid]": "5",
      "updated_fields[0]": "title", "updated_fields[2]": "stage"}),
    ("/dealCustomFieldData/4", {"dealCustomFieldDatum": {"fieldValue": "x", "dealId": 12}},
     "deal_update", {"deal[id]": "12"}),
    ("/accounts/9", {"account": {"name": "Lee Ltd"}}, "account_update",
     {"account[id]": "9", "account[name]": "Lee Ltd", "updated_fields[0]": "name"}),
    ("/accountContacts/3", {"accountContact": {"account": 9, "contact": 66, "jobTitle": "CEO"}},
     "account_contact_update", {"accountContact[id]": "3", "account[id]": "9", "contact[id]": "66",
                                "accountContact[job_title]": "CEO"}),
    ("/dealTasks/5", {"dealTask": {"title": "Call", "status": 1}}, "deal_task_complete",
     {"task[id]": "5", "task[title]": "Call"})])
def test_a_change_is_posted_as_its_event(echo, hooks, place, body, event, pairs):
    echo.add("all", "https://x.example/all", EVENTS, ["api"])
    echo.add("others", "https://x.example/others", [e for e in EVENTS if e != event], ["api"])
    echo.add("admin", "https://x.example/admin", EVENTS, ["admin", "public", "system"])
    assert echo.api("PUT", place, body)[0] in (200, 201)
    all_posted(echo)
    assert [where for where, _ in hooks.posts] == ["/all"]
    form = hooks.posts[0][1]
    pairs |= {"type": event, "initiated_from": "api", "initiated_by": "api"}
    assert {name: form.get(name) for name in pairs} == pairs
    assert (event == "update") == ("updated_fields[0]" not in form
                                   ) or event in ("account_contact_update", "deal_task_complete")


def test_no_event_without_a_change_or_where_ac_makes_none(echo, hooks):
    echo.add("all", "https://x.example/all", EVENTS, ["api"])
    echo.switch(throttle=1)
    echo.api("PUT", "/contacts/66", {"contact": {"phone": "1"}})
    for place, body in (("/contacts/66", {"contact": 5}), ("/dealTasks/5", {"dealTask": {"status": 0}}),
                        ("/tags/1", TAG[2]), ("/notes/1", {"note": {"note": "x"}}),
                        ("/dealCustomFieldData/4", {"dealCustomFieldDatum": {"fieldValue": "x"}})):
        echo.api("PUT", place, body)
    assert echo.figures()["caused"] == 0 and hooks.posts == []


def test_events_come_in_the_order_of_the_changes_even_when_nobody_hears_the_answer(echo, hooks):
    echo.add("all", "https://x.example/all", ["update", "deal_update"], ["api"])
    echo.switch(cut_after=1)
    with pytest.raises(BROKEN):
        echo.api("PUT", "/contacts/66", {"contact": {"phone": "0"}})
    for n in range(1, 30):
        echo.api("PUT", "/contacts/66", {"contact": {"phone": str(n)}})
    for deal in (1, 2):
        echo.set_object(f"deals/{deal}", {"stage": "3"})
    echo.api("PUT", "/dealStages/3/deals", {"deal": {"stage": "4"}})
    all_posted(echo)
    forms = [form for _, form in hooks.posts]
    assert [f["contact[phone]"] for f in forms[:30]] == [str(n) for n in range(30)]
    assert sorted((f["type"], f["deal[id]"], f["deal[stageid]"]) for f in forms[30:]) == [
        ("deal_update", "1", "4"), ("deal_update", "2", "4")]
    assert echo.figures()["caused"] == len(forms) == 32


def test_an_echo_becomes_an_event_of_the_receiver(tmp_path, receiver, redis):
    sim = Simulator(tmp_path, deliver_to=receiver.port)
    try:
        sim.add("a", f"https://hooks.acme.example{receiver.path()}", ["update"], ["api"])
        sim.api("PUT", "/contacts/66", {"contact": {"firstName": "Ann"}})
        all_posted(sim)
        receiver.wait_shipped()
        entry, = redis.entries()
        assert entry["ce_subject"] == b"contact/66"
        assert json.loads(entry["data"])["initiated_from"] == "api"
    finally:
        sim.stop()


# --- the description ------------------------------------------------------------------------------

# whose examples contradict their own schemas: the envelope is judged, the rest is AC's business
CONTRADICTING = {"Account_updateAssociation", "Account_updateExisting", "Address_updateAddress",
                 "Calendar_updateFeed", "Field_updateCustomFieldMeta"}


@pytest.mark.parametrize("name", [n for n in COMMANDS if OPERATIONS[n]["schema"]])
def test_examples_fit_their_schemas_or_are_known_not_to(sim, name):
    validator = jsonschema.Draft202012Validator(OPERATIONS[name]["schema"])
    fits = [validator.is_valid(body) for body in bodies(name)]
    assert fits == [name not in CONTRADICTING] * len(fits)
    body = made(OPERATIONS[name]["schema"])
    validator.validate(body)
    assert sim.api("PUT", path(name), body)[0] == success(name)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A simulator behind Prism, whose answers say what is not as described."""
    directory = tmp_path_factory.mktemp("prism")
    sim = Simulator(directory)
    sim.switch(limit=0)
    proxy = Proxy(directory, sim.url, openapi())
    sim.direct, sim.through = sim.url, f"http://127.0.0.1:{proxy.port}"
    yield sim
    proxy.stop()
    sim.stop()


def put(sim, *request):
    """The status, and what Prism finds wrong: [("request", "body", ...), ("response", ...)]."""
    sim.url = sim.through
    try:
        status, headers, _ = sim.api("PUT", *request)
    finally:
        sim.url = sim.direct
    return status, [violation["location"] for violation
                    in json.loads(headers.get("sl-violations", "[]"))]


needs_prism = pytest.mark.skipif(not PRISM.exists(), reason="prism is not installed: make prism")


@needs_prism
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_prism_finds_request_and_answer_as_described(judged, name):
    if name == "Webhook_updateExisting":
        judged.add("a", "https://x.example/a")
    number = 1 if name == "Webhook_updateExisting" else 7
    assert put(judged, path(name, number), fitting(name)) == (success(name), [])
    if not OPERATIONS[name]["envelope"] or name == "Webhook_updateExisting":
        return  # any object will do; and a hook's refusal is bare text
    code = 422 if 422 in OPERATIONS[name]["codes"] else 400
    status, wrong = put(judged, path(name, number), {"another": {}})
    assert status == code and wrong[0][:2] == ["request", "body"]
    undescribed = code not in OPERATIONS[name]["codes"]
    assert (["response"] in [place[:1] for place in wrong]) == undescribed


@needs_prism
@pytest.mark.parametrize("name", sorted(CONTRADICTING))
def test_prism_sees_that_examples_contradict_their_schemas(judged, name):
    status, wrong = put(judged, path(name), bodies(name)[0])
    assert status == success(name) and wrong[0][:2] == ["request", "body"]


# --- through the worker ---------------------------------------------------------------------------

def test_every_operation_goes_through_stream_lane_and_result(tmp_path):
    """What arrives is what was sent, and Prism, where it is installed, finds nothing wrong."""
    found = rows(tmp_path)
    assert [r for r in found if not r["good"]] == []
    assert len(found) == 39 and [r["operation"] for r in found if r["call"] == ""] == [
        "Webhook_updateExisting"]
