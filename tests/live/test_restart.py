"""No restart loses a delivery, and no full disk does. Longer runs: restarts.py."""
import concurrent.futures
import os
import re
import shutil
import socket
import subprocess

import harness
import pytest
import restarts


@pytest.mark.parametrize("count, options", [
    (10, {}), (5, {"through": "nginx"}), (5, {"through": "haproxy"}), (5, {"kill": True})],
    ids=["direct", "nginx", "haproxy", "kill"])
def test_restarts_under_load_lose_nothing(tmp_path, count, options):
    wrong, _ = restarts.run(tmp_path, count, **options)
    assert wrong == []


def refused(receiver, count, passed):
    """What acrelayd says of the descriptors that it is passed."""
    receiver.kill()
    done = subprocess.run(
        ["sh", "-c", f"LISTEN_FDS={count} LISTEN_PID=$$ exec {harness.BUILD}/acrelayd"
         f" -c {receiver.config} {passed}"], stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 71
    return done.stderr


@pytest.mark.parametrize("passed", ["3<&-", "3</dev/null", "3<."])
def test_a_passed_descriptor_that_does_not_listen_is_told(make_receiver, passed):
    said = refused(make_receiver(), 1, passed)
    assert "LISTEN_FDS" in said and "ListenStream" in said
    assert "queue" not in said and "refused and lost" in said


@pytest.mark.parametrize("count", ["65", "1x", "-1", "", "4294967297"])
def test_a_number_of_passed_descriptors_that_cannot_be_used_is_told(make_receiver, count):
    """Else it would listen where its file says, and nobody would answer on the unit's sockets."""
    said = refused(make_receiver(), count, "3<&-")
    assert f"LISTEN_FDS is {count}, not a number up to 64" in said
    assert "refused and lost" in said


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
def test_a_stop_waits_for_connections_of_a_passed_ipv6_socket(make_receiver, redis, host):
    """What systemd makes of ListenStream=8080; IPv4 clients have mapped addresses there."""
    receiver = make_receiver()
    receiver.kill()
    receiver.socket.close()
    receiver.socket = socket.create_server(("::", 0), family=socket.AF_INET6,
                                           dualstack_ipv6=True, backlog=64)
    receiver.port = receiver.socket.getsockname()[1]
    receiver.start()
    body = b"type=subscribe&contact[id]=7"
    with socket.create_connection((host, receiver.port), timeout=20) as s:
        s.sendall(f"POST {receiver.path()} HTTP/1.1\r\nHost: x\r\n"
                  f"Content-Type: application/x-www-form-urlencoded\r\n"
                  f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert s.recv(100).startswith(b"HTTP/1.1 100 ")
        s.sendall(body[:9])
        receiver.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            receiver.process.wait(0.5)
        assert "all accepted requests have been answered" not in receiver.read_log()
        s.sendall(body[9:])
        assert s.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert receiver.process.wait(20) == 0
    assert f" on [::]:{receiver.port}\n" in receiver.read_log()
    receiver.start()
    receiver.wait_shipped()
    assert [e["ce_subject"] for e in redis.entries()] == [b"contact/7"]


def test_listens_on_ipv6_and_ipv4_with_one_address_or_two(make_receiver):
    receiver = make_receiver()
    receiver.kill()
    one, two, admin = (harness.free_port() for _ in range(3))
    receiver.config.write_text(receiver.config.read_text().replace(
        "'127.0.0.1:1025'", f"'[::]:{one}', '[::]:{two}', '0.0.0.0:{two}'").replace(
        f"'127.0.0.1:{receiver.admin}'", f"'[::1]:{admin}'"))
    receiver.process = subprocess.Popen([f"{harness.BUILD}/acrelayd", "-c", receiver.config],
                                        stderr=receiver.log)

    def is_up():
        try:
            return status("::1", admin, "GET /readyz") == 200
        except OSError:
            return False

    def status(host, port, line):
        with socket.create_connection((host, port), timeout=10) as s:
            s.sendall(f"{line} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 1\r\n\r\na".encode())
            return int(s.recv(1000).split()[1])

    harness.wait_for("acrelayd", is_up)
    for host in ("::1", "127.0.0.1"):
        for port in (one, two):
            assert status(host, port, f"POST {receiver.path()}") == 200
    assert subprocess.run([f"{harness.BUILD}/acrelay", "send", "subscribe", "-c", receiver.config],
                          timeout=20, capture_output=True).returncode == 0


# --- unix sockets ------------------------------------------------------------------------------

def name_socket(receiver, path):
    receiver.kill()
    receiver.config.write_text(receiver.config.read_text().replace(
        "'127.0.0.1:1025'", f"'unix:{path}'"))
    return [f"{harness.BUILD}/acrelayd", "-c", receiver.config]


def refusal(receiver, path):
    done = subprocess.run(name_socket(receiver, path), stderr=subprocess.PIPE, text=True,
                          timeout=20)
    assert done.returncode == 71
    return done.stderr


def post_to(path, target):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(path))
        s.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na".encode())
        return int(s.recv(1000).split()[1])


def test_a_file_at_a_unix_sockets_place_is_kept(tmp_path, make_receiver):
    place = tmp_path / "letters.txt"
    place.write_text("dear")
    receiver = make_receiver()
    assert f"unix:{place}" in refusal(receiver, place)
    assert place.read_text() == "dear"


def test_a_unix_socket_whose_queue_is_full_is_in_use(tmp_path, make_receiver):
    place, waiting = tmp_path / "s", []
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(place))
        busy.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(place))
        before = place.stat().st_ino
        assert f"unix:{place}" in refusal(make_receiver(), place)
        assert place.stat().st_ino == before
    for s in waiting:
        s.close()


