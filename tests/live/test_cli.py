"""The command line, as an operator types it."""
import json
import subprocess

import pytest

import harness


@pytest.fixture
def acrelay(receiver):
    # The socket is the test's; the command line goes by the configuration.
    text = receiver.config.read_text().replace("127.0.0.1:1'", f"127.0.0.1:{receiver.port}'")
    receiver.config.write_text(text)

    def run(*words, code=0):
        done = subprocess.run([f"{harness.BUILD}/acrelay", "-c", str(receiver.config), *words],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_check_says_what_is_good(acrelay):
    assert "redis" in acrelay("check") and "answers" in acrelay("check")


def test_check_says_that_redis_is_away(acrelay, redis):
    redis.kill()
    assert "cannot" in acrelay("check", code=69).lower() or "refused" in acrelay("check", code=69)


def test_token_prints_the_url_and_knows_no_other_hook(acrelay):
    url = acrelay("token", "contacts").strip()
    assert url == f"https://hooks.acme.example/hook/contacts/{harness.token('contacts')}"
    assert "there is no hook nobody" in acrelay("token", "nobody", code=1)


def test_send_and_tail_show_samples(acrelay, receiver):
    assert "64 sent, 64 answered 200" in acrelay("send", "all", "--count", "2")
    receiver.wait_shipped()
    lines = acrelay("tail", "--from", "0", "--count", "64").splitlines()
    assert len(lines) == 64 and "contact/1066" in lines[0]
    assert "there is no sample of nonsense" in acrelay("send", "nonsense", code=64)


def test_dead_letters_are_listed_shown_replayed_and_dropped(acrelay, redis, receiver):
    assert receiver.post(b"type=subscribe&contact[id]=5",
                         **{"Content-Type": "multipart/mixed"}) == 200
    assert receiver.post(b"") == 200
    receiver.wait_shipped()
    first, second = (line.split()[0] for line in acrelay("dead", "list").splitlines())
    assert json.loads(acrelay("dead", "show", first))["reason"] == "multipart"
    assert "still cannot be read: multipart" in acrelay("dead", "replay", first, code=1)
    # Once the cause is mended (here: by hand, as if the proxy had got the type wrong).
    [(key, fields)] = redis.client.xrange("{ac}:dead", first, first)
    fields[b"content-type"] = b"application/x-www-form-urlencoded"
    mended = redis.client.xadd("{ac}:dead", fields).decode()
    assert "with ce_replay" in acrelay("dead", "replay", mended)
    [entry] = redis.entries()
    assert entry["ce_subject"] == b"contact/5" and list(entry)[-1] == "ce_replay"
    assert entry["ce_id"] == fields[b"ce_id"]
    acrelay("dead", "drop", second)
    assert "there is no dead letter" in acrelay("dead", "drop", second, code=1)


def test_journal_is_dumped_and_verified_while_the_receiver_runs(acrelay, receiver):
    for _ in range(3):
        assert receiver.post("type=subscribe") == 200
    assert len(acrelay("journal", "dump").splitlines()) == 3
    assert acrelay("journal", "verify").startswith("3 records")


def test_a_cursor_of_another_place_is_told_and_claimed(acrelay, redis, receiver):
    assert receiver.post("type=subscribe") == 200
    receiver.wait_shipped()
    [cursor] = redis.client.keys("{ac}:cursor:*")
    redis.client.hset(cursor, "owner", "f" * 32)
    assert receiver.post("type=subscribe") == 200
    harness.wait_for("the alarm", lambda: "claim" in receiver.read_log())
    assert len(redis.entries()) == 1
    assert "the cursor is ours" in acrelay("journal", "claim")
    harness.wait_for("the second entry", lambda: len(redis.entries()) == 2, 30)


def test_help_and_usage(acrelay):
    assert "Usage: acrelay" in acrelay("--help")
    assert "Try: acrelay --help" in acrelay("nonsense", code=64)
    example = acrelay("config-example")
    assert example == (harness.ROOT / "conf/acrelay.yaml").read_text()
