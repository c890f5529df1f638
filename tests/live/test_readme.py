"""The README's shell blocks, run one after the other as a newcomer would: in a copy of what is
committed or about to be, in a network of their own, so that default ports are free."""
import os
import re
import shutil
import subprocess

import harness
import pytest


def blocks():
    return re.findall(r"^```sh\n(.*?)^```", (harness.ROOT / "README.md").read_text(), re.M | re.S)


def can_unshare():
    return subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0


network_of_its_own = pytest.mark.skipif(not can_unshare() or not shutil.which("ip"),
                                        reason="no network namespaces here")


@network_of_its_own
def test_the_shell_blocks_of_the_readme_do_what_it_says(tmp_path):
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=harness.ROOT,
                           capture_output=True, text=True, check=True).stdout.split("\n")
    copy = tmp_path / "acrelay"
    for name in filter(None, files):
        if (harness.ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(harness.ROOT / name, copy / name)
    if not harness.FULL:  # what is built already need not be built again
        kept = {path.name for path in (harness.ROOT / "src").iterdir()} | {"simulator"}
        shutil.copytree(harness.BUILD, copy / "build", ignore=lambda directory, names: [
            name for name in names if directory == str(harness.BUILD)
            and (harness.BUILD / name).is_dir() and name not in kept])
    assert len(blocks()) == 3
    script = "\n".join(["set -e", "ip link set lo up", *blocks(),
                        "kill $!", "wait", "redis-cli shutdown nosave"])
    done = subprocess.run(["unshare", "-rn", "sh", "-c", script], cwd=copy, capture_output=True,
                          text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in the stream" in done.stdout, "the demo's summary"
    assert re.search(r"subscribe +contact/1066", done.stdout), done.stdout[-3000:]
    assert re.search(r"^receiver ", done.stdout, re.M)


@network_of_its_own
def test_the_demo_takes_no_other_server_for_its_own(tmp_path):
    """What answers on the default ports, and even says that it is ready, is not the demo's."""
    (tmp_path / "readyz").touch()
    script = f"""ip link set lo up
        python3 -m http.server 8080 --bind 127.0.0.1 --directory {tmp_path} 2>/dev/null &
        python3 -m http.server 9180 --bind 127.0.0.1 --directory {tmp_path} 2>/dev/null &
        until curl -sf http://127.0.0.1:8080/readyz && curl -sf http://127.0.0.1:9180/readyz
        do sleep 0.05; done
        sh deploy/try.sh demo; code=$?
        kill $(jobs -p); exit $code"""
    done = subprocess.run(["unshare", "-rn", "bash", "-c", script], cwd=harness.ROOT,
                          env={**os.environ, "BUILD": str(harness.BUILD)},
                          capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
