"""`acrelay inspect` as a person uses it, in a browser, before a real receiver, Redis, worker,
consumers and the simulated account. A picture of each state goes to build/screens."""
import http.client
import json
import pathlib
import random
import re
import subprocess
import threading
import time
import types

import harness
import page as browser
import pytest
import simulator

pytestmark = pytest.mark.skipif(not browser.is_installed(), reason=(
    "chromium, chromium-driver and python3-selenium are not installed: tests/packages.sh"))

AXE = harness.ROOT / "build/axe/node_modules/axe-core/axe.min.js"
ENTER, ESCAPE, TAB, DOWN, UP = "\ue007", "\ue00c", "\ue004", "\ue015", "\ue013"
HOOKS = ("  - {name: contacts, events: [subscribe, update]}\n"
         "  - {name: deals, events: [deal_add]}\n")
SERVICES = "commands: {services: [{name: crm, allow: [contacts]}]}\n"
HACK = "<img src=x onerror=hacked()><script>hacked()</script>\"'><svg/onload=hacked()>"
MASK = "•••"


class Inspect:
    """`acrelay inspect`, which prints its address with a token."""

    def __init__(self, config, port):
        self.process = subprocess.Popen(
            [harness.BUILD / "acrelay", "inspect", "--config", config,
             "--listen", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]
        self.place, self.token = self.address.split("#token=")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("page")
    redis = harness.Redis()
    sim = simulator.Simulator(directory)
    worker = simulator.Worker(directory, sim, HOOKS, redis.port, extra=SERVICES)
    receiver = harness.Receiver(directory, redis.port, HOOKS, SERVICES
                                + f"worker: {{admin: '127.0.0.1:{worker.admin}'}}\n")
    running = worker.start(directory / "worker.log")
    port = harness.free_port()
    made = types.SimpleNamespace(redis=redis, sim=sim, worker=worker, receiver=receiver, port=port,
                                 streams=redis.client, figures={})
    made.inspect = Inspect(receiver.config, port)
    yield made
    made.inspect.stop()
    for process in (running, receiver.process):
        process.kill()
        process.wait()
    sim.stop()
    redis.__exit__()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    page = browser.Page(tmp_path_factory.mktemp("chromium"))
    yield page
    page.close()


@pytest.fixture
def page(world, chromium):
    """The page newly opened; whatever the test did, its console has no error at the end."""
    chromium.size(*browser.WIDE)
    chromium.prefer("light")
    chromium.expected = []  # what the console may say of requests that are meant to fail
    chromium.open("about:blank")
    chromium.open(world.inspect.address)
    chromium.wait("the page", lambda: "acme" in chromium.text("#place"))
    yield chromium
    chromium.read_logs()
    errors, chromium.console = chromium.console, []
    assert [e for e in errors if not any(word in e["message"] for word in chromium.expected)] == []


def post(world, body, hook="contacts", **headers):
    assert world.receiver.post(body, hook, **headers) == 200


def some(world, page, more=""):
    """Some deliveries; the last is contact/30's, with personal data."""
    for n in range(24, 31):
        post(world, f"type=subscribe&contact[id]={n}&contact[email]=ann{n}%40example.com&contact[first_name]=Ann"
             f"&contact[tags]=newsletter%2C+spring-fair&contact[fields][12]=Chicago{more}")
    page.wait("the last", lambda: subjects(page)[:1] == ["contact/30"])


def subjects(page):
    return [row["subject"] for row in page.rows()]


def open_newest(page, text):
    page.click("#list [role=option]", text)
    page.wait_for("In the stream", "#detail")


# --- the list ----------------------------------------------------------------------------

def test_events_appear_by_themselves_newest_first(world, page):
    page.wait_for("No delivery yet")
    assert page.run("return location.href") == world.inspect.place, "the token is in the address"
    assert page.find("#commands") is None and page.find("[data-view=commands]") is not None
    post(world, "type=subscribe&contact[id]=1")
    started = time.monotonic()
    page.wait("the first", lambda: subjects(page) == ["contact/1"])
    world.figures["first event, seconds"] = round(time.monotonic() - started, 2)
    for n in range(2, 9):
        post(world, f"type=update&contact[id]={n}")
    post(world, "type=deal_add&deal[id]=9", "deals")
    page.wait("all", lambda: subjects(page)[:1] == ["deal/9"] and len(subjects(page)) == 9)
    page.wait_for("Worker", "#parts .good")
    page.picture("list")


def test_the_columns_have_headings_and_a_duplicate_is_called_one(world, page):
    for _ in range(2):
        post(world, "type=update&contact[id]=4711&contact[note]=twice")
    page.wait("both", lambda: subjects(page)[:2] == ["contact/4711"] * 2)
    page.wait("its mark", lambda: [row["type"] for row in page.rows()[:2]] == ["updateduplicate", "update"])
    some(world, page)
    page.size(1280, 400)
    page.wait("a scrollbar", lambda: page.run("const l = document.getElementById('list'); return l.scrollHeight > l.clientHeight"))
    headings = page.run("return [...document.querySelectorAll('.columns span')].map(e => e.getBoundingClientRect().left)")
    cells = page.run("return [...document.querySelector('#list [role=option]').children].map(e => e.getBoundingClientRect().left)")
    assert headings == cells and page.text(".columns").endswith("Read by")


def test_filters_by_type_hook_subject_and_text(world, page):
    def choose(name, value):
        page.wait(value, lambda: page.find(f"#filter-{name} option[value='{value}']") or page.run(
            f"return document.querySelector('#filter-{name} option[value=\"{value}\"]')"))
        page.run(f"const s = document.getElementById('filter-{name}'); s.value = '{value}';"
                 "s.dispatchEvent(new Event('input', { bubbles: true }))")

    def shows(*wanted):
        page.wait(wanted, lambda: subjects(page) == list(wanted))

    post(world, "type=reply&contact[id]=61")
    post(world, "type=share&deal[id]=6&contact[id]=62", "deals")
    post(world, "type=bounce&contact[id]=63&bounce[description]=Mailbox+Unheard-of")
    choose("type", "reply")
    shows("contact/61")
    page.press(ESCAPE)
    choose("hook", "deals")
    choose("type", "share")
    shows("contact/62")
    page.press(ESCAPE, "/", *"unheard-OF")
    shows("contact/63")
    page.picture("filter")
    page.press(ESCAPE, ESCAPE)
    page.type("#filter-subject", "contact/61")
    shows("contact/61")
    page.type("#filter-subject", "nobody/1")
    page.wait_for("Nothing matches the filter")


def test_a_pause_counts_what_comes_and_shows_it_when_it_ends(world, page):
    some(world, page)
    page.press("p")
    post(world, "type=update&contact[id]=10")
    post(world, "type=update&contact[id]=11")
    page.wait_for("2 new")
    assert "contact/11" not in subjects(page)
    page.picture("paused")
    page.press("p")
    page.wait("both", lambda: subjects(page)[:2] == ["contact/11", "contact/10"])


# --- one delivery ------------------------------------------------------------------------

def test_a_delivery_is_masked_until_its_data_is_asked_for(world, page):
    for n in (20, 21):
        post(world, f"type=update&contact[id]={n}&contact[email]=ann{n}%40example.com"
             f"&contact[phone]=%2B1+312+555+01{n}&contact[first_name]=Ann&orgname=O%27Hara")
    page.wait("it", lambda: "contact/21" in subjects(page))
    open_newest(page, "contact/21")
    page.wait_for("Ann", "#detail")
    entry = world.redis.entries()[-1]
    page.click("#detail summary", "Stream entry")
    page.click("#detail summary", "Body, as received")
    page.wait_for(entry["ce_id"].decode(), "#detail")
    shown = page.text("#detail") + page.run("return document.documentElement.outerHTML")
    for text in ("ann21@", "ann21%40", "555 01", "555+01"):  # 555 alone may stand in an id
        assert text not in shown
    assert MASK in page.text("#detail") and "com.activecampaign.update" in page.text("#detail")
    page.picture("delivery-masked")
    page.click("#detail .masked")
    page.wait_for('"ann21@example.com"', "#detail")
    page.wait_for("ann21%40example.com", "#detail")
    page.picture("delivery-revealed")
    time_of = page.run("return document.querySelector('#detail .journey li span').textContent")
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}$", time_of)
    open_newest(page, "contact/20")
    page.wait_for("contact/20", "#detail")
    page.wait_for(MASK, "#detail")
    assert "ann20@" not in page.text("#detail"), "another delivery stays masked"


