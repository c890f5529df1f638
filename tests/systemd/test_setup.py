"""From an installed package to an event that came over HTTPS: `acrelay init`, `acrelay setup`, a
certificate from Debian's pebble, and the simulator as ActiveCampaign, which posts to the public name.
Before that, what setup says where something is in the way; after it, once more, and undone."""
import json
import pathlib
import shutil
import subprocess
import sys

import machine
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
import harness  # noqa: E402
from machine import installed, wait_for  # noqa: E402

NAME, API, ACME = "hooks.acme.example", "http://127.0.0.1:8090", "https://localhost:14000/dir"
UNITS = ("acrelayd.socket", "acrelayd.service", "acrelay-worker.service", "acrelay-https.service")
TOKEN = "token-of-acme-0123456789"
ACME_ROOT = "/root/acme-root.pem"  # which Caddy's user cannot read


def self_signed(directory, name):
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


class World:
    def __init__(self, box):
        self.box = box
        self.processes = []

    def start(self, *words, **options):
        self.processes.append(subprocess.Popen(words, preexec_fn=machine.die_with_parent,
                                               **options))
        return self.processes[-1]

    def run_in(self, unit, *words):
        """A transient unit of the machine, which `systemctl stop` ends."""
        self.box.run("systemd-run", "--quiet", "--collect", f"--unit={unit}", *words)

    def simulator(self, unit, token, port="8090"):
        self.box.write(f"/root/{unit}", token + "\n", 0o600)
        self.run_in(unit, "/root/acsim", "--port", port, "--token-file", f"/root/{unit}",
                    "--deliver-to", "0")
        wait_for("acsim", lambda: not self.box.run("curl", "-sf", f"http://127.0.0.1:{port}/sim/figures",
                                                   check=False).returncode)
        # a person's setups are not seconds apart
        self.box.run("curl", "-sf", "-d", '{"limit": 0}', f"http://127.0.0.1:{port}/sim/switch")

    def certify_acme(self, directory):
        """What pebble itself is known by."""
        cert, key = self_signed(directory, "localhost")
        (directory / "pebble.json").write_text(json.dumps({"pebble": {
            "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
            "certificate": str(cert), "privateKey": str(key), "httpPort": 80, "tlsPort": 443}}))
        self.box.write(ACME_ROOT, cert.read_text(), 0o600)

    def acme(self, directory):
        """pebble, which finds every name at 127.0.0.1, and whose root this machine trusts."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.start(*self.box.outside("pebble-challtestsrv", "-defaultIPv6", "", "-http01", "", "-https01", "",
                   "-tlsalpn01", "", "-dns01", "127.0.0.1:8053", "-management", "127.0.0.1:8055"),
                   **quiet)
        self.start(*self.box.outside("env", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "pebble", "-config",
                   str(directory / "pebble.json"), "-dnsserver", "127.0.0.1:8053"), **quiet)
        root = wait_for("pebble", lambda: self.box.run(
            "curl", "-sk", "https://127.0.0.1:15000/roots/0", check=False).stdout)
        self.box.run("sh", "-c", "cat >>/etc/ssl/certs/ca-certificates.crt", input=root)

    def router(self, address):
        """Another machine, which has the address and forwards its port 443 to this one."""
        def ip(*words):
            subprocess.run(self.box.outside("ip", *words), check=True)
        router = self.start("unshare", "--net", "sh", "-ec",
                            f"ip addr add {address} dev lo; ip link set lo up; echo; read line;"
                            " ip addr add 10.9.0.1/24 dev outside; ip link set outside up;"
                            f" exec systemd-socket-activate -l {address}:443"
                            " /lib/systemd/systemd-socket-proxyd 10.9.0.2:443",
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        router.stdout.readline()
        ip("link", "add", "inside", "type", "veth", "peer", "name", "outside", "netns",
           str(router.pid))
        ip("addr", "add", "10.9.0.2/24", "dev", "inside")
        ip("link", "set", "inside", "up")
        ip("route", "add", address, "via", "10.9.0.1")
        router.stdin.write(b"\n")
        router.stdin.flush()
        wait_for("the router", lambda: subprocess.run(
            self.box.outside("nsenter", "-t", str(router.pid), "-n", "ss", "-Hltn", "sport = :443"),
            capture_output=True).stdout)
        return router

    def own_proxy(self, directory):
        """Caddy with its owner's own configuration and certificate, which this machine trusts."""
        cert, key = self_signed(directory, NAME)
        self.box.write("/root/proxy.pem", cert.read_text() + key.read_text(), 0o600)
        self.box.run("sh", "-c", "cat >>/etc/ssl/certs/ca-certificates.crt", input=cert.read_text())
        self.box.write("/root/Caddyfile", "{\n\tadmin off\n}\n" f"https://{NAME} {{\n"
                       "\ttls /root/proxy.pem /root/proxy.pem\n\treverse_proxy 127.0.0.1:8080\n}\n")
        self.run_in("own-proxy", "caddy", "run", "--config", "/root/Caddyfile")
        wait_for("the proxy", lambda: self.box.run("ss", "-Hltn", "sport = :443").stdout)

    # --- what it says
    def setup(self, *words, code=0, times="setup-path=1000", acme=("--acme", ACME, "--acme-root", ACME_ROOT)):
        done = self.box.run("env", f"ACRELAY_TEST_TIMES={times}", "acrelay", "setup", "--yes",
                            *acme, *words, check=False)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout + harness.without_progress(done.stderr)

    def active(self):
        return [unit for unit in UNITS if self.box.run(
            "systemctl", "is-active", unit, check=False).stdout.strip() == "active"]

    def curl(self, path, *words):
        return self.box.run("curl", "-sf", *words, API + path).stdout

    def hooks(self):
        return [hook["name"] for hook in json.loads(self.curl("/sim/hooks"))]

    def leads_to(self, address):
        self.box.write("/etc/hosts", f"127.0.0.1 localhost\n{address} {NAME}\n")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("acme")


