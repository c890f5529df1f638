"""The package on a booted machine, under load from start to end: a sender posts each delivery
once, as ActiveCampaign does, so that one refused or reset is lost. Each step leaves the machine
as the next one needs it; at the end every delivery that was answered 200 is in the stream once,
and none failed but those that a kill met in the middle.

The short form (`make test`) has the times of the units shortened by drop-ins."""
import json
import os
import pathlib
import re
import subprocess
import sys

import machine
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
import harness  # noqa: E402
from machine import installed, wait_for  # noqa: E402
from outside import CLIENTS  # noqa: E402

OUTSIDE = pathlib.Path(__file__).resolve().parent / "outside.py"
SECRET = "/etc/acrelay/hook-secret"
CONFIG = "/etc/acrelay/acrelay.yaml"
UNITS = ("acrelayd.socket", "acrelayd.service", "acrelay-worker.service")
SHORT = ("[Service]\nWatchdogSec=3\nRestartSec=100ms\n"
         "Environment='ACRELAY_TEST_TIMES=start_hold=500 config_look=200'\n")


def configuration(lock_wait, redis="redis://127.0.0.1:6379/0", admin="127.0.0.1:9180"):
    return ("account: {name: acme}\npublic_url: https://hooks.acme.example\n"
            f"secret_files: [hook-secret]\nredis: {{url: '{redis}'}}\n"
            f"receiver: {{state_dir: /var/lib/acrelay, admin: '{admin}'}}\n"
            f"journal: {{lock_wait: {lock_wait}}}\n"
            "hooks:\n  - {name: contacts, events: [subscribe]}\n")


class Sender:
    """Posts on, until it is stopped."""

    def __init__(self, box, first):
        self.file = box.directory / f"answers-{first}"
        with open(self.file, "wb") as out:
            self.process = subprocess.Popen(
                box.outside(sys.executable, str(OUTSIDE), "load",
                            f"/hook/contacts/{harness.token('contacts')}", str(first)),
                stdin=subprocess.PIPE, stdout=out, preexec_fn=machine.die_with_parent)

    def read(self):
        """(number, answer, seconds) of what is answered by now; a line may be half written."""
        return [line.split() for line in self.file.read_text().split("\n")[:-1]]

    def answers(self):
        return {int(number): answer for number, answer, _ in self.read()}

    def stop(self):
        self.process.stdin.close()
        self.process.wait(150)


class World:
    def __init__(self, box, whole):
        self.box = box
        self.whole = whole
        self.good = configuration("30s" if whole else "1s")
        self.senders = []
        self.killed = 0  # posts that a kill met in the middle

    # --- posts
    def send(self):
        self.senders.append(Sender(self.box, 1 + 100000 * len(self.senders)))

    def answers(self):
        found = {}
        for sender in self.senders:
            found.update(sender.answers())
        return found

    def failed(self):
        return [answer for answer in self.answers().values() if answer != "200"]

    def wait_answered(self, seconds=60):
        """More posts are answered 200 than there are senders: all that waited, and new ones."""
        before = len(self.answers())
        wait_for("answers", lambda: len(self.answers()) > before + CLIENTS, seconds)
        assert len(self.failed()) == self.killed, self.failed()

    def wait_queued(self, seconds=60):
        """Every sender's post waits in the socket's queue."""
        def queued():
            line = self.box.run("ss", "-Hltn", "sport = :8080").stdout.split()
            assert line, "nobody listens"
            return int(line[1]) >= CLIENTS
        wait_for("a queue", queued, seconds)
        assert len(self.failed()) == self.killed, self.failed()

    # --- the service
    def state(self, unit="acrelayd", what="ActiveState"):
        return self.box.run("systemctl", "show", "-P", what, unit).stdout.strip()

    def systemctl(self, *words):
        return self.box.run("systemctl", *words, check=False).returncode

    def journal(self):
        return self.box.run("journalctl", "--no-pager", "-o", "cat", "-u", "acrelayd").stdout

    def wait_logged(self, text, since):
        wait_for(f"a line with {text!r}", lambda: text in self.journal()[since:], 60)

    def uses_last_good(self):
        page = self.box.run("curl", "-s", "http://127.0.0.1:9180/readyz", check=False).stdout
        return json.loads(page or "{}").get("reload", {}).get("last_good")

    def assert_healed(self):
        """All that waited is answered, by no command of ours."""
        self.wait_answered(120)
        assert self.state() == "active"
        assert self.state("acrelayd.socket") == "active"