def test_it_is_copied_as_commands_that_work_and_without_a_token(world, page, tmp_path):
    some(world, page)
    page.run("window.copied = [];"
             "addEventListener('copy', event => copied.push(event.clipboardData.getData('text/plain')))")
    open_newest(page, "contact/30")
    page.press("r")
    page.wait_for("ann30@example.com", "#detail")
    for name in ("Copy as curl", "Copy as acrelay send", "Copy link"):
        page.click("#detail button", name)
    page.wait("three", lambda: page.run("return copied.length") == 3)
    curl, send, link = page.run("return copied")
    assert harness.token("contacts") not in curl + send and world.inspect.token not in curl + send + link
    words = {"ACRELAY_CONFIG": str(world.receiver.config), "PATH": f"{harness.BUILD}:/usr/bin:/bin"}
    posts = world.redis.entries()
    # public_url is none that answers here: the same words to the receiver itself
    curl = curl.replace('"$HOOK_URL"', f'"http://127.0.0.1:{world.receiver.port}${{HOOK_URL#https://*.example}}"')
    for command in (curl, send + f" --url http://127.0.0.1:{world.receiver.port}{world.receiver.path()}"):
        subprocess.run(["sh", "-ec", command], env=words, check=True, capture_output=True, timeout=30)
    entries = harness.wait_for("both", lambda: world.redis.entries()[len(posts):][1:] and world.redis.entries()[-2:])
    original = posts[-1]
    assert [e["data"] for e in entries] == [original["data"]] * 2
    page.open("about:blank")
    page.open(link)
    page.wait_for("contact/30", "#detail h2 + p")


