"""acrelay init: the answers as options or typed, files with the right modes, nothing replaced."""
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import time

import pytest

import harness

TOKEN = "0123456789abcdef-a-token"
OPTIONS = ("--api-url", "https://acme.api-us1.com/api/3", "--public-url",
           "https://Hooks.Acme.example/")


class Place:
    def __init__(self, directory):
        self.directory = directory
        self.config = directory / "acrelay.yaml"
        self.secret = directory / "hook-secret"
        self.token = directory / "api-token"

    def command(self, *words):
        return [harness.BUILD / "acrelay", *words, "--config", self.config]

    def run(self, *words, code=0, stdin=TOKEN + "\n"):
        done = subprocess.run(self.command(*words), input=stdin, capture_output=True, text=True)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def files(self):
        return sorted(p.name for p in self.directory.iterdir())


@pytest.fixture
def place(tmp_path):
    directory = tmp_path / "etc"
    directory.mkdir()
    return Place(directory)


def test_options_give_a_configuration_that_is_valid(place):
    said = place.run("init", *OPTIONS, "--token-file", "-")
    assert place.files() == ["acrelay.yaml", "api-token", "hook-secret"]
    modes = [os.stat(p).st_mode & 0o777 for p in (place.config, place.token, place.secret)]
    assert modes == [0o644, 0o600, 0o600]
    assert place.token.read_text() == TOKEN + "\n" and len(place.secret.read_text()) == 45
    assert f"Next: acrelay check --config {place.config}" in said and TOKEN not in said
    assert "0 errors, 0 warnings" in place.run("check", "--offline")
    text = place.config.read_text()
    assert "  name: acme\n" in text and TOKEN not in text
    for path in (r"# URL at which .*\npublic_url: https://Hooks.Acme.example/\n",
                 r"  url: redis://127.0.0.1:6379/0\n", r"secret_files: \[hook-secret\]\n"):
        assert re.search(path, text), path


@pytest.mark.parametrize("words", [["check"], ["doctor"], ["status"], ["send", "open"]], ids=lambda words: words[0])
def test_without_a_file_each_command_says_to_run_it(place, words):
    text = place.run(*words, code=78)
    assert "run acrelay init" in text and "fix the file" not in text
    assert "last good" not in text and "unning" not in text, "there is nothing yet that could run"


def test_what_exists_is_never_replaced(place):
    place.run("init", *OPTIONS, "--token-file", "-")
    before = {p: (place.directory / p).read_bytes() for p in place.files()}
    assert "exists and is not changed" in place.run("init", *OPTIONS, code=1)
    place.config.unlink()
    assert "api-token exists" in place.run("init", *OPTIONS, "--token-file", "-", code=1)
    said = place.run("init", *OPTIONS)
    assert f"kept     {place.secret}" in said and f"kept     {place.token}" in said
    assert {p: (place.directory / p).read_bytes() for p in place.files()} == before


@pytest.mark.parametrize("words, code, sentence", [
    (("--public-url", "ftp://x"), 78, "not a URL that begins with https://"),
    (("--public-url", "https://x/path"), 78, "with a path"),
    (("--redis-url", "redis://u:p@h"), 78, "redis.user and redis.password_file"),
    (("--api-url", "http://acme.api-us1.com"), 78, "http, which would show the API token"),
    (("--token-file", "missing"), 1, "missing: cannot open"),
    (("--name", "a b"), 78, "not a name"),
])
def test_a_wrong_answer_is_one_sentence_and_writes_nothing(place, words, code, sentence):
    said = place.run("init", *OPTIONS, "--token-file", "-", *words, code=code)
    assert sentence in said and said.count("\n") == 1
    assert place.files() == []


def test_a_token_that_cannot_be_one_is_refused(place):
    for typed in ("short\n", "two words in it\n", "line\nline two\n"):
        said = place.run("init", *OPTIONS, "--token-file", "-", code=78, stdin=typed)
        assert "this is not an API token" in said and typed[:4] not in said
    assert place.files() == []


def test_without_a_terminal_it_says_what_it_needs(place):
    assert "--public-url" in place.run("init", code=64)
    assert "--token-file" in place.run("init", *OPTIONS, code=64)
    said = place.run("init", "--name", "acme", "--public-url", "https://h.example")
    assert "api-token" not in said and place.files() == ["acrelay.yaml", "hook-secret"]


def test_setup_is_for_the_files_of_the_units(place):
    assert "/etc/acrelay/acrelay.yaml" in place.run("setup", "--yes", code=64)


