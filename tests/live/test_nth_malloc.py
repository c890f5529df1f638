"""Out of memory at each allocation of acrelayd (tests/preload/malloc_fault.c lets the nth
return NULL, once): the program ends with words about it, or goes on. Whichever it was, after
a start without the fault every post that was answered 200 is in the stream once and in order,
and no post is there twice. A foreign library (civetweb, libyaml, libcrypto, hiredis, libc)
may die by a signal of its own; what was answered is there all the same. The run prints how
often each happened. Threads share the count, so one n may hit different places in two runs.
The first allocations are tried one by one, later ones in steps, for as long as SECONDS."""
import collections
import http.client
import os
import signal
import subprocess

import pytest

import harness

SANITIZED = b"libasan" in subprocess.run(["ldd", harness.BUILD / "acrelayd"],
                                        capture_output=True).stdout
LIBRARY = harness.BUILD / "preload" / "malloc_fault.so"
POSTS = 3
FAULTS = int(os.environ.get("MALLOC_FAULTS", "24"))  # make soak-malloc: more


class Starved(harness.Receiver):
    """Its nth allocation fails (0: all are counted). It may die at any time."""

    def __init__(self, directory, redis_port, n):
        self.n = n
        super().__init__(directory, redis_port)

    def spawn(self):
        def pass_socket():
            os.dup2(self.socket.fileno(), 3)
            os.set_inheritable(3, True)

        preload = f"MALLOC_FAULT={self.n} LD_PRELOAD={LIBRARY}" if self.n is not None else ""
        return subprocess.Popen(
            ["sh", "-c", f"LISTEN_FDS=1 LISTEN_PID=$$ {preload} exec {harness.BUILD}/acrelayd"
             f" -c {self.config}"],
            stderr=self.log, preexec_fn=pass_socket, close_fds=False)

    def is_dead(self):
        return self.process.poll() is not None

    def start(self):
        self.process = self.spawn()
        harness.wait_for("acrelayd", lambda: self.is_dead() or self.is_ready())

    def is_ready(self):
        try:
            return self.get("/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def is_shipped(self):
        try:
            return self.metric("acrelay_journal_unpublished_records") == 0
        except (OSError, http.client.HTTPException, AssertionError):
            return False

    def try_post(self, number):
        """Whether it was answered 200."""
        # A dead one's socket is ours and still listens: nobody would answer.
        if self.is_dead():
            return False
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=0.1)
        try:
            c.request("POST", self.path(), f"type=subscribe&contact[id]={number}",
                      {"Content-Type": "application/x-www-form-urlencoded"})
            c.sock.settimeout(30 if self.n is None else 2)
            return c.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            c.close()

    def end(self):
        if not self.is_dead():
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(40)
        return self.process.returncode

    def count(self):
        return int(self.read_log().split("malloc_fault: calls ")[1].split()[0])

    def release(self):
        if not self.is_dead():
            self.kill()
        self.socket.close()
        self.log.close()


def scenario(redis, directory, n):
    """What became of the program, and how many allocations it made (None: it died)."""
    redis.client.flushall()
    directory.mkdir()
    receiver = Starved(directory, redis.port, n)
    try:
        answered = [i for i in range(1, POSTS + 1) if receiver.try_post(i)]
        harness.wait_for("shipped", lambda: receiver.is_dead() or receiver.is_shipped())
        code, log = receiver.end(), receiver.read_log()
        if "malloc_fault: fired" not in log:
            assert code == 0 and len(answered) == POSTS
            outcome = "none left"
        elif code == 0:
            outcome = "survived"
        elif code == -signal.SIGABRT or code > 0:
            last = log.strip().rsplit("\n", 1)[-1]
            outcome = "ended" if "memory" in log else f"ended with {code} and only {last!r}"
        else:
            outcome = signal.Signals(-code).name
        count = receiver.count() if "malloc_fault: calls" in log else None
        receiver.n = None
        receiver.start()
        assert receiver.try_post(POSTS + 1)
        receiver.wait_shipped()
        assert receiver.end() == 0
        found = [int(e["ce_subject"].split(b"/")[1]) for e in redis.entries()]
        answered.append(POSTS + 1)
        # One that was not answered may be there, even late: taken after the next start.
        assert len(found) == len(set(found)), found
        assert [i for i in found if i in answered] == answered, (answered, found)
        return outcome, count
    except Exception as e:
        raise AssertionError(f"allocation {n}: {e}\n{receiver.read_log()}") from e
    finally:
        receiver.release()


@pytest.mark.skipif(not LIBRARY.exists(), reason="make tools builds the library")
@pytest.mark.skipif(bool(os.environ.get("SAN")), reason="a sanitizer has its own malloc")
@pytest.mark.skipif(SANITIZED, reason="no allocator is preloaded beside ASan's")
def test_out_of_memory_at_the_nth_allocation(redis, tmp_path):
    outcome, total = scenario(redis, tmp_path / "0", 0)
    assert outcome == "none left" and total > 60
    # The first ones of the start, then evenly over what follows.
    tried = collections.Counter()
    for i in range(FAULTS):
        n = 1 + i if i < FAULTS // 4 else 1 + i * total // FAULTS
        outcome, _ = scenario(redis, tmp_path / f"{i}-{n}", n)
        tried[outcome] += 1
        if outcome not in ("ended", "survived", "none left"):
            print(f"allocation {n}: {outcome}")
    print(f"{total} allocations, {FAULTS} faults: {dict(tried)}")
    # Threads make their number vary: the last ones may not come to pass.
    assert tried["none left"] < FAULTS / 4
    assert not [o for o in tried if o.startswith("ended with")]


@pytest.mark.skipif(not LIBRARY.exists(), reason="make tools builds the library")
@pytest.mark.skipif(SANITIZED, reason="no allocator is preloaded beside ASan's")
def test_out_of_memory_within_openssl_ends_the_program(tmp_path, monkeypatch):
    """One that went on could lack an algorithm, and so TLS, for as long as it runs: 2 in 45 did."""
    monkeypatch.setattr(harness, "TLS", harness.TLS or harness.make_tls())
    with harness.Redis(tmp_path) as redis:
        _, total = scenario(redis, tmp_path / "0", 0)
        for n in range(total // 2, total * 11 // 20, total // 50):  # the first handshake
            assert scenario(redis, tmp_path / str(n), n)[0] == "ended", n
