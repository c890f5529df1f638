"""Every request of the worker, judged by an independent tool: Prism (npm,
@stoplight/prism-cli) stands between worker and simulator as a proxy that validates against
ActiveCampaign's OpenAPI description. Visibly skipped where either is missing:

    ACRELAY_PRISM    prism's program; else build/prism/node_modules/.bin/prism (make prism)
    ACRELAY_OPENAPI  the description; else ../shared/activecampaign/webhooks-openapi.yml
"""
import os
import pathlib
import re
import subprocess

import harness
import pytest
import yaml
from simulator import Simulator, Worker, stanza, url

PRISM = pathlib.Path(os.environ.get(
    "ACRELAY_PRISM", harness.ROOT / "build/prism/node_modules/.bin/prism"))
OPENAPI = pathlib.Path(os.environ.get(
    "ACRELAY_OPENAPI", harness.ROOT.parent / "shared/activecampaign/webhooks-openapi.yml"))

needs = [pytest.mark.skipif(not PRISM.exists(), reason="prism is not installed: make prism"),
         pytest.mark.skipif(not OPENAPI.exists(), reason=f"no OpenAPI description: {OPENAPI}")]


def hooks_document():
    """The description's paths are below /api/3, which Prism wants in the paths."""
    document = yaml.safe_load(OPENAPI.read_text())
    del document["servers"]
    document["paths"] = {"/api/3" + path: item for path, item in document["paths"].items()}
    return document


class Proxy:
    def __init__(self, directory, upstream, document):
        file = directory / "openapi.yml"
        file.write_text(yaml.safe_dump(document))
        self.log = directory / "prism.log"
        self.port = harness.free_port()
        self.process = subprocess.Popen(
            [PRISM, "proxy", "--host", "127.0.0.1", "--port", str(self.port), file, upstream],
            stdout=open(self.log, "wb"), stderr=subprocess.STDOUT)
        harness.wait_for("prism", lambda: "listening on" in self.log.read_text(), 60)

    def violations(self):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())
        return [line for line in plain.splitlines() if "iolation: request" in line
                or "not found" in line.lower() or "terminated with error" in line.lower()]

    def requests(self):
        return self.log.read_text().count("Request received")

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def both(tmp_path):
    sim = Simulator(tmp_path)
    proxy = Proxy(tmp_path, sim.url, hooks_document())
    yield sim, proxy
    proxy.stop()
    sim.stop()


@pytest.fixture
def worker(tmp_path, both):
    sim, proxy = both
    made = Worker(tmp_path, sim, stanza("a") + stanza("b", more=", list: 3") + stanza("c"))
    made.config.write_text(made.config.read_text().replace(
        sim.url, f"http://127.0.0.1:{proxy.port}"))
    return made


@pytest.mark.parametrize("nothing", [pytest.param(None, marks=needs)])
def test_the_worker_speaks_as_the_description_says(both, worker, nothing):
    sim, proxy = both
    sim.add("drifted", "https://hooks.acme.example/hook/a/old")
    sim.add("twin", url("b"), list=3)
    sim.add("twin", url("b"), list=3)
    worker.run("plan")
    assert worker.apply() == (1, 2, 1)
    worker.run("recreate", "c")
    worker.run("list")
    assert proxy.requests() >= 10
    assert proxy.violations() == []


@pytest.mark.parametrize("nothing", [pytest.param(None, marks=needs)])
def test_prism_would_tell_a_violation(both, nothing):
    sim, proxy = both
    sim.url = f"http://127.0.0.1:{proxy.port}"
    sim.api("POST", "/webhooks", {"webhook": {"name": 5, "url": "u"}})
    assert proxy.violations() != []
