"""doctor and status of a whole installation whose worker, hooks or addresses are in trouble."""
import http.server
import json
import os
import re
import socket
import subprocess
import threading
import time

import pytest

import harness
import simulator


def run(config, *words):
    start = time.monotonic()
    done = subprocess.run([harness.BUILD / "acrelay", *words, "--json", "--config", config],
                          capture_output=True, text=True, timeout=120)
    assert harness.SECRET.decode() not in done.stdout
    seconds = time.monotonic() - start
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], \
        done.stderr, seconds


def doctor(config, *words):
    code, findings, said, _ = run(config, "doctor", *words)
    assert [line for line in said.splitlines() if not line.endswith(" ...")] == [], said
    return code, findings


def told(findings, what):
    return [(f["result"], f["text"], f.get("do", "")) for f in findings if f["what"] == what]


@pytest.fixture
def idle_installation(tmp_path, redis, make_receiver):
    """Receiver, worker, simulated account, and public_url that leads to the receiver."""
    sim = simulator.Simulator(tmp_path)
    receiver = make_receiver()
    worker = simulator.Worker(
        tmp_path, sim, simulator.stanza("contacts"), redis_port=redis.port,
        public_url=f"http://127.0.0.1:{receiver.port}",
        extra=f"receiver: {{admin: '127.0.0.1:{receiver.admin}',"
              f" listen: ['127.0.0.1:{receiver.port}'], state_dir: '{receiver.directory}/state'}}\n")
    worker.sim, worker.receiver, worker.processes = sim, receiver, []

    def start():
        worker.processes.append(worker.start(tmp_path / "worker.log"))
    worker.go = start
    yield worker
    for process in worker.processes:
        process.kill()
        process.wait()
    sim.stop()


@pytest.fixture
def installation(idle_installation, redis):
    """And its worker runs."""
    idle_installation.go()
    harness.wait_for("its first round", lambda: run(idle_installation.config, "status")[0] == 0)
    return idle_installation


