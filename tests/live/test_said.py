"""What the command line says of things that go wrong: in Redis's own words, never "good" without
a look, never waiting without a word."""
import json
import os
import signal
import subprocess
import time

import pytest

import harness


def run_acrelay(config, *words, code=0, **more):
    done = subprocess.run([f"{harness.BUILD}/acrelay", "-c", str(config), *words],
                          capture_output=True, text=True, timeout=60, **more)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def acrelay(receiver):
    text = receiver.config.read_text().replace("127.0.0.1:1'", f"127.0.0.1:{receiver.port}'")
    receiver.config.write_text(text)
    return lambda *words, **more: run_acrelay(receiver.config, *words, **more)


def findings(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# --- reload ------------------------------------------------------------------------------

def test_reload_says_what_became_of_it(receiver):
    text = receiver.config.read_text()
    receiver.config.write_text(text + "  - {name: deals, events: [deal_add]}\n")
    [told] = findings(run_acrelay(receiver.config, "reload", "--json"))
    assert told["done"] and "2 hooks" in told["text"]
    assert receiver.post("type=deal_add", "deals") == 200
    # A change that needs a restart: the receiver refuses, and the command fails.
    receiver.config.write_text(text.replace("127.0.0.1:1'", "127.0.0.1:2'"))
    assert "receiver.listen needs a restart" in run_acrelay(receiver.config, "reload", code=78)
    # A secret that the receiver may not use, though the file is good.
    receiver.config.write_text(text)
    receiver.secret.chmod(0o644)
    assert "chmod 600" in run_acrelay(receiver.config, "reload", code=78)
    receiver.secret.chmod(0o600)
    run_acrelay(receiver.config, "reload")
    receiver.config.write_text(text.replace("secret_files", "secret_file"))
    assert "secret_file" in run_acrelay(receiver.config, "reload", code=78)
    assert receiver.get("/readyz")[0] == 200


def test_reload_is_not_satisfied_with_an_older_answer(receiver):
    """A receiver that hangs has answered other reloads before; nobody may take those for ours."""
    run_acrelay(receiver.config, "reload")
    receiver.process.send_signal(signal.SIGSTOP)
    try:
        told = run_acrelay(receiver.config, "reload", code=69)
    finally:
        receiver.process.send_signal(signal.SIGCONT)
    assert "acrelayd reloads ..." in told and "no answer in time" in told
    receiver.stop()
    assert "cannot reach" in run_acrelay(receiver.config, "reload", code=69)
