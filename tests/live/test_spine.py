"""From post to stream, as a user sees it."""
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

import harness
import ledger

FIELDS = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time",
          "ce_recordedtime", "ce_sequence", "ce_dataschema", "ce_fingerprint", "ce_repeat",
          "content-type", "data", "query", "raw"]


def samples():
    for line in (harness.ROOT / "src/event/samples.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t", 1)


def test_a_post_becomes_an_entry_with_fifteen_fields_in_order(redis, receiver):
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    receiver.wait_shipped()
    [entry] = redis.entries()
    assert list(entry) == FIELDS
    assert entry["ce_subject"] == b"contact/7"
    assert entry["ce_source"] == b"/activecampaign/acme/contacts"
    assert json.loads(entry["data"]) == {"type": "subscribe", "contact": {"id": "7"}, "list": []}


def test_the_log_names_the_socket_that_is_served_not_the_one_in_the_file(receiver):
    def said():
        return f" on 127.0.0.1:{receiver.port}\n" in receiver.read_log()

    harness.wait_for("the line", said)  # /readyz answers a little earlier
    assert "on 127.0.0.1:1025\n" not in receiver.read_log()


def test_the_test_hook_takes_the_whole_way_to_a_stream_of_its_own(redis, receiver):
    assert receiver.post("type=subscribe&contact[id]=7", "acrelay-test") == 200
    assert receiver.post("type=subscribe&contact[id]=8") == 200
    receiver.wait_shipped()
    [tried], [event] = redis.entries("{ac}:acrelay-test"), redis.entries()
    assert tried["ce_source"] == b"/activecampaign/acme/acrelay-test"
    assert (tried["ce_subject"], event["ce_subject"]) == (b"contact/7", b"contact/8")
    assert receiver.metric('acrelay_requests_total{hook="acrelay-test",code="200"}') == 1
    assert receiver.reload() and receiver.post("type=update", "acrelay-test") == 200


def test_every_sample_arrives_as_json_of_its_type(redis, receiver):
    wanted = list(samples())
    for name, body in wanted:
        assert receiver.post(body) == 200, name
    receiver.wait_shipped()
    entries = redis.entries()
    assert len(entries) == len(wanted)
    for (name, _), entry in zip(wanted, entries):
        kind = entry["ce_type"].decode().removeprefix("com.activecampaign.")
        assert name.split(".")[0] == kind
        data = json.loads(entry["data"])
        assert name == "custom_object.json" or isinstance(data["list"], list)


def test_repeats_are_marked_dropped_or_kept_as_the_hook_says(redis, make_receiver):
    receiver = make_receiver(hooks="".join(
        f"  - {{name: {name}, events: [subscribe], duplicates: {name}}}\n"
        for name in ("mark", "drop", "keep")))
    for hook in ("mark", "drop", "keep"):
        for _ in range(3):
            assert receiver.post("type=subscribe", hook) == 200
    receiver.wait_shipped()
    marks = {}
    for entry in redis.entries():
        marks.setdefault(entry["ce_source"].decode().split("/")[-1], []).append(
            entry["ce_repeat"].decode())
    assert marks == {"mark": ["0", "1", "1"], "drop": ["0"], "keep": ["0", "0", "0"]}


def test_what_cannot_be_read_becomes_a_dead_letter_with_its_bytes(redis, receiver):
    cases = [("empty", b"", {}), ("nul", b"a=%00", {}),
             ("json", b"{", {"Content-Type": "application/json"}),
             ("multipart", b"--x", {"Content-Type": "multipart/form-data; boundary=x"}),
             ("encoding", b"\x1f\x8b", {"Content-Encoding": "gzip"}),
             ("pairs", b"&a" * 10001, {})]
    for reason, body, headers in cases:
        assert receiver.post(body, **headers) == 200, reason
    receiver.wait_shipped()
    dead = redis.entries("{ac}:dead")
    assert [(d["reason"].decode(), d["raw"]) for d in dead] == [(r, b) for r, b, _ in cases]
    assert redis.entries() == []