@pytest.fixture(scope="module")
def world(request, package, directory):
    lower = request.config.getoption("--root")
    place, lacks = machine.find_place(lower)
    lacking = [tool for tool in ("caddy", "pebble", "pebble-challtestsrv") if not shutil.which(tool)]
    if not place or lacking:
        pytest.skip(lacks or f"not installed: {' '.join(lacking)}")
    found = World(machine.Machine(place, lower))
    box = found.box
    try:
        box.boot()
        box.run("sh", "-c", "rm -rf /var/lib/redis/*; systemctl enable --now redis-server")
        assert "acrelay init" in installed(box, package)
        box.copy_in(harness.BUILD / "acsim", "/root/acsim")
        box.run("chmod", "755", "/root/acsim")
        box.write("/root/token", TOKEN + "\n", 0o600)
        found.certify_acme(directory)
        found.leads_to("127.0.0.1")
        yield found
    except machine.CannotBoot as reason:
        pytest.skip(str(reason))
    finally:
        for process in found.processes:
            process.kill()
            process.wait()
        box.destroy()


def test_init_is_asked_for_first(world):
    assert "acrelay init creates it" in world.setup(code=78)
    silent = world.box.run("acrelay", "setup", check=False)
    assert silent.returncode == 78 and "acrelay init creates it" in silent.stderr
    said = world.box.run("acrelay", "init", "--api-url", API, "--token-file", "/root/token",
                         "--name", "acme", "--public-url", f"https://{NAME}").stdout
    assert said.endswith("Next: acrelay setup\n")
    silent = world.box.run("acrelay", "setup", check=False)
    assert silent.returncode == 64 and "--yes confirms" in silent.stderr
    modes = world.box.run("stat", "-c", "%a %U", "/etc/acrelay/acrelay.yaml",
                          "/etc/acrelay/hook-secret", "/etc/acrelay/api-token").stdout
    assert modes.split("\n")[:3] == ["644 root", "600 root", "600 root"]