def test_print_writes_nothing(place):
    assert "hooks:\n" in place.run("init", *OPTIONS, "--token-file", "-", "--print")
    assert place.files() == []


def test_a_file_that_cannot_be_made_takes_the_others_with_it(place):
    """The last name is taken while it is asked: as if somebody else made it."""
    (place.directory / "acrelay.yaml.made").mkdir()
    said = place.run("init", *OPTIONS, "--token-file", "-", code=73)
    assert "nothing was written" in said
    assert place.files() == ["acrelay.yaml.made"]


@pytest.mark.skipif(os.geteuid() != 0, reason="writes below /etc in a namespace of its own")
def test_two_accounts_share_neither_names_nor_addresses():
    script = ("mkdir -p /etc/acrelay; mount -t tmpfs none /etc/acrelay; cd /etc/acrelay;"
              "printf %s 0123456789 >k; chmod 600 k; for a in beta gamma; do"
              f" {harness.BUILD}/acrelay init --account $a --public-url https://$a.example"
              " --api-url https://x.api-us1.com --token-file k;"
              f" {harness.BUILD}/acrelay check --account $a --offline; done; ls; cat *.yaml")
    done = subprocess.run(["unshare", "--mount", "sh", "-ec", script], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "Next: acrelay setup --account gamma" in said
    for name in ("beta", "gamma"):
        for line in (f"{name}-hook-secret\n", f"{name}-api-token\n", f"namespace: {name}\n",
                     f"listen: [unix:/run/acrelay/{name}.sock]\n"):
            assert line in said, line
    admins = re.findall(r"admin: (\S+)", said)
    assert len(admins) == len(set(admins)) == 4
    assert not {"127.0.0.1:9180", "127.0.0.1:9181"} & set(admins)


class Terminal:
    """A person at a terminal."""

    def __init__(self, words, interrupt=signal.SIG_DFL):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, interrupt)
            os.execv(words[0], [str(word) for word in words])
        self.seen = ""

    def read(self, end):
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    piece = os.read(self.fd, 4096).decode()
                except OSError:  # it has ended
                    return False
                self.seen += piece
                return True
        raise AssertionError(self.seen)

    def dialogue(self, *lines):
        """Waits for a text, and types an answer."""
        end = time.monotonic() + 30
        for text, answer in lines:
            while text not in self.seen:
                assert self.read(end), f"no {text!r} in {self.seen!r}"
            self.seen = self.seen.partition(text)[2]
            os.write(self.fd, answer.encode())

    def end(self):
        before = len(self.seen)
        while self.read(time.monotonic() + 30):
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), self.seen[before:]


def test_a_person_is_asked_and_asked_again(place):
    person = Terminal(place.command("init"))
    person.dialogue(("API URL", "acme.api-us1.com\n"), ("not a URL", ""),
                    ("API URL", "https://acme.api-us1.com\n"),
                    ("API token", "short\n"), ("at least 8", ""), ("API token", TOKEN + "\n"),
                    ("[acme]: ", "\n"), ("Public URL", "https://hooks.acme.example\n"),
                    ("[redis://127.0.0.1:6379/0]: ", "redis://127.0.0.1:6380/1\n"))
    code, said = person.end()
    assert code == 0 and "Next: " in said
    assert place.token.read_text() == TOKEN + "\n"
    text = place.config.read_text()
    assert "name: acme\n" in text and "redis://127.0.0.1:6380/1" in text


def test_a_token_is_not_shown_and_ctrl_c_writes_nothing(place):
    person = Terminal(place.command("init"))
    person.dialogue(("API URL", "https://acme.api-us1.com\n"), ("as you type): ", TOKEN + "\x03"))
    code, said = person.end()
    assert code == -2 and TOKEN not in said and "0123" not in person.seen
    assert place.files() == []


def test_a_ctrl_c_that_is_ignored_stays_so_while_a_token_is_typed(place):
    """As in what a script starts with &."""
    person = Terminal(place.command("init"), signal.SIG_IGN)
    person.dialogue(("API URL", "https://acme.api-us1.com\n"), ("as you type): ", "\x03"))
    time.sleep(0.3)  # of what is ignored nothing can be seen
    os.write(person.fd, (TOKEN + "\n").encode())
    person.dialogue(("[acme]: ", "\n"),
                    ("Public URL", "https://hooks.acme.example\n"), ("[redis://", "\n"))
    assert person.end()[0] == 0 and place.token.read_text() == TOKEN + "\n"