def test_a_query_is_copied_too_or_nothing_is(world, page):
    """acrelay send has no place for one."""
    client = http.client.HTTPConnection("127.0.0.1", world.receiver.port, timeout=30)
    client.request("POST", world.receiver.path() + "?from=shop", "type=subscribe&contact[id]=32",
                   {"Content-Type": "application/x-www-form-urlencoded"})
    assert client.getresponse().read() == b"ok"
    page.wait("it", lambda: "contact/32" in subjects(page))
    open_newest(page, "contact/32")
    page.wait_for("Copy as curl", "#detail")
    assert "Copy as acrelay send" not in page.text("#detail")
    page.run("window.copied = [];"
             "addEventListener('copy', event => copied.push(event.clipboardData.getData('text/plain')))")
    page.press("r")
    page.click("#detail button", "Copy as curl")
    page.wait("it", lambda: page.run("return copied.length") == 1)
    assert page.run("return copied[0]").endswith("\"$HOOK_URL\"'?from=shop'")


def test_the_journey_grows_as_a_consumer_reads_and_acknowledges(world, page):
    streams = world.streams
    streams.xgroup_create("{ac}:events", "shop", id="$")
    streams.xgroup_create("{ac}:events", "billing", id="0")
    post(world, "type=subscribe&contact[id]=31")
    page.wait("it", lambda: "contact/31" in subjects(page))
    open_newest(page, "contact/31")
    page.wait_for("0 of 2 groups", "#detail .journey")
    page.picture("journey-1-in-the-stream")
    done = lambda: page.run("return document.querySelectorAll('.journey .done').length")  # noqa: E731
    assert done() == 3
    [[_, [(entry, _)]]] = streams.xreadgroup("shop", "shop-1", {"{ac}:events": ">"}, count=1)
    page.wait_for("with shop-1 for", "#detail")
    page.picture("journey-2-read-by-one")
    streams.xack("{ac}:events", "shop", entry)
    page.wait_for("1 of 2 groups", "#detail .journey li:last-child")
    [[_, entries]] = streams.xreadgroup("billing", "b", {"{ac}:events": ">"}, count=1000)
    page.wait("both have read", lambda: done() == 4)
    streams.xack("{ac}:events", "billing", *[entry for entry, _ in entries])
    page.wait("the end of the way", lambda: done() == 5, 15)
    page.wait_for("its position is past this entry", "#detail")
    page.picture("journey-3-acknowledged")
    page.wait_for("up to date", "#numbers")


# --- the other views ---------------------------------------------------------------------