def test_what_is_in_the_way_is_one_sentence_and_nothing_is_started(world):
    def refused(code, sentence):
        said = world.setup(code=code)
        assert sentence in said.splitlines()[-1], said
        assert world.active() == []

    world.box.run("systemctl", "stop", "redis-server")
    refused(69, "Connection refused; start Redis")
    world.box.run("systemctl", "start", "redis-server")
    refused(69, f"{API} does not answer")  # no account answers there
    world.simulator("other-account", "another-token-0123456789")
    refused(77, "ActiveCampaign refuses the API token")
    world.box.run("systemctl", "stop", "other-account")
    world.simulator("account", TOKEN)
    world.leads_to("203.0.113.5")
    refused(78, "leads to 203.0.113.5, which is not this machine")
    world.box.write("/etc/hosts", "127.0.0.1 localhost\n")
    refused(69, f"{NAME} has no address")
    world.leads_to("127.0.0.1")
    world.run_in("holder", "python3", "-m", "http.server", "443")
    wait_for("the holder", lambda: world.box.run("ss", "-Hltn", "sport = :443").stdout)
    refused(71, "port 443 is held by python3 (process")
    world.box.run("systemctl", "stop", "holder")
    world.box.run("mv", "/etc/acrelay/api-token", "/root/api-token")
    refused(78, "/etc/acrelay/api-token: cannot open")
    world.box.run("mv", "/root/api-token", "/etc/acrelay/api-token")


def test_a_first_start_that_fails_leaves_the_files_that_its_message_is_about(world):
    for site, code in (("hooks.broken.example {\n\tno_such_directive\n}\n", 78),
                       ("http://127.0.0.1:8090 {\n}\n", 69)):  # where the simulator listens
        world.box.write("/etc/acrelay/broken.caddy", site)
        said = world.setup(code=code)
        assert world.active() == list(UNITS[:2]), said
        assert f"acme_ca {ACME}" in world.box.run("cat", "/etc/acrelay/Caddyfile").stdout
        assert world.box.run("systemctl", "is-enabled", "acrelay-https", check=False).stdout == "disabled\n"
    world.box.run("rm", "/etc/acrelay/broken.caddy")
    world.setup("--undo")
    assert not world.box.run("sh", "-c", "ls /etc/acrelay | grep -i caddy", check=False).stdout


def test_a_name_whose_router_forwards_to_this_machine_is_good(world):
    """Only the certificate is missing then, as nothing but this machine asks for the name."""
    router = world.router("203.0.113.5")
    world.leads_to("203.0.113.5")
    said = world.setup(code=69)
    assert f"{NAME} leads to this machine (203.0.113.5)" in said, said
    assert "there is no certificate that is trusted" in said.splitlines()[-1], said
    world.setup("--undo")
    router.kill()
    world.leads_to("127.0.0.1")
    assert world.active() == []


def test_without_a_certificate_nothing_is_registered(world):
    said = world.setup(code=69)
    assert "there is no certificate that is trusted" in said.splitlines()[-1], said
    assert world.active() == list(UNITS[:2] + UNITS[3:]) and world.hooks() == []


