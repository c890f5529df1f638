#!/usr/bin/env python3
"""Every PUT operation by way of its stream, the worker's lane, Prism and the simulator: what was
called, what became of it, and what Prism (make prism), which holds each request and answer against
ActiveCampaign's description, has to say. Prints a table; 1 when a row is not as it should be.

    tests/live/operations_table.py
"""
import collections
import pathlib
import re
import sys
import tempfile

from commands import Commands
from operations import OPERATIONS, fitting, openapi, path
from test_dialect import OPENAPI, PRISM, Proxy, hooks_document

REFUSED = "Webhook_updateExisting"
# what an operation takes beside its body
WITH = {"Deal_updateStage": {"query": "reorder=1"},
        "Schema_updateSchema": {"query": "showFields=all"}}
TRIAL = ("Schema_updateSchema", {"validateOnly": "1"})
COLUMNS = ("operation", "path", "call", "status", "result", "prism")


def described():
    """The operations, and the webhooks that the worker looks after meanwhile."""
    document = openapi()
    if OPENAPI.exists():
        for place, item in hooks_document()["paths"].items():
            document["paths"].setdefault(place, {}).update(item)
    return document


class Scene(Commands):
    def __init__(self, directory):
        names = ", ".join(name for name in OPERATIONS if name != REFUSED)
        super().__init__(directory, f"[{{name: crm, allow: [{names}]}}]")
        self.proxy = None
        self.simulator.switch(limit=0)
        if PRISM.exists():
            self.proxy = Proxy(self.directory, self.simulator.url, described())
            self.worker.config.write_text(self.worker.config.read_text().replace(
                self.simulator.url, f"http://127.0.0.1:{self.proxy.port}"))

    def __exit__(self, *_):
        if self.proxy:
            self.proxy.stop()
        super().__exit__()

    def judged(self):
        """By call ("PUT /api/3/contacts/7", without its query), what Prism found wrong with
        each of them, in order."""
        found, call = collections.defaultdict(list), None
        for line in re.sub(r"\x1b\[[0-9;]*m", "", self.proxy.log.read_text()).splitlines():
            if "Request received" in line:
                call = re.search(r"(get|post|put|delete) (\S+)", line)
                call = f"{call[1].upper()} {call[2]}"
                found[call].append([])
            elif "iolation" in line or "not found" in line.lower() or "terminated" in line:
                found[call][-1].append(line.split("Violation: ")[-1].strip())
        return found


def wanted():
    """(operation, fields) of each command."""
    return [(name, WITH.get(name, {})) for name in OPERATIONS] + [TRIAL]


def row(scene, name, fields, entry, writes, judged):
    result = scene.result(entry)
    call = f"PUT /api/3{path(name)}"
    arrived = [w for w in writes if w["operation"] == name and w["path"] == path(name)[1:]]
    trial = "validateOnly" in fields
    if result["outcome"] == "refused":
        return {"operation": name, "path": OPERATIONS[name]["path"][1:], "call": "",
                "status": result["status"], "result": f"refused: {result['detail']}",
                "prism": "not asked" if not judged[call] else "ASKED", "good": not arrived}
    body = fitting(name)
    good = trial or [(w["body"], w["query"]) for w in arrived] == [
        (body, fields.get("query", ""))]
    verdict = ("not installed" if not scene.proxy else "NOT ASKED" if not judged[call]
               else "; ".join(judged[call].pop(0)) or "as described")
    return {"operation": name, "path": OPERATIONS[name]["path"][1:],
            "call": call + (f"?{fields['query']}" if "query" in fields else "")
            + " validateOnly" * trial, "status": result["status"],
            "result": result["outcome"], "prism": verdict,
            "good": good and result["outcome"] == "ok" and verdict in (
                "as described", "not installed")
            and int(result["status"]) in OPERATIONS[name]["codes"]}


def rows(directory):
    with Scene(directory) as scene:
        entries = [(name, fields, scene.put(
            path(name)[1:], fitting(name), operation=name, **fields)) for name, fields in wanted()]
        scene.start()
        scene.wait_for_results(len(entries))
        judged = scene.judged() if scene.proxy else collections.defaultdict(list)
        writes = [w for w in scene.simulator.writes() if w["path"] != "webhooks/1"]
        return [row(scene, *entry, writes, judged) for entry in entries]


def main():
    with tempfile.TemporaryDirectory(prefix="acrelay-operations-") as directory:
        found = rows(pathlib.Path(directory))
    widths = [max(len(str(r[c])) for r in found + [dict(zip(COLUMNS, COLUMNS))])
              for c in COLUMNS]
    for r in [dict(zip(COLUMNS, COLUMNS), good=True)] + found:
        print("  ".join(str(r[c]).ljust(w) for c, w in zip(COLUMNS, widths)).rstrip()
              + "  <-- not as it should be" * (not r["good"]))
    bad = sum(not r["good"] for r in found)
    print(f"{len(found) - bad} passed, {bad} failed")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
