"""acrelay inspect over raw HTTP: what the page is told, and who is told anything at all."""
import http.client
import json
import signal
import socket
import subprocess
import urllib.parse

import harness
import pytest
import simulator

MASK = "•••"
FORM = ("type=subscribe&date_time=2026-03-02T11%3A20%3A00-06%3A00&contact%5Bid%5D=66"
        "&contact%5Bemail%5D=ann%40example.com&contact%5Bphone%5D=5551234567&contact%5Bfirst_name%5D=Ann")
SERVICES = "commands:\n  services:\n    - {name: crm, allow: [contacts]}\n"


class Inspect:
    """A running `acrelay inspect`."""

    def __init__(self, config, *options):
        said = "in use"
        while "in use" in said:  # another test's program may have taken the port by now
            self.port = harness.free_port()
            self.host = f"127.0.0.1:{self.port}"
            self.process = subprocess.Popen(
                [harness.BUILD / "acrelay", "-c", config, "inspect", "--listen", self.host, *options],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.address = self.process.stdout.readline().strip()
            said = "" if self.address else self.process.stderr.read()
        assert self.address, said
        self.token = self.address.split("#token=")[1]

    def ask(self, path, method="GET", **headers):
        """The status, the headers and the body. A header that is None is not sent."""
        given = {"Host": self.host, "Authorization": f"Bearer {self.token}"}
        if method == "POST":
            given |= {"Origin": f"http://{self.host}", "X-Acrelay": "1"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value is not None:
                    c.putheader(name, value)
            c.endheaders()
            answer = c.getresponse()
            return answer.status, dict(answer.headers), answer.read().decode()
        finally:
            c.close()

    def get(self, path, method="GET", **parameters):
        query = urllib.parse.urlencode(parameters)
        status, _, body = self.ask(f"/api/{path}" + (f"?{query}" if query else ""), method)
        assert status == 200, (status, body)
        return json.loads(body)

    def rows(self, n=1, **parameters):
        """The rows, once there are n."""
        def there():
            rows = self.get("deliveries", **parameters)["rows"]
            return rows if len(rows) >= n else None
        return harness.wait_for(f"{n} rows", there)

    def one(self, row, method="GET"):
        return self.get("reveal" if method == "POST" else "delivery", method,
                        ce_id=row["ce_id"], key=row["key"], entry=row["entry"])

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.process.stdout.close()
        return code, harness.without_progress(self.process.stderr.read())


@pytest.fixture
def open_inspect():
    started = []

    def start(config, *options):
        started.append(Inspect(config, *options))
        return started[-1]

    yield start
    for i in started:
        if i.process.poll() is None:
            i.process.kill()
            i.process.wait()


@pytest.fixture
def inspect(receiver, open_inspect):
    return open_inspect(receiver.config)


# --- who is told anything ----------------------------------------------------------------------

def test_the_address_has_a_token_of_its_own_each_time(receiver, open_inspect):
    first, second = open_inspect(receiver.config), open_inspect(receiver.config)
    assert first.address == f"http://{first.host}/#token={first.token}"
    assert len(first.token) == 43 and first.token != second.token
    assert second.ask("/api/head", Authorization=f"Bearer {first.token}")[0] == 401
    code, said = first.stop()
    assert (code, said) == (0, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first.port))


@pytest.mark.parametrize("host, status", [
    ("{host}", 200), ("localhost:{port}", 200), ("localhost", 200), ("[::1]:{port}", 200), ("10.0.0.1", 200),
    ("evil.example:{port}", 403), ("localhost.evil.example", 403), ("127.0.0.1.nip.io:{port}", 403),
    ("", 403), (None, 403)])
def test_a_name_that_leads_here_is_told_nothing(inspect, host, status):
    host = host and host.format(host=inspect.host, port=inspect.port)
    for path in ("/api/head", "/"):
        assert inspect.ask(path, Host=host)[0] == status


def test_two_hosts_are_none(inspect):
    with socket.create_connection(("127.0.0.1", inspect.port)) as s:
        s.sendall(f"GET /api/head HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
                  f"Authorization: Bearer {inspect.token}\r\n\r\n".encode())
        assert s.recv(4096).split()[1] in (b"403", b"400")


@pytest.mark.parametrize("authorization", [
    None, "", "Bearer", "Bearer ", "Bearer {wrong}", "Bearer {token}x", "Bearer {short}", "bearer {token}",
    "Basic {token}", "{token}"])
def test_without_its_token_nothing_is_told(inspect, authorization):
    token = inspect.token
    wrong = ("A" if token[0] != "A" else "B") + token[1:]
    text = authorization and authorization.format(token=token, wrong=wrong, short=token[:-1])
    for path in ("head", "deliveries", "delivery?ce_id=1", "dead", "nothing"):
        status, _, body = inspect.ask(f"/api/{path}", Authorization=text)
        assert status == 401 and list(json.loads(body)) == ["error"]
    for path in ("reveal", "dead/replay", "dead/drop"):
        assert inspect.ask(f"/api/{path}", "POST", Authorization=text)[0] == 401


def test_no_token_is_taken_from_a_query_or_a_cookie(inspect):
    for path in (f"/api/head?token={inspect.token}", f"/api/head?access_token={inspect.token}"):
        assert inspect.ask(path, Authorization=None, Cookie=f"token={inspect.token}")[0] == 401


@pytest.mark.parametrize("headers", [
    {"Origin": None}, {"Origin": "null"}, {"Origin": "http://evil.example"}, {"Origin": "http://localhost:{port}"},
    {"Origin": "https://{host}"}, {"Origin": "http://{host}.evil.example"}, {"Origin": "http://127.0.0.1"},
    {"X-Acrelay": None}, {"X-Acrelay": "0"}, {"X-Acrelay": ""}])
@pytest.mark.parametrize("path", ["reveal?ce_id=1", "dead/replay?id=1-0", "dead/drop?id=1-0"])
def test_a_write_comes_from_this_page_alone(inspect, headers, path):
    given = {name: value and value.format(host=inspect.host, port=inspect.port)
             for name, value in headers.items()}
    assert inspect.ask(f"/api/{path}", "POST", **given)[0] == 403
    assert inspect.ask(f"/api/{path}", "POST")[0] == 400  # its own: the parameters are what is wrong


def test_no_write_is_a_get(inspect):
    for path in ("reveal", "dead/replay", "dead/drop"):
        assert inspect.ask(f"/api/{path}")[0] == 404
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"):
        assert inspect.ask("/api/head", method)[0] in (400, 405, 501)


def test_every_answer_forbids_what_a_page_could_be_made_to_do(inspect):
    asked = [inspect.ask("/"), inspect.ask("/nothing"), inspect.ask("/api/head"),
             inspect.ask("/api/head", Authorization=None), inspect.ask("/", Host="evil.example"),
             inspect.ask("/api/reveal", "POST", Origin="http://evil.example")]
    for status, headers, _ in asked:
        policy = dict(part.strip().split(" ", 1) for part in
                      headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
        assert policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert not [name for name in headers
                    if name.lower().startswith("access-control") or name.lower() == "set-cookie"]


def test_the_files_of_the_page_need_no_token_and_no_path_leads_out(inspect):
    for path in sorted((harness.ROOT / "src/cli/inspect").iterdir()):
        status, headers, body = inspect.ask(f"/{path.name}", Authorization=None)
        if path.suffix == ".md":
            assert status == 404
            continue
        assert status == 200 and body == path.read_text()
        assert headers["Content-Type"].split(";")[0] == {
            ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}[path.suffix]
    for path in ("/../inspect.c", "/..%2finspect.c", "//index.html", "/index.html/", "/.", "/etc/passwd"):
        assert inspect.ask(path, Authorization=None)[0] in (400, 404)


def test_an_address_that_others_reach_needs_a_word(receiver):
    def run(*options):
        return subprocess.run([harness.BUILD / "acrelay", "-c", receiver.config, "inspect", *options],
                              capture_output=True, text=True, timeout=20)
    for address in ("0.0.0.0:9190", "[::]:9190", "192.0.2.1:9190"):
        done = run("--listen", address)
        assert done.returncode == 64 and "loopback" in done.stderr and "ssh -L" in done.stderr
    assert run("--listen", "localhost:9190").returncode == 64
    taken = socket.create_server(("127.0.0.1", 0))
    done = run("--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 71 and "--listen" in done.stderr
    taken.close()


# --- what is told ---------------------------------------------------------------------------------

def test_a_delivery_is_shown_from_post_to_acknowledged(receiver, redis, inspect):
    redis.client.xgroup_create("{ac}:events", "shop", id="0", mkstream=True)
    assert receiver.post(FORM) == 200
    [row] = inspect.rows()
    assert (row["type"], row["hook"], row["subject"]) == ("subscribe", "contacts", "contact/66")
    assert row["reason"] is None and not row["repeat"]

    one = inspect.one(row)
    assert one["raw"]["from"] == "journal" and one["raw"]["bytes"] == len(FORM)
    assert ["contact[first_name]", "Ann"] in one["form"] and one["form_pairs"] == 6
    assert one["event"]["contact"]["first_name"] == "Ann"
    assert one["entry"]["id"] == row["entry"]
    assert one["entry"]["fields"]["ce_id"] == one["ce_id"] == row["ce_id"]
    journey = one["journey"]
    assert journey["durable"] is True and journey["received_from"] == "journal"
    assert journey["received"] == one["entry"]["fields"]["ce_recordedtime"]
    waits = {"name": "shop", "last": "0-0", "read": False, "acknowledged": False, "consumer": None, "deliveries": None, "idle_ms": None}
    assert journey["groups"] == [waits]

    redis.client.xreadgroup("shop", "shop-1", {"{ac}:events": ">"})
    [group] = inspect.one(row)["journey"]["groups"]
    assert group.pop("idle_ms") >= 0
    assert group == {"name": "shop", "last": row["entry"], "read": True, "acknowledged": False, "consumer": "shop-1", "deliveries": 1}
    redis.client.xack("{ac}:events", "shop", row["entry"])
    assert inspect.one(row)["journey"]["groups"] == [{**waits, "last": row["entry"], "read": True, "acknowledged": True}]


def test_what_is_personal_is_shown_for_one_delivery_when_asked(receiver, inspect):
    assert receiver.post(FORM) == 200
    assert receiver.post('{"type":"x","contact":{"email":"bob\\u0040example.com","phone":5551234567}}') == 200
    rows = inspect.rows(2)
    for row in rows:
        one = inspect.one(row)
        assert one["masked"]
        text = json.dumps(one, ensure_ascii=False)
        for secret in ("ann", "bob", "example.com", "5551234567"):
            assert secret not in text.replace('"Ann"', "").replace("=Ann", ""), one
        assert one["event"]["contact"]["email"] == one["event"]["contact"]["phone"] == MASK
    shown = inspect.one(rows[1], "POST")
    assert not shown["masked"] and shown["raw"]["body"] == FORM and shown["raw"]["exact"]
    assert shown["event"]["contact"]["email"] == "ann@example.com"
    assert inspect.one(rows[0])["masked"] and inspect.one(rows[1])["masked"]


def test_no_token_of_a_hook_is_ever_shown(make_receiver, open_inspect):
    token = harness.token("contacts")
    receiver = make_receiver(hooks=f"  - {{name: contacts, events: [subscribe], label: 'see /hook/contacts/{token}'}}\n")
    inspect = open_inspect(receiver.config)
    body = f"type=subscribe&a={token}&b%5B{token}%5D=c&url=https%3A%2F%2Fh.example%2Fhook%2Fcontacts%2F{token}"
    c = http.client.HTTPConnection("127.0.0.1", receiver.port)
    c.request("POST", f"{receiver.path()}?k={token}", body)
    assert c.getresponse().status == 200
    c.close()
    [row] = inspect.rows()
    texts = [json.dumps(inspect.one(row)), json.dumps(inspect.one(row, "POST")),
             json.dumps(inspect.get("head")), json.dumps(inspect.get("deliveries"))]
    assert not [text for text in texts if token in text]
    assert "query" in inspect.one(row)["raw"]


def test_deliveries_with_a_text_and_after_a_number(receiver, inspect):
    for n in range(12):
        assert receiver.post(f"type=subscribe&contact[id]={n}&note=word{n}") == 200
    rows = inspect.rows(12)
    assert [row["subject"] for row in rows] == [f"contact/{n}" for n in reversed(range(12))]
    assert [row["n"] for row in rows] == list(range(rows[0]["n"], rows[0]["n"] - 12, -1))
    assert [row["subject"] for row in inspect.rows(1, text="WORD7")] == ["contact/7"]
    assert [row["subject"] for row in inspect.rows(3, text="contact/1")] == ["contact/11", "contact/10", "contact/1"]
    assert inspect.get("deliveries", text=rows[5]["ce_id"])["rows"] == [rows[5]]
    assert inspect.get("deliveries", text="nowhere")["rows"] == []
    assert inspect.get("deliveries", after=rows[2]["n"])["rows"] == rows[:2]
    for wrong in ({"after": "x"}, {"after": -1}, {"text": "x" * 300}):
        assert inspect.ask("/api/deliveries?" + urllib.parse.urlencode(wrong))[0] == 400


def test_a_delivery_is_found_by_its_id_alone(receiver, redis, open_inspect):
    for n in range(300):
        redis.client.xadd("{ac}:events", {"ce_id": f"{'0' * 32}-{n + 1:020}", "ce_recordedtime": "2020-01-01T00:00:00Z"})
    for n in range(40):
        assert receiver.post(f"type=subscribe&contact[id]={n}") == 200
    receiver.wait_shipped()
    ids = [entry["ce_id"].decode() for entry in redis.entries()][-40:]
    for n in range(2100):
        redis.client.xadd("{ac}:events", {"ce_id": f"{'f' * 32}-{n + 1:020}", "ce_recordedtime": "2099-01-01T00:00:00Z"})
    inspect = open_inspect(receiver.config)
    inspect.rows(100)
    for n in (0, 17, 39):
        assert not inspect.get("deliveries", text=ids[n])["rows"]  # it is older than what is held
        one = inspect.get("delivery", ce_id=ids[n])
        assert one["entry"], one["entry_why"]
        assert one["entry"]["fields"]["ce_subject"] == f"contact/{n}"
    status, _, body = inspect.ask(f"/api/delivery?ce_id={'a' * 32}-{7:020}")
    assert status == 404 and "another journal" in body
    for wrong in ("", "x", "../" * 10, ids[0].upper(), ids[0] + "0", ids[0][:-1], ids[0].replace("-", "_")):
        assert inspect.ask("/api/delivery?ce_id=" + urllib.parse.quote(wrong))[0] == 400


def test_dead_letters_are_shown_replayed_and_dropped(receiver, redis, inspect):
    assert receiver.post("contact[email]=ann%40example.com&a=%00") == 200
    assert receiver.post("") == 200
    rows = inspect.rows(2)
    assert [row["reason"] for row in rows] == ["empty", "nul"]
    letters = inspect.get("dead")["letters"]
    assert [letter["reason"] for letter in letters] == ["empty", "nul"]
    assert [letter["bytes"] for letter in letters] == [0, 38] and "raw" not in letters[1]
    one = inspect.one(rows[1])
    assert one["event"] is None and one["journey"]["reason"] == "nul"
    assert MASK in one["raw"]["body"] and "ann" not in json.dumps(one)

    status, _, body = inspect.ask("/api/dead/replay?" + urllib.parse.urlencode({"id": letters[1]["id"]}), "POST")
    assert status == 400 and "cannot be parsed" in body
    assert inspect.get("dead/drop", "POST", id=letters[0]["id"]) == {"done": True}
    assert [letter["id"] for letter in inspect.get("dead")["letters"]] == [letters[1]["id"]]

    good = {**redis.entries("{ac}:dead")[0], "raw": b"type=subscribe&contact[id]=7"}
    id_ = redis.client.xadd("{ac}:dead", good).decode()
    assert inspect.get("dead/replay", "POST", id=f"ac/{id_}") == {"done": True}
    [event] = redis.entries()
    assert event["ce_subject"] == b"contact/7" and "ce_replay" in event
    [(elsewhere, _)] = redis.client.xrange("{ac}:events")
    for wrong in ({"id": elsewhere}, {"id": b"ac/" + elsewhere}, {"id": f"other/{id_}"}, {"id": "--all"}, {"id": ""}, {}):
        assert inspect.ask("/api/dead/drop?" + urllib.parse.urlencode(wrong), "POST")[0] == 400
    assert len(redis.entries("{ac}:dead")) == 1


def test_the_newest_dead_letters_are_shown_and_all_are_counted(receiver, redis, inspect):
    for n in range(70):
        redis.client.xadd("{ac}:dead", {"ce_id": f"{'0' * 32}-{n + 1:020}", "hook": "contacts", "reason": "nul", "detail": str(n)})
    letters = inspect.get("dead")["letters"]
    assert [int(letter["detail"]) for letter in letters] == list(reversed(range(20, 70)))
    harness.wait_for("all of them", lambda: inspect.get("head")["stream_dead"] == 70)


def test_the_head_shows_how_it_goes_and_what_is_not_known(receiver, redis, inspect):
    redis.client.xgroup_create("{ac}:events", "shop", id="0", mkstream=True)
    assert receiver.post(FORM) == 200
    inspect.rows()
    head = harness.wait_for("the head", lambda: sum(filter(None, (h := inspect.get("head"))["rate"]["counts"])) == 1 and
                            h["streams"][0]["groups"][0]["lag"] == 1 and h["waiting"] == 0 and h)
    assert head["account"] == "acme" and head["redis_ok"] and head["journal_ok"]
    assert head["receiver_ok"] and head["journal_free_bytes"] > 0
    assert "worker" not in head
    assert head["streams"][0]["groups"] == [{"name": "shop", "last": "0-0", "consumers": 0, "pending": 0, "lag": 1}]
    assert len(head["rate"]["counts"]) == 120 and head["services"] == [] and head["stream_dead"] == 0

    redis.kill()
    head = harness.wait_for("Redis to be missed", lambda: not (h := inspect.get("head"))["redis_ok"] and
                            not h["receiver_ok"] and h)
    assert head["redis"] and head["stream_dead"] is None and head["streams"][0]["groups"] == []
    assert len(inspect.get("deliveries")["rows"]) == 1
    one = inspect.get("delivery", ce_id=inspect.get("deliveries")["rows"][0]["ce_id"])
    assert one["entry"] is None and one["entry_why"] and one["raw"]["body"] and one["journey"]["groups"] == []
    assert inspect.ask("/api/dead")[0] == 503


def test_hooks_and_commands(redis, make_worker, running, open_inspect):
    worker = make_worker(redis_port=redis.port, extra=SERVICES)
    running(worker)
    harness.wait_for("the hook's state", lambda: b"registered" in (redis.client.hget("{ac}:hooks", "contacts") or b""))
    redis.client.xadd("{ac}:results:crm", {"ce_id": "order-1", "ce_type": "com.activecampaign.result.Contact_updateContact",
                                           "outcome": "failed", "status": "422", "detail": "bob@example.com is taken"})
    redis.client.hset("{ac}:hooks", "gone", '{"state":"left"}')
    inspect = open_inspect(worker.config)
    hooks = inspect.get("head")
    assert "hooks_error" not in hooks and hooks["hooks_silent"] == 0 and hooks["hooks_left"] == 1
    contacts, gone = hooks["hooks"]
    assert contacts["wanted"] and contacts["state"] == "registered" and contacts["checked"]
    assert contacts["last_event"] == "" and contacts["events"] == ["subscribe"]
    assert (gone["name"], gone["wanted"], gone["state"]) == ("gone", False, "left")
    [crm] = inspect.get("head")["services"]
    assert crm["name"] == "crm" and crm["waiting"] == 0 and crm["allow"] == ["contacts"]
    [result] = crm["results"]
    assert result["ce_id"] == "order-1" and result["outcome"] == "failed" and result["ce_type"] == "com.activecampaign.result.Contact_updateContact"
    assert result["detail"] == f"{MASK} is taken"
    assert inspect.get("head")["worker_ok"]


SCRIPT = "</script><script>alert(1)</script>"


def test_what_an_attacker_chooses_stays_text(make_receiver, redis, open_inspect):
    receiver = make_receiver(hooks=f"  - {{name: contacts, events: [subscribe], label: '{SCRIPT}'}}\n")
    inspect = open_inspect(receiver.config)
    evil = urllib.parse.quote(SCRIPT + "\x1b[2J‮ \x9b")
    body = f"type=subscribe&contact[id]={evil}&contact[first_name]={evil}&tags[]={evil}&{evil}={evil}"
    assert receiver.post(body) == 200
    redis.client.xgroup_create("{ac}:events", SCRIPT, id="0", mkstream=True)
    [row] = inspect.rows()
    for path in ("head", "deliveries"):
        status, headers, text = inspect.ask(f"/api/{path}")
        assert status == 200 and headers["Content-Type"].startswith("application/json")
    one = inspect.one(row)
    assert [name for name, _ in one["form"]][4].startswith(SCRIPT)
    assert "\x1b" not in json.dumps(one["form"], ensure_ascii=False) and "‮" not in json.dumps(one["form"], ensure_ascii=False)
    assert one["journey"]["groups"][0]["name"] == SCRIPT


def test_the_rights_of_the_operator_suffice(make_receiver, redis, open_inspect):
    lines = (harness.ROOT / "deploy/redis/acrelay.acl").read_text().splitlines()
    [rules] = [line.split()[2:] for line in lines if line.startswith("user acrelay-operator ")]
    redis.client.execute_command("ACL", "SETUSER", "acrelay-operator", *[
        ">operator-password" if rule.startswith(">") else rule for rule in rules])
    receiver = make_receiver(extra=SERVICES)
    password = receiver.directory / "operator"
    password.write_text("operator-password\n")
    password.chmod(0o600)
    config = receiver.directory / "operator.yaml"
    config.write_text(receiver.config.read_text().replace(
        "redis: {", "redis: {user: acrelay-operator, password_file: operator, "))
    config.chmod(0o600)
    inspect = open_inspect(config)
    redis.client.xgroup_create("{ac}:events", "shop", id="0", mkstream=True)
    assert receiver.post(FORM) == 200
    assert receiver.post("") == 200
    rows = inspect.rows(2)
    redis.client.xreadgroup("shop", "shop-1", {"{ac}:events": ">"})
    assert inspect.one(rows[1])["journey"]["groups"][0]["consumer"] == "shop-1"
    assert inspect.get("dead")["letters"]
    assert inspect.get("dead/drop", "POST", id=rows[0]["entry"]) == {"done": True}
    assert "hooks_error" not in inspect.get("head")
    assert inspect.get("head")["services"][0]["waiting"] == 0
    head = inspect.get("head")
    assert head["redis_ok"] and head["commands_dead"] == 0
    # That there were no partitions before is asked of a key that the user may have no right to.
    assert {line["object"] for line in redis.client.acl_log()} <= {"{ac.0}:account"}
