"""The worker behind something that lies about ActiveCampaign: whatever it says, no webhook is made
twice, none of others is touched, and the worker says what happened."""
import http.client
import http.server
import json
import threading
import types

import pytest

from simulator import SOURCES, Worker, as_set, stanza, url, wanted
from test_worker import ours

PAGE = b"<!DOCTYPE html><html><title>Just a moment...</title></html>"


def json_bytes(value):
    return json.dumps(value).encode()


# What is said instead of an answer: status, body, more headers.
LIES = {
    "html": lambda status, body: (200, PAGE, {}),
    "no webhooks": lambda status, body: (200, b'{"webhooks":[],"meta":{"total":"0"}}', {}),
    "no webhooks, no total": lambda status, body: (200, b'{"webhooks":[]}', {}),
    "empty object": lambda status, body: (200, b"{}", {}),
    "nothing": lambda status, body: (200, b"", {}),
    "no content": lambda status, body: (204, b"", {}),
    "redirect": lambda status, body: (302, b"", {"Location": "http://127.0.0.1:1/"}),
    "cut": lambda status, body: (status, body[:len(body) // 2], {}),
    "cut by one": lambda status, body: (status, body[:-1], {}),
    "twice": lambda status, body: (status, body + body, {}),
    "429": lambda status, body: (429, b"", {}),
    "429 in the past": lambda status, body: (429, b"", {
        "Date": "Mon, 30 Nov 2026 10:00:00 GMT", "Retry-After": "Mon, 30 Nov 2020 10:00:00 GMT"}),
    "503 page": lambda status, body: (503, PAGE, {}),
    "503 text": lambda status, body: (503, b"backend fetch failed", {}),
    "404 text": lambda status, body: (404, b"404 page not found", {}),
    "403 page": lambda status, body: (403, PAGE, {}),
    "418": lambda status, body: (418, b"teapot", {}),
    "511": lambda status, body: (511, PAGE, {}),
}


class Liar(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self, body):
        upstream = http.client.HTTPConnection(self.server.sim.url.removeprefix("http://"))
        upstream.request(self.command, self.path, body, {
            name: value for name, value in self.headers.items() if name.lower() != "host"})
        answer = upstream.getresponse()
        text = answer.read()
        upstream.close()
        return answer.status, text, {name: value for name, value in answer.getheaders()
                                     if name.lower() in ("retry-after", "date")}

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lie = next((one for one in self.server.lies
                    if one.count and one.method == self.command and one.path in self.path), None)
        if lie and not lie.done:
            lie.count -= 1
            status, text, headers = lie.say(200, b'{"webhooks":[]}')
        else:
            status, text, headers = self.pass_on(body)
            if lie and status != 429:
                lie.count -= 1
                status, text, headers = lie.say(status, text)
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text if status != 204 else b"")

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def log_message(self, *words):
        pass


@pytest.fixture
def second():
    return 20


@pytest.fixture
def liar(sim):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    server.daemon_threads, server.sim, server.lies = True, sim, []
    server.url, server.second = f"http://127.0.0.1:{server.server_port}", sim.second
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def lie(method, say, count=1, done=True, path=""):
        server.lies.append(types.SimpleNamespace(method=method, say=LIES[say], count=count,
                                                 done=done, path=path))
    server.lie = lie
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def times(monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "worker_lag=5 worker_gone=600000 api-backoff=10 "
                       "worker_unclear=600000")


@pytest.mark.parametrize("lied_about", ["reads", "writes", "writes not done"])
@pytest.mark.parametrize("say", LIES)
def test_no_lie_makes_a_second_webhook_or_touches_one_of_others(sim, liar, redis, tmp_path, say,
                                                                lied_about):
    others = [sim.add("crm", "https://crm.example/in"), sim.add("n8n", "https://n8n.example/x")]
    before = sim.hooks()
    worker = Worker(tmp_path, liar, stanza("a") + stanza("b"), redis_port=redis.port,
                    worker=", prune: true")
    said = []

    def apply():
        said.append(worker.run("apply", code=None, seconds=60))
        made = [hook["url"] for hook in ours(sim)]
        assert len(made) == len(set(made)), said
        assert [hook for hook in sim.hooks() if hook["id"] in {o["id"] for o in others}] == before

    def lie_about(method, count, *hooks):
        liar.lie("GET" if lied_about == "reads" else method, say, count,
                 done=lied_about != "writes not done")
        apply()
        liar.lies.clear()
        if method == "POST":  # what was accepted and is shown nowhere is waited for
            redis.client.delete("{ac}:hooks")
        apply()
        assert sorted(map(as_set, ours(sim))) == sorted(hooks), said

    text = worker.config.read_text()
    lie_about("POST", 2, wanted("a"), wanted("b"))
    text = text.replace("[subscribe]", "[sent]")
    worker.config.write_text(text)
    lie_about("PUT", 1, wanted("a", ["sent"]), wanted("b", ["sent"]))
    worker.config.write_text(text.replace(stanza("b", "[sent]"), ""))
    lie_about("DELETE", 1, wanted("a", ["sent"]))


# After these nothing was carried out.
REFUSALS = {"redirect", "429", "429 in the past", "404 text", "403 page", "418"}


@pytest.mark.parametrize("say", [say for say in LIES if say not in REFUSALS])
def test_what_was_created_behind_a_lie_is_not_created_again_while_lists_are_late(
        sim, liar, redis, tmp_path, say):
    sim.switch(lag_ms=10 ** 9, lag_get=1)
    worker = Worker(tmp_path, liar, stanza("a"), redis_port=redis.port)
    liar.lie("POST", say)
    said = [worker.run("apply", code=None, seconds=60) for _ in range(2)]
    print("\n".join(said))
    assert len(ours(sim)) == 1, said


@pytest.mark.parametrize("done", [False, True])
def test_a_creation_that_was_accepted_without_an_id_and_is_shown_nowhere_is_repeated_once(
        sim, liar, redis, tmp_path, monkeypatch, done):
    """As one with an id is: AC is known to lose what it answers 200 to, without a body."""
    sim.switch(lag_ms=10 ** 9 if done else 0, lag_get=1)
    worker = Worker(tmp_path, liar, stanza("a"), redis_port=redis.port)
    liar.lie("POST", "nothing", 2 if done else 1, done=done)
    worker.run("apply", code=2)
    assert len(ours(sim)) == done
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "worker_lag=5 worker_gone=1")
    worker.run("apply", code=None)
    assert len(ours(sim)) == 1 + done
    worker.run("apply", code=2 if done else 0)
    assert len(ours(sim)) == 1 + done