@pytest.fixture(scope="module")
def world(request):
    (harness.ROOT / "build").mkdir(exist_ok=True)
    lower = request.config.getoption("--root")
    place, lacks = machine.find_place(lower)
    if not place:
        pytest.skip(lacks)
    found = World(machine.Machine(place, lower), request.config.getoption("--whole"))
    try:
        found.box.boot()
        yield found
    except machine.CannotBoot as reason:
        pytest.skip(str(reason))
    finally:
        for sender in found.senders:
            if sender.process.poll() is None:
                sender.process.kill()
                sender.process.wait()
        found.box.destroy()


# --- before there is a configuration ---------------------------------------------------------

def test_a_first_installation_starts_nothing_and_says_what_comes_next(world, package):
    box = world.box
    box.run("sh", "-c", "rm -rf /var/lib/redis/* /var/lib/man-db/auto-update;"
            "systemctl enable --now redis-server")
    said = installed(box, package)
    assert "acrelay init " in said and "acrelay setup " in said
    assert [world.state(unit) for unit in UNITS] == ["inactive"] * 3
    if not world.whole:
        box.run("mkdir", "-p", "/etc/systemd/system/acrelayd.service.d")
        box.write("/etc/systemd/system/acrelayd.service.d/times.conf", SHORT)


def test_without_its_files_posts_wait_until_they_are_there(world):
    box = world.box
    assert world.systemctl("enable", "--now", "acrelayd.socket", "acrelayd") != 0
    world.send()
    world.wait_queued()
    world.wait_logged(CONFIG, 0)
    box.write(CONFIG, world.good)
    world.wait_logged("hook-secret", len(world.journal()))
    world.wait_queued()
    mark = len(world.journal())
    box.write(CONFIG, world.good.replace("secret_files", "secret_file"))
    box.write(SECRET, harness.SECRET.decode() + "\n", 0o600)
    world.wait_logged("secret_file", mark)
    world.wait_queued()
    box.write(CONFIG, world.good)
    world.assert_healed()


# --- while it runs ------------------------------------------------------------------------------

def test_restarts_lose_nothing(world):
    for _ in range(3):
        assert world.systemctl("restart", "acrelayd") == 0
        world.wait_answered()


def test_systemctl_status_shows_what_the_receiver_does(world):
    def shown():
        return re.match(r"accepting posts on 127\.0\.0\.1:8080; [1-9]\d* stored, ",
                        world.state(what="StatusText"))
    wait_for("its status", shown)


def test_a_reload_that_is_refused_fails_the_command(world):
    assert world.systemctl("reload", "acrelayd") == 0
    for wrong in (world.good.replace("secret_files", "secret_file"),
                  world.good.replace("6379/0", "6379/1")):  # needs a restart
        world.box.write(CONFIG, wrong)
        assert world.systemctl("reload", "acrelayd") != 0
        world.wait_answered()
    world.box.write(CONFIG, world.good)
    assert world.systemctl("reload", "acrelayd") == 0
    world.wait_answered()


def killed_by(world, what):
    """`what` ends the process the hard way: what was being answered may fail, the rest waits."""
    failed, pid = len(world.failed()), world.state(what="MainPID")
    assert pid != "0"
    what(pid)
    wait_for("another process", lambda: world.state(what="MainPID") not in ("0", pid), 120)
    before = len(world.answers())
    wait_for("answers", lambda: len(world.answers()) > before + 2 * CLIENTS)
    world.killed = len(world.failed())
    assert world.killed - failed <= CLIENTS
    world.wait_answered()


def test_a_kill_fails_only_what_was_being_answered(world):
    killed_by(world, lambda pid: world.box.run("kill", "-9", pid))


def test_a_hung_process_is_replaced(world):
    killed_by(world, lambda pid: world.box.run("kill", "-STOP", pid))
    assert "watchdog" in world.journal().lower()


def test_its_own_limits_are_as_the_unit_says(world):
    def limits(pid):
        text = world.box.run("cat", f"/proc/{pid}/limits").stdout
        return {name: re.search(rf"^{name} +(\S+) +(\S+)", text, re.M).groups()
                for name in ("Max open files", "Max core file size")}
    most = limits(1)["Max open files"][1]  # where systemd itself may not raise it
    files = min("65536", most, key=int)
    assert limits(world.state(what="MainPID")) == {
        "Max open files": (files, files), "Max core file size": ("0", "0")}


# --- when it cannot start -----------------------------------------------------------------------

