"""Redis as it is run in production, on loopback and with TLS throughout: a cluster of three masters
and three replicas, and a master with two replicas that three sentinels watch. Users are those of
deploy/redis/acrelay.acl. Servers can be killed, stopped, left behind and started again; the slot of
our keys can be moved. Processes are ended by pid; ports as harness.py finds them.

    with Cluster(directory, certificates) as cluster:
        cluster.owner().kill()
        cluster.wait_healthy()
        cluster.move_slot(cluster.other_master())
"""
import contextlib
import pathlib
import re
import subprocess

import redis
from redis.crc import key_slot

import harness
from harness import wait_for

ADMIN, PASSWORD, SENTINEL = "password-of-admin", "password-of-users", "password-of-sentinels"
MASTER = "mymaster"
RIGHTS = harness.ROOT / "deploy/redis/acrelay.acl"
NODE_TIMEOUT_MS = 1000
LOST = (redis.ConnectionError, redis.TimeoutError)


def users():
    """The lines of acrelay.acl with our password."""
    lines = re.findall(r"^user .*", RIGHTS.read_text(), re.M)
    return [re.sub(r">\S+", ">" + PASSWORD, line) for line in lines]


class Server(harness.Redis):
    """A redis-server with `lines` in its configuration and TLS on its only port. `tls`: files of
    the CA, its certificate and the key; None: without."""

    def __init__(self, directory, tls, lines=(), arguments=(), password=ADMIN):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir()
        self.is_ours = False
        self.port = harness.free_port()
        self.socket = self.directory / "none"
        self.arguments = arguments
        self.config = self.directory / "redis.conf"
        more = [f"port {self.port}"] if not tls else [
            "port 0", f"tls-port {self.port}", "tls-auth-clients no", "tls-replication yes",
            f"tls-ca-cert-file {tls[0]}", f"tls-cert-file {tls[1]}", f"tls-key-file {tls[2]}"]
        self.config.write_text("\n".join([
            "bind 127.0.0.1", f"dir {self.directory}", f"requirepass {password}",
            *more, *lines]) + "\n")
        self.process = None
        self.client = redis.Redis(
            "127.0.0.1", self.port, password=password, socket_timeout=2, socket_connect_timeout=2,
            **({"ssl": True, "ssl_ca_certs": str(tls[0])} if tls else {}))
        self.start()

    def start(self):
        with open(self.directory / "redis.log", "ab") as log:
            self.process = subprocess.Popen(
                [harness.REDIS_SERVER, str(self.config), *self.arguments], stdout=log, stderr=log)
        wait_for("redis-server", self.is_up)

    def is_up(self):
        try:
            return super().is_up()
        except redis.exceptions.BusyLoadingError:
            return False

    def role(self):
        """Its own word, or None while it says nothing."""
        try:
            return self.client.execute_command("ROLE")[0].decode()
        except (*LOST, redis.exceptions.BusyLoadingError):
            return None

    def configure(self, *settings):
        """CONFIG SET. A server that is made a replica closes its connections: it is asked again."""
        def is_set():
            try:
                return self.client.config_set(*settings)
            except LOST:
                return False
        wait_for("its settings", is_set)

    def is_caught_up(self, master):
        try:
            mine, its = self.client.info("replication"), master.client.info("replication")
        except (*LOST, redis.exceptions.BusyLoadingError):
            return False
        return (mine["role"] == "slave" and mine["master_port"] == master.port
                and mine["master_link_status"] == "up"
                and mine["slave_repl_offset"] >= its["master_repl_offset"] - 10000)


DATA = ["save \"\"", "appendonly no", "repl-diskless-sync-delay 0", "repl-timeout 3",
        "enable-debug-command yes", f'masterauth {ADMIN}']


