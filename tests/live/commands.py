"""Commands for live tests: a Redis, the simulator, workers, and a service that sends."""
import json
import pathlib

import harness
import simulator

HOOKS = simulator.stanza("contacts")
SERVICES = "[{name: crm, allow: [contacts, deals, dealStages]}, {name: shop, allow: [contacts]}]"


class Commands:
    """Redis, the simulator and one worker; `settings` go into commands:. A second of the rates
    takes `second` ms."""

    def __init__(self, directory, services=SERVICES, settings="rate: 5", worker="", rate=5,
                 times="", redis_options=(), lease=5000, second=200):
        self.directory = pathlib.Path(directory)
        self.redis = harness.Redis(None, *redis_options)
        self.simulator = simulator.Simulator(self.directory, second=second)
        self.simulator.switch(ids=1000)
        self.worker = simulator.Worker(
            self.directory, self.simulator, HOOKS, self.redis.port, rate, worker,
            extra=f"commands:\n  {settings}\n  services: {services}\n")
        self.times = (f"file-still=1000 worker_lag=300 lease={lease} api-backoff=50 "
                      "command-poll=20 " + times)
        self.processes = []
        self.sent = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.simulator.stop()
        self.redis.__exit__()

    def start(self):
        process = self.worker.start(self.directory / "worker.log", self.times)
        self.processes.append(process)
        return process

    def log(self):
        path = self.directory / "worker.log"
        return path.read_text() if path.exists() else ""

    def put(self, subject="contacts/1", body=None, service="crm", operation=None, **fields):
        """Adds a command; its entry id. Fields that are None are left out."""
        self.sent += 1
        operation = operation or ("Contact_updateContact" if subject.startswith("contacts/")
                                  else "Deal_updateExistingDeal")
        body = body or {"contact" if "Contact" in operation else "deal": {"n": self.sent}}
        entry = {"ce_specversion": "1.0", "ce_source": "test", "ce_id": f"id-{self.sent}",
                 "ce_type": f"com.activecampaign.command.{operation}", "ce_subject": subject,
                 "content-type": "application/json",
                 "data": body if isinstance(body, (str, bytes)) else json.dumps(body), **fields}
        return self.redis.client.xadd(f"{{ac}}:commands:{service}",
                                      {k: v for k, v in entry.items() if v is not None}).decode()

    def entries(self, key):
        return [{k: v.decode() for k, v in entry.items()}
                for entry in self.redis.entries(f"{{ac}}:{key}")]

    def results(self, service="crm"):
        return self.entries(f"results:{service}")

    def result(self, entry, service="crm", seconds=30):
        """The one result of an entry."""
        def find():
            found = [r for r in self.results(service) if r["ce_command"] == entry]
            assert len(found) < 2, found
            return found[0] if found else None
        return harness.wait_for(f"a result of {entry}", find, seconds)

    def wait_for_results(self, count, service="crm", seconds=60):
        harness.wait_for(f"{count} results", lambda: len(self.results(service)) >= count, seconds)
        return self.results(service)

    def dead(self):
        return self.entries("commands.dead")

    def done(self, subject=None):
        """The bodies that ActiveCampaign took, in order."""
        return [w["body"] for w in self.simulator.writes()
                if w["operation"] != "Webhook_updateExisting"
                and (subject is None or w["path"] == subject)]

    def check_nothing_is_left(self, *services):
        for service in services or ("crm",):
            key = f"{{ac}}:commands:{service}"
            assert self.redis.client.xlen(key) == 0
            assert self.redis.client.xpending(key, "acrelay")["pending"] == 0
        assert self.redis.client.hlen("{ac}:commands.tried") == 0