def test_with_a_mistake_in_the_file_it_starts_as_it_was(world):
    """Until the file is mended; a change that needs a restart comes with one, by itself."""
    wrong = world.good.replace("secret_files", "secret_file")
    for mended in (world.good, world.good.replace("lock_wait: ", "lock_wait: 1")):
        world.box.write(CONFIG, wrong)
        assert world.systemctl("restart", "acrelayd") == 0
        world.wait_answered()
        assert world.uses_last_good() is True
        world.box.write(CONFIG, mended)
        wait_for("the mended file", lambda: world.uses_last_good() is False)
        world.assert_healed()
    world.box.write(CONFIG, world.good)
    assert world.systemctl("restart", "acrelayd") == 0


def test_a_missing_secret_before_a_restart_loses_nothing(world):
    mark = len(world.journal())
    world.box.run("mv", SECRET, SECRET + ".away")
    assert world.systemctl("restart", "acrelayd") != 0
    world.wait_queued()
    assert "hook-secret" in world.journal()[mark:]
    world.box.run("mv", SECRET + ".away", SECRET)
    world.assert_healed()


def test_a_credential_of_a_drop_in_that_is_missing_loses_nothing(world):
    drop_in = "/etc/systemd/system/acrelayd.service.d/secret.conf"
    mark = len(world.journal())
    world.box.run("mkdir", "-p", os.path.dirname(drop_in))
    world.box.write(drop_in, "[Service]\nLoadCredential=other:/etc/acrelay/other\n")
    world.systemctl("daemon-reload")
    assert world.systemctl("restart", "acrelayd") != 0
    world.wait_queued()
    world.wait_logged("CREDENTIALS", mark)  # as OPERATING.md has it
    world.box.run("rm", drop_in)
    world.systemctl("daemon-reload")
    world.assert_healed()


def test_a_busy_journal_loses_nothing(world):
    mark = len(world.journal())
    lock = "import fcntl, sys; f = open('/var/lib/acrelay/lock'); print('waits', flush=True);" \
           "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(world.box.command("/usr/bin/python3", "-c", lock), text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pid = world.state(what="MainPID")
    assert pid != "0" and holder.stdout.readline() == "waits\n"
    world.box.run("kill", "-9", pid)
    assert holder.stdout.readline() == "held\n"  # before the successor has it, as RestartSec goes
    world.wait_logged("in use by process", mark)
    world.killed = len(world.failed())
    world.wait_queued()
    holder.stdin.close()
    holder.wait(10)
    world.assert_healed()


# --- several accounts -----------------------------------------------------------------------------

API = {"north": 8090, "south": 8091}  # where each account's simulator answers
NAMED = ("acrelayd@{}.socket", "acrelayd@{}.service", "acrelay-worker@{}.service")
LISTEN = "/etc/systemd/system/acrelayd@south.socket.d/listen.conf"


def account(box, name, listen, admin):
    box.write(f"/etc/acrelay/{name}.yaml", (
        f"account: {{name: {name}, api_url: 'http://127.0.0.1:{API[name]}',"
        f" api_token_file: {name}-api-token}}\n"
        f"public_url: https://{name}.example\n"
        f"secret_files: [{name}-hook-secret]\n"
        f"redis: {{namespace: {name}}}\n"
        f"receiver: {{listen: ['{listen}'], admin: '127.0.0.1:{admin}'}}\n"
        f"worker: {{admin: '127.0.0.1:{admin + 1}'}}\n"
        "hooks:\n  - {name: contacts, events: [subscribe]}\n"))
    box.write(f"/etc/acrelay/{name}-hook-secret", f"{name}, with thirty-two bytes and more\n",
              0o600)
    box.write(f"/etc/acrelay/{name}-api-token", f"token-of-{name}-0123456789\n", 0o600)


@pytest.fixture
def simulators(world, tmp_path):
    """One for each account; that of `south` delivers to its port."""
    started = []
    for name, port in API.items():
        token = tmp_path / name
        token.write_text(f"token-of-{name}-0123456789\n")
        token.chmod(0o600)
        started.append(subprocess.Popen(
            world.box.outside(str(harness.BUILD / "acsim"), "--port", str(port), "--token-file",
                              str(token), "--deliver-to", "8082"),
            stdout=subprocess.PIPE, text=True, preexec_fn=machine.die_with_parent))
        assert "http://" in started[-1].stdout.readline()
    yield
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def named(*names):
    return [unit.format(name) for name in names for unit in NAMED]