def test_a_dead_letter_is_seen_replayed_and_dropped(world, page):
    post(world, "a=1&b=%00")
    post(world, "type=subscribe&contact[id]=40", **{"Content-Type": "multipart/mixed"})
    page.wait_for("2", "#dead-count")
    page.press("2")
    page.wait_for("a NUL", "#dead-list")
    assert "not known" not in page.text("#dead-list"), "each has its time"
    page.picture("dead")
    page.click("#dead-list li button", "Show its bytes")
    page.wait_for("Dead letter", "#detail")
    assert page.find("#detail details[open] summary", "Body, as received")
    page.press("r")
    page.wait_for("contact[id]=40", "#detail")
    page.picture("dead-letter")
    page.press(ESCAPE)
    # Once the cause is fixed: here by hand, as if the proxy had got the type wrong.
    [(key, fields)] = world.streams.xrevrange("{ac}:dead", count=1)
    fields[b"content-type"] = b"application/x-www-form-urlencoded"
    world.streams.xadd("{ac}:dead", fields)
    world.streams.xdel("{ac}:dead", key)  # after it: the one below has the same type
    page.wait_for("application/x-www-form-urlencoded", "#dead-list li:first-child")
    page.click("#dead-list li:first-child button", "Replay")
    page.wait_for("Replay this dead letter?")
    page.picture("confirm")
    page.click("#confirm-yes")
    page.wait_for("Replayed", "#said")
    assert world.redis.entries()[-1]["ce_subject"] == b"contact/40"
    page.wait("one letter", lambda: page.run("return document.querySelectorAll('#dead-list li').length") == 1)
    page.click("#dead-list button", "Drop")
    page.click("#confirm button", "Keep it")
    assert world.streams.xlen("{ac}:dead") == 1
    page.click("#dead-list button", "Show its bytes")
    page.click("#detail button", "Drop")
    page.click("#confirm-yes")
    page.wait("closed", lambda: page.find("#detail") is None)
    page.wait("none", lambda: page.text("#dead-list") == "No dead letters." and not page.text("#dead-count"))
    assert page.text("#dead-note") == "" and page.run("return location.hash") == "#dead"
    assert world.streams.xlen("{ac}:dead") == 0


def test_a_letter_that_stays_unreadable_says_why(world, page):
    page.expected = ["api/dead/replay"]
    world.streams.delete("{ac}:dead")
    post(world, "c=%00")
    page.press("2")
    page.click("#dead-list button", "Replay")
    page.click("#confirm-yes")
    page.wait("a reason", lambda: "nul" in page.text("#said").lower())
    page.click("#dead-list button", "Drop")
    page.click("#confirm-yes")
    page.wait_for("No dead letters")


def test_more_dead_letters_than_are_shown_are_counted(world, page):
    for n in range(51):
        world.streams.xadd("{ac}:dead", {"ce_id": "x", "hook": "contacts", "reason": "nul", "detail": str(n)})
    page.press("2")
    page.wait_for("The newest 50 of 51", "#dead-note")
    world.streams.delete("{ac}:dead")
    page.wait_for("No dead letters")


def test_hooks_are_shown_as_wanted_and_found(world, page):
    harness.wait_for("the hooks at the account", lambda: len(world.sim.hooks()) == 2)
    post(world, "type=subscribe&contact[id]=1")
    page.press("3")
    page.wait("both registered", lambda: page.run(
        "return document.querySelectorAll('#hook-table .good').length") == 2)
    page.wait_for("ago", "#hook-table")
    world.streams.hset("{ac}:hooks", "old", '{"state":"left"}')
    page.wait_for("not in the file", "#hook-table")
    page.picture("hooks")
    world.streams.hdel("{ac}:hooks", "old")


def test_commands_wait_and_have_results(world, page):
    world.streams.xadd("{ac}:commands:crm", {
        "ce_specversion": "1.0", "ce_source": "test", "ce_id": "one", "ce_subject": "contacts/1",
        "ce_type": "com.activecampaign.command.Contact_updateContact",
        "content-type": "application/json", "data": '{"contact":{"firstName":"Ann"}}'})
    page.press("4")
    page.wait_for("contacts/1", "#result-table")
    page.wait_for("crm", "#service-table")
    assert "not known" not in page.text("#result-table"), "each has its time"
    page.picture("commands")


# --- how it is used ----------------------------------------------------------------------

