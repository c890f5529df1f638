"""`make run` as a newcomer meets it: on a terminal, with Ctrl-C at its end."""
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import threading

import harness
import pytest


class Terminal:
    def __init__(self, *command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in what a script starts with &
            os.chdir(harness.ROOT)
            os.execvp(command[0], command)
        os.set_blocking(self.fd, False)
        self.text = ""

    def read(self):
        try:
            self.text += os.read(self.fd, 65536).decode(errors="replace").replace("\r\n", "\n")
        except OSError:  # nothing now, or nobody writes any more
            pass
        return self.text

    def wait_for(self, pattern, seconds=60):
        try:
            return harness.wait_for(pattern, lambda: re.search(pattern, self.read(), re.M), seconds)
        except AssertionError as error:
            raise AssertionError(self.text[-3000:]) from error

    def exit_code(self, seconds=30):
        def code():
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return [os.waitstatus_to_exitcode(status)] if pid else None
        return harness.wait_for("the end", code, seconds)[0]


def processes_of(directory):
    """Command line by pid."""
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if directory in words:
            found[int(path.parent.name)] = words
    return found


def run_as_shown(text, command, directory):
    """One of the commands that are there to be copied, in a shell of its own."""
    export = re.search(rf"^ +(export ACRELAY_CONFIG={directory}/.*)$", text, re.M)[1]
    shown = re.search(rf"^ +({command}.*)$", text, re.M)[1]
    done = subprocess.run(["sh", "-c", f"{export}; {shown}"], capture_output=True, text=True,
                          timeout=30, cwd="/")
    assert done.returncode == 0, (shown, done.stdout, done.stderr)
    return done.stdout


def test_make_run_says_what_it_does_and_how_to_look_and_ends_well(tmp_path):
    # Not our Makefile, whose `run` would build, and whatever is tested here is built already.
    (tmp_path / "Makefile").write_text("run:\n\t@sh deploy/try.sh run\n")
    terminal = Terminal("make", "-f", str(tmp_path / "Makefile"), "run", f"BUILD={harness.BUILD}")
    try:
        directory = terminal.wait_for(r"on the socket (/var/tmp/acrelay-try-\w+)/")[1]
        for step in ("receiver: acrelayd", "simulated ActiveCampaign", "acrelay-worker plan",
                     "acrelay-worker run", "hooks: 1 created", "Ctrl-C stops"):
            terminal.wait_for(step)
        assert terminal.text.count("warning") == 1, "folded"
        terminal.wait_for(r"/activecampaign/acme/contacts(?s:.*)/activecampaign/acme/contacts")
        assert "keeps the webhooks in sync" in run_as_shown(terminal.text, "acrelay status", directory)
        assert "acrelay contacts" in run_as_shown(terminal.text, "acrelay-worker list", directory)
        assert "acrelay_requests_total" in run_as_shown(terminal.text, "curl -s", directory)
        assert "ok" in run_as_shown(terminal.text, "curl -d", directory)
        assert "ce_id" in run_as_shown(terminal.text, "redis-cli", directory)
        assert any("acrelay-worker run" in words for words in processes_of(directory).values())
        os.write(terminal.fd, b"\x03")
        assert terminal.exit_code() == -signal.SIGINT, terminal.text[-2000:]
        assert "***" not in terminal.text and "stopped; nothing is left" in terminal.text
        assert processes_of(directory) == {} and not os.path.exists(directory)
    finally:
        os.close(terminal.fd)  # hangs up: what is still there ends


def test_closing_the_terminal_leaves_nothing_behind(tmp_path):
    (tmp_path / "Makefile").write_text("run:\n\t@sh deploy/try.sh run\n")
    terminal = Terminal("make", "-f", str(tmp_path / "Makefile"), "run", f"BUILD={harness.BUILD}")
    directory = terminal.wait_for(r"on the socket (/var/tmp/acrelay-try-\w+)/")[1]
    terminal.wait_for(r"/activecampaign/acme/contacts")
    os.close(terminal.fd)
    try:
        harness.wait_for("an end of everything", lambda: not os.path.exists(directory) and
                         not processes_of(directory), 30)
    finally:
        for pid in processes_of(directory):
            os.kill(pid, signal.SIGKILL)


def test_a_program_that_ends_ends_it_with_its_log():
    process = subprocess.Popen(["sh", "deploy/try.sh", "run"], cwd=harness.ROOT, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env={**os.environ, "BUILD": str(harness.BUILD)})
    text = ""
    while "Ctrl-C" not in text:
        line = process.stdout.readline()
        assert line, text
        text += line
    directory = re.search(r"/var/tmp/acrelay-try-\w+", text)[0]
    [receiver] = [pid for pid, words in processes_of(directory).items() if "/acrelayd " in words]
    os.kill(receiver, signal.SIGKILL)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "has exited" in rest and "accepting posts" in rest
    assert processes_of(directory) == {} and not os.path.exists(directory)


def test_what_a_script_starts_with_an_ampersand_does_not_see_its_ctrl_c():
    """Such a shell has SIGINT ignored, and Ctrl-C reaches all of the script's process group."""
    process = subprocess.Popen(
        ["sh", "-c", "trap '' INT; exec sh deploy/try.sh run"], cwd=harness.ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, env={**os.environ, "BUILD": str(harness.BUILD)})
    text, limit = "", threading.Timer(60, process.kill)
    limit.start()
    try:
        while "Or open this" not in text:
            line = process.stdout.readline()
            assert line, text
            text += line
            if line.startswith(("==> Starting", "==> acrelay is running")):
                os.killpg(process.pid, signal.SIGINT)
            assert "did not become ready" not in text, text
        process.terminate()
        assert "stopped; nothing is left" in process.communicate(timeout=60)[0]
        assert process.returncode == 143
    finally:
        limit.cancel()
        process.kill()
        for pid in processes_of(re.search(r"/var/tmp/acrelay-try-\w+", text)[0]):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_stop_before_a_program_is_noted_leaves_none_running(tmp_path, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    text = (harness.ROOT / "deploy/try.sh").read_text()
    script = tmp_path / "try.sh"
    up = 'until [ -S "$dir/redis.sock" ]; do sleep 0.01; done'
    script.write_text(text.replace("    started=$!\n", f"    {up}\n    kill -TERM $$\n    started=$!\n"))
    assert script.read_text() != text
    done = subprocess.run([shell, script, "run"], cwd=harness.ROOT, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          env={**os.environ, "BUILD": str(harness.BUILD)})
    directory = re.search(r"/var/tmp/acrelay-try-\w+", done.stdout)[0]
    left = processes_of(directory)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert done.returncode == 143 and left == {} and not os.path.exists(directory), done.stderr
