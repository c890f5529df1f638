"""acrelay show: where one delivery is. And --mask, wherever deliveries are printed."""
import json
import subprocess

import harness
import pytest

MASK = "•••"
FORM = ("type=subscribe&contact%5Bid%5D=66&contact%5Bemail%5D=ann%40example.com"
        "&contact%5Bphone%5D=5551234567&note=call+5551234")


@pytest.fixture
def acrelay(receiver):
    def run(*words, code=0):
        done = subprocess.run([f"{harness.BUILD}/acrelay", "-c", str(receiver.config), *words],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        run.said = done.stderr
        return done.stdout

    return run


@pytest.fixture
def show(acrelay):
    return lambda *words, **more: json.loads(acrelay("show", "--json", *words, **more))


def ids(redis, stream="{ac}:events"):
    return [entry["ce_id"].decode() for entry in redis.entries(stream)]


def test_a_delivery_is_told_from_post_to_acknowledged(receiver, redis, acrelay):
    for group in ("shop", "slow"):
        redis.client.xgroup_create("{ac}:events", group, id="0", mkstream=True)
    assert receiver.post(FORM) == 200
    receiver.wait_shipped()
    [ce_id] = ids(redis)

    text = acrelay("show", ce_id)
    [(entry, fields)] = redis.client.xrange("{ac}:events")
    recorded = fields[b"ce_recordedtime"].decode()
    lines = [line.split(maxsplit=1) for line in text.splitlines() if not line.startswith(" ")]
    told = {name: rest for name, rest in lines if name != "group"}
    assert told["ce_id"] == ce_id and told["hook"] == "contacts"
    assert told["received"] == recorded and told["durable"].startswith("yes, in the journal")
    assert told["stream"].startswith(f"{{ac}}:events {entry.decode()}, ")
    assert json.loads(told["event"])["contact"]["email"] == "ann@example.com"
    assert "slow: not read yet" in text and "shop: not read yet" in text
    assert f"\n  {FORM}\n" in text and "\n  contact[email]: ann@example.com\n" in text

    redis.client.xreadgroup("shop", "shop-1", {"{ac}:events": ">"})
    text = acrelay("show", ce_id)
    assert "shop: read, not acknowledged; with shop-1 for " in text and "delivered 1 time\n" in text
    redis.client.xack("{ac}:events", "shop", entry)
    assert "shop: read and acknowledged\n" in acrelay("show", ce_id)
    assert "slow: not read yet\n" in acrelay("show", ce_id)


def test_programs_are_told_the_same(receiver, redis, show):
    redis.client.xgroup_create("{ac}:events", "shop", id="0", mkstream=True)
    assert receiver.post(FORM) == 200
    receiver.wait_shipped()
    [ce_id] = ids(redis)
    [(entry, _)] = redis.client.xreadgroup("shop", "shop-1", {"{ac}:events": ">"})[0][1]

    one = show(ce_id)
    assert one["ce_id"] == ce_id and one["sequence"] == 1 and not one["masked"]
    assert one["raw"]["from"] == "journal" and one["raw"]["body"] == FORM and one["raw"]["exact"]
    assert ["contact[email]", "ann@example.com"] in one["form"] and one["form_pairs"] == 5
    assert one["event"]["contact"]["phone"] == "5551234567"
    assert one["entry"]["id"] == entry.decode() and one["entry"]["fields"]["ce_id"] == ce_id
    assert one["journey"]["durable"] and one["journey"]["received_from"] == "journal"
    [group] = one["journey"]["groups"]
    assert (group["read"], group["acknowledged"], group["consumer"]) == (True, False, "shop-1")


def test_masked_it_can_be_shown_to_others(receiver, redis, acrelay):
    assert receiver.post(FORM) == 200
    assert receiver.post("a=%00&contact[email]=ann%40example.com") == 200
    receiver.wait_shipped()
    [(entry, _)] = redis.client.xrange("{ac}:dead")
    for command in (["show", ids(redis)[0]], ["show", ids(redis, "{ac}:dead")[0]], ["journal", "dump", "--raw"],
                    ["tail", "--from", "0", "--count", "1", "--data"], ["dead", "list"], ["dead", "show", entry.decode()]):
        for form in ([], ["--json"]):
            plain, masked = acrelay(*command, *form), acrelay(*command, *form, "--mask")
            shown = json.dumps([json.loads(line) for line in masked.splitlines()], ensure_ascii=False) if form else masked
            assert "example.com" not in shown and "5551234" not in shown
            if command[:2] != ["dead", "list"]:
                assert "example.com" in plain and MASK in shown
            elif form:
                assert "example.com" in plain


def test_what_is_personal_in_a_result_is_masked(redis, acrelay):
    redis.client.xadd("{ac}:results:cli", {"ce_id": "order-5551234", "ce_type": "com.activecampaign.result.X", "outcome": "failed",
                                           "detail": "bob@example.com is taken", "data": '{"phone":"5551234"}'})
    for form in ([], ["--json"]):
        assert "bob@example.com" in acrelay("results", "--data", *form)
        masked = acrelay("results", "--data", "--mask", *form)
        assert "bob" not in masked and '"5551234"' not in masked and "order-5551234" in masked


def test_what_is_nowhere_is_no_guess(receiver, redis, acrelay):
    assert receiver.post(FORM) == 200
    receiver.wait_shipped()
    [ce_id] = ids(redis)
    assert acrelay("show", f"{ce_id[:32]}-{2:020}", code=1) == ""
    assert "in no stream yet" in acrelay.said and "journal does not have it" in acrelay.said
    acrelay("show", f"{'a' * 32}-{1:020}", code=1)
    assert "another journal" in acrelay.said
    for wrong in ("", "1", ce_id.upper(), ce_id[:-1], ce_id + "0", f"{ce_id[:32]}-{0:020}"):
        acrelay("show", wrong, code=64)
        assert "32 hexadecimal digits" in acrelay.said


def test_without_the_journal_its_entry_tells(receiver, redis, acrelay, show, tmp_path):
    assert receiver.post(FORM) == 200
    receiver.wait_shipped()
    [ce_id] = ids(redis)
    one = show(ce_id, "--directory", f"{tmp_path}/none")
    assert one["raw"]["from"] is None and one["raw"]["body"] is None and "none" in one["raw"]["why"]
    assert one["journey"]["received_from"] == "entry" and one["event"]["contact"]["id"] == "66"
    assert one["journey"]["durable"] is True
    assert ", as its entry says\n" in acrelay("show", ce_id, "--directory", f"{tmp_path}/none")


def test_without_redis_the_journal_tells_and_the_exit_code_says_so(receiver, redis, acrelay, show):
    assert receiver.post(FORM) == 200
    receiver.wait_shipped()
    [ce_id] = ids(redis)
    redis.kill()
    one = show(ce_id, code=69)
    assert one["raw"]["body"] == FORM and one["entry"] is None and "refused" in one["entry_why"]
    assert "refused" in acrelay.said
    assert FORM in acrelay("show", ce_id, code=69)


def test_a_dead_letter_says_why(receiver, redis, acrelay, show):
    assert receiver.post("a=%00&b=1") == 200
    receiver.wait_shipped()
    [ce_id] = ids(redis, "{ac}:dead")
    one = show(ce_id)
    assert one["journey"]["reason"] == "nul" and one["entry"]["key"] == "{ac}:dead"
    assert one["event"] is None and one["event_why"] == "it could not become an event"
    assert one["form"] == [["a", "\\x00"], ["b", "1"]] and one["raw"]["body"] == "a=%00&b=1"
    text = acrelay("show", ce_id)
    assert "dead letter" in text and "\n  reason: nul\n" in text and "it could not become an event" in text


def test_a_replayed_delivery_is_found_though_it_stands_elsewhere(receiver, redis, acrelay, show):
    assert receiver.post(FORM) == 200
    receiver.wait_shipped()
    [(entry, fields)] = redis.client.xrange("{ac}:events")
    ce_id = fields[b"ce_id"].decode()
    for n in range(3):
        assert receiver.post(f"type=subscribe&contact[id]={n}") == 200
    receiver.wait_shipped()
    redis.client.xdel("{ac}:events", entry)
    replay = redis.client.xadd("{ac}:events", fields | {b"ce_replay": b"1"})
    for n in range(150):  # several pages
        redis.client.xadd("{ac}:events", {"ce_id": "another's"})
    assert show(ce_id)["entry"]["id"] == replay.decode()


@pytest.mark.parametrize("duplicates", ["mark", "drop"])
def test_a_duplicate_is_told(make_receiver, redis, duplicates):
    receiver = make_receiver(hooks=f"  - {{name: contacts, events: [subscribe], duplicates: {duplicates}}}\n")
    assert receiver.post(FORM) == receiver.post(FORM) == 200
    receiver.wait_shipped()
    ce_id = f"{ids(redis)[0][:32]}-{2:020}"
    done = subprocess.run([f"{harness.BUILD}/acrelay", "-c", receiver.config, "show", ce_id], capture_output=True, text=True)
    assert done.returncode == 0
    if duplicates == "mark":
        assert ", a duplicate of an earlier delivery\n" in done.stdout
    else:
        assert "in no stream: dropped as a duplicate, or trimmed\n" in done.stdout and FORM in done.stdout


def test_what_waits_for_redis_is_told(receiver, redis, acrelay, show):
    assert receiver.post(FORM) == 200
    receiver.wait_shipped()
    ce_id = f"{ids(redis)[0][:32]}-{2:020}"
    redis.client.save()
    redis.kill()
    assert receiver.post(FORM + "&b=1") == 200
    receiver.kill()  # so that it waits on
    redis.start()
    assert "still to be published\n" in acrelay("show", ce_id)
    one = show(ce_id)
    assert one["entry"] is None and one["journey"]["stream"] is None and one["journey"]["durable"] is True


def test_data_of_somebody_else_breaks_no_line(receiver, redis, acrelay):
    redis.client.xadd("{ac}:events", {"ce_id": "1", "data": '{\n  "email": "ann@example.com"\r\n}'})
    for mask in ([], ["--mask"]):
        [line] = acrelay("tail", "--from", "0", "--count", "1", "--json", *mask).splitlines()
        assert json.loads(line)["data"] == {"email": MASK if mask else "ann@example.com"}