class Topology:
    """What both have in common: servers, one of which has our keys at a time."""


    kind = None

    def __init__(self, directory, certificates):
        self.directory = pathlib.Path(directory)
        self.tls = certificates and (certificates.ca, *certificates.issue(
            "redis", usage="serverAuth,clientAuth"))  # nodes are clients of each other
        self.servers, self.sentinels = [], []
        self.password = self.directory / "password"
        self.password.write_text(PASSWORD + "\n")
        self.password.chmod(0o600)
        try:
            self.build()
            self.wait_healthy()
        except BaseException:
            self.__exit__()
            raise

    @property
    def url(self):
        hosts = ",".join(f"127.0.0.1:{s.port}" for s in self.sentinels or self.servers)
        return f"redis{'s' * bool(self.tls)}+{self.kind}://{hosts}{self.path}"

    def settings(self, user="receiver", more=""):
        """Of redis in the configuration, for a user of acrelay.acl."""
        tls = f", tls: {{ca_file: '{self.tls[0]}'}}" if self.tls else ""
        return (f"{{url: '{self.url}', user: acrelay-{user}, password_file: '{self.password}'"
                f"{tls}{more}}}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in (*self.sentinels, *self.servers):
            with contextlib.suppress(OSError):
                server.resume()
            server.__exit__()

    def entries(self, stream="{ac}:events"):
        return self.owner().entries(stream)

    def wait_healthy(self, seconds=60):
        wait_for(f"the {self.kind}", self.is_healthy, seconds)

    def wait_failover(self, before, seconds=60, **without):
        """Another server than `before` is the master, by the others' word and its own."""
        def is_over():
            owner = self.owner(**without)
            return owner not in (None, before) and owner.role() == "master" and owner
        return wait_for("the failover", is_over, seconds)


class Sentinels(Topology):
    """A master and two replicas, watched by three sentinels that have a password of their own."""

    kind, path = "sentinel", f"/{MASTER}/0"
    down_after_ms = 600

    def build(self):
        lines = [*DATA, *users()]
        for i in range(3):
            self.servers.append(Server(self.directory / f"data-{i}", self.tls, lines))
            if i == 0:
                lines.append(f"replicaof 127.0.0.1 {self.servers[0].port}")
        for i in range(3):
            self.sentinels.append(Server(self.directory / f"sentinel-{i}", self.tls,
                                         self.sentinel_lines(), ["--sentinel"], SENTINEL))

    def sentinel_lines(self):
        return [f"sentinel monitor {MASTER} 127.0.0.1 {self.servers[0].port} 2",
                f"sentinel down-after-milliseconds {MASTER} {self.down_after_ms}",
                f"sentinel failover-timeout {MASTER} 3000",
                f'sentinel auth-pass {MASTER} {ADMIN}',
                f'sentinel sentinel-pass {SENTINEL}',
                f"user acrelay-sentinel on >{PASSWORD} resetchannels -@all +auth"
                " +sentinel|get-master-addr-by-name"]

    def settings(self, user="receiver"):
        return super().settings(user, ", sentinel: {user: acrelay-sentinel,"
                                f" password_file: '{self.password}'}}")

    def named(self, sentinel):
        """The port of the master by a sentinel's word."""
        try:
            return int(sentinel.client.execute_command(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])
        except LOST:
            return None

    def owner(self, without=None):
        """The master that most sentinels name, without one that is not to be asked."""
        ports = [self.named(s) for s in self.sentinels
                 if s is not without and s.process.poll() is None]
        port = max(set(ports), key=ports.count)
        return next((s for s in self.servers if s.port == port), None)

    def replicas_of(self, master):
        return [s for s in self.servers if s is not master]

    def is_healthy(self):
        owner = self.owner()
        if owner is None or owner.role() != "master":
            return False
        for sentinel in self.sentinels:
            try:
                master = sentinel.client.sentinel_master(MASTER)
            except LOST:
                return False
            if (master["port"] != owner.port or master["flags"] != "master"
                    or master["num-other-sentinels"] < 2 or master["num-slaves"] != 2):
                return False
        return all(s.is_caught_up(owner) for s in self.servers if s is not owner)


class Cluster(Topology):
    """Three masters and a replica of each. `slot` is that of {ac}."""

    kind, path = "cluster", ""

    def build(self):
        lines = [*DATA, *users(), "cluster-enabled yes", f"cluster-node-timeout {NODE_TIMEOUT_MS}",
                 "cluster-replica-validity-factor 0", "cluster-allow-replica-migration no",
                 *["tls-cluster yes"] * bool(self.tls)]
        for i in range(6):
            self.servers.append(Server(self.directory / f"node-{i}", self.tls, [
                *lines, f"cluster-port {harness.free_port()}"]))
            # redis-py would parse it, by address
            del self.servers[i].client.response_callbacks["CLUSTER NODES"]
        self.ids = {s.client.execute_command("CLUSTER MYID").decode(): s for s in self.servers}
        self.slot = key_slot(b"{ac}:x")
        self.join()

    def join(self):
        for i, server in enumerate(self.servers):
            ask = server.client.execute_command
            ask("CLUSTER SET-CONFIG-EPOCH", i + 1)
            if i < 3:
                ask("CLUSTER ADDSLOTSRANGE", 16384 * i // 3, 16384 * (i + 1) // 3 - 1)
        wait_for("that the nodes know each other", self.meet)
        for server, master in zip(self.servers[3:], self.servers):
            server.client.execute_command("CLUSTER REPLICATE", self.id_of(master))

    def meet(self):
        """Whether all know all. A meeting that takes longer than NODE_TIMEOUT_MS, as on a busy
        machine, is given up, by one of the two or both: it is asked for until both know."""
        first, *others = self.servers
        known = self.nodes(first)
        for server in others:
            if self.id_of(server) not in known or self.id_of(first) not in self.nodes(server):
                bus = re.search(r"cluster-port (\d+)", server.config.read_text())[1]
                first.client.execute_command("CLUSTER MEET", "127.0.0.1", server.port, bus)
        return all(self.ids.keys() <= self.nodes(s).keys() for s in self.servers)

    def id_of(self, server):
        return next(i for i, s in self.ids.items() if s is server)

    @staticmethod
    def nodes(server):
        """By id: flags, master's id, slots, as this node sees them; {} while it says nothing."""
        try:
            text = server.client.execute_command("CLUSTER NODES")
        except (*LOST, redis.exceptions.BusyLoadingError):
            return {}
        lines = [line.split() for line in text.decode().splitlines()]
        return {x[0]: (x[2].split(","), x[3], [r.split("-") for r in x[8:] if r[0] != "["],
                       x[7] == "connected") for x in lines}

    def owner(self, key="{ac}:x"):
        """The node that most nodes say serves the slot of this key."""
        slot, votes = key_slot(key.encode()), []
        for server in self.servers:
            if server.process.poll() is None:
                for key, (flags, _, slots, _) in self.nodes(server).items():
                    if "master" in flags and "fail" not in flags and any(
                            int(r[0]) <= slot <= int(r[-1]) for r in slots if r):
                        votes.append(key)
        return self.ids[max(set(votes), key=votes.count)] if votes else None

    def entries(self, stream="{ac}:events"):
        return self.owner(stream).entries(stream)

    def masters(self):
        return [s for s in self.servers if s.role() == "master"]

    def other_master(self, random=None):
        others = [s for s in self.masters() if s is not self.owner()]
        return random.choice(others) if random else others[0]

    def is_healthy(self):
        views = [self.nodes(s) for s in self.servers]
        if any(len(v) != 6 for v in views):
            return False
        for server, view in zip(self.servers, views):
            for flags, _, _, connected in view.values():
                if "fail" in flags or "fail?" in flags or not (connected or "myself" in flags):
                    return False
            if server.client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                return False
        seen = {tuple(sorted((key, master) for key, (_, master, _, _) in v.items()))
                for v in views}
        roles = {key: master for key, (_, master, _, _) in views[0].items()}
        return len(seen) == 1 and all(
            self.ids[key].is_caught_up(self.ids[master])
            for key, master in roles.items() if master != "-")

    def replicas_of(self, master):
        key = self.id_of(master)
        return [self.ids[i] for i, (_, master_id, _, _) in self.nodes(master).items()
                if master_id == key]

    def move_slot(self, to, pause=lambda: None):
        """As redis-cli --cluster reshard does it, with a pause between the steps."""
        source = self.owner()
        at, there = source.client.execute_command, to.client.execute_command
        there("CLUSTER SETSLOT", self.slot, "IMPORTING", self.id_of(source))
        at("CLUSTER SETSLOT", self.slot, "MIGRATING", self.id_of(to))
        pause()
        while keys := at("CLUSTER GETKEYSINSLOT", self.slot, 1):
            at("MIGRATE", "127.0.0.1", to.port, "", 0, 10000, "AUTH", ADMIN, "KEYS", *keys)
            pause()
        for server in (to, source, *self.masters()):
            server.client.execute_command("CLUSTER SETSLOT", self.slot, "NODE", self.id_of(to))
        return source