def add_rows(*rows):
    """A list with rows that other accounts, or other times, have under these ids."""
    def say(status, body):
        value = json.loads(body)
        if "webhooks" in value:
            known = {row["id"] for row in rows}
            value["webhooks"] = [hook for hook in value["webhooks"] if hook["id"] not in known]
            value["webhooks"] += rows
            value["meta"]["total"] = str(len(value["webhooks"]))
        return status, json_bytes(value), {}
    return say


@pytest.mark.parametrize("prune", [False, True])
def test_rows_of_another_account_lead_to_no_write_on_a_stranger(sim, liar, redis, tmp_path, prune):
    """One has our URL and no webhook, one our URL and a stranger's id, one is a twin of ours."""
    other = sim.add("crm", "https://crm.example/in")
    before = sim.hooks()
    worker = Worker(tmp_path, liar, stanza("a") + stanza("b"), redis_port=redis.port,
                    worker=f", prune: {str(prune).lower()}")
    row = {**other, "name": "acrelay b", "events": ["sent"], "sources": SOURCES, "listid": "0"}
    LIES["rows"] = add_rows({**row, "id": "9001", "url": url("a"), "name": "acrelay a"},
                            {**row, "url": url("b")},
                            {**row, "id": "9002", "url": url("gone")})
    said = []
    for count in (1000, 0):
        liar.lie("GET", "rows", count, path="webhooks?")
        said.append(worker.run("apply", code=None, seconds=60))
        if count:
            liar.lies.clear()
        assert [hook for hook in sim.hooks() if hook["id"] == other["id"]] == before, said
        print(said[-1])
    assert sorted(map(as_set, ours(sim))) == sorted([wanted("a"), wanted("b")]), said


def test_a_retry_after_of_a_year_ends_a_command_and_says_so(sim, liar, redis, tmp_path):
    worker = Worker(tmp_path, liar, stanza("a"), redis_port=redis.port)
    LIES["year"] = lambda status, body: (429, b"", {"Retry-After": str(365 * 86400)})
    liar.lie("POST", "year", done=False)
    said = worker.run("apply", code=69, seconds=60)
    assert "answers 429" in said and "15 min" in said and not ours(sim)
