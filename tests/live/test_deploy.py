"""What is installed: the tree, its removal, and the units' checks by systemd's own tools."""
import re
import shutil
import subprocess

import harness
import pytest

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"),
                                   reason="systemd-analyze is not installed")


def make(*words):
    done = subprocess.run(["make", "-s", *words, f"BUILD={harness.BUILD}"], cwd=harness.ROOT,
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
    unit = (installed / "usr/lib/systemd/system/acrelayd.service").read_text()
    assert "ExecStart=/usr/bin/acrelayd " in unit
    make("uninstall", f"DESTDIR={installed}", "PREFIX=/usr")
    assert [path for path in installed.rglob("*") if path.is_file()] == []


@needs_systemd
def test_units_are_clean_and_little_exposed(tmp_path):
    make("install", f"DESTDIR={tmp_path}", f"PREFIX={tmp_path}/usr")
    units = sorted((tmp_path / f"{tmp_path}/usr/lib/systemd/system".lstrip("/")).iterdir())
    assert len(units) == 3
    for unit in units:  # the programs are where the units say
        unit.write_text(unit.read_text().replace(f"{tmp_path}/usr/bin", str(harness.BUILD)))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units],
                          capture_output=True, text=True, timeout=60)
    told = [line for line in done.stderr.splitlines() if "acrelay" in line]
    assert done.returncode == 0 and told == [], done.stderr
    for unit in units:
        if unit.suffix != ".service":
            continue
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                               unit], capture_output=True, text=True, timeout=60)
        level = re.search(r"exposure level.*?: ([0-9.]+)", done.stdout)
        assert level and float(level[1]) <= 2.0, done.stdout[-300:] + done.stderr
