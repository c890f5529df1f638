"""A receiver that starts while its file is not valid goes on with the last good configuration:
nothing is lost, nothing that the file removed is accepted, and it heals by itself."""
import json
import os
import signal
import subprocess
import time

import harness
import pytest

HOOKS = "".join(f"  - {{name: {name}, events: [subscribe]}}\n" for name in ("contacts", "deals"))


class Receiver(harness.Receiver):
    look_ms = 50

    def spawn(self):
        def pass_socket():
            os.dup2(self.socket.fileno(), 3)
            os.set_inheritable(3, True)

        return subprocess.Popen(
            ["sh", "-c", f"LISTEN_FDS=1 LISTEN_PID=$$ exec {harness.BUILD}/acrelayd"
             f" -c {self.config} --state-dir {self.directory}/state"],
            stderr=self.log, preexec_fn=pass_socket, close_fds=False, 
            env={**os.environ, "ACRELAY_TEST_TIMES": f"config_look={self.look_ms}"})

    def kept(self):
        return self.directory / "state" / "last-good.yaml"

    def restart_with(self, text):
        """Starts again with this text in the file, or with none."""
        if self.process.poll() is None:
            self.kill()
        if text is None:
            self.config.unlink()
        else:
            self.config.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.start()
        if not self.reloads()["last_good"]:
            self.wait_for_copy()

    def wait_for_copy(self):
        """Ready, or reloaded, first; and kept a little later."""
        harness.wait_for("the copy", lambda: self.kept().is_file() and
                         self.kept().read_bytes().endswith(self.config.read_bytes()))

    def refuses_with(self, code):
        self.process = self.spawn()
        assert self.process.wait(20) == code

    def write(self, text):
        self.config.write_text(text)

    def goes_by_the_file(self):
        harness.wait_for("the file", lambda: not self.reloads()["last_good"])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = harness.Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def receiver(server, tmp_path):
    receiver = Receiver(tmp_path, server.port, hooks=HOOKS)
    harness.wait_for("the copy", receiver.kept().exists)
    yield receiver
    receiver.kill()


@pytest.fixture
def good(receiver):
    return receiver.config.read_text()