def test_two_accounts_run_beside_the_plain_units(world, simulators):
    box = world.box

    def redis(*words):
        return box.run("redis-cli", *words).stdout.strip()
    account(box, "north", "unix:/run/acrelay/north.sock", 9280)
    account(box, "south", "127.0.0.1:8082", 9380)
    box.run("mkdir", "-p", os.path.dirname(LISTEN))
    box.write(LISTEN, "[Socket]\nListenStream=\nListenStream=127.0.0.1:8082\n")
    world.systemctl("daemon-reload")
    assert world.systemctl("enable", "--now", *named(*API)) == 0
    for name in API:
        wait_for("the webhook", lambda: '"registered"' in redis("hget", f"{{{name}}}:hooks",
                                                                "contacts"))
        assert box.run("acrelay", "check", "--account", name).returncode == 0
        shown = box.run("systemctl", "status", "--no-pager", *named(name)).stdout
        assert shown.count("Active: active") == 3 and shown.count(f"({name})") >= 3, shown
        print(shown)
    box.run("acrelay", "send", "subscribe", "--account", "north")
    box.run("curl", "-sf", "-d", '{"type": "subscribe"}', f"http://127.0.0.1:{API['south']}/sim/fire")
    for name in API:
        assert redis("get", f"{{{name}}}:account") == name
        wait_for("its event", lambda: redis("xlen", f"{{{name}}}:events") == "1")
        assert f"/activecampaign/{name}/contacts" in redis("xrange", f"{{{name}}}:events", "-", "+")
        box.run("test", "-s", f"/var/lib/acrelay-{name}/last-good.yaml")
        assert world.systemctl("reload", *named(name)[1:]) == 0


# --- stop, upgrade, boot ------------------------------------------------------------------------

MANUAL = (harness.ROOT / "deploy/OPERATING.md").read_text()


def test_what_the_manual_calls_stop_stops(world):
    assert MANUAL.count("`systemctl stop acrelayd.socket acrelayd`") >= 5
    assert not re.search(r"systemctl stop acrelayd(?!\.socket)|[Ss]top the receiver", MANUAL)
    world.senders[-1].stop()
    assert len(world.failed()) == world.killed
    assert world.systemctl("stop", "acrelayd.socket", "acrelayd") == 0
    refused = world.box.run("curl", "-s", "-m", "5", "-d", "x", "http://127.0.0.1:8080/",
                            check=False).returncode
    assert refused == 7
    assert world.state() == "inactive" and world.state(what="MainPID") == "0"
    drop_in = "/etc/systemd/system/acrelayd.socket.d/ipv6.conf"  # one more address, from here on
    world.box.run("mkdir", "-p", os.path.dirname(drop_in))
    world.box.write(drop_in, "[Socket]\nListenStream=[::1]:8080\n")
    world.systemctl("daemon-reload")
    assert world.systemctl("start", "acrelayd.socket", "acrelayd") == 0
    world.box.run("curl", "-gsf", "-m", "60", "http://[::1]:8080/healthz")
    world.send()
    world.wait_answered()


def test_posts_are_held_as_the_manual_says(world):
    commands = re.search(r"^    mkdir -p /run/systemd(?:.*\n)+?\n", MANUAL, re.M)[0]
    hold, release = re.split(r"^    # work.*\n", commands, flags=re.M)
    world.box.run("sh", "-ec", hold)
    world.wait_queued()
    assert world.box.run("flock", "-n", "/var/lib/acrelay/lock", "true").returncode == 0
    world.box.run("sh", "-ec", release)
    world.assert_healed()


def next_package(world, package, directory):
    """The same with a higher version; whole: built so, beside the programs that other tests
    run meanwhile, and its own say so."""
    if world.whole:
        subprocess.run(["sh", "deploy/debian/build.sh", "99.1", "build/next/deb"],
                       cwd=harness.ROOT, env={**os.environ, "BUILD": "build/next"}, check=True,
                       timeout=900)
        [built] = (harness.ROOT / "build/next/deb").glob("*_99.1-1_*.deb")
        return built
    tree = pathlib.Path(directory) / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub("^Version: .*", "Version: 99.1-1", control.read_text(), flags=re.M))
    built = pathlib.Path(directory) / "acrelay_99.1-1.deb"
    subprocess.run(["dpkg-deb", "-b", "-Znone", tree, built], check=True, capture_output=True)
    return built


def test_an_upgrade_loses_nothing(world, package, tmp_path):
    services = ["acrelayd", *named(*API)[1::3]]
    pids = [world.state(unit, "MainPID") for unit in services]
    installed(world.box, next_package(world, package, tmp_path))
    for unit, pid in zip(services, pids):
        assert world.state(unit, "MainPID") not in ("0", pid)
    world.wait_answered()
    assert world.systemctl("is-enabled", "acrelayd.socket", "acrelayd") == 0
    version = world.box.run("dpkg-query", "-W", "-f", "${Version}", "acrelay").stdout
    assert version == "99.1-1"
    if world.whole:
        assert "99.1" in world.box.run("acrelayd", "--version").stdout