def test_everything_goes_by_keyboard(world, page):
    some(world, page)
    assert page.text("#pause") == "Pause"
    page.press("j", "j", DOWN, UP)
    page.wait_for("Resume", "#pause")
    rows = page.rows()
    page.wait("the second", lambda: page.text("[aria-selected=true]") and rows[1]["subject"] in page.text("[aria-selected=true]"))
    page.press(ENTER)
    page.wait_for(rows[1]["subject"], "#detail")
    page.press("j")
    page.wait_for(rows[2]["subject"], "#detail")
    page.press(ESCAPE)
    page.wait("closed", lambda: page.find("#detail") is None)
    page.press("?")
    page.wait_for("Keys", "#help")
    assert page.text("#keys").endswith("commands\n?\nthis help")
    page.picture("help")
    page.press(ESCAPE, "2")
    page.wait("dead letters", lambda: page.find("#dead-title"))
    page.press("1", "/", "x")
    assert page.run("return document.activeElement.value") == "x"
    page.press(ESCAPE)
    seen = set()
    for _ in range(16):
        page.press(TAB)
        seen.add(page.run("const e = document.activeElement; return e.id || e.textContent.trim()"))
        width = page.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert page.run("return document.activeElement === document.body") or width == "solid", "focus is seen"
    assert {"filter-text", "filter-type", "filter-hook", "filter-subject", "pause", "list", "help-open"} <= seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(world, page, scheme):
    page.size(*browser.PHONE)
    page.prefer(scheme)
    some(world, page)
    for key, name in zip("1234", ("list", "dead", "hooks", "commands")):
        page.press(key)
        page.wait(name, lambda: page.find(f"[data-view={'deliveries' if name == 'list' else name}][aria-current]"))
        assert page.run("return document.documentElement.scrollWidth") <= browser.PHONE[0], name
        page.picture(f"phone-{name}-{scheme}")
    page.press("1")
    open_newest(page, "contact/30")
    box = page.run("const b = document.getElementById('detail').getBoundingClientRect(); return [b.left, b.width]")
    assert box == [0, browser.PHONE[0]]
    page.picture(f"phone-delivery-{scheme}")
    page.driver.back()
    page.wait("the list again", lambda: page.find("#detail") is None)