def broken(good):
    return {
        "typo": good.replace("secret_files:", "secret_file:"),
        "tab": good.replace("hooks:\n", "hooks:\n\t- a\n"),
        "empty": "", "blank": "\n\n", "vanished": None, "binary": bytes(range(256)) * 64,
        "nul": good.replace("acme", "ac\0me"),
        "half a line": good[:len(good) // 2],
        "half a list": good[:good.index("  - {name: deals") + 9],
        "only the beginning": good[:good.index("hooks:") + 7],
        "hooks not written yet": good[:good.index("hooks:")],
        "typos in hooks": good.replace("events:", "event:").replace("name: deals", "nme: deals"),
        "listed twice": good + "secret_files: [other]\n",
        "too large": good + "#" * (1 << 20)}


def test_goes_on_with_the_last_good_configuration(receiver, good):
    for kind, text in broken(good).items():
        receiver.restart_with(text)
        for hook in ("contacts", "deals"):
            assert receiver.post("type=subscribe", hook) == 200, kind
        assert receiver.metric("acrelay_config_last_good") == 1, kind
        assert receiver.reloads()["last_good"] and not receiver.reloads()["ok"]
        assert receiver.kept().stat().st_mode & 0o777 == 0o600
        receiver.write(good)
        receiver.goes_by_the_file()
        assert receiver.reloads()["ok"] and receiver.metric("acrelay_config_last_good") == 0
        assert receiver.post("type=subscribe", "deals") == 200
    assert receiver.read_log().count("alarm   config: ") == len(broken(good))


def test_a_file_that_cannot_be_read_is_not_valid(receiver, good, tmp_path):
    receiver.kill()
    receiver.config.unlink()
    receiver.config.mkdir()
    receiver.start()
    assert receiver.post("type=subscribe") == 200
    receiver.config.rmdir()
    receiver.write(good)
    receiver.goes_by_the_file()
    receiver.kill()
    receiver.config.unlink()
    os.mkfifo(receiver.config)  # whoever opens it waits for a writer
    receiver.start()
    assert receiver.post("type=subscribe") == 200
    receiver.config.unlink()
    receiver.write(good)
    receiver.goes_by_the_file()


def test_what_the_broken_file_removed_is_not_accepted(receiver, good):
    receiver.restart_with(good.replace("  - {name: deals, events: [subscribe]}\n", "")
                          .replace("account:", "acount:"))
    assert receiver.post("type=subscribe") == 200
    assert receiver.post("type=subscribe", "deals") == 404
    receiver.write(good.replace("account:", "acounts:"))  # not valid either
    harness.wait_for("deals", lambda: receiver.post("type=subscribe", "deals") == 200)
    receiver.write(good.replace("name: deals", "name: orders").replace("account:", "acounts:"))
    receiver.process.send_signal(signal.SIGHUP)
    harness.wait_for("the reload", lambda: receiver.post("type=subscribe", "deals") == 404)
    assert receiver.metric('acrelay_requests_total{hook="deals",code="404"}') >= 1


def test_a_secret_that_the_broken_file_removed_is_not_accepted(receiver, good, tmp_path):
    old = tmp_path / "old-secret"
    old.write_bytes(b"an older secret of thirty-two bytes and more\n")
    old.chmod(0o600)
    path = f"/hook/contacts/{harness.token('contacts', old.read_bytes().strip())}"
    both = good.replace("[hook-secret]", "[hook-secret, old-secret]")
    receiver.restart_with(both)
    assert status(receiver, path) == 200
    receiver.restart_with(good.replace("hooks:\n", "hooks:\n\t"))  # a tab behind the list
    assert receiver.reloads()["last_good"]
    assert status(receiver, path) == 404 and receiver.post("type=subscribe") == 200
    receiver.restart_with(both)  # the last good one again, whatever was taken out of it
    receiver.restart_with(both.replace("account:", "acount:"))
    assert status(receiver, path) == 200
    receiver.write(good.replace("account:", "acount:"))
    harness.wait_for("the narrower one", lambda: status(receiver, path) == 404)
    receiver.kill()
    receiver.config.write_text(good.replace("[hook-secret]", "[new-secret]").replace(
        "account:", "acount:"))
    receiver.refuses_with(78)  # none is left that it could accept


def status(receiver, path):
    return int(receiver.raw(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"
                            .encode()).split()[1])


def test_a_change_that_needs_a_restart_ends_it_with_75(receiver, good):
    receiver.restart_with("")
    receiver.write(good.replace("127.0.0.1:1025'", "127.0.0.1:1026'"))
    assert receiver.process.wait(20) == 75
    receiver.start()
    assert not receiver.reloads()["last_good"]
    receiver.look_ms = 1000
    receiver.restart_with("")
    receiver.write(good.replace("127.0.0.1:1025'", "127.0.0.1:1027'"))
    receiver.process.send_signal(signal.SIGHUP)
    assert receiver.process.wait(20) == 75


def test_a_secret_that_comes_later_is_found(receiver, good, tmp_path):
    receiver.restart_with("")
    receiver.write(good.replace("[hook-secret]", "[new-secret, hook-secret]"))
    harness.wait_for("the complaint", lambda: "/new-secret" in receiver.read_log())
    time.sleep(0.5)  # some looks
    assert receiver.read_log().count("/new-secret") == 1
    new = tmp_path / "new-secret"
    new.write_bytes(b"a new secret of thirty-two bytes and more\n")
    new.chmod(0o600)
    receiver.goes_by_the_file()


def test_sighup_is_the_operators_word(receiver, good):
    receiver.restart_with("")
    receiver.write(good + "  - {name: more, events: [open]}\n")
    assert receiver.reload() and not receiver.reloads()["last_good"]
    assert receiver.post("type=open", "more") == 200


def test_a_reload_keeps_what_it_took_over(receiver, good):
    more = good + "  - {name: more, events: [open]}\n"
    receiver.write(more)
    assert receiver.reload()
    receiver.wait_for_copy()
    receiver.restart_with("nonsense")
    assert receiver.post("type=open", "more") == 200


def test_a_missing_secret_is_not_what_the_copy_is_for(receiver, good):
    receiver.kill()
    receiver.secret.unlink()
    receiver.refuses_with(78)
    receiver.config.write_text("")
    receiver.refuses_with(78)


def tamper(path, how):
    text = path.read_text()
    line, rest = text.split("\n", 1)
    if how == "torn":
        path.write_text(text[:-20])
    elif how == "changed":
        path.write_text(text.replace("contacts", "contactz"))
    elif how == "version":
        path.write_text(line.replace("configuration 1 ", "configuration 2 ") + "\n" + rest)
    elif how == "mode":
        path.chmod(0o620)
    elif how == "owner":
        os.chown(path, 65534, -1)
    elif how == "link":
        path.rename(path.with_suffix(".real"))
        path.symlink_to(path.with_suffix(".real"))
    elif how == "hard link":
        os.link(path, path.with_suffix(".second"))
    elif how == "empty":
        path.write_text("")
    elif how == "fifo":
        path.unlink()
        os.mkfifo(path, 0o600)
    elif how == "gone":
        path.unlink()


@pytest.mark.parametrize("how", ["torn", "changed", "version", "mode", "owner", "link",
                                 "hard link", "empty", "fifo", "gone"])
def test_a_copy_that_is_in_doubt_is_not_used(receiver, good, how):
    if how == "owner" and os.geteuid() != 0:
        pytest.skip("needs root")
    def state(path):
        st = path.lstat()
        return st.st_mode, st.st_uid, st.st_nlink, st.st_size

    receiver.kill()
    path = receiver.kept()
    before, text = state(path), path.read_text()
    tamper(path, how)
    receiver.config.write_text("")
    receiver.refuses_with(78)
    receiver.restart_with(good)  # which makes a good one
    harness.wait_for("the copy", lambda: path.is_file() and state(path) == before
                     and path.read_text() == text)
    receiver.restart_with("")
    assert receiver.post("type=subscribe") == 200


def test_without_a_directory_it_is_78(receiver, good):
    receiver.kill()
    receiver.config.write_text("")
    done = subprocess.run([f"{harness.BUILD}/acrelayd", "-c", receiver.config], timeout=20,
                          capture_output=True)
    assert done.returncode == 78 and b"--state-dir" in done.stderr
    done = subprocess.run([f"{harness.BUILD}/acrelayd", "-c", receiver.config], timeout=20,
                          capture_output=True, env={**os.environ, "STATE_DIRECTORY": "/nowhere"})
    assert done.returncode == 78


def test_a_file_in_motion_is_left_alone(receiver, good):
    """As long as it changes between two looks it is not read, however valid it is."""
    receiver.look_ms = 500
    receiver.restart_with("")
    for n in range(75):
        receiver.write(good + "#" * n + "\n")
        time.sleep(0.02)  # the writer's pace, far below that of the looks
        assert receiver.reloads()["last_good"]
    receiver.goes_by_the_file()


def test_a_file_that_was_half_written_at_the_start_is_read_again(receiver, good):
    receiver.kill()
    receiver.look_ms = 1000  # it is read by itself for two seconds, also on a busy machine
    receiver.config.write_text(good.replace("  - {name: deals, events: [subscribe]}\n", ""))
    receiver.start()
    receiver.config.write_text(good)
    harness.wait_for("the rest", lambda: receiver.post("type=subscribe", "deals") == 200)


def test_posts_to_a_hook_that_left_the_file_are_counted_by_its_name(receiver, good):
    name = 'acrelay_requests_total{hook="deals",code="404"}'
    receiver.look_ms = 600000  # SIGHUP alone has it read
    receiver.restart_with(good)
    receiver.write(good.replace("  - {name: deals, events: [subscribe]}\n", ""))
    assert receiver.reload() and "deals" in receiver.reloads()["message"]
    assert receiver.metric(name) == 0, "increase() does not see what begins with 1"
    assert receiver.post("type=subscribe", "deals") == 404
    assert receiver.metric(name) == 1
    receiver.raw(f"POST {receiver.path('deals')}x HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status(receiver, f"/hook/deals/{harness.token('other')}") == 404
    assert receiver.metric(name) == 1, "only with its own token"
    assert receiver.reload()
    assert receiver.post("type=subscribe", "deals") == 404
    assert receiver.metric(name) == 2
    receiver.write(good)
    assert receiver.reload() and receiver.post("type=subscribe", "deals") == 200
    receiver.wait_for_copy()
    receiver.restart_with(good.replace("name: deals", "name: orders"))  # over a restart too
    assert receiver.metric(name) == 0
    assert receiver.post("type=subscribe", "deals") == 404
    assert receiver.metric(name) == 1


def test_reloads_free_what_they_replace(receiver, good):
    receiver.write(good + "".join(f"  - {{name: h{n}, events: [open]}}\n" for n in range(900)))

    def resident():
        with open(f"/proc/{receiver.process.pid}/statm") as f:
            return int(f.read().split()[1]) * 4

    def reload_times(count):
        for _ in range(count):
            assert receiver.reload()
            assert receiver.post("type=open", "h7") == 200

    reload_times(5)
    before = resident()
    reload_times(15)
    assert resident() - before < 5120, "KiB; 15 kept ones would be 10 MiB"


def test_the_command_line_goes_on_with_the_last_good_configuration_too(receiver, good, server):
    """At night, with a mistake in the file: what runs is shown all the same, after the mistake."""
    def run(*words, **more):
        done = subprocess.run([harness.BUILD / "acrelay", *words, "--json", "-c", receiver.config],
                              capture_output=True, text=True, timeout=60,
                              env={**os.environ, "STATE_DIRECTORY": f"{receiver.kept().parent}:/x", **more})
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    receiver.write(good + "nonsense: 1\n")
    mistake = f"{receiver.config}:{len(good.splitlines()) + 1}:1: "
    code, [status], said = run("status")
    assert code == 69 and not status["healthy"] and mistake in status["configuration"]
    assert said.startswith(mistake) and str(receiver.kept()) in said
    assert "accepts" in status["receiver"] and len(status["hooks"]) == 2
    code, findings, _ = run("doctor", "--offline")
    assert code == 78 and mistake in findings[0]["text"]
    assert str(receiver.kept()) in findings[1]["text"] and findings[1]["result"] == "warning"
    assert {"receiver", "journal", "relay", "disk"} & {f["what"] for f in findings} >= {"journal", "disk"}
    assert not [f for f in findings if "running programs" in f.get("do", "")]
    code, _, said = run("reload")
    assert code == 78 and mistake in said
    assert mistake in receiver.reloads()["message"], "the alarm names the first mistake"
    code, findings, _ = run("check")
    assert code == 78 and len(findings) == 1
    # The same while the receiver runs with that configuration, after a start.
    receiver.restart_with(good + "nonsense: 1\n")
    assert receiver.reloads()["last_good"] and mistake in receiver.reloads()["message"]
    code, [status], _ = run("status")
    assert code == 69 and "accepts" in status["receiver"]
    # Of another file, or none: the mistake, and what the programs say where the file still shows them.
    code, [status], said = run("status", STATE_DIRECTORY="/nowhere")
    assert code == 78 and said.startswith(mistake) and "/nowhere" in said
    assert mistake in status["configuration"] and not status["healthy"]
    assert "accepts" in status["receiver"] and status["requests"] == 0 and "redis" not in status
    assert "keep the configuration that they have" in said
    code, found, said = run("reload", STATE_DIRECTORY="/nowhere")
    assert (code, found) == (78, []) and "keep the configuration that they have" in said
    receiver.kept().write_text(receiver.kept().read_text().replace("acrelay.yaml", "other.yaml", 1))
    assert run("status")[0] == 78
    _, findings, _ = run("doctor")
    assert not [f for f in findings if str(receiver.kept()) in f["text"] or f["what"] == "redis"]
    # Text that is no YAML from some line on; what stands before it is read.
    receiver.config.write_text(good + "a: [\n")
    code, [status], _ = run("status")
    assert code == 78 and "accepts" in status["receiver"]


def test_files_that_may_not_be_read_are_not_taken_for_missing_ones(receiver, good):
    # Root too, once it may not pass over modes.
    bare = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] * (os.geteuid() == 0)
    receiver.config.chmod(0)
    receiver.kept().chmod(0)
    done = subprocess.run([*bare, harness.BUILD / "acrelay", "status", "-c", receiver.config],
                          capture_output=True, text=True, timeout=60,
                          env={**os.environ, "STATE_DIRECTORY": str(receiver.kept().parent)})
    assert done.returncode == 78 and "let this user read it" in done.stderr
    assert "that this user may read: run this as root" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads what another user wrote")
def test_root_sends_no_password_that_another_users_copy_names(receiver, good, server):
    """Whoever has become the receiver's user could name any file of root's there."""
    password = receiver.directory / "redis-password"
    password.write_text("of root")
    password.chmod(0o600)
    text = receiver.kept().read_text()
    receiver.kept().write_text(text.replace("/0'}", "/0', password_file: redis-password}", 1))
    receiver.write("nonsense: 1\n")
    done = subprocess.run([harness.BUILD / "acrelay", "status", "--json", "-c", receiver.config],
                          capture_output=True, text=True, timeout=60,
                          env={**os.environ, "STATE_DIRECTORY": str(receiver.kept().parent)})
    status = json.loads(done.stdout)
    assert done.returncode == 69 and "password" in status["redis"] and "AUTH" not in status["redis"]