def boot_again(world):
    """Off and on; posts come as soon as somebody listens."""
    world.senders[-1].stop()
    world.box.power_off()
    world.box.boot()
    wait_for("the socket", lambda: world.state("acrelayd.socket") == "active")
    world.send()


def test_a_boot_serves(world):
    boot_again(world)
    world.wait_answered()
    for unit in named(*API)[1::3]:
        assert world.state(unit) == "active"


def test_a_boot_with_a_broken_file_loses_nothing(world):
    world.box.write(CONFIG, world.good.replace("secret_files", "secret_file"))
    boot_again(world)
    world.wait_answered()
    assert world.uses_last_good() is True
    world.box.run("rm", "/var/lib/acrelay/last-good.yaml")  # now there is nothing to go on with
    world.systemctl("restart", "acrelayd")
    world.wait_queued()
    world.box.write(CONFIG, world.good)
    world.assert_healed()


# --- Redis elsewhere, the worker ------------------------------------------------------------------

def shipped_through(world, url, admin="127.0.0.1:9180"):
    """With Redis there, what is posted comes to its stream."""
    world.box.write(CONFIG, configuration("1s", url, admin))
    assert world.systemctl("restart", "acrelayd") == 0
    world.wait_answered()
    def published():
        page = world.box.run("curl", "-gs", f"http://{admin}/metrics", check=False).stdout
        return "acrelay_redis_up 1\n" in page
    wait_for(f"Redis at {url}", published)


def test_redis_by_ipv6_and_by_a_unix_socket_of_its_group(world):
    shipped_through(world, "redis://ip6-localhost:6379/0", "[::1]:9180")
    shipped_through(world, "redis://[::1]:6379/0")
    drop_in = "/etc/systemd/system/acrelayd.service.d/redis.conf"
    world.box.run("mkdir", "-p", os.path.dirname(drop_in))
    world.box.write(drop_in, "[Service]\nSupplementaryGroups=redis\n")
    world.systemctl("daemon-reload")
    for setting in (("unixsocketperm", "770"), ("unixsocket", "/run/redis/redis.sock")):
        world.box.run("sh", "-c", 'echo "$0 $1" >>/etc/redis/redis.conf', *setting)
    world.box.run("systemctl", "restart", "redis-server")
    shipped_through(world, "unix:///run/redis/redis.sock")
    world.box.run("rm", drop_in)
    world.systemctl("daemon-reload")
    shipped_through(world, "redis://127.0.0.1:6379/0")


def test_the_worker_has_a_directory_of_its_own_and_goes_on_when_its_file_is_mended(world):
    world.systemctl("start", "--no-block", "acrelay-worker")  # without a token, without an api_url
    def waits():
        return world.state("acrelay-worker", "SubState") == "auto-restart"
    wait_for("a worker that will be started again", waits)
    assert world.systemctl("stop", "acrelay-worker") == 0


# --- the count ------------------------------------------------------------------------------------

def test_every_delivery_that_was_answered_is_in_the_stream_once(world):
    world.senders[-1].stop()
    def shipped():
        page = world.box.run("curl", "-s", "http://127.0.0.1:9180/metrics").stdout
        return "acrelay_journal_unpublished_records 0\n" in page
    wait_for("all in the stream", shipped)
    answers = world.answers()
    ids = subprocess.run(world.box.outside(sys.executable, str(OUTSIDE), "ids"),
                         capture_output=True, text=True, check=True).stdout.split()
    found = set(map(int, ids))
    assert len(ids) == len(found), "some are there twice"
    answered = {number for number, answer in answers.items() if answer == "200"}
    assert answered - found == set()
    assert len(answers) - len(answered) == world.killed
    print(f"{len(answers)} posts, {len(answered)} answered 200, {world.killed} met by a kill, "
          f"{len(ids)} in the stream; longest wait "
          f"{max(float(row[2]) for sender in world.senders for row in sender.read())} s")


def test_a_purge_leaves_what_it_says_and_no_more(world):
    box = world.box
    box.run("systemctl", "enable", "acrelay-worker")
    said = box.run("dpkg", "--purge", "acrelay").stdout
    assert "left: /etc/acrelay" in said
    links = box.run("find", "/etc/systemd/system", "-name", "*acrelay*", "-type", "l").stdout
    assert links == ""
    assert box.run("sh", "-c", "ls -d /var/lib/acrelay* /var/lib/private/acrelay*",
                   check=False).stdout == ""
    box.run("test", "-s", SECRET)
    for unit in (*UNITS, *named(*API)):
        assert world.systemctl("is-active", unit) != 0