def test_setup_goes_through_to_an_event_over_https(world, directory):
    world.acme(directory)
    going = world.start(*world.box.command(
        "acrelay", "setup", "--yes", "--acme", ACME, "--acme-root", ACME_ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for("the webhook", lambda: going.poll() is not None or world.hooks())
    if going.poll() is None:
        wait_for("the worker", lambda: going.poll() is not None or len(world.active()) == 4)
        world.curl("/sim/fire", "-d", '{"type": "subscribe"}')
    said, _ = going.communicate(timeout=60)
    assert going.returncode == 0, said
    assert "com.activecampaign.subscribe of contact/" in said.splitlines()[-1], said
    assert json.loads(world.curl("/sim/figures"))["ok"] == 1
    print(said)
    issuer = world.box.run("sh", "-c", f"openssl s_client -connect {NAME}:443 -servername {NAME} "
                           "</dev/null 2>/dev/null | openssl x509 -noout -issuer").stdout
    assert "Pebble" in issuer
    entries = world.box.run("redis-cli", "--json", "xrange", "{ac}:events", "-", "+").stdout
    assert len(json.loads(entries)) == 1  # the sample went to the test hook's own stream
    assert world.active() == list(UNITS) and world.hooks() == ["acrelay contacts"]


def test_once_more_there_is_nothing_to_do(world):
    said = world.setup()
    assert "done " not in said and said.count("already") >= 5, said
    unsaid = world.setup(acme=())  # the CA of before
    assert "done " not in unsaid, unsaid
    assert "entry" in world.box.run("acrelay", "send", "--public").stdout
    assert "/hook/" not in said + world.box.run("journalctl", "-u", "acrelay-https").stdout


def test_what_works_goes_on_when_a_later_setup_fails(world):
    broken = "/etc/acrelay/broken.caddy"
    world.box.run("sed", "-i", "$a # as an older acrelay wrote it", "/etc/acrelay/acrelay.caddy")
    world.box.write(broken, "hooks.broken.example {\n\tno_such_directive\n}\n")
    assert "Caddy refuses" in world.setup(code=78)
    world.box.run("rm", broken)
    assert "acrelay-https.service reloaded" in world.setup()
    world.box.run("sh", "-c", "(cat $0; echo -----BEGIN PRIVATE KEY-----) >/root/both.pem", ACME_ROOT)
    for root in ("/root/none.pem", "/root/token", "/root/both.pem"):
        assert "--acme-root requires" in world.setup("--acme-root", root, code=78)
    world.box.run("mv", "/usr/bin/acrelay-worker", "/root/acrelay-worker")
    said = world.setup(code=1)
    world.box.run("mv", "/root/acrelay-worker", "/usr/bin/acrelay-worker")
    assert "acrelay-worker" in said.splitlines()[-1] and "the webhooks at ActiveCampaign match" not in said, said
    assert world.active() == list(UNITS)
    assert "entry" in world.box.run("acrelay", "send", "--public").stdout


def test_another_ca_is_asked_for_explicitly(world):
    world.setup(code=69, acme=("--acme", ACME + "-other"))  # which there is not
    changed = world.box.run("cat", "/etc/acrelay/Caddyfile").stdout
    assert f"acme_ca {ACME}-other\n" in changed and "acme_ca_root" not in changed, changed
    world.setup(times="setup-path=30000")
    assert "acme_ca_root" in world.box.run("cat", "/etc/acrelay/Caddyfile").stdout


def test_a_file_that_caddy_cannot_load_does_not_block_reloads(world):
    """Caddy 2.6 that fails to load a file never tells systemd that it has ended reloading."""
    def state():
        return world.box.run("systemctl", "is-active", "acrelay-https", check=False).stdout.strip()
    broken = "/etc/acrelay/broken.caddy"
    breaks = "https://hooks.broken.example {\n\ttls /none.pem /none.pem\n}\n"
    world.box.write(broken, breaks)
    world.box.run("sed", "-i", "$a # as an older acrelay wrote it", "/etc/acrelay/acrelay.caddy")
    assert "acrelay-https.service refuses to reload" in world.setup(code=69)
    assert state() == "active"
    world.box.run("rm", broken)
    assert "acrelay-https.service reloaded" in world.setup()  # what was written is not loaded yet
    assert "done " not in world.setup()
    # What validates, and fails when it is started.
    world.box.write(broken, "http://127.0.0.1:8090 {\n}\n")
    failed = world.box.run("systemctl", "reload", "acrelay-https", check=False)
    assert failed.returncode != 0 and state() == "active"
    world.box.run("rm", broken)
    world.box.run("systemctl", "restart", "acrelay-https")  # its failed servers would still accept
    world.box.write(broken, breaks)
    world.box.run("caddy", "reload", "--config", "/etc/acrelay/Caddyfile", "--address",
                  "unix//run/acrelay-https/admin.sock", "--force", check=False)
    assert state() == "reloading"
    assert "/none.pem" in world.setup(code=69)
    world.box.run("rm", broken)
    assert "acrelay-https.service reloaded" in world.setup()
    assert state() == "active"
    assert "entry" in world.box.run("acrelay", "send", "--public").stdout


def test_a_contact_of_ones_own_provokes_an_event(world):
    world.box.run("redis-cli", "del", "{ac}:events")
    world.curl("/sim/objects/contacts/7", "-X", "PUT", "-d", '{"firstName": "Ann \\u00e9"}')
    world.curl("/sim/objects/contacts/8", "-X", "DELETE")
    said = world.setup("--contact", "8", "--wait", "0", code=1)
    assert "answers 404 to GET /api/3/contacts/8" in said, said
    said = world.setup("--contact", "7", "--wait", "0")
    assert "the first name of contact 7 was written back unchanged" in said and "none yet" in said
    assert '"PUT"' in world.curl("/sim/log").splitlines()[-1]
    assert json.loads(world.curl("/sim/objects"))["contacts/7"]["firstName"] == "Ann \u00e9"


def test_another_account_shares_the_https_unit(world):
    """And its undo leaves the first as it was."""
    box, beta = world.box, ("--account", "beta")
    box.write("/etc/hosts", f"127.0.0.1 localhost {NAME} hooks.beta.example\n")
    world.simulator("account-beta", TOKEN, "8091")
    box.run("acrelay", "init", *beta, "--api-url", "http://127.0.0.1:8091", "--token-file",
            "/root/token", "--name", "beta", "--public-url", "https://hooks.beta.example")
    said = world.setup(*beta, "--wait", "0", times="setup-path=30000")
    assert "{beta}:acrelay-test" in said and "acrelay-https.service reloaded" in said, said
    for account in ((), beta):
        box.run("acrelay", "send", "--public", *account)
    world.setup(*beta, "--undo")
    assert "[]" in box.run("curl", "-sf", "http://127.0.0.1:8091/sim/hooks").stdout
    assert world.hooks() == ["acrelay contacts"] and world.active() == list(UNITS)
    box.run("acrelay", "send", "--public")
    box.run("sh", "-c", "rm /etc/acrelay/beta*")


def test_undo_takes_back_what_setup_did(world):
    asked = world.box.run("script", "-qec", "acrelay setup --undo", "/dev/null", input="n\n",
                          check=False)
    assert asked.returncode == 2 and "nothing was changed" in asked.stdout, asked.stdout
    assert world.active() == list(UNITS)
    world.box.run("mv", "/etc/acrelay/api-token", "/root/api-token")
    assert "cannot open" in world.setup("--undo", code=78)
    world.box.run("mv", "/root/api-token", "/etc/acrelay/api-token")
    assert world.active() == list(UNITS)
    world.setup("--undo")
    assert world.active() == [] and world.hooks() == []
    left = world.box.run("ls", "/etc/acrelay").stdout.split()
    assert left == ["acrelay.yaml", "api-token", "hook-secret"]
    assert world.setup("--undo").count("\n") == 2  # the account answers, and what is kept


def test_behind_a_proxy_of_ones_own_setup_leaves_https_alone(world, directory):
    said = world.setup("--no-https", "--wait", "0", code=69)  # there is none yet
    assert world.hooks() == [] and world.active() == list(UNITS[:2]), said
    world.own_proxy(directory)
    said = world.setup("--no-https", "--wait", "0")
    assert "is gone from ActiveCampaign" not in said, said  # undo removed it
    assert "acrelay-https" not in said and world.hooks() == ["acrelay contacts"], said
    assert world.active() == list(UNITS[:3])
    assert "entry" in world.box.run("acrelay", "send", "--public").stdout
    again = world.setup("--no-https", "--wait", "0")
    assert "done " not in again, again
    world.setup("--undo")
    assert world.active() == [] and world.hooks() == []
    world.box.run("systemctl", "is-active", "own-proxy")
