"""The README's shell blocks, run one after the other as a newcomer would: in a copy of what is
committed or about to be, in a network of their own, so that default ports are free."""
import re
import shutil
import subprocess

import harness
import pytest


def blocks():
    return re.findall(r"^```sh\n(.*?)^```", (harness.ROOT / "README.md").read_text(), re.M | re.S)


def can_unshare():
    return subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare() or not shutil.which("ip"),
                    reason="no network namespaces here")
def test_the_shell_blocks_of_the_readme_do_what_it_says(tmp_path):
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=harness.ROOT,
                           capture_output=True, text=True, check=True).stdout.split("\n")
    copy = tmp_path / "acrelay"
    for name in filter(None, files):
        if (harness.ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(harness.ROOT / name, copy / name)
    assert len(blocks()) == 3
    script = "\n".join(["set -e", "ip link set lo up", *blocks(),
                        "kill $!", "wait", "redis-cli shutdown nosave"])
    done = subprocess.run(["unshare", "-rn", "sh", "-c", script], cwd=copy, capture_output=True,
                          text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in the stream" in done.stdout, "the demo's summary"
    assert re.search(r"subscribe +contact/1066", done.stdout), done.stdout[-3000:]
    assert re.search(r"receiver +takes deliveries and relays them", done.stdout)
