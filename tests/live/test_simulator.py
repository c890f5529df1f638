"""The simulator does what ActiveCampaign's documents say, quirks included: what is tried on
it is worth as much as it is true."""
import http.client
import urllib.error

import pytest
from simulator import Simulator


@pytest.fixture
def second():
    return 1000


@pytest.fixture
def sim(sim):
    sim.switch(limit=0)
    return sim


HOOK = {"name": "My Hook", "url": "https://x.example/my-hook",
        "events": ["subscribe", "unsubscribe", "sent"], "sources": ["public", "system"]}


def test_a_hook_is_made_shown_changed_and_deleted(sim):
    status, _, made = sim.api("POST", "/webhooks", {"webhook": HOOK})
    assert status == 201 and made["webhook"]["id"] == "1"
    assert made["webhook"] == {**HOOK, "id": "1", "listid": "0", "links": [],
                               "cdate": made["webhook"]["cdate"]}
    assert sim.api("GET", "/webhooks/1")[2] == made
    status, _, changed = sim.api("PUT", "/webhooks/1", {"webhook": {**HOOK, "listid": 3}})
    assert status == 200 and changed["webhook"]["listid"] == "3"
    assert sim.api("DELETE", "/webhooks/1")[:1] == (200,)
    status, _, gone = sim.api("GET", "/webhooks/1")
    assert status == 404 and gone["message"] == "No Result found for Webhook with id 1"
    sim.switch(absent_403=1)
    assert sim.api("DELETE", "/webhooks/1")[0] == 403


def test_a_put_without_a_field_empties_or_leaves_it(sim):
    sim.api("POST", "/webhooks", {"webhook": HOOK})
    sim.switch(put_partial=1)
    assert sim.api("PUT", "/webhooks/1", {"webhook": {"name": "b"}})[2]["webhook"]["url"]
    sim.switch(put_partial=0)
    assert sim.api("PUT", "/webhooks/1", {"webhook": {"name": "b"}})[2]["webhook"]["url"] == ""


def test_pages_have_20_or_at_most_100_and_a_total(sim):
    for i in range(130):
        sim.add(f"h{i}", f"https://x.example/{i}")
    page = sim.api("GET", "/webhooks")[2]
    assert len(page["webhooks"]) == 20 and page["meta"]["total"] == "130"
    sim.switch(total_number=1)
    page = sim.api("GET", "/webhooks?limit=1000")[2]
    assert len(page["webhooks"]) == 100 and page["meta"]["total"] == 130
    assert len(sim.api("GET", "/webhooks?limit=100&offset=100")[2]["webhooks"]) == 30
    sim.switch(repeat=1)
    assert len(sim.api("GET", "/webhooks?limit=100&offset=100")[2]["webhooks"]) == 31
    found = sim.api("GET", "/webhooks?filters[name]=h12&limit=100")[2]["webhooks"]
    assert {hook["name"] for hook in found} == {"h12", *(f"h12{i}" for i in range(10))}


def test_a_missing_field_and_a_wrong_token_are_refused(sim):
    status, _, body = sim.api("POST", "/webhooks", {"webhook": {**HOOK, "events": []}})
    assert status == 422
    assert body["errors"][0]["source"]["pointer"] == "/data/attributes/events"
    assert sim.api("GET", "/webhooks", token="wrong")[0] == 403
    sim.switch(forbid=1)
    assert sim.api("GET", "/webhooks")[0] == 403
    assert sim.api("GET", "/users/me")[0] == 200


def test_events_are_25_and_their_total_is_a_number(sim):
    events = sim.api("GET", "/webhook/events")[2]
    assert len(events["webhookEvents"]) == events["meta"]["total"] == 25


@pytest.mark.parametrize("busy, code", [(0, 429), (1, 503)])
def test_more_than_the_limit_is_told_to_wait(tmp_path, busy, code):
    sim = Simulator(tmp_path)
    try:
        sim.switch(limit_503=busy)
        answers = [sim.api("GET", "/users/me") for _ in range(6)]
        assert [a[0] for a in answers] == [200] * 5 + [code]
        assert answers[5][1]["Retry-After"] == "1"
        assert [a[1]["RateLimit-Remaining"] for a in answers] == ["4", "3", "2", "1", "0", "0"]
        assert sim.figures()["throttled"] == 1
    finally:
        sim.stop()


