"""The worker's requests on the wire, where a server does what AC's should not."""
import http.server
import json
import threading
import time
import types

import pytest

from simulator import TOKEN, Worker, stanza


class Api(http.server.BaseHTTPRequestHandler):
    """Keeps connections alive, and closes one on which a second request is a POST."""
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.requests = 0

    def answer(self, code, value, **headers):
        text = json.dumps(value).encode()
        self.send_response(code)
        for name, said in headers.items():
            self.send_header(name.replace("_", "-"), said)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.requests += 1
        self.server.times.append(time.monotonic())
        if self.server.refusals:
            self.answer(self.server.refusals.pop(), {}, Retry_After="1")
        else:
            hooks = self.server.hooks
            self.answer(200, {"webhooks": hooks, "meta": {"total": str(len(hooks))}})

    def do_POST(self):
        self.requests += 1
        hook = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["webhook"]
        self.server.posts += 1
        self.server.hooks.append({**hook, "id": str(self.server.posts)})
        if self.requests > 1:
            self.close_connection = True  # carried out, and no word of it
        else:
            self.answer(201, {"webhook": self.server.hooks[-1]})

    def do_DELETE(self):
        gone = self.path.rpartition("/")[2]
        self.server.hooks = [h for h in self.server.hooks if h["id"] != gone]
        self.answer(200, {})

    def log_message(self, *words):
        pass


@pytest.fixture
def api():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    server.hooks, server.times, server.refusals, server.posts = [], [], [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def worker(tmp_path, api):
    (tmp_path / "api-token").write_text(TOKEN + "\n")
    (tmp_path / "api-token").chmod(0o600)
    place = types.SimpleNamespace(url=f"http://127.0.0.1:{api.server_port}", second=1000)
    return Worker(tmp_path, place, stanza("contacts"))


def test_a_post_is_sent_once_although_its_connection_may_be_closed(api, worker):
    """libcurl itself repeats what gets no answer on a connection it has used before."""
    assert worker.apply(seconds=30) == (1, 0, 0)
    assert api.posts == 1


def test_an_error_with_retry_after_is_not_repeated_at_full_rate(api, worker):
    api.refusals = [502] * 3
    worker.run("plan", seconds=30)
    assert api.times[3] - api.times[0] > 1.5  # at the rate alone: 0.6 s