def test_redis_may_be_away_and_nothing_is_lost(redis, receiver):
    redis.kill()
    for n in range(50):
        assert receiver.post(f"type=subscribe&contact[id]={n}") == 200
    assert receiver.get("/readyz")[0] == 200
    redis.start()
    receiver.wait_shipped()
    assert [e["ce_subject"] for e in redis.entries()] == [
        b"contact/%d" % n for n in range(50)]


def test_the_ledger_holds_through_kills_and_rollbacks(tmp_path):
    class Args:
        count, receiver_kills, redis_kills, rollbacks, seed = 6000, 3, 2, 2, 20261124

    assert ledger.run(Args, tmp_path) == []


def test_a_successor_on_the_same_socket_loses_no_request(redis, receiver):
    statuses, stop = [], threading.Event()

    def client():
        while not stop.is_set():
            try:
                statuses.append(receiver.post("type=subscribe"))
            except Exception as error:  # any failure is what this test looks for
                statuses.append(repr(error))

    threads = [threading.Thread(target=client) for _ in range(6)]
    for t in threads:
        t.start()
    try:
        for _ in range(8):
            before = len(statuses)
            harness.wait_for("some requests", lambda: len(statuses) > before + 30)
            old, receiver.process = receiver.process, receiver.spawn()
            old.terminate()
            assert old.wait(40) == 0
            harness.wait_for("the successor", receiver.is_ready)
    finally:
        stop.set()
        for t in threads:
            t.join()
    receiver.wait_shipped()
    assert set(statuses) == {200}
    assert len(redis.entries()) == len(statuses)