def test_faults_come_as_often_as_they_were_asked_for(sim):
    sim.switch(cut_before=1)
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, OSError)):
        sim.api("POST", "/webhooks", {"webhook": HOOK})
    assert sim.hooks() == []
    sim.switch(cut_after=1)
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, OSError)):
        sim.api("POST", "/webhooks", {"webhook": HOOK})
    assert len(sim.hooks()) == 1
    sim.switch(truncate=1)
    with pytest.raises(http.client.IncompleteRead):
        sim.api("GET", "/webhooks")
    sim.switch(html=1)
    assert "<html>" in sim.api("GET", "/webhooks")[2]
    sim.switch(empty_400=1)
    assert sim.api("GET", "/webhooks")[::2] == (400, {})
    assert sim.api("GET", "/webhooks")[0] == 200


def test_events_go_once_to_the_hooks_that_ask_for_them(tmp_path, receiver, redis):
    sim = Simulator(tmp_path, deliver_to=receiver.port)
    try:
        url = f"https://hooks.acme.example{receiver.path()}"
        sim.add("a", url, ["subscribe"], ["public"], 0)
        sim.add("b", url, ["subscribe"], ["public"], 3)
        sim.add("c", url, ["sent"], ["system"], 0)
        assert sim.fire("subscribe", source="public", list=4) == 1
        assert sim.fire("subscribe", source="public", list=3) == 2
        assert sim.fire("subscribe", source="api") == 0
        assert sim.fire("sent", source="system", double=1000) == 2
        receiver.wait_shipped()
        entries = redis.entries()
        assert len(entries) == 5
        assert [e["ce_repeat"] for e in entries] == [b"0", b"0", b"1", b"0", b"1"]
        assert sim.figures()["ok"] == 5
    finally:
        sim.stop()


def test_410_switches_a_hook_off_for_good_and_nothing_shows_it(tmp_path):
    import http.server
    import threading

    class Gone(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(410)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Gone)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sim = Simulator(tmp_path, deliver_to=server.server_port)
    try:
        sim.add("a", "https://x.example/hook", ["open"], ["public"])
        assert sim.fire("open") == 1
        assert sim.fire("open") == 0
        shown = sim.api("GET", "/webhooks/1")[2]["webhook"]
        assert "dead" not in shown and sim.hooks()[0]["dead"]
        sim.api("PUT", "/webhooks/1", {"webhook": shown})
        assert sim.fire("open") == 0, "only a new hook fires again"
    finally:
        sim.stop()
        server.shutdown()


def test_a_receiver_that_refuses_the_connection_is_an_event_lost(sim):
    sim.add("a", "https://x.example/hook", ["open"], ["public"])
    assert sim.fire("open") == 1
    assert sim.figures()["other"] == 1


def test_what_is_stored_in_other_words_is_shown_so(sim):
    sim.switch(entities=1, lower_host=1, drop_port=1, add_slash=1, drop_sms=1, drop_list=1)
    made = sim.api("POST", "/webhooks", {"webhook": {
        "name": "A & B", "url": "https://Hooks.example:443/Path", "events": ["sent", "sms_sent"],
        "sources": ["api"], "listid": 3}})[2]["webhook"]
    assert (made["name"], made["url"], made["events"], made["listid"]) == (
        "A &amp; B", "https://hooks.example/Path/", ["sent"], "0")
    assert sim.api("GET", "/webhooks")[2]["webhooks"] == [made]


def test_lists_lag_lose_shift_and_hold_oddities(sim):
    sim.switch(lag_ms=600000)
    made = [sim.add(f"h{i}", f"https://x.example/{i}") for i in range(4)]

    def listed(path="/webhooks"):
        page = sim.api("GET", path)[2]
        return [row and row["id"] for row in page["webhooks"]], page["meta"].get("total")

    assert listed() == ([], "0") and sim.api("GET", "/webhooks/1")[0] == 200
    sim.switch(lag_get=1)
    assert sim.api("GET", "/webhooks/1")[0] == 404
    sim.switch(lag_ms=0, empty_list=1)
    assert listed() == ([], "0") and listed() == (["1", "2", "3", "4"], "4")
    sim.switch(lose_rows=1, no_total=1)
    assert listed() == (["2", "4"], None)
    sim.switch(no_total=0, page_max=2, double_rows=1)
    assert listed() == (["1", "1"], "4")
    sim.switch(double_rows=0, shift=1)
    assert listed() == (["1", "2"], "4")
    assert listed("/webhooks?offset=2") == (["4", "5"], "4"), "nobody saw 3"
    sim.switch(page_max=0)
    sim.odd(None, {"id": None})
    assert listed() == ([None, None, "2", "3", "4", "5"], "6") and made