class Api:
    """An API that answers everything alike, or (status 0) never."""

    def __init__(self, status):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                self.asked += 1
                if status == 0:
                    time.sleep(60)
                handler.send_response(status or 200)
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(self, *_):
                pass
        self.asked = 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def test_a_worker_of_another_installation_is_told(installation, tmp_path, redis):
    """Two installations of one account, both with the default worker.admin: one has no worker."""
    ours = tmp_path / "ours.yaml"
    receiver, worker = installation.receiver.config, installation.config
    ours.write_text(worker.read_text().replace("/state'", "/another'"))
    code, [status], _, _ = run(ours, "status")
    assert str(worker) in status["worker"] and "in sync" not in status["worker"]
    # It may be the same one, as another process sees it: said, not judged.
    assert status["worker_ok"] is True
    assert "address of its own" in status["worker_do"]
    _, findings, _, _ = run(ours, "check")
    assert [result for result, *_ in told(findings, "worker admin")] == ["warning"]
    assert [result for result, *_ in told(findings, "admin")] == ["error"]
    _, findings, _, _ = run(ours, "doctor", "--offline")
    found = [(result, text) for result, text, _ in told(findings, "settings")]
    assert [result for result, _ in found] == ["warning"] * 2
    assert str(receiver) in found[0][1] and str(worker) in found[1][1]
    done = subprocess.run([harness.BUILD / "acrelay", "reload", "--worker", "--config", ours],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 69 and f"runs with {worker}" in done.stderr, done
    assert "--config" in done.stderr and installation.reloads() == 0
    # A copy, or the same file by another path, has the same state_dir.
    ours.write_text(installation.config.read_text())
    code, [status], _, _ = run(ours, "status")
    assert code == 0 and "in sync" in status["worker"]
    _, findings, _, _ = run(ours, "check")
    assert [result for result, *_ in told(findings, "worker admin")] == ["ok"]
    assert run(ours, "reload", "--worker")[0] == 0 and installation.reloads() == 1


def test_a_broken_file_does_not_hide_how_the_programs_are(receiver):
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()
    text = receiver.config.read_text()
    for broken in ("nonsense: 1\n", "  - {events: [", "  - {nam: deals, events: [deal_add]}\n"):
        receiver.config.write_text(text + broken)
        code, findings = doctor(receiver.config)
        assert code == 78 and [f for f in told(findings, "configuration") if f[0] == "error"]
        assert {"journal", "relay", "clock", "disk"} <= {f["what"] for f in findings}
        assert [told(findings, what)[0][0] for what in ("journal", "relay")] == ["ok", "ok"]
        assert not told(findings, "redis") and not told(findings, "public_url")
    receiver.stop()
    code, findings = doctor(receiver.config, "--offline")
    assert code == 78 and "does not answer" in told(findings, "receiver")[0][1]
    receiver.config.unlink()
    code, findings = doctor(receiver.config)
    assert code == 78 and [f["what"] for f in findings] == ["configuration"], "nothing runs yet"


def test_a_state_dir_that_cannot_be_seen_makes_no_receiver_anothers(receiver):
    """As from outside of a container: its state_dir is elsewhere, or is not there at all."""
    (receiver.directory / "state").rename(receiver.directory / "mounted")
    _, findings, _, _ = run(receiver.config, "check")
    assert [result for result, *_ in told(findings, "admin")] == ["ok"]


def test_a_worker_whose_rounds_fail_is_not_well(idle_installation, redis):
    api = Api(502)
    text = idle_installation.config.read_text()
    idle_installation.config.write_text(text.replace(idle_installation.sim.url, api.url))
    idle_installation.go()
    harness.wait_for("the failure", lambda: "502" in run(
        idle_installation.config, "status")[1][0].get("worker", ""), 60)
    code, [status], _, _ = run(idle_installation.config, "status")
    assert code == 69 and status["healthy"] is False
    code, findings, said, seconds = run(idle_installation.config, "doctor")
    [(result, words, advice)] = told(findings, "worker")
    assert result == "error" and "502" in words and advice and code == 69
    [(result, words, _)] = told(findings, "activecampaign")
    assert result == "error" and "502" in words
    assert seconds < 30, seconds


def test_status_survives_metrics_that_are_not_ours(receiver):
    """Another program may hold the admin port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            lines = {"/readyz": b'{"ready":true}',
                     "/metrics": b'acrelay_requests_total{hook="a",code="404"}5\n'
                                 b'acrelay_requests_total{hook="b",code="404"} 3\n'}
            body = lines.get(self.path, b"")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    text = receiver.config.read_text()
    receiver.config.write_text(text.replace(f"127.0.0.1:{receiver.admin}",
                                            f"127.0.0.1:{server.server_port}"))
    code, [status], _, _ = run(receiver.config, "status")
    assert code in (0, 69) and status["left_posts"] == 3
    server.shutdown()


def test_doctor_asks_a_silent_account_once(idle_installation, redis):
    """5 s at most, and it says what it asks meanwhile."""
    api = Api(0)
    idle_installation.config.write_text(
        idle_installation.config.read_text().replace(idle_installation.sim.url, api.url))
    code, findings, said, seconds = run(idle_installation.config, "doctor")
    assert code == 69 and told(findings, "activecampaign")[0][0] == "error"
    assert "ActiveCampaign ..." in said and seconds < 30
    assert api.asked == 1


def test_hooks_that_left_the_file_or_stand_elsewhere_are_told(idle_installation, redis):
    receiver, sim = idle_installation.receiver, idle_installation.sim
    sim.add("acrelay deals", simulator.url("deals", f"http://127.0.0.1:{receiver.port}"))
    sim.add("acrelay contacts", simulator.url("contacts", "https://hooks2.acme.example"))
    sim.add("somebody's", "https://elsewhere.example/hook/contacts/" + "0" * 43)
    idle_installation.run("apply", code=None)
    code, findings, _, _ = run(idle_installation.config, "doctor")
    wrong = [text for result, text, advice in told(findings, "hooks") if result == "error" and advice]
    assert code != 0
    assert [text for text in wrong if "(deals)" in text and "404" in text], findings
    assert [text for text in wrong if "contacts" in text and "404" not in text], findings
    assert not [text for text in wrong if "contacts" in text and "404" in text]
    # What the worker writes of it.
    redis.client.hset("{ac}:hooks", "deals", json.dumps({"state": "left", "ids": ["1"]}))
    code, [status], _, _ = run(idle_installation.config, "status")
    assert code == 69 and status["hooks_left"] == 1 and not status["healthy"]
    assert {hook["name"]: hook["state"] for hook in status["hooks"]}["deals"] == "left"


def test_ages_go_by_the_clock_of_redis(idle_installation, redis):
    """{ac}:last has Redis's time: a clock of ours that is 10 days off changes no age."""
    receiver = idle_installation.receiver
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()
    faked = {**os.environ, "LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
             "FAKETIME": "+10d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    if not os.path.exists(faked["LD_PRELOAD"]):
        pytest.skip("libfaketime is not there")
    done = subprocess.run([harness.BUILD / "acrelay", "status", "--json", "--config",
                           receiver.config], capture_output=True, text=True, env=faked, timeout=60)
    [hook] = json.loads(done.stdout)["hooks"]
    assert 0 <= hook["last_event_age_seconds"] < 60


def test_the_receivers_own_words_are_shown(receiver, redis):
    """What Redis answers the receiver, which may be another than this command gets."""
    redis.client.config_set("requirepass", "s3")
    redis.client.execute_command("AUTH", "s3")
    redis.client.client_kill_filter(skipme=True)
    harness.wait_for("the words", lambda: "NOAUTH" in receiver.get("/readyz")[1])
    code, findings, _, _ = run(receiver.config, "doctor", "--offline")
    [(result, words, advice)] = told(findings, "relay")
    assert result == "error" and "NOAUTH" in words and "password" in advice and code == 77
    code, [status], _, _ = run(receiver.config, "status")
    assert code == 69 and "NOAUTH" in status["receiver"] and "NOAUTH" in status["redis"]
    assert [hook for hook in status.get("hooks", []) if "last_event" in hook] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_that_the_receivers_user_may_not_open(tmp_path, redis):
    """As under the units: this command runs as root, and Redis's socket is for a group."""
    path = tmp_path / "redis.sock"
    redis.kill()
    redis.options = ("--unixsocket", str(path), "--unixsocketperm", "770")
    redis.start()
    for directory in [tmp_path, *tmp_path.parents]:
        if directory != directory.parent and directory.stat().st_mode & 5 != 5:
            directory.chmod(directory.stat().st_mode | 0o055)
    receiver = None
    secret = tmp_path / "hook-secret"
    secret.write_bytes(harness.SECRET)
    config = tmp_path / "acrelay.yaml"
    admin, port = harness.free_port(), harness.free_port()
    config.write_text(
        "account: {name: acme}\npublic_url: https://hooks.acme.example\n"
        f"secret_files: [hook-secret]\nredis: {{url: 'unix://{path}'}}\n"
        f"receiver: {{listen: ['127.0.0.1:{port}'], admin: '127.0.0.1:{admin}',"
        f" state_dir: '{tmp_path}/state'}}\n"
        f"worker: {{admin: '127.0.0.1:{harness.free_port()}'}}\n"
        "hooks:\n  - {name: contacts, events: [subscribe]}\n")
    config.chmod(0o644)
    secret.chmod(0o600)
    (tmp_path / "state").mkdir()
    for mine in (secret, tmp_path / "state"):
        os.chown(mine, 65534, 65534)
    binary = tmp_path / "acrelayd"
    binary.write_bytes((harness.BUILD / "acrelayd").read_bytes())
    binary.chmod(0o755)
    _, findings, _, _ = run(config, "check")
    assert "SupplementaryGroups" in [f for f in findings if f["what"] == "redis user"][0]["do"]
    with open(tmp_path / "log", "ab") as log:
        receiver = subprocess.Popen([binary, "-c", config], stderr=log, user=65534, group=65534,
                                    extra_groups=[])
    try:
        def words():
            try:
                with socket.create_connection(("127.0.0.1", admin), 5) as s:
                    s.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    return b"Permission denied" in s.recv(65536)
            except OSError:
                assert receiver.poll() is None, (tmp_path / "log").read_text()
                return False
        harness.wait_for("the receiver's words", words)
        code, findings, _, _ = run(config, "doctor", "--offline")
        [(result, text, advice)] = told(findings, "relay")
        assert result == "error" and "Permission denied" in text and code != 0
        assert "SupplementaryGroups=redis" in advice
    finally:
        receiver.kill()
        receiver.wait()


def test_an_address_of_another_machine_is_told_with_advice(tmp_path, redis, make_receiver):
    receiver = make_receiver()
    receiver.config.write_text(receiver.config.read_text().replace(
        "127.0.0.1:1025'", "192.0.2.1:1025'"))
    code, findings, _, _ = run(receiver.config, "check")
    [(result, text, advice)] = told(findings, "listen")
    assert code == 71 and result == "error" and "192.0.2.1:1025" in text
    assert "this machine" in advice


def test_who_holds_an_address_is_told(tmp_path, redis, make_receiver):
    receiver = make_receiver()
    receiver.config.write_text(receiver.config.read_text().replace(
        "127.0.0.1:1025'", f"127.0.0.1:{receiver.port}'"))
    receiver.kill()
    _, findings, _, _ = run(receiver.config, "check")
    [(result, text, advice)] = told(findings, "listen")
    assert result == "error" and f"(process {os.getpid()})" in text and advice
    # As systemd's socket unit holds it while acrelayd is dead.
    receiver.socket.close()
    holder = subprocess.Popen(["systemd-socket-activate", "-l", f"127.0.0.1:{receiver.port}",
                               "/bin/true"], stderr=subprocess.DEVNULL)
    try:
        def listens():
            return told(run(receiver.config, "check")[1], "listen")[0][1].endswith("is free") is False
        harness.wait_for("systemd-socket-activate", listens)
        _, findings, _, _ = run(receiver.config, "doctor", "--offline")
        [(result, text, _)] = told(findings, "listen")
        assert result == "ok" and "systemd" in text
        assert told(findings, "receiver")[0][0] == "error"
    finally:
        holder.kill()
        holder.wait()


def test_a_socket_below_run_waits_for_its_unit(tmp_path, make_receiver):
    receiver = make_receiver()
    receiver.kill()
    text = receiver.config.read_text()
    for place, expected, code in (("/run/acrelay-not-made/x.sock", "warning", 0),
                                  (tmp_path / "not-made/x.sock", "error", 71)):
        receiver.config.write_text(text.replace("127.0.0.1:1025'", f"unix:{place}'"))
        done, findings, _, _ = run(receiver.config, "check")
        [(result, said, _)] = told(findings, "listen")
        assert result == expected and str(place) in said
        assert done == code, findings


def test_doctor_finds_a_good_installation_good(installation):
    code, findings = doctor(installation.config)
    assert [f for f in findings if f["result"] == "error"] == []
    assert code == 0
    for what in ("configuration", "secret", "redis", "state_dir", "disk", "redis rights",
                 "relay", "worker", "api rate", "activecampaign", "hooks", "public_url"):
        assert "ok" in [result for result, _, _ in told(findings, what)], (what, findings)
    for finding in findings:  # whoever is told of trouble is told what to do
        assert (finding["result"] == "ok" or finding.get("do")
                or finding["what"] == "configuration" or "appendonly" in finding["text"])


def test_doctor_plans_with_what_the_worker_knows_of_what_is_stored(idle_installation, redis):
    """What ActiveCampaign stores in other words is no change that waits."""
    idle_installation.sim.switch(upper_name=1, limit=0)
    idle_installation.go()
    harness.wait_for("its first round", lambda: run(idle_installation.config, "status")[0] == 0)
    code, findings = doctor(idle_installation.config)
    [(result, text, _)] = told(findings, "hooks")
    assert code == 0 and result == "ok" and "stores" in text


def test_doctor_says_what_is_wrong_and_what_to_do(installation, redis):
    receiver, sim = installation.receiver, installation.sim
    for hook in sim.hooks():
        sim.call(f"/sim/hooks/{hook['id']}", method="DELETE") if "/hook/" in hook["url"] else None
    installation.config.write_text(installation.config.read_text() +
                                   simulator.stanza("deals", "[deal_add]"))
    assert receiver.post("") == 200
    receiver.wait_shipped()
    receiver.kill()
    code, findings = doctor(installation.config)
    assert code != 0
    [(result, text, advice)] = told(findings, "receiver")
    assert result == "error" and "systemctl" in advice
    assert told(findings, "public_url")[0][0] == "error"
    redis.kill()
    code, findings = doctor(installation.config, "--offline")
    assert told(findings, "redis")[0][0] == "error" and code == 69
    assert told(findings, "activecampaign") == []


def test_doctor_tells_settings_that_the_receiver_does_not_have(installation):
    receiver = installation.receiver
    fresh = installation.directory / "fresh-secret"
    fresh.write_bytes(b"f" * 40)
    fresh.chmod(0o600)
    installation.config.write_text(installation.config.read_text().replace(
        "secret_files: [hook-secret]", "secret_files: [fresh-secret, hook-secret]"))
    receiver.config.write_text(receiver.config.read_text() + "nonsense: 1\n")
    assert not receiver.reload()
    code, findings = doctor(installation.config)
    texts = [text for result, text, advice in told(findings, "settings")
             if result == "error" and advice]
    assert code != 0 and len(texts) == 2, findings
    assert "reload" in texts[0] and "404" in texts[1]


def test_a_full_journal_is_told(make_receiver, redis):
    receiver = make_receiver(extra="journal: {max: 64MiB, keep_max: 16MiB}\n")
    redis.kill()
    while receiver.post("type=subscribe&x=" + "x" * (1 << 19)) == 200:
        pass
    code, [status], _, _ = run(receiver.config, "status")
    assert code == 69 and not status["healthy"] and "503" in status["receiver"]
    assert receiver.metric("acrelay_journal_refused_total") == 1
    _, findings = doctor(receiver.config, "--offline")
    [(result, text, advice)] = told(findings, "journal")
    assert result == "error" and "503" in text and "64 MiB" in text and "journal.max" in advice
    redis.start()
    receiver.wait_shipped()
    code, [status], _, _ = run(receiver.config, "status")
    assert code == 0 and status["healthy"], "at once, without a delivery that shows it"


def on_small_disk(make_receiver, small_disk):
    """A receiver whose journal is there, with one published record."""
    receiver = make_receiver()
    receiver.kill()
    receiver.force = True  # it may be a tmpfs
    receiver.config.write_text(receiver.config.read_text().replace(
        f"{receiver.directory}/state", f"{small_disk}/state"))
    receiver.start()
    assert receiver.post("type=subscribe") == 200
    receiver.wait_shipped()
    return receiver


@pytest.mark.parametrize("small_disk", ["24M"], indirect=True)
def test_a_small_disk_is_full_soon_only_while_redis_is_away(small_disk, make_receiver, redis):
    """Its room is less than a usual segment, and enough while published records make room."""
    receiver = on_small_disk(make_receiver, small_disk)
    code, [status], _, _ = run(receiver.config, "status")
    assert code == 0 and "without Redis" in status["receiver"]
    redis.kill()
    assert receiver.post("type=subscribe") == 200
    harness.wait_for("the loss", lambda: receiver.metric("acrelay_relay_shipping") == 0)
    code, [status], _, _ = run(receiver.config, "status")
    assert code == 69 and "soon" in status["receiver"] and status["journal_free_bytes"] > 1 << 20


def lead_elsewhere(installation, status, meanwhile=lambda: 200):
    """Has public_url lead to a server that answers every post with this status."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            assert "Api-Token" not in self.headers
            assert meanwhile() == 200
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    installation.config.write_text(installation.config.read_text().replace(
        f"public_url: http://127.0.0.1:{installation.receiver.port}",
        f"public_url: http://127.0.0.1:{server.server_port}"))
    return server


@pytest.mark.parametrize("status", [301, 410, 200])
def test_doctor_tells_a_proxy_that_answers_wrongly(installation, status):
    server = lead_elsewhere(installation, status)
    code, findings = doctor(installation.config)
    [(result, text, advice)] = told(findings, "public_url")
    assert result == "error" and f" answers {status} " in text and advice and code != 0
    server.shutdown()


def test_doctor_names_the_public_url_of_an_example(receiver):
    assert "https://hooks.acme.example\n" in receiver.config.read_text()
    [(result, _, advice)] = told(doctor(receiver.config)[1], "public_url")
    assert result == "error" and "set public_url" in advice and "--offline" in advice


def test_doctor_is_not_deceived_by_other_posts_that_come_meanwhile(installation):
    """Another receiver behind public_url answers 404, while this one has its own traffic."""
    server = lead_elsewhere(
        installation, 404, lambda: installation.receiver.post("type=subscribe"))
    _, findings = doctor(installation.config)
    [(result, text, _)] = told(findings, "public_url")
    assert result == "warning"
    server.shutdown()


def test_posts_to_a_hook_that_left_are_told_without_a_worker(receiver):
    """Nobody else may know: the worker need not run, and ActiveCampaign goes on posting."""
    text = receiver.config.read_text()
    receiver.config.write_text(text.replace("name: contacts", "name: leads"))
    assert subprocess.run([harness.BUILD / "acrelay", "reload", "-c", receiver.config],
                          stdout=subprocess.DEVNULL, timeout=60).returncode == 0
    assert receiver.post("type=subscribe") == 404
    assert receiver.post("x" * ((1 << 20) + 1), "leads") == 413
    _, findings, _, _ = run(receiver.config, "doctor", "--offline")
    assert [text for result, text, advice in told(findings, "hooks")
            if result == "error" and advice and re.search(r"\b1\b", text)]
    _, [status], _, _ = run(receiver.config, "status")
    assert status["left_posts"] == 1 and status["deliveries_refused"] == 1


def fill(place):
    """Another program takes all that is left, to the last byte."""
    with open(place / "filler", "ab", buffering=0) as filler:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while filler.write(b"x" * size):
                    pass
            except OSError:
                pass


def test_a_full_disk_is_named(small_disk, make_receiver, redis):
    """Before a start, after a start without room, and while deliveries are refused."""
    receiver = on_small_disk(make_receiver, small_disk)
    receiver.kill()
    (small_disk / "state" / "spare").unlink(missing_ok=True)  # with it, there would be room
    fill(small_disk)

    def room_is_named(found):
        [(result, text, advice)] = told(found, "disk")
        return (result, "ENOSPC" in text, "delete" in advice, "Redis" in advice) == \
            ("error", True, True, False)

    def answers():
        try:
            return receiver.get("/readyz")
        except OSError:
            return None

    assert room_is_named(run(receiver.config, "check")[1])
    receiver.process = receiver.spawn()  # it may answer 503 from the start
    harness.wait_for("the admin listener", answers)
    # ext4 gives back what the start has freed a little later.
    harness.wait_for("a look", lambda: fill(small_disk) or receiver.get("/readyz")[0] == 503)
    code, [status], _, _ = run(receiver.config, "status")
    assert code == 69 and "no space left" in status["receiver"].lower()
    redis.kill()  # while it is up, published segments make room again
    while receiver.post("type=subscribe&x=" + "x" * (1 << 18)) == 200:
        pass
    code, [status], _, _ = run(receiver.config, "status")
    assert code == 69 and "503" in status["receiver"]
    # of a small file system the journal may have its half by then
    assert re.search("no space left|journal.max", status["receiver"].lower())
    _, findings = doctor(receiver.config, "--offline")
    assert room_is_named(findings)
    for what in ("journal", "since start"):
        for result, text, advice in told(findings, what):
            assert result == "error" and "smartctl" not in advice and "start Redis" not in advice


@pytest.mark.parametrize("place, named, advised", [
    ("file", "Not a directory", "receiver.state_dir"),
    ("file/state", "Not a directory", "receiver.state_dir"),
    ("no/such/state", "no/such: No such file", "create"),
])
def test_a_state_dir_that_cannot_be_is_named(receiver, place, named, advised):
    receiver.kill()
    (receiver.directory / "file").write_text("")
    receiver.config.write_text(receiver.config.read_text().replace(
        f"{receiver.directory}/state", f"{receiver.directory}/{place}"))
    code, findings, _, _ = run(receiver.config, "check")
    [(result, text, advice)] = told(findings, "state_dir")
    assert result == "error" and named in text and advised in advice and code != 0


def test_a_refused_token_is_no_matter_of_deliveries(idle_installation, redis):
    token = idle_installation.directory / "api-token"
    token.write_text("another token, which the account does not know")
    code, findings = doctor(idle_installation.config)
    [(result, text, advice)] = told(findings, "activecampaign")
    assert result == "error" and "account.api_token_file" in text and "Deliveries go on" in text and code == 77
    assert "reload acrelay-worker" in text and "acrelay-worker" not in advice, "said once"


def test_status_names_redis_and_says_each_thing_once(receiver, redis):
    redis.kill()
    assert receiver.post("type=subscribe") == 200
    harness.wait_for("the loss", lambda: "refused" in receiver.get("/readyz")[1])
    code, [status], _, _ = run(receiver.config, "status")
    assert code == 69 and harness.redis_url(redis.port) in status["redis"]
    assert status["receiver"].count("in the journal") == 1
    _, findings = doctor(receiver.config, "--offline")
    [(_, text, _)] = told(findings, "relay")
    assert text.count("journal") == 1 and "1 deliveries" not in text
