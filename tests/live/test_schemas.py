"""Entries taken from a real stream, against the JSON Schemas that ship with the product."""
import json

import harness
import jsonschema
import pytest

SCHEMAS = harness.ROOT / "conf" / "schemas"
EVENT = json.loads((SCHEMAS / "event-v1.json").read_text())
ENTRY = json.loads((SCHEMAS / "entry-v1.json").read_text())
COMMAND = json.loads((SCHEMAS / "command.json").read_text())
RESULT = json.loads((SCHEMAS / "result.json").read_text())
PREFIX = "com.activecampaign."

NASTY = [
    "type=subscribe&contact=x&deal[]=1&account=&task=0000&note[]=a&note[]=b",
    "type=update&list[0][index]=3&contact[tags][a][b]=c&contact[fields][]=x",
    "type=deal_update&updated_fields[value]=5&deal[fields][x]=||a||b||&deal[fields][3]=v",
    "type=deal_update&deal[fields]=x&deal[create_date]=0000-00-00 00:00:00&updated_fields=",
    "date_time=0000-00-00&type=account_add&account[fields][7][value][0]=a",
    "contact[tags]=a,b, c&type=update&a[b=1&a[b=2&_relay=x",
    "seriesid=1&contact[fields][größe [cm]]=180&list=14",
    "type[]=x&list[id]=3&active_subscriptions[0]=1",
    "type=deal_update&updated_fields[0][x]=a&deal[fields][3][]=v&account[fields][Label][0]=w",
    "type=unsubscribe&active_subscriptions=1&updated_fields[][x]=a&contact[tags][3]=a",
    "type=unsubscribe&active_subscriptions[3]=1&contact[tags][][x]=a&list[][]=1",
    "type=unsubscribe&active_subscriptions=&contact[tags][0]=a&deal[fields][3][][x]=v",
    "no_type_at_all=1", "type=brand_new_thing&x[y][z]=1&list[]=1&list[]=2",
]


def validator(name):
    return jsonschema.Draft202012Validator(
        {"$defs": EVENT["$defs"], "$ref": f"#/$defs/{name}"})


def data_schema(entry):
    name = "type_" + entry["ce_type"].removeprefix(PREFIX)
    return validator(name if name in EVENT["$defs"] else "type_unknown")


@pytest.fixture
def entries(receiver, redis):
    def make(post):
        post()
        receiver.wait_shipped()
        return [{k: v.decode() for k, v in entry.items()} for entry in redis.entries()]
    return make


def samples():
    """(name, body) of every sample that ships."""
    lines = (harness.ROOT / "src/event/samples.txt").read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def test_the_schemas_are_schemas_and_name_every_type():
    for schema in (EVENT, ENTRY, COMMAND, RESULT):
        jsonschema.Draft202012Validator.check_schema(schema)
    assert len(samples()) > 30
    for name, _ in samples():
        if name.split(".")[-1] in ("unlisted", "unknown", "json"):
            continue  # not in AC's list
        assert "type_" + name.split(".")[0] in EVENT["$defs"], name


def test_every_sample_fits_its_schema(receiver, entries):
    def post():
        for _, body in samples():
            assert receiver.post(body.encode()) == 200

    found = entries(post)
    assert len(found) == len(samples()) > 30
    for entry in found:
        jsonschema.Draft202012Validator(ENTRY).validate(entry)
        assert list(entry) == ENTRY["required"], "all fields, in order"
        data_schema(entry).validate(json.loads(entry["data"]))


def test_whatever_is_sent_fits_the_schema_of_its_type(receiver, entries):
    def post():
        for body in NASTY:
            assert receiver.post(body.encode()) == 200

    found = entries(post)
    assert len(found) == len(NASTY)
    for entry in found:
        jsonschema.Draft202012Validator(ENTRY).validate(entry)
        data_schema(entry).validate(json.loads(entry["data"]))


@pytest.mark.parametrize("change", [
    {"list": "0"}, {"contact": {"id": 7}}, {"contact": {"tags": "a, b"}}, {"type": "update"},
    {"note": "text"}, {"updated_fields": "x"}, {"active_subscriptions": "1"}, {"_relay": {}}, {"_relay": {"other": "x"}},
    {"_relay": {"rest": [["a"]]}}, {"anything": 5}, {"anything": {"deep": [True]}},
])
def test_what_the_normal_form_never_holds_does_not_fit(change):
    good = {"type": "subscribe", "list": [{"id": "1"}], "contact": {"id": "7", "tags": []}}
    validator("type_subscribe").validate(good)
    with pytest.raises(jsonschema.ValidationError):
        validator("type_subscribe").validate({**good, **change})


# --- commands ------------------------------------------------------------------------------

GOOD = {"ce_specversion": "1.0", "ce_id": "order-4711", "ce_source": "shop",
        "ce_type": PREFIX + "command.Contact_updateContact", "ce_subject": "contacts/66",
        "content-type": "application/json", "data": '{"contact":{}}'}


def is_command(**changes):
    return jsonschema.Draft202012Validator(COMMAND).is_valid({**GOOD, **changes})


def operation(name, subject, **more):
    return {"ce_type": f"{PREFIX}command.{name}", "ce_subject": subject, **more}


@pytest.mark.parametrize("change", [
    {}, {"priority": "high"}, {"not_after": "2026-03-02T09:15:04.5-06:00"}, {"replace": "1"},
    {"anything": "else"}, operation("Deal_updateNote", "deals/3/notes/7"),
    operation("Tracking_enableDisableSite", "siteTracking"),
    operation("Outcome_updateTaskOutcome", "taskOutccomes/4"),
    operation("Deal_updateStage", "dealStages/4", query="reorder=1"),
    operation("Schema_updateSchema", "customObjects/schemas/a-b_c.d", query="showFields=all",
              validateOnly="1"),
])
def test_a_command_fits_the_schema_of_commands(change):
    assert is_command(**change)


@pytest.mark.parametrize("change", [
    {"ce_id": ""}, {"ce_id": "x" * 129}, {"ce_subject": "contacts"}, {"ce_subject": "deals/66"},
    {"ce_subject": "contacts/66/"}, {"ce_subject": "contacts/a%2fb"}, {"ce_subject": "contacts/.."},
    {"ce_subject": "contacts/" + "6" * 65}, {"priority": "urgent"}, {"not_after": "tomorrow"},
    {"query": "reorder=1"}, {"validateOnly": "1"}, {"replace": "yes"}, {"data": 5},
    operation("Webhook_updateExisting", "webhooks/1"), operation("Contact_delete", "contacts/66"),
    operation("Deal_updateStage", "dealStages/4", query="limit=1"),
])
def test_what_is_no_command_does_not_fit(change):
    assert is_command()
    assert not is_command(**change)
