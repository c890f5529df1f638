"""Stands in for the worker's lane where a test is about those who write commands and read results:
every entry gets one result, `ok` unless `outcomes` says otherwise for its ce_id."""
import threading

import redis as redis_py


class LaneDouble:
    def __init__(self, port, service="crm"):
        self.client = redis_py.Redis("127.0.0.1", port, decode_responses=True)
        self.commands, self.results = f"{{ac}}:commands:{service}", f"{{ac}}:results:{service}"
        self.outcomes, self.seen = {}, []
        self.service, self.stopping = service, False
        self.client.set("{ac}:leader", "a worker")
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping:
            try:
                for _, entries in self.client.xread({self.commands: "0"}, count=10, block=100):
                    for entry, command in entries:
                        self.answer(entry, command)
            except (redis_py.ConnectionError, redis_py.ResponseError):
                pass  # while Redis restarts

    def answer(self, entry, command):
        known = command["ce_id"] in [seen["ce_id"] for seen in self.seen]
        outcome, status, detail = self.outcomes.get(command["ce_id"], ("ok", "200", ""))
        self.seen.append(command)
        self.client.xadd(self.results, {
            "ce_specversion": "1.0", "ce_id": command["ce_id"], "ce_command": entry,
            "ce_type": command["ce_type"].replace(".command.", ".result."),
            "ce_source": f"/activecampaign/acme/commands/{self.service}",
            "ce_subject": command["ce_subject"], "ce_time": "2026-03-02T15:15:04.123456Z",
            "outcome": outcome, "status": status, "attempts": "0" if known else "1",
            "repeat": str(int(known)), "detail": detail, "content-type": "application/json",
            "data": command["data"]})
        self.client.xdel(self.commands, entry)

    def stop(self):
        self.stopping = True
        self.thread.join(20)
        assert not self.thread.is_alive()
