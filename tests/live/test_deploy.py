"""What is installed and shipped: the tree, its removal, units, manual, package, monitoring; each
judged by the tool that will read it. Containers are in tests/container."""
import fcntl
import json
import os
import re
import shutil
import subprocess
import urllib.request

import harness
import pytest
import yaml
from simulator import Simulator, Worker

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"),
                                   reason="systemd-analyze is not installed")


def make(*words):
    with open(harness.BUILD / "make.lock", "w") as lock:  # the tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(["make", "-s", *words, harness.MAKE_BUILD], cwd=harness.ROOT,
                              capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def installed(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    return tmp_path


def test_install_and_uninstall_leave_nothing_behind(installed):
    for name in ("acrelayd", "acrelay-worker", "acrelay"):
        done = subprocess.run([installed / "usr/bin" / name, "--version"], capture_output=True,
                              text=True)
        assert done.stdout.startswith(name)
    assert "complete" in (installed / "usr/share/bash-completion/completions/acrelay").read_text()
    for name in ("consumer.py", "consumer.js"):
        assert os.access(installed / "usr/share/doc/acrelay/consumers" / name, os.X_OK)
        assert os.access(harness.ROOT / "deploy/consumers" / name, os.X_OK)
    unit = (installed / "usr/lib/systemd/system/acrelayd.service").read_text()
    assert "ExecStart=/usr/bin/acrelayd " in unit
    make("uninstall", f"DESTDIR={installed}", "PREFIX=/usr")
    assert [path for path in installed.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("unit, own", [("acrelayd.socket", 2), ("acrelayd.service", 8),
                                       ("acrelay-worker.service", 8)])
def test_the_units_of_an_account_have_its_name_in_all_that_two_must_not_share(installed, unit,
                                                                              own):
    units = installed / "usr/lib/systemd/system"
    plain = (units / unit).read_text().splitlines()
    named = (units / unit.replace(".", "@.")).read_text().splitlines()
    others = [line for line in named if line not in plain and line[0] != "#"]
    assert len(others) == own and all("%i" in line for line in others), others
    # what is the plain unit's alone: paths, ports, a user
    alone = (r"8080|/acrelay\.yaml|acrelayd\.socket|^User=|Directory=[a-z-]*$"
             r"|/etc/acrelay/[a-z]|Credential=[a-z]")
    assert [line for line in named if re.search(alone, line)] == []


@needs_systemd
def test_units_are_clean_and_little_exposed(tmp_path):
    make("install", f"DESTDIR={tmp_path}", f"PREFIX={tmp_path}/usr")
    units = sorted((tmp_path / f"{tmp_path}/usr/lib/systemd/system".lstrip("/")).iterdir())
    assert len(units) == 7
    for unit in units:  # the programs are where the units say
        unit.write_text(unit.read_text().replace(f"{tmp_path}/usr/bin", str(harness.BUILD)))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units],
                          capture_output=True, text=True, timeout=60)
    told = [line for line in done.stderr.splitlines() if "acrelay" in line]
    assert done.returncode == 0 and told == [], done.stderr
    services = [unit for unit in units if unit.suffix == ".service"]
    assert len(services) == 5
    for unit in services:
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                               unit], capture_output=True, text=True, timeout=60)
        level = re.search(r"exposure level.*?: ([0-9.]+)", done.stdout)
        assert level and float(level[1]) <= 2.0, done.stdout[-300:] + done.stderr


# --- manual -------------------------------------------------------------------------------

def manual(name):
    make("man")
    return (harness.BUILD / "man" / name).read_text()


def test_the_manual_is_clean_and_names_every_setting():
    settings = subprocess.run([harness.BUILD / "acrelay", "check", "--print", "settings"],
                              capture_output=True, text=True, check=True).stdout
    page = manual("acrelay.yaml.5")
    names = re.findall(r"^  *([a-z_.\[\]]+)", settings, re.M)
    assert len(names) > 30
    for name in names:
        assert f".It Ic {name}\n" in page, name
    pages = sorted((harness.BUILD / "man").iterdir())
    assert len(pages) == 6
    done = subprocess.run(["mandoc", "-T", "lint", *pages], capture_output=True, text=True)
    told = [line for line in (done.stdout + done.stderr).splitlines()
            if "referenced manual not found" not in line]  # ours, not installed here
    assert told == []


@pytest.mark.parametrize("program, page, count", [
    ("acrelay", "acrelay.1", 25), ("acrelayd", "acrelayd.8", 0),
    ("acrelay-worker", "acrelay-worker.8", 5)])
def test_the_manual_names_every_option_and_command(program, page, count):
    text = manual(page)

    def told(*words):
        return subprocess.run([harness.BUILD / program, *words, "--help"], capture_output=True,
                              text=True, check=True).stdout
    start = told()
    commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", start.partition("Options")[0], re.M)
    assert len(commands) >= count, commands
    for command in commands:
        assert re.search(rf"^\.It Cm {command}\b", text, re.M), f"{command} is not in {page}"
        start += told(*command.split())
    options = set(re.findall(r"^  --([a-z-]+)", start, re.M))
    assert options >= {"config", "json", "log", "verbose", "help", "version"}
    for option in options:
        assert f"Fl Fl {option}" in text, f"--{option} is not in {page}"


def test_what_carries_the_version_is_built_anew_for_another(tmp_path):
    built = tmp_path / "program/options.o"

    def build(version):
        subprocess.run(["make", "-s", built, f"VERSION={version}", f"BUILD={tmp_path}"],
                       cwd=harness.ROOT, check=True, timeout=60)
        return built.stat().st_mtime_ns
    build("71.1.1")
    first = build("72.2.2")
    assert b"72.2.2" in built.read_bytes()
    assert build("72.2.2") == first


