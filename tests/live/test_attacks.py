"""HTTP as attackers speak it (attacks.py): every case, direct and behind nginx and haproxy with the
settings that ship, has its answer in the table below; exactly what was answered 200 is stored, and
nothing smuggled ever is. Then slow and silent clients by the hundred."""
import ctypes
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time

import attacks
import harness
import proxies
import pytest

TABLE = pathlib.Path(__file__).with_name("attacks.txt")


def has_new_answers():
    """Whether the new answers of the table are due: from civetweb, from haproxy."""
    civetweb = ctypes.CDLL("libcivetweb.so.1").mg_version
    civetweb.restype = ctypes.c_char_p
    haproxy = subprocess.run(["haproxy", "-v"], capture_output=True, text=True).stdout
    return {"direct": version(civetweb().decode()) >= (1, 16), "nginx": False,
            "haproxy": version(haproxy) >= (3, 0)}


def version(text):
    return tuple(map(int, re.search(r"(\d+)\.(\d+)", text).groups()))


def expected():
    found, new = {}, has_new_answers()
    for line in TABLE.read_text().splitlines():
        if line and line[0] != "#":
            name, *answers = line.split()
            found[name] = {via: answer.split("/")[-1 if new[via] else 0]
                           for via, answer in zip(new, answers)}
    return found


@pytest.fixture
def through(tmp_path, receiver):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    started = [kind(tmp_path, receiver.port) for kind in proxies.KINDS.values()]
    yield [(proxy.name, proxy.port, context) for proxy in started]
    for proxy in started:
        proxy.stop()


def stored(receiver, redis):
    receiver.wait_shipped()
    return redis.client.xlen("{ac}:events") + redis.client.xlen("{ac}:dead")


def count_200(answers):
    if "*" in answers:
        code, _, times = answers.partition("*")
        return int(times) if code == "200" else 0
    return answers.split(",").count("200")


def test_every_attack_has_its_answer_and_stores_nothing_else(redis, receiver, through):
    wanted, wrong, taken = expected(), [], [0]

    def on_case(name, via, answers):
        taken[0] += count_200(answers)
        if answers not in wanted.get(name, {}).get(via, "").split("|"):
            wrong.append((name, via, answers, wanted.get(name, {}).get(via)))
    attacks.run_all(receiver, through, on_case)
    assert len(wanted) >= 80 and wrong == []
    assert stored(receiver, redis) == taken[0], "exactly what was answered 200 is stored"
    for stream in ("{ac}:events", "{ac}:dead"):
        assert not [e for e in redis.entries(stream) if b"SMUGGLED" in e.get("data", e["raw"])]
    assert receiver.post("type=subscribe&contact[id]=7") == 200


# --- known holes of the library --------------------------------------------------------------------

@pytest.fixture
def holes(tmp_path):
    """A server with the parts of civetweb that have them; its port."""
    program = tmp_path / "civetweb_holes"
    subprocess.run(["cc", "-o", program, pathlib.Path(__file__).with_name("civetweb_holes.c"),
                    "-lcivetweb"], check=True)
    (tmp_path / "sub").mkdir()
    with subprocess.Popen([program, tmp_path], stdout=subprocess.PIPE) as process:
        yield int(process.stdout.readline())
        process.kill()


def test_acrelay_does_not_reach_the_known_holes_of_civetweb(holes, receiver, redis):
    """CVE-2025-55763 (an overflow in the redirect to a directory) and CVE-2025-9648 (a form with a
    NUL is read for ever): the same bytes get there in a server that serves files and reads forms,
    whether its package is mended (301, 200) or not (no answer)."""
    to_directory = attacks.post(target=attacks.TO_DIRECTORY, method=b"GET", length=[], body=b"")

    def form(target):
        return attacks.post(target=target, body=attacks.FORM_WITH_NUL, headers=[
            b"Content-Type: application/x-www-form-urlencoded"])
    assert attacks.codes(attacks.talk(holes, to_directory)) in ("301", "-")
    assert attacks.codes(attacks.talk(holes, form(b"/form"), seconds=2)) in ("200", "-")

    for _ in range(5):
        assert attacks.codes(attacks.talk(receiver.port, to_directory)) == "404"
        assert attacks.codes(attacks.talk(receiver.port, form(receiver.path().encode()))) == "200"
    receiver.wait_shipped()
    assert [entry["reason"] for entry in redis.entries("{ac}:dead")] == [b"nul"] * 5
    receiver.stop()
    assert "Sanitizer" not in receiver.read_log()
    used = subprocess.run(["nm", "-D", "--undefined-only", harness.BUILD / "acrelayd"],
                          capture_output=True, text=True, check=True).stdout
    assert "mg_start" in used and not re.search(r"mg_\w*(form|upload|file)", used)


# --- slow and silent ------------------------------------------------------------------------------

def open_many(port, count, data):
    sockets = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port), timeout=20)
        s.sendall(data)
        sockets.append(s)
    return sockets


def test_a_slow_head_and_a_slow_body_end_with_408(make_receiver):
    receiver = make_receiver(receiver=", request_timeout: 1s")
    head = f"POST {receiver.path()} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n".encode()
    for data in (head, head + b"\r\nabc"):
        [s] = open_many(receiver.port, 1, data)
        answer = b""
        s.settimeout(20)
        while piece := s.recv(1000):
            answer += piece
        assert attacks.codes(answer) == "408", answer


def is_open(s):
    """Neither an answer came nor an end."""
    s.setblocking(False)
    try:
        s.recv(1)
    except BlockingIOError:
        return True
    return False


def test_good_posts_are_answered_beside_a_thousand_idle_and_many_slow_clients(make_receiver):
    threads = 64
    receiver = make_receiver(receiver=f", threads: {threads}, request_timeout: 60s")
    head = f"POST {receiver.path()} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n".encode()
    idle = open_many(receiver.port, 1000, b"")
    slow = open_many(receiver.port, threads - 16, head)
    stop = threading.Event()

    def drip():  # one byte of a header at a time, from each of them
        while not stop.is_set():
            for s in slow:
                s.sendall(b"x")
            stop.wait(0.1)
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        for _ in range(100):
            assert receiver.post("type=subscribe&contact[id]=7") == 200
    finally:
        stop.set()
        dripping.join()
    assert all(map(is_open, slow)), "they were served beside, not after each other"
    for s in idle + slow:
        s.close()
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    assert receiver.process.poll() is None


def test_haproxy_reads_a_body_before_acrelayd_hears_of_it(tmp_path):
    """Or who holds a token holds a thread with each slow body."""
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        proxy = proxies.Haproxy(tmp_path, upstream.getsockname()[1])
        try:
            tls = ssl._create_unverified_context()
            with socket.create_connection(("127.0.0.1", proxy.port)) as plain:
                client = tls.wrap_socket(plain)
                client.sendall(b"POST /hook/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
                upstream.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    upstream.accept()
                client.sendall(b"bc")
                upstream.settimeout(10)
                upstream.accept()[0].close()
        finally:
            proxy.stop()