CONTRAST = pathlib.Path(__file__).with_name("contrast.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(world, page, scheme):
    """WCAG AA: the contrast of each text, and a name for whatever can be used; by axe-core too,
    where `make axe` has fetched it."""
    page.prefer(scheme)
    if AXE.exists():
        page.run(AXE.read_text())
    some(world, page)
    open_newest(page, "contact/30")
    page.wait_for("Event, as consumers read it", "#detail")
    for key in "1234":
        page.press(key)
        page.wait("it", lambda: page.find("nav [aria-current]"))
        assert page.run(CONTRAST) == []
        if key == "1":
            page.press("j", ENTER)
            page.wait_for("Event", "#detail")
            page.picture(f"delivery-{scheme}")
            assert page.run(CONTRAST) == []
        if AXE.exists() and (key == "1" or scheme == "light"):  # what is no colour is the same in both
            found = page.driver.execute_async_script(
                "axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] })"
                ".then(arguments[0])")
            assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []


# --- what must not happen ----------------------------------------------------------------

def test_script_in_whatever_activecampaign_can_carry_is_text(world, page):
    page.expected = ["api/delivery"]  # a ce_id that is none
    page.run("window.ran = false; window.hacked = () => { window.ran = true }")
    quoted = "".join(f"%{byte:02x}" for byte in HACK.encode())
    post(world, f"type={quoted}&contact[id]=50&contact[first_name]={quoted}&contact[tags]={quoted}"
         f"&{quoted}={quoted}&contact[fields][{quoted}]={quoted}&contact[email]={quoted}%40example.com")
    post(world, json.dumps({"type": HACK, "contact": {"id": HACK, HACK: HACK}}))
    post(world, f"a=%00&{HACK}={HACK}")
    world.streams.xadd("{ac}:events", {k: HACK for k in (
        "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_recordedtime", "data")})
    world.streams.xadd("{ac}:dead", {k: HACK for k in (
        "ce_id", "ce_source", "hook", "reason", "detail", "ce_recordedtime", "content-type", "raw")})
    world.streams.xgroup_create("{ac}:events", HACK, id="0")
    world.streams.xreadgroup(HACK, HACK, {"{ac}:events": ">"}, count=1000)
    world.streams.hset("{ac}:hooks", HACK, json.dumps({"state": "left"}))
    world.streams.xadd("{ac}:results:crm", {k: HACK for k in (
        "ce_id", "ce_type", "ce_subject", "outcome", "status", "attempts", "detail")})
    page.wait("all five are there, or the next may come between two of them", lambda: sorted(
        r["subject"][:5] for r in page.rows()[:5]) == ["", "", "<img ", "conta", "hook/"])
    page.picture("script-list")
    seen = 0
    for _ in range(5):
        page.press("j", ENTER)
        page.wait("detail", lambda: "Loading" not in page.text("#detail h2"))
        if page.find("#detail button", "Show personal data"):
            page.press("r")
            page.wait("unmasked", lambda: not page.find("#detail button", "Show personal data"))
        page.run("for (const details of document.querySelectorAll('#detail details')) details.open = true")
        if "onerror=hacked()" in page.text("#detail"):
            page.picture(f"script-delivery-{seen}")
            seen += 1
    assert seen >= 3
    page.press(ESCAPE)
    for key, place in (("2", "#dead-list"), ("3", "#hook-table"), ("4", "#result-table")):
        page.press(key)
        page.wait_for("onerror=hacked()", place)
        page.picture(f"script-{place[1:]}")
    assert page.run("return [window.ran, document.querySelectorAll('img, main svg, body script').length]") == [False, 0]
    world.streams.delete("{ac}:dead")
    world.streams.xgroup_destroy("{ac}:events", HACK)
    world.streams.hdel("{ac}:hooks", HACK)


MANY = """
local fields = {unpack(ARGV, 2)}
for n = 1, ARGV[1] do
    for i = 1, #fields, 2 do
        if fields[i] == 'ce_id' then fields[i + 1] = string.sub(fields[i + 1], 1, 33) .. string.format('%020d', n) end
        if fields[i] == 'ce_subject' then fields[i + 1] = 'contact/' .. n end
    end
    redis.call('XADD', KEYS[1], '*', unpack(fields))
end"""


def cost_of(world, page, count):
    """CPU seconds of the page for each of so many deliveries, 200 a second."""
    client = http.client.HTTPConnection("127.0.0.1", world.receiver.port, timeout=30)
    before, started = page.cpu_seconds(), time.monotonic()
    for n in range(count):
        client.request("POST", world.receiver.path(), f"type=update&contact[id]={n}&n={random.random()}",
                       {"Content-Type": "application/x-www-form-urlencoded"})
        assert client.getresponse().read() == b"ok"
        time.sleep(max(0, started + n / 200 - time.monotonic()))
    page.wait("the last", lambda: subjects(page)[:1] == [f"contact/{count - 1}"])
    return (page.cpu_seconds() - before) / count


def test_a_flood_leaves_the_page_as_small_and_cheap_as_it_was(world, page):
    """100,000 entries behind, and 200 a second for some seconds."""
    some(world, page)
    usual = cost_of(world, page, 200)
    [(_, fields)] = world.streams.xrange("{ac}:events", count=1)
    world.streams.eval(MANY, 1, "{ac}:events", 100000, *[w for pair in fields.items() for w in pair])
    page.wait("the flood", lambda: subjects(page)[:1] == ["contact/100000"], 30)
    nodes, heap = page.weight()
    flooded = cost_of(world, page, 600)
    page.picture("flood")
    after_nodes, after_heap = page.weight()
    world.figures.update({"nodes": [nodes, after_nodes], "heap, KiB": [int(heap) >> 10, int(after_heap) >> 10],
                          "CPU ms of a delivery": [round(1000 * usual, 2), round(1000 * flooded, 2)]})
    assert after_nodes < 1000 and after_nodes < nodes + 100
    assert after_heap < heap + (3 << 20)
    assert flooded < 5 * usual, "it computes the more the more there is"
    page.run("document.getElementById('list').scrollTop = 1e7")
    page.wait("older ones", lambda: page.run("return document.querySelector('#list .space').offsetHeight") > 20000)
    assert page.weight()[0] < 1000


def test_it_asks_nobody_else_and_shows_no_token(world, page):
    page.wait("requests", lambda: page.read_logs() or len(page.requests) > 20)
    for request in page.requests:
        assert request["url"].startswith((world.inspect.place, "about:", "chrome:", "data:")), request["url"]
        assert world.inspect.token not in request["url"]
    assert world.inspect.token not in page.run("return document.documentElement.outerHTML + location.href")
    assert harness.token("contacts") not in page.run("return document.documentElement.outerHTML")


def test_it_says_when_the_program_has_ended_and_goes_on_with_the_next(world, page):
    page.expected = ["ERR_CONNECTION_REFUSED", "401"]
    some(world, page)
    world.inspect.stop()
    page.wait_for("does not answer", "#notice")
    dot = "return getComputedStyle(document.querySelector('#parts li'), '::before').color"
    assert page.run(dot) == page.run("return getComputedStyle(document.querySelector('#place')).color"), "grey"
    page.picture("ended")
    world.inspect = Inspect(world.receiver.config, world.port)
    page.wait_for("A token is needed")
    page.picture("door")
    page.type("#token", world.inspect.address)
    page.press(ENTER)
    some(world, page)
    assert page.find("#notice") is None and page.find("#door") is None


def test_a_link_without_a_token_asks_for_it_and_opens_its_delivery(world, page):
    page.expected = ["401"]
    some(world, page)
    link = f"{world.inspect.place}#id={world.redis.entries()[-1]['ce_id'].decode()}"
    page.run("sessionStorage.clear()")
    page.open("about:blank")
    page.open(link)
    page.wait_for("This link needs the token of this run", "#door")
    assert page.find("#notice") is None, "nothing was refused"
    page.type("#token", "another")
    page.press(ENTER)
    page.wait_for("another run", "#notice")
    page.type("#token", world.inspect.address)
    page.press(ENTER)
    page.wait_for("contact/30", "#detail h2 + p")
    assert page.run("return location.href") == link and page.find("#notice") is None
    page.press(ESCAPE)
    page.wait("closed", lambda: page.find("#detail") is None)


def test_redis_away_is_said_and_no_figure_is_guessed(world, page):
    page.expected = ["503"]
    some(world, page)
    world.redis.kill()
    page.wait_for("Redis: away", "#parts", 15)
    page.wait("since when", lambda: re.fullmatch(
        r"The list has not been updated since \d\d:\d\d:\d\d: Redis does not answer\.", page.text("#list-note")))
    assert (page.text("#rate"), page.text("#rate-note")) == ("–", "deliveries a second: not known")
    assert page.run("const [a, b] = ['rate-note', 'parts'].map(id => document.getElementById(id)"
                    ".getBoundingClientRect()); return a.right < b.left"), "it fits"
    page.wait("what waits", lambda: re.search(r"Commands\s*not known", page.text("#numbers")))
    page.picture("redis-away")
    world.redis.start()
    page.wait("it is back", lambda: "away" not in page.text("#parts"), 20)
    page.wait("the list goes on", lambda: "Redis" not in page.text("#list-note"))


def test_redis_hung_is_said_too(world, page):
    page.expected = ["503"]
    some(world, page)
    world.redis.pause()
    page.wait_for("Redis does not answer.", "#list-note", 40)
    world.redis.resume()
    page.wait("it goes on", lambda: "Redis" not in page.text("#list-note"), 40)


def test_without_a_receiver_no_rate_is_claimed(world, page):
    page.wait_for("(peak ", "#rate-note")
    world.receiver.process.kill()
    world.receiver.process.wait()
    page.wait_for("deliveries a second: not known", "#rate-note")
    assert page.text("#rate") == "–"
    world.receiver.start()
    page.wait_for("(peak ", "#rate-note")


def test_the_weight_of_the_page(world):
    """What is loaded at the start; printed with -s, beside the other figures."""
    files = sorted((harness.ROOT / "src/cli/inspect").glob("*.[jchs]*"))
    world.figures["bytes"] = sum(f.stat().st_size for f in files)
    lines = sum(bool(line.strip()) for f in files if f.suffix != ".svg"
                for line in f.read_text().splitlines())
    print(world.figures, lines, "lines")
    assert lines <= 1200 and world.figures["bytes"] < 65536
