import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def pytest_addoption(parser):
    parser.addoption("--whole", action="store_true",
                     help="with the units' own times, and what the short form leaves out")
    parser.addoption("--root", default="/", help="of another Debian, to boot that")
    parser.addoption("--package", help="built there; otherwise it is built here")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failing step shows the machine's journal."""
    report = (yield).get_result()
    world = item.funcargs.get("world")
    if report.when == "call" and report.failed and world:
        done = world.box.run("journalctl", "--no-pager", "-o", "short-monotonic", "-n", "80",
                             check=False)
        report.sections.append(("journal", done.stdout + done.stderr))


@pytest.fixture(scope="session")
def package(request):
    if given := request.config.getoption("--package"):
        return given
    subprocess.run(["make", "-s", "deb"], cwd=ROOT, check=True, timeout=300)
    [built] = (ROOT / "build/deb").glob("*.deb")
    return built
