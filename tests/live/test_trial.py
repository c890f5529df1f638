"""acrelay send --public, which setup uses too: from the public name to the test hook's stream."""
import http.client
import http.server
import json
import subprocess
import threading

import harness
import pytest


@pytest.fixture
def send(receiver):
    """With a public_url of one's own."""
    def run(public_url, code=0):
        config = receiver.directory / "public.yaml"
        config.write_text(receiver.config.read_text().replace(
            "https://hooks.acme.example", public_url))
        done = subprocess.run([harness.BUILD / "acrelay", "send", "--public", "--config", config],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        assert "/hook/" not in done.stdout + done.stderr.replace("not pass /hook/ on", "")
        return (done.stdout + harness.without_progress(done.stderr)).splitlines()[-1]
    return run


@pytest.fixture
def stranger():
    """Another server, which answers every post so."""
    class Handler(http.server.BaseHTTPRequestHandler):
        status = 200

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    yield Handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_sample_takes_the_whole_way_each_time(send, receiver, redis):
    for n in (1, 2):
        said = send(f"http://127.0.0.1:{receiver.port}")
        entries = redis.client.xrange("{ac}:acrelay-test")
        assert len(entries) == n and f"is entry {entries[-1][0].decode()} of" in said
    assert redis.entries() == []
    assert json.loads(entries[-1][1][b"data"])["type"] == "subscribe"


def test_a_sample_is_found_after_those_of_others(send, stranger, receiver, redis):
    def do_POST(self):  # a proxy
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for n in range(90):  # more than two pages
            redis.client.xadd("{ac}:acrelay-test", {"query": "another's"})
        passed_on = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        passed_on.request("POST", self.path, body, {"Content-Type": self.headers["Content-Type"]})
        self.send_response(passed_on.getresponse().status)
        passed_on.close()
        self.end_headers()

    handler, url = stranger
    handler.do_POST = do_POST
    said = send(url)
    [*others, (entry, _)] = redis.client.xrange("{ac}:acrelay-test")
    assert len(others) == 90 and f"is entry {entry.decode()} of" in said


@pytest.mark.parametrize("status, sentence", [
    (404, "answers 404: it leads to another machine, or the proxy does not pass /hook/ on"),
    (502, "answers 502: see the proxy's log"),
    (301, "answers 301: see the proxy's log"),
])
def test_an_answer_that_is_not_the_receivers_is_explained(send, stranger, status, sentence):
    handler, url = stranger
    handler.status = status
    assert sentence in send(url, code=69)


def test_an_answer_alone_is_not_believed(send, stranger, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "trial-shipped=500")
    assert "but the sample is not in {ac}:acrelay-test" in send(stranger[1], code=69)


def test_nobody_there_is_said_at_once(send):
    assert "check DNS, the firewall and the proxy" in send(
        f"http://127.0.0.1:{harness.free_port()}", code=69)
