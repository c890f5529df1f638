"""The journal under a receiver, where something lies quietly: the clock, the disk, the limits."""
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess

import pytest

import harness


def run(receiver, *words):
    return subprocess.run([f"{harness.BUILD}/{words[0]}", "-c", str(receiver.config), *words[1:]],
                          capture_output=True, text=True, timeout=30)


# --- where it is ----------------------------------------------------------------------------


def test_a_journal_in_memory_is_refused_by_all_who_are_asked(make_receiver):
    receiver = make_receiver()
    receiver.stop()
    if subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True,
                      text=True).stdout.strip() != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    receiver.config.write_text(receiver.config.read_text().replace(
        f"{receiver.directory}/state", "/dev/shm/acrelay-not-made/state"))
    done = run(receiver, "acrelay", "check")
    assert done.returncode == 73
    receiver.config.write_text(receiver.config.read_text().replace(
        "/dev/shm/acrelay-not-made/state", "/dev/shm"))
    done = run(receiver, "acrelayd")
    assert done.returncode == 73 and "--force" in done.stderr


def test_a_state_dir_that_was_removed_is_to_be_put_back(receiver):
    state = receiver.directory / "state"
    shutil.rmtree(state)
    assert receiver.post("type=subscribe&contact[id]=7") == 503
    told = [json.loads(line) for line in run(
        receiver, "acrelay", "doctor", "--offline", "--json").stdout.splitlines()]
    [advice] = [f["do"] for f in told if f.get("what") == "journal"]
    assert "put it back" in advice


# --- what is lost of it ---------------------------------------------------------------------


@pytest.fixture
def stopped(make_receiver, redis):
    """A receiver that was killed with three segments or more, of which Redis has nothing."""
    receiver = make_receiver()
    redis.pause()
    for n in range(45):
        assert receiver.post(f"type=subscribe&contact[id]={n}&x=" + "x" * 900000) == 200
    receiver.kill()
    redis.resume()
    return receiver


def alarm_of(receiver):
    [line] = harness.wait_for("the alarm", lambda: [
        line for line in receiver.read_log().splitlines() if " alarm   journal" in line])
    return line


def test_a_segment_that_was_removed_is_reported_as_missing(stopped):
    """It was reported as damage from byte N to N, whose bytes are kept in bad/."""
    sorted((stopped.directory / "state").glob("*.wal"))[1].unlink()
    stopped.start()
    line = alarm_of(stopped)
    assert "are not in state_dir and are lost" in line
    assert "damaged from byte" not in line and "kept in bad/" not in line


def test_salvage_says_that_damaged_bytes_alone_are_no_segment(stopped):
    [segment] = [segment for segment in (stopped.directory / "state").glob("*.wal")
                 if b"contact[id]=9&" in segment.read_bytes()]
    segment.write_bytes(segment.read_bytes().replace(b"contact[id]=9&", b"contact[id]=\xff&"))
    stopped.start()
    line = alarm_of(stopped)
    assert "damaged from byte" in line and "kept in bad/" in line
    [kept] = (stopped.directory / "state/bad").iterdir()
    done = run(stopped, "acrelay", "journal", "salvage", "--segment", str(kept), "--to-file",
               str(stopped.directory / "saved"))
    assert done.returncode == 1 and "only the damaged bytes" in done.stderr


# --- what a stranger may ask ----------------------------------------------------------------


def bytes_read(receiver):
    with open(f"/proc/{receiver.process.pid}/io") as figures:
        return int(figures.readline().removeprefix("rchar: "))


def test_a_health_check_reads_no_journal(stopped, redis):
    """How old what waits is stands in a segment, and the public listener answers anyone."""
    redis.pause()
    stopped.start()
    before = bytes_read(stopped)
    for _ in range(100):
        assert b" 200 " in stopped.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert bytes_read(stopped) - before < 50 << 20


# --- what it is started with --------------------------------------------------------------------


def test_closed_standard_descriptors_are_nobodys_else(make_receiver):
    """The log of a receiver without stderr was written into the lock, or to a socket."""
    receiver = make_receiver()
    receiver.stop()
    receiver.prefix = "/bin/sh -c 'exec 0<&- 1>&- 2>&-; exec \"$@\"' sh"
    receiver.start()
    for fd in range(3) if os.geteuid() == 0 else ():  # ours is not dumpable
        opened = os.readlink(f"/proc/{receiver.process.pid}/fd/{fd}")
        assert opened == "/dev/null"
    assert receiver.post("type=subscribe&contact[id]=7") == 200
    receiver.stop()
    lock = (receiver.directory / "state/lock").read_text()
    assert lock == f"{receiver.process.pid}\n"


def test_a_log_that_nobody_reads_holds_up_nothing(make_receiver):
    receiver = make_receiver()
    receiver.stop()
    reader, log = os.pipe()
    os.set_blocking(log, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(log, b"\n" * 4096)
    os.set_blocking(log, True)
    receiver.log = log
    receiver.start()
    assert receiver.post("type=subscribe&contact[id]=1") == 200
    receiver.wait_shipped()
    os.read(reader, 1 << 20)
    receiver.stop()
    os.close(log)
    with open(reader) as file:
        assert "were lost: nobody read the log" in file.read()


@pytest.mark.parametrize("program", ["acrelay", "acrelay-worker"])
def test_what_is_printed_to_a_closed_descriptor_is_a_failure(make_receiver, program):
    receiver = make_receiver()
    words = [program, "-c", receiver.config, "token", "contacts"] if program == "acrelay" else [
        program, "-c", receiver.config, "secrets"]
    done = subprocess.run(["sh", "-c", 'exec 1>&-; exec "$@"', "sh",
                           f"{harness.BUILD}/{words[0]}", *words[1:]],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode != 0


# --- descriptors --------------------------------------------------------------------------------


def hold_connections(receiver, count):
    """Clients that have sent a part of a request, and stay."""
    held = []
    for _ in range(count):
        held.append(socket.create_connection(("127.0.0.1", receiver.port), timeout=10))
        held[-1].sendall(b"POST ")
    return held


def test_connections_leave_the_descriptors_that_the_journal_needs(make_receiver):
    receiver = make_receiver(receiver=", threads: 1024, request_timeout: 1s")
    receiver.stop()
    receiver.prefix = "prlimit --nofile=160:160"
    receiver.start()
    assert re.search(r" warning .*\b160\b", receiver.read_log())
    held = hold_connections(receiver, 145)  # 15 are the receiver's own
    bodies = ["type=subscribe&contact[id]=7&x=" + "x" * 900000] * 25  # more than a segment
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert set(pool.map(receiver.post, bodies)) == {200}
    for s in held:
        s.close()
    assert receiver.metric("acrelay_journal_refused_total") == 0
    receiver.wait_shipped()


def test_the_soft_limit_is_raised_and_one_too_low_is_refused(make_receiver):
    receiver = make_receiver()
    receiver.stop()
    receiver.prefix = "prlimit --nofile=100:4000"
    receiver.start()
    limits = open(f"/proc/{receiver.process.pid}/limits").read()
    assert [line.split()[3:5] for line in limits.splitlines() if "open files" in line] == [
        ["4000", "4000"]]
    receiver.stop()
    receiver.prefix = "prlimit --nofile=70:70"
    assert receiver.spawn().wait(20) == 1
    assert re.search(r" error .*\b70\b", receiver.read_log())
