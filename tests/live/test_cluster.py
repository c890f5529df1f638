"""A Redis Cluster of six nodes: receiver, worker and command line come to the node that has our
keys and follow them, whichever node redis.url names. make failovers has more of it."""
import time

import pytest

import failovers
import harness
import topologies
from failovers import acrelay
from harness import wait_for
from simulator import Worker, stanza
from test_partitions import Poster, check, number, tag_of, tags
from topologies import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, certificates):
    with Cluster(tmp_path_factory.mktemp("cluster"), certificates) as made:
        yield made


@pytest.fixture
def world(cluster, tmp_path):
    made = failovers.World(tmp_path, cluster, seed=1)
    yield made
    made.receiver.kill()
    cluster.owner().client.flushall()


def test_the_slot_moves_and_masters_fail(world):
    world.run([("slot_moved", 2), ("master_killed", 1), ("stale_replica", 1)])
    problems, counts = world.finish()
    assert not problems, counts
    assert world.receiver.metric("acrelay_relay_rewinds_total") > 0  # the replica was stale


def test_the_command_line_finds_the_node(world, cluster):
    for n in range(20):
        assert world.receiver.post(f"type=subscribe&contact[id]={n}") == 200
    world.receiver.wait_shipped()
    code, text = acrelay(world.receiver, "tail", "--from", "0", "--count", "20", "--json")
    assert code == 0 and len(text.splitlines()) == 20
    code, text = acrelay(world.receiver, "check", user="receiver")
    address = f"127.0.0.1:{cluster.owner().port}"
    assert f"6 of 6 say that slot {cluster.slot}, of {{ac}}, is at {address}" in text
    assert code == 0, text


def test_replay_and_claim_reach_the_partitions_on_all_nodes(cluster, tmp_path):
    receiver = harness.Receiver(tmp_path, cluster.settings(more=", partitions: 8"))
    try:
        for n in range(40):
            assert receiver.post(f"type=subscribe&contact[id]={n}") == 200
        receiver.wait_shipped()
        code, text = acrelay(receiver, "journal", "replay", "--yes", user="receiver")
        assert code == 0 and "ce_replay: 40; refused: 0" in text, text
        code, text = acrelay(receiver, "journal", "claim", "--yes", "--namespace", user="receiver")
        assert code == 0 and "is now published from here; its cursors are at 40 ({ac.0}), 40 (" in text, text
        assert receiver.post("type=subscribe&contact[id]=1") == 200
        receiver.wait_shipped()
    finally:
        receiver.kill()
        for server in cluster.masters():
            server.client.flushall()


def test_a_node_that_hangs_holds_up_its_partitions_only(cluster, tmp_path):
    """With its replica, or that would take over; the others serve their slots all the same."""
    for server in cluster.servers:
        server.client.config_set("cluster-require-full-coverage", "no")
    receiver = harness.Receiver(tmp_path, cluster.settings(more=", partitions: 8"))
    poster = Poster(receiver, contacts=80)
    nodes = {tag: cluster.owner(tag) for tag in tags(8)}
    hung = nodes["{ac.0}"]
    masters, stopped = set(nodes.values()), [hung, *cluster.replicas_of(hung)]
    assert len(masters) == 3

    def are_there():
        there = {number(e) for tag, node in nodes.items() if node is not hung
                 for e in node.entries(f"{tag}:events")}
        return all(there.issuperset(numbers) for subject, numbers in poster.sent.items()
                   if nodes[tag_of(subject, 8)] is not hung)

    try:
        poster.post(80)
        receiver.wait_shipped()
        for server in stopped:
            server.pause()
        for _ in range(3):  # the cluster notices meanwhile
            poster.post(80)
            wait_for("the others", are_there)
            time.sleep(topologies.NODE_TIMEOUT_MS / 1000)
        assert receiver.metric("acrelay_journal_unpublished_records") > 0
        for server in stopped:
            server.resume()
        receiver.wait_shipped()
        check(cluster, poster, 8)
    finally:
        for server in stopped:
            server.resume()
        receiver.kill()
        cluster.wait_healthy()
        for server in cluster.masters():
            server.client.flushall()
        for server in cluster.servers:
            server.client.config_set("cluster-require-full-coverage", "yes")


def test_a_node_that_is_down_is_named(world, cluster):
    down = next(s for s in cluster.servers if s.role() == "slave")
    down.kill()
    code, text = acrelay(world.receiver, "check", user="receiver")
    down.start()
    cluster.wait_healthy()
    assert f"node 127.0.0.1:{down.port}: " in text and "5 of 6 say" in text
    assert code == 0, text


def test_a_slot_that_no_node_serves(world, cluster):
    """Posts are answered and wait. The nodes come back with nothing: all is published again."""
    owner = cluster.owner()
    lost = [owner, *cluster.replicas_of(owner)]
    with world.load:
        world.load.wait_more()
        for server in lost:
            server.kill()
        wait_for("CLUSTERDOWN", lambda: "CLUSTERDOWN" in world.receiver.read_log())
        code, text = acrelay(world.receiver, "check", user="receiver")
        assert code == 69 and "CLUSTERDOWN" in text and "no node serves the slot" in text
        world.load.wait_more()
        for server in lost:
            server.start()
    cluster.wait_healthy()
    world.receiver.wait_shipped()
    problems, counts = world.finish()
    assert not problems, counts


def test_the_worker_keeps_its_lease(world, cluster, sim, tmp_path, running):
    worker = Worker(tmp_path, sim, stanza("contacts"), cluster.settings("worker"),
                    worker=", leader: redis")
    running(worker, times="lease=900")

    def leads():
        left = cluster.owner().client.pttl("{ac}:leader")
        return left > 0

    wait_for("the lease", leads)
    for _ in range(2):
        cluster.move_slot(cluster.other_master())
        cluster.owner().client.delete("{ac}:leader")  # to see it taken here
        wait_for("the lease", leads)
    log = (tmp_path / "worker.log").read_text()
    assert "Redis is away" not in log and "refuses" not in log