def test_a_unix_socket_that_a_dead_process_left_is_taken_over(tmp_path, make_receiver):
    place, receiver = tmp_path / "s", make_receiver()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
        left.listen()
    receiver.process = subprocess.Popen(name_socket(receiver, place), stderr=receiver.log)
    harness.wait_for("acrelayd", receiver.is_ready)
    assert post_to(place, receiver.path()) == 200
    receiver.stop()
    assert f" on unix:{place}\n" in receiver.read_log()


# --- a small file system -----------------------------------------------------------------------

MIB = 1 << 20


@pytest.fixture
def receiver(small_disk, make_receiver, redis):
    made = make_receiver(extra="journal: {max: 8GiB}\n")
    made.kill()
    made.force = True  # it may be a tmpfs
    made.config.write_text(made.config.read_text().replace(
        f"{made.directory}/state", f"{small_disk}/state"))
    made.start()
    yield made


def post_megabytes(receiver, count, tag):
    """Posts of 256 KiB until `count` MiB are sent or one is refused."""
    statuses = []
    for n in range(count * 4):
        statuses.append(receiver.post(f"type=subscribe&contact[id]={tag}{n}&x=" + "x" * (MIB // 4)))
        if statuses[-1] != 200:
            break
    return statuses


def post_and_ship(receiver, count, tag):
    """The same, at the relay's pace: what Redis has not got yet is never most of the disk."""
    statuses = set()
    for n in range(count // 20):
        statuses.update(post_megabytes(receiver, 20, f"{tag}{n}-"))
        receiver.wait_shipped()
    return statuses


def told_lost(receiver):
    """How many deliveries that may be lost have a line of their own, and how many are a number."""
    lines = re.findall(r" error +receiver: .*\blost\b.*", receiver.read_log())
    more = [int(found[1]) for line in lines if (found := re.search(r"\b(\d+) more\b", line))]
    return len(lines) - len(more), sum(more)


def free(place):
    left = os.statvfs(place)
    return left.f_bavail * left.f_frsize


def test_a_full_disk_stops_nothing_while_redis_is_up(small_disk, receiver, redis):
    assert post_and_ship(receiver, 160, "a") == {200}, "twice what the disk holds"
    with open(small_disk / "filler", "wb") as filler:  # another program takes all that is left
        try:
            while True:
                filler.write(b"x" * MIB)
                filler.flush()
        except OSError:
            pass
    assert post_and_ship(receiver, 100, "b") == {200}
    assert redis.client.xlen("{ac}:events") == 4 * 260


def fill(place, left):
    """Another program takes all but so much."""
    with open(place / "filler", "wb", buffering=0) as filler:
        while free(place) > left:
            filler.write(b"x" * MIB)


def test_a_spare_that_comes_and_goes_is_missed_once(small_disk, receiver, redis, monkeypatch):
    """On a full disk the oldest published segment becomes the next spare, time and again."""
    missed, again = "no spare segment", "there is a spare segment again"

    def post_until_missed(times):
        redis.pause()  # what is not published becomes no spare
        while receiver.read_log().count(missed) < times:
            post_megabytes(receiver, 1, "s")

    assert receiver.post("type=subscribe") == 200
    harness.wait_for("a spare", (small_disk / "state" / "spare").exists)
    fill(small_disk, 20 * MIB)
    post_until_missed(1)
    redis.resume()
    harness.wait_for("a spare", (small_disk / "state" / "spare").exists)
    with concurrent.futures.ThreadPoolExecutor(4) as busy:
        list(busy.map(lambda n: post_megabytes(receiver, 1, f"b{n}-"), range(100)))
    assert receiver.read_log().count(missed) == 1 and again not in receiver.read_log()
    # Once none has been missed for a while, that is said.
    receiver.stop()
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "spare-back=0")  # with the next one
    receiver.start()
    post_until_missed(2)
    (small_disk / "filler").unlink()
    redis.resume()  # the rest of the disk may be too small for one, with what was not published
    harness.wait_for("a spare again", lambda: again in receiver.read_log())


@pytest.mark.parametrize("small_disk", ["100M"], indirect=True)
def test_a_new_reason_why_there_is_no_spare_is_logged_once(small_disk, receiver, redis):
    """The disk has room for what journal.max forbids, until another program takes it."""

    def missed():
        return re.findall(r" warning +journal: no spare segment .*?: (.*?)(?: \(48 MiB\))? leaves no room", receiver.read_log())

    receiver.kill()
    receiver.config.write_text(receiver.config.read_text().replace(
        "max: 8GiB", "max: 48MiB, keep_max: 48MiB"))
    receiver.start()
    redis.kill()
    while not missed():
        assert post_megabytes(receiver, 1, "a")[-1] == 200
    fill(small_disk, 8 * MIB)
    harness.wait_for("the new reason", lambda: missed() == ["journal.max", "the file system of state_dir"])
    (small_disk / "filler").unlink()  # the first one again
    until = int(receiver.metric("acrelay_uptime_seconds")) + 3
    harness.wait_for("two rounds", lambda: receiver.metric("acrelay_uptime_seconds") >= until)
    assert len(missed()) == 2


def test_where_journal_max_and_the_disk_are_full_both_are_named(small_disk, receiver, redis):
    receiver.kill()
    receiver.config.write_text(receiver.config.read_text().replace(
        "max: 8GiB", "max: 64MiB, keep_max: 64MiB"))
    # Three segments and part of a fourth, of 16 MiB, however much of a spare there is already: no other
    # fits into journal.max then, nor onto the disk.
    has = sum(file.stat().st_blocks * 512 for file in (small_disk / "state").iterdir())
    fill(small_disk, 58 * MIB - has)
    receiver.start()
    redis.kill()
    assert post_megabytes(receiver, 80, "a")[-1] == 503
    status, page = receiver.get("/readyz")
    assert status == 503 and "journal.max" in page and "file system of state_dir" in page
    alarms = re.findall(r" alarm +journal: .*", receiver.read_log())
    assert alarms, "one, or one each of what stores and what looks ahead"
    for alarm in alarms:
        assert "journal.max" in alarm and "df -h" in alarm, "raising journal.max would not help"


def test_without_redis_all_room_is_used_then_503_and_it_goes_on_by_itself(
        small_disk, receiver, redis):
    redis.kill()
    statuses = post_megabytes(receiver, 160, "a")
    assert statuses[-1] == 503 and set(statuses[:-1]) == {200}
    assert len(statuses) > 4 * 40, "more than half of the disk"
    assert free(small_disk) < 16 * MIB, "no room for one more segment"
    assert "no spare segment" in receiver.read_log()
    assert "journal.max" not in receiver.read_log(), "it is the disk that is full"
    for _ in range(20):
        receiver.post("type=subscribe&x=" + "x" * (MIB // 4))
    status, page = receiver.get("/readyz")
    assert status == 503 and "No space left on device" in page
    assert receiver.metric("acrelay_journal_failing") == 1
    refused = receiver.metric('acrelay_requests_total{hook="contacts",code="503"}')
    assert refused >= 2
    harness.wait_for("word of each 503", lambda: sum(told_lost(receiver)) == refused)
    assert told_lost(receiver)[0] < refused, "not a line for each"
    assert "may be lost: journal: " in receiver.read_log(), "with the reason"
    redis.start()
    receiver.wait_shipped()
    harness.wait_for("room", lambda: receiver.post("type=subscribe&contact[id]=z") == 200)
    assert receiver.get("/readyz")[0] == 200
    receiver.wait_shipped()
    entries = redis.client.xlen("{ac}:events")
    assert entries == len(statuses[:-1]) + 1


def test_the_watchdog_hears_from_the_receiver_while_it_lives(tmp_path, make_receiver, monkeypatch):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(20)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "600000")

    def hear():  # what is not its status: test_service_status.py
        while (said := listener.recv(1000)).startswith(b"STATUS="):
            pass
        return said
    receiver = make_receiver()
    assert b"READY=1" in hear()
    for _ in range(3):
        assert hear() == b"WATCHDOG=1"
    receiver.process.terminate()
    while (said := hear()) == b"WATCHDOG=1":
        pass
    assert b"STOPPING=1" in said
    assert receiver.process.wait(20) == 0


def test_what_a_full_disk_removed_and_redis_lost_is_told_as_missing(small_disk, receiver, redis):
    """Not as deliveries that cannot be parsed."""
    assert post_and_ship(receiver, 160, "a") == {200}
    redis.client.flushall()
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()
    harness.wait_for("the alarm", lambda: "neither Redis nor the journal has them"
                     in receiver.read_log())
    assert "cannot be parsed" not in receiver.read_log()