# --- package --------------------------------------------------------------------------------

@pytest.mark.skipif(not shutil.which("lintian"), reason="lintian is not installed")
def test_the_package_is_built_and_lintian_finds_no_error(tmp_path):
    done = subprocess.run(["sh", "deploy/debian/build.sh", "0.1.0", tmp_path / "deb"],
                          cwd=harness.ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    [package] = (tmp_path / "deb").glob("*.deb")
    judged = subprocess.run(["lintian", "--fail-on", "error", package], capture_output=True,
                            text=True, timeout=300)
    assert judged.returncode == 0, judged.stdout
    held = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True).stdout
    for name in ("./usr/bin/acrelayd", "./usr/lib/systemd/system/acrelayd.socket",
                 "./usr/share/man/man5/acrelay.yaml.5.gz", "./etc/acrelay/"):
        assert name in held


# --- monitoring -----------------------------------------------------------------------------

def page_of(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


COMMANDS = "commands: {services: [{name: crm, allow: [contacts]}]}\n"


@pytest.fixture
def metrics(tmp_path, redis, make_receiver):
    """The pages of a receiver and a worker that have done something."""
    receiver = make_receiver(hooks="  - {name: contacts, events: [subscribe], expect_every: 1d}\n")
    for body in ("type=subscribe&contact[id]=1", "type=subscribe&contact[id]=1", ""):
        assert receiver.post(body) == 200
    receiver.wait_shipped()
    sim = Simulator(tmp_path)
    worker = Worker(tmp_path, sim, "  - {name: contacts, events: [subscribe], expect_every: 1d}\n",
                    redis_port=redis.port, extra=COMMANDS)
    redis.client.xadd("{ac}:commands:crm", {"ce_id": "refused"})
    process = worker.start(tmp_path / "worker.log")
    try:
        harness.wait_for("the worker's round", lambda: process.poll() is None and
                         redis.client.hget("{ac}:hooks", "contacts") and
                         redis.client.xlen("{ac}:results:crm"))
        harness.wait_for("its figures", lambda: 'state="registered"' in page_of(worker.admin))
        yield {"receiver": receiver.get("/metrics")[1], "worker": page_of(worker.admin)}
    finally:
        process.kill()
        process.wait()
        sim.stop()


def names_in(expression):
    """Series that an expression of PromQL reads."""
    return set(re.findall(r"\b(?:acrelay|process)_[a-z_]+", expression))


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_metrics_follow_prometheus_and_are_those_that_alerts_and_dashboard_read(metrics):
    for page in metrics.values():
        done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True,
                              text=True)
        assert done.returncode == 0 and done.stdout + done.stderr == "", done.stdout + done.stderr
    here = {line.split()[0].partition("{")[0] for page in metrics.values()
            for line in page.splitlines() if line and line[0] != "#"}
    # they are there from their first time on, and with TLS
    here |= {"acrelay_api_throttles_total", "acrelay_redis_certificate_expiry_timestamp_seconds"}
    shipped = harness.ROOT / "deploy" / "monitoring"
    rules = yaml.safe_load((shipped / "alerts.yml").read_text())["groups"][0]["rules"]
    read = set().union(*(names_in(rule["expr"]) for rule in rules))
    board = json.loads((shipped / "grafana-dashboard.json").read_text())
    read |= set().union(*(names_in(target["expr"]) for panel in board["panels"]
                          for target in panel["targets"]))
    assert len(read) > 20 and read - here == set()
    assert "acrelay_journal_oldest_unpublished_age_seconds 0" in metrics["receiver"]
    assert re.search(r'acrelay_hook_last_event_timestamp_seconds{hook="contacts"} 1\d{9}',
                     metrics["receiver"])


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_alert_rules_fire_when_they_should():
    done = subprocess.run(["promtool", "test", "rules", "tests/monitoring/alerts_test.yml"],
                          cwd=harness.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def headings():
    manual = (harness.ROOT / "deploy/OPERATING.md").read_text()
    return re.findall(r"^##+ (.*?)(?: \(`.*)?$", manual, re.M)


def test_each_alert_names_its_section_of_the_operating_manual():
    alerts = (harness.ROOT / "deploy/monitoring/alerts.yml").read_text()
    rules = yaml.safe_load(alerts)["groups"][0]["rules"]
    assert len(rules) > 25
    for rule in rules:
        page, _, section = rule["annotations"]["runbook"].partition(": ")
        assert page == "OPERATING.md" and section in headings(), rule["alert"]


def test_each_section_that_a_message_or_a_page_refers_to_is_in_the_operating_manual():
    named = set()
    for path in (harness.ROOT / "src").rglob("*.c"):
        literals = re.sub(r'"\n *"', "", path.read_text())
        named |= set(re.findall(r'see \\"(.+?)\\"', literals))
    for name in ("README.md", "deploy/OPERATING.md"):
        named |= set(re.findall(r'(?:see|under)\s"(.+?)"', (harness.ROOT / name).read_text()))
    assert len(named) > 10
    assert [name for name in named
            if not any(heading.startswith(name) for heading in headings())] == []


def test_each_page_that_a_source_file_names_is_there():
    files = [path for folder in ("src", "tests", "deploy", "conf") for path in (harness.ROOT / folder).rglob("*.*")]
    pages = {path.name for path in files if path.suffix == ".md"} | {"README.md"}
    named = {name for path in files if path.suffix in (".c", ".h", ".lua", ".js", ".py", ".md", ".yml", ".7")
             for name in re.findall(r"\b[A-Za-z-]+\.md\b", path.read_text(errors="replace"))}
    assert named >= {"OPERATING.md", "API.md", "NORMAL-FORM.md"} and named <= pages
