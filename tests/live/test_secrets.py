"""No token, secret or password stands anywhere but where it must: looked for in every log, page,
answer, argument list, stream entry and file that a run of everything leaves behind."""
import os
import pathlib
import subprocess
import tempfile

import harness
import proxies
import pytest
import simulator

PASSWORD = "a-password-of-redis-that-nobody-tells"


def arguments_of_ours(processes):
    return "".join(pathlib.Path(f"/proc/{p.pid}/cmdline").read_text() for p in processes)


def run(config, program, *words):
    done = subprocess.run([harness.BUILD / program, *words, "--config", config, "--verbose"],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


@pytest.fixture
def world(tmp_path):
    """Receiver, worker, account and proxies, with a password at Redis."""
    redis = harness.Redis(tmp_path)
    redis.client.config_set("requirepass", PASSWORD)
    redis.client = harness.redis.Redis("127.0.0.1", redis.port, password=PASSWORD)
    password = tmp_path / "redis-password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    receiver = harness.Receiver(tmp_path, redis.port)
    receiver.kill()
    text = receiver.config.read_text().replace("/0'}", "/0', password_file: redis-password}")
    receiver.config.write_text(text.replace("127.0.0.1:1025'", f"127.0.0.1:{receiver.port}'"))
    receiver.start()
    sim = simulator.Simulator(tmp_path)
    worker = simulator.Worker(tmp_path, sim, simulator.stanza("contacts"), redis_port=redis.port)
    worker.config.write_text(worker.config.read_text().replace(
        "/0'}", "/0', password_file: redis-password}"))
    started = [worker.start(tmp_path / "worker.log")]
    proxy = [kind(tmp_path, receiver.port) for kind in proxies.KINDS.values()]
    harness.wait_for("the hook", lambda: redis.client.hget("{ac}:hooks", "contacts"))
    yield redis, receiver, sim, worker, started, proxy
    for each in proxy:
        each.stop()
    for each in started:
        each.kill()
        each.wait()
    sim.stop()
    receiver.kill()
    redis.kill()


def test_no_secret_is_told_anywhere(world, tmp_path):
    redis, receiver, sim, worker, started, proxy = world
    token = harness.token("contacts")
    hidden = [token, harness.SECRET.decode(), PASSWORD, sim_token(tmp_path)]
    for body in ("type=subscribe&contact[id]=1", "", "a=%00", '{"broken'):
        assert receiver.post(body) == 200
    receiver.raw(f"POST {receiver.path()}x HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    receiver.raw(f"GET {receiver.path()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    for each in proxy:
        subprocess.run(["curl", "-sk", "--data", "type=update&contact[id]=1",
                        f"https://127.0.0.1:{each.port}{receiver.path()}"], check=True)
        subprocess.run(["curl", "-sk", f"https://127.0.0.1:{each.port}{receiver.path()}/"],
                       check=True, capture_output=True)
    receiver.wait_shipped()
    told = {}
    for words in (["check"], ["doctor"], ["status"], ["tail", "--from", "0", "--count", "3"],
                  ["dead", "list"], ["journal", "ls"], ["journal", "dump"], ["send", "subscribe"]):
        for more in ([], ["--json"]):
            told[" ".join(words + more)] = run(receiver.config, "acrelay", *words, *more)
    for words in (["plan"], ["list"], ["secrets"], ["import", "1"], ["apply"]):
        for more in ([], ["--json"]):
            told["worker " + " ".join(words + more)] = run(worker.config, "acrelay-worker", *words,
                                                           *more)
    for page in ("/metrics", "/readyz", "/livez", "/version", "/other"):
        told[page] = receiver.get(page)[1]
    told["arguments"] = arguments_of_ours([receiver.process, *started])
    for stream in ("{ac}:events", "{ac}:dead"):
        told[stream] = str(redis.entries(stream))
    told["hooks"] = str(redis.client.hgetall("{ac}:hooks"))
    told["keys"] = str(redis.client.keys("*"))
    told["receiver's log"] = receiver.read_log()
    told["worker's log"] = (tmp_path / "worker.log").read_text()
    for each in proxy:
        told[each.name] = each.logs()
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            told[str(path)] = path.read_bytes().decode("latin-1")
    for where, text in told.items():
        for secret in hidden:
            assert secret not in text, f"{where} tells a secret: {text[:500]}"
    assert len(told) > 30 and [where for where, text in told.items() if not text] == []
    assert token in run(receiver.config, "acrelay", "token", "contacts"), "the one that must"


def sim_token(directory):
    return (directory / "api-token").read_text().strip()


def test_no_user_can_look_into_a_process_that_holds_secrets(redis, tmp_path):
    """Not even its own: it is not dumpable, so that no core_pattern gets its memory."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="acrelay-secrets-") as place:
        os.chmod(place, 0o777)
        receiver = harness.Receiver(place, redis.port)
        receiver.stop()
        for path in pathlib.Path(place).rglob("*"):
            os.chown(path, 65534, 65534)
        os.chmod(receiver.config, 0o644)
        programs = [["acrelayd"], ["acrelay", "tail"]]
        for number, words in enumerate(programs):
            text = receiver.config.read_text().replace("127.0.0.1:1025'",
                                                       f"127.0.0.1:{harness.free_port()}'")
            receiver.config.write_text(text)
            process = subprocess.Popen(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                 harness.BUILD / words[0], *words[1:], "-c", receiver.config],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                status = pathlib.Path(f"/proc/{process.pid}")
                harness.wait_for(f"{words}", lambda: (status / "comm").read_text().strip()
                                 == words[0] and (status / "environ").stat().st_uid == 0)
            finally:
                process.kill()
                process.wait()


def test_a_password_file_that_is_missing_is_the_same_for_each_program(tmp_path, redis):
    receiver = harness.Receiver(tmp_path, redis.port)
    receiver.stop()
    receiver.config.write_text(receiver.config.read_text().replace(
        "/0'}", "/0', password_file: missing}"))
    for program, *words in (["acrelayd"], ["acrelay", "check"], ["acrelay", "dead", "list"]):
        done = subprocess.run([harness.BUILD / program, *words, "-c", receiver.config],
                              capture_output=True, text=True, timeout=20)
        assert done.returncode == 78, done.stderr
        assert f"{tmp_path}/missing: cannot open" in done.stdout + done.stderr