def test_the_admin_pages_may_be_read_during_a_stop(receiver):
    """A race: what it finds, it finds under ASan and TSan, and not each time."""
    over = threading.Event()

    def read_on():
        while not over.is_set():
            for page in ("/metrics", "/readyz"):
                try:
                    receiver.get(page)
                except (OSError, http.client.HTTPException):
                    pass  # it may be away

    threads = [threading.Thread(target=read_on) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        for _ in range(20):
            receiver.stop()
            receiver.start()
    finally:
        over.set()
        for t in threads:
            t.join()
    log = receiver.read_log()
    assert "Sanitizer" not in log
    assert log.count("all accepted requests have been answered") == 20


# --- who may ask ------------------------------------------------------------------------------

@pytest.mark.parametrize("host, code", [
    ("127.0.0.1", 200), ("127.0.0.1:9180", 200), ("[::1]:9180", 200), ("[::1]", 200),
    ("localhost:9180", 200), ("LOCALHOST", 200), ("Box.internal:1", 200), ("box.internal", 200),
    ("evil.example", 403), ("evil.example:9180", 403), ("127.0.0.1.evil.example", 403),
    ("localhost.evil.example", 403), ("xbox.internal", 403), ("", 403), ("[::1", 403),
    ("[::1]x", 403), ("127.1:80", 403), ("localhost@evil.example", 403)])
def test_the_admin_listener_answers_only_to_names_of_its_own(shared, host, code):
    for page in ("/metrics", "/readyz", "/livez", "/version"):
        answer = ask(shared.admin, f"GET {page} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % code), (page, answer[:100])
        assert code == 200 or b"acrelay_" not in answer.partition(b"\r\n\r\n")[2]


def test_a_balancer_that_sends_no_host_is_answered(shared):
    assert ask(shared.admin, "GET /livez HTTP/1.0\r\n\r\n").split()[1] == b"200"
    assert ask(shared.admin, "GET /livez HTTP/1.1\r\n\r\n").split()[1] in (b"400", b"403")


def ask(port, text):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(text.encode())
        s.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
        return answer


def test_the_public_listener_has_a_health_page_without_a_body(shared):
    before = shared.get("/metrics")[1].count("acrelay_requests_total{")
    for method, code in (("GET", b"200"), ("HEAD", b"200"), ("POST", b"405")):
        answer = shared.raw(f"{method} /healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert answer.split()[1] == code and answer.endswith(b"\r\n\r\n")
        assert b"Content-Length: 0\r\n" in answer
    for path in ("/healthz/", "/healthz2", "/readyz", "/livez", "/metrics"):
        assert b" 404 " in shared.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert shared.raw(b"GET /healthz?x HTTP/1.0\r\n\r\n").split()[1] == b"200"
    after = shared.get("/metrics")[1].count("acrelay_requests_total{")
    assert after - before <= 1, "404s of no hook have a series, health checks have none"


def test_a_request_is_counted_before_it_is_answered(shared):
    """A race: without it 1 reading in 100 comes too early."""
    count = 'acrelay_requests_total{hook="-",code="404"}'
    shared.raw(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")  # so that the counter is there
    for n in range(300):
        before = shared.metric(count)
        shared.raw(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert shared.metric(count) == before + 1, n


def test_64_connections_at_once_are_kept_alive(receiver):
    """A pool of a proxy: three quarters of the default threads may be in use."""
    pool = [http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=20)
            for _ in range(64)]
    for _ in range(2):
        for c in pool:
            c.request("POST", receiver.path(), "type=subscribe")
            answer = c.getresponse()
            assert answer.status == 200 and answer.headers["Connection"] is None
            answer.read()
    for c in pool:
        c.close()


# --- HTTP as attackers speak it --------------------------------------------------------------

def request(path, head="Content-Length: 1\r\n", body="a", line="POST {} HTTP/1.1"):
    return (line.format(path) + "\r\nHost: x\r\n" + head + "\r\n" + body).encode("latin-1")


RAW = [
    ("good", "{p}", {}, 200),
    ("good with query", "{p}?a=b", {}, 200),
    ("chunked", "{p}", {"head": "Transfer-Encoding: chunked\r\n", "body": "1\r\na\r\n0\r\n\r\n"},
     200),
    ("empty", "{p}", {"head": "Content-Length: 0\r\n", "body": ""}, 200),
    ("http/1.0", "{p}", {"line": "POST {} HTTP/1.0"}, 200),
    ("unknown path", "/", {}, 404),
    ("unknown hook", "/hook/nobody/{t}", {}, 404),
    ("wrong token", "/hook/contacts/{w}", {}, 404),
    ("short token", "/hook/contacts/x", {}, 404),
    ("trailing slash", "{p}/", {}, 404),
    ("double slash", "//hook/contacts/{t}", {}, 404),
    ("inner double slash", "/hook//contacts/{t}", {}, 404),
    ("dot segment", "/x/../hook/contacts/{t}", {}, 404),
    ("escaped path", "/hook/%63ontacts/{t}", {}, 404),
    ("upper case", "/hook/Contacts/{t}", {}, 404),
    ("escaped nul", "{p}%00", {}, 404),
    ("overlong utf-8", "/hook/contacts/%c0%af", {}, 404),
    ("get", "{p}", {"line": "GET {} HTTP/1.1"}, 405),
    ("put", "{p}", {"line": "PUT {} HTTP/1.1"}, 405),
    ("delete", "{p}", {"line": "DELETE {} HTTP/1.1"}, 405),
    ("options", "{p}", {"line": "OPTIONS {} HTTP/1.1"}, 405),
    ("get at a bad path", "/x", {"line": "GET {} HTTP/1.1"}, 404),
    ("no length", "{p}", {"head": "", "body": ""}, 411),
    ("two lengths", "{p}", {"head": "Content-Length: 1\r\nContent-Length: 1\r\n"}, 400),
    ("two different lengths", "{p}", {"head": "Content-Length: 1\r\nContent-Length: 2\r\n"},
     400),
    ("length and chunked", "{p}",
     {"head": "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"}, 400),
    ("length +1", "{p}", {"head": "Content-Length: +1\r\n"}, 400),
    ("length -1", "{p}", {"head": "Content-Length: -1\r\n"}, 411),
    ("length 1abc", "{p}", {"head": "Content-Length: 1abc\r\n"}, 400),
    ("length 0x1", "{p}", {"head": "Content-Length: 0x1\r\n"}, 400),
    ("length 1,1", "{p}", {"head": "Content-Length: 1,1\r\n"}, 400),
    ("length empty", "{p}", {"head": "Content-Length: \r\n"}, 411),
    ("length of 20 digits", "{p}", {"head": "Content-Length: 99999999999999999999\r\n"}, 400),
    ("coding gzip", "{p}", {"head": "Transfer-Encoding: gzip\r\n"}, 400),
    ("coding gzip, chunked", "{p}", {"head": "Transfer-Encoding: gzip, chunked\r\n"}, 400),
    ("coding twice", "{p}",
     {"head": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"}, 400),
    ("chunk size not hex", "{p}",
     {"head": "Transfer-Encoding: chunked\r\n", "body": "zz\r\na\r\n0\r\n\r\n"}, 400),
    ("body cut short", "{p}", {"head": "Content-Length: 10\r\n"}, 400),
    ("query too long", "{p}?" + "a" * 1025, {}, 414),
    ("query of 1 KiB", "{p}?" + "a" * 1024, {}, 200),
    ("64 headers", "{p}", {"head": "Content-Length: 1\r\n" + "A: b\r\n" * 63}, 431),
    ("type too long, and too large", "{p}",
     {"head": "Content-Length: 1048577\r\nContent-Type: " + "a" * 1025 + "\r\n"}, 431),
    ("64 headers, one odd", "{p}", {"head": "Content-Length: 1\r\n" * 2 + "A: b\r\n" * 62},
     431),
    ("too large", "{p}", {"head": "Content-Length: 1048577\r\n"}, 413),
    ("not http", None, {"line": "hello"}, 400),
    ("http/9.9", "{p}", {"line": "POST {} HTTP/9.9"}, 505),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("raw")
    server = harness.Redis(directory)
    receiver = harness.Receiver(directory, server.port, extra="admin_hosts: [box.internal]\n")
    yield receiver
    receiver.kill()
    server.kill()


@pytest.mark.parametrize("name,path,parts,code", RAW, ids=[r[0] for r in RAW])
def test_raw_request(shared, name, path, parts, code):
    token = harness.token("contacts")
    wrong = ("B" if token[0] == "A" else "A") + token[1:]
    filled = (path or "").format(p=f"/hook/contacts/{token}", t=token, w=wrong)
    answer = shared.raw(request(filled, **parts))
    # What is no HTTP/1.1 at all is answered by the library, with a version of its own.
    assert answer.split(b" ")[1:2] == [b"%d" % code], answer[:200]
    assert b"Location:" not in answer


def test_a_delivery_that_is_refused_is_logged_and_counted_and_what_strangers_send_is_not(
        make_receiver):
    receiver = make_receiver(receiver=", request_timeout: 1s")
    large = {"head": "Content-Length: 1048577\r\n", "body": ""}
    for path in ("/hook/contacts/" + "x" * 43, "/hook/nobody/x", "/"):
        assert b" 404 " in receiver.raw(request(path, **large))
    for line in ("GET {} HTTP/1.1", "hello"):
        receiver.raw(request(receiver.path(), line=line))
    assert receiver.metric("acrelay_deliveries_refused_total") == 0
    assert b" 413 " in receiver.raw(request(receiver.path(), **large))
    chunk = {"head": "Transfer-Encoding: chunked\r\n",
             "body": f"100001\r\n{'a' * 0x100001}\r\n0\r\n\r\n"}
    refused = [(chunk, 413), ({"head": ""}, 411), ({"head": "Content-Length: 2\r\n"}, 400),
               ({"head": "Content-Length: 1\r\n" * 2}, 400), ({"head": "A: b\r\n" * 63}, 431)]
    for parts, code in refused:
        assert b" %d " % code in receiver.raw(request(receiver.path(), **parts)), code
    assert b" 414 " in receiver.raw(request(receiver.path() + "?" + "a" * 1025))
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as slow:
        slow.sendall(request(receiver.path(), "Content-Length: 2\r\n"))
        assert b" 408 " in slow.recv(1000)
    assert receiver.metric("acrelay_deliveries_refused_total") == len(refused) + 3
    assert receiver.metric("acrelay_journal_refused_total") == 0
    receiver.stop()
    lines = [line for line in receiver.read_log().splitlines() if "lost" in line]
    assert all(word in lines[0] for word in ("1048577 bytes", "contacts", "413", "body_max"))
    held_back = sum(int(n) for n in re.findall(r"(\d+) more deliver", "\n".join(lines)))
    assert held_back + sum("hook contacts" in line for line in lines) == len(refused) + 3
    assert harness.token("contacts") not in receiver.read_log()


def test_expect_continue_is_answered_before_the_body(shared):
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as s:
        s.sendall(f"POST {shared.path()} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                  "Expect: 100-continue\r\n\r\n".encode())
        assert s.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        s.sendall(b"a")
        assert s.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def patient(tmp_path, redis, monkeypatch):
    """A receiver that reads what it refuses for as long as it comes."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "read-rest=30000")
    receiver = harness.Receiver(tmp_path, redis.port, receiver=", request_timeout: 60s")
    yield receiver
    receiver.stop()


def test_a_body_that_is_refused_while_it_comes_does_not_cost_the_answer(patient):
    """Closed at once, the connection would be reset by what comes then."""
    with socket.create_connection(("127.0.0.1", patient.port), timeout=10) as s:
        s.sendall(f"POST {patient.path()} HTTP/1.1\r\nHost: x\r\n"
                  "Content-Length: 2000000\r\n\r\n".encode())
        assert select.select([s], [], [], 30)[0], "it is answered by its head"
        for _ in range(20):
            s.sendall(b"a" * 100_000)
            time.sleep(0.01)  # as it comes over a network
        answer = b"".join(iter(lambda: s.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_is_refused_before_it_comes_is_not_waited_for(patient):
    with socket.create_connection(("127.0.0.1", patient.port), timeout=15) as s:
        s.sendall(f"POST {patient.path()} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                  "Content-Length: 2000000\r\n\r\n".encode())
        answer = b"".join(iter(lambda: s.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_two_pipelined_posts_get_two_answers(shared):
    answer = shared.raw(request(shared.path()) * 2)
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_idle_connections_keep_nobody_out(shared):
    idle = [socket.create_connection(("127.0.0.1", shared.port)) for _ in range(500)]
    try:
        for _ in range(20):
            assert shared.post("type=subscribe") == 200
    finally:
        for s in idle:
            s.close()


# --- what goes wrong at the start ------------------------------------------------------------

def start(config):
    done = subprocess.run([f"{harness.BUILD}/acrelayd", "-c", str(config)], timeout=30,
                          capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_second_process_on_one_journal_is_told_who_holds_it(tmp_path, receiver):
    text = receiver.config.read_text().replace(str(receiver.admin), str(harness.free_port()))
    other = tmp_path / "other.yaml"
    other.write_text(text.replace("127.0.0.1:1025'", f"127.0.0.1:{harness.free_port()}'")
                     + "journal: {lock_wait: 0s}\n")
    code, log = start(other)
    assert code == 75
    assert f"process {receiver.process.pid}" in log
    assert "posts to the addresses of this one are refused and lost" in log


@pytest.fixture
def waiting(tmp_path, receiver):
    """A start that waits for the journal; as the first process of a container where it is asked to."""
    text = receiver.config.read_text().replace(str(receiver.admin), str(harness.free_port()))
    other = tmp_path / "other.yaml"
    other.write_text(text.replace("127.0.0.1:1025'", f"127.0.0.1:{harness.free_port()}'")
                     + "journal: {lock_wait: 30s}\n")
    started = []

    def begin(*prefix):
        process = subprocess.Popen([*prefix, f"{harness.BUILD}/acrelayd", "-c", str(other)],
                                   stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert f"process {receiver.process.pid}" in process.stderr.readline()
        return process

    yield begin
    for process in started:
        process.kill()
        process.stderr.close()
        process.wait()


def test_a_start_that_waits_for_the_journal_for_long_warns(waiting, receiver, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "lock-warn=1000")
    line = waiting().stderr.readline()
    assert " warning " in line and f"process {receiver.process.pid}" in line


def test_a_stop_ends_a_start_that_waits_for_the_journal_and_a_reload_does_not(waiting):
    process = waiting()
    process.send_signal(signal.SIGHUP)
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
    assert "stopped before it accepted any post" in process.stderr.read()


IN_A_CONTAINER = ["unshare", "--pid", "--fork", "--kill-child"]


@pytest.mark.skipif(subprocess.run([*IN_A_CONTAINER, "true"], capture_output=True).returncode,
                    reason="no PID namespace can be made")
def test_a_stop_ends_a_start_of_the_first_process_of_a_container_too(waiting):
    process = waiting(*IN_A_CONTAINER)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    os.kill(int(open(children, encoding="ascii").read()), signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM


def test_a_port_in_use_is_71(tmp_path, receiver):
    other = tmp_path / "other.yaml"
    other.write_text(receiver.config.read_text().replace(
        "127.0.0.1:1025'", f"127.0.0.1:{receiver.port}'"))
    code, log = start(other)
    assert code == 71
    assert "receiver.listen: " in log and f"127.0.0.1:{receiver.port}" in log
    assert "acrelayd that holds this journal receives" in log and "are lost" not in log
    # The port is a stranger's where nobody holds the journal.
    receiver.stop()
    code, log = start(other)
    assert code == 71 and "no acrelayd holds this journal" in log and "lost" in log


def test_a_typo_is_78_with_its_place(tmp_path):
    config = tmp_path / "acrelay.yaml"
    config.write_text("acount: {name: x}\n")
    code, log = start(config)
    assert code == 78
    assert re.search(r" error +config: .*acrelay\.yaml:1:1: acount: .*account\?", log)
    config.unlink()
    code, log = start(config)
    assert code == 78 and "ACRELAY_CONFIG" in log


def test_one_mistake_at_a_start_is_one_error_with_its_consequence(receiver):
    receiver.config.write_text(receiver.config.read_text() + "nonsense: 1\n")
    code, log = start(receiver.config)
    [line] = log.splitlines()
    assert code == 78 and " error " in line and "nonsense" in line and "lost" in line


def test_a_secret_that_is_not_there_is_78_with_what_to_do(receiver):
    receiver.secret.unlink()
    code, log = start(receiver.config)
    assert code == 78 and "secret_files: " in log and "/dev/urandom" in log


def test_a_secret_that_others_can_read_is_77(tmp_path, receiver):
    receiver.secret.chmod(0o644)
    code, log = start(receiver.config)
    assert code == 77
    assert "chmod 600" in log and harness.SECRET.decode() not in log


def test_a_directory_that_cannot_be_written_is_73(tmp_path, receiver):
    other = tmp_path / "other.yaml"
    other.write_text(receiver.config.read_text().replace(
        f"{tmp_path}/state", "/proc/acrelay").replace(
        "127.0.0.1:1025'", f"127.0.0.1:{harness.free_port()}'"))
    assert start(other)[0] == 73


@pytest.mark.parametrize("state, culprit, reason", [
    ("file", "file", "Not a directory"), ("file/a/b", "file", "Not a directory"),
    ("none/a/b", "none/a", "No such file or directory")])
def test_a_state_dir_that_cannot_be_is_73_and_names_what_is_wrong(
        tmp_path, receiver, state, culprit, reason):
    (tmp_path / "file").write_text("")
    other = tmp_path / "other.yaml"
    other.write_text(receiver.config.read_text().replace(
        f"{tmp_path}/state", f"{tmp_path}/{state}").replace(
        "127.0.0.1:1025'", f"127.0.0.1:{harness.free_port()}'"))
    code, log = start(other)
    assert code == 73 and f": {tmp_path}/{culprit}: {reason}: " in log


def test_reload_takes_over_a_hook_and_refuses_a_new_port(redis, receiver):
    text = receiver.config.read_text()
    receiver.config.write_text(text + "  - {name: deals, events: [deal_add]}\n")
    assert receiver.reload() and not receiver.reloads()["last_good"]
    assert receiver.post("type=deal_add", "deals") == 200
    receiver.config.write_text(text.replace("127.0.0.1:1025'", "127.0.0.1:1026'"))
    assert not receiver.reload() and "receiver.listen" in receiver.reloads()["message"]
    assert receiver.post("type=deal_add", "deals") == 200
    for count, ok in ((1, "ok"), (1, "refused")):
        assert receiver.metric(f'acrelay_config_reloads_total{{result="{ok}"}}') == count
