"""A master and two replicas behind three sentinels, which have users of their own: receiver, worker
and command line come to the master and follow it. make failovers has more of it."""
import socket
import subprocess

import pytest

import failovers
import harness
import topologies
from failovers import acrelay
from harness import wait_for


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory, certificates):
    with topologies.Sentinels(tmp_path_factory.mktemp("sentinels"), certificates) as made:
        yield made


@pytest.fixture
def world(sentinels, tmp_path):
    made = failovers.World(tmp_path, sentinels, seed=1)
    yield made
    made.receiver.kill()
    sentinels.wait_healthy()  # a master of before may still believe to be one, and be made a replica later
    sentinels.owner().client.flushall()


def edit(receiver, old, new):
    text = receiver.config.read_text()
    assert old in text
    receiver.config.write_text(text.replace(old, new))


def subjects_at(server):
    """Of its stream; None while it does not answer."""
    try:
        return [entry["ce_subject"] for entry in server.entries("{ac}:events")]
    except topologies.LOST:
        return None


def test_check_asks_every_sentinel(world, sentinels):
    code, text = acrelay(world.receiver, "check", user="receiver")
    address = f"127.0.0.1:{sentinels.owner().port}"
    assert f"3 of 3 say that the master mymaster is at {address}" in text
    assert "min-replicas-to-write is 0" in text
    assert code == 0, text
    sentinels.owner().client.config_set("min-replicas-to-write", 1)
    assert "min-replicas-to-write" not in acrelay(world.receiver, "check", user="receiver")[1]
    sentinels.owner().client.config_set("min-replicas-to-write", 0)
    down = sentinels.sentinels[0]
    down.kill()
    code, text = acrelay(world.receiver, "check", user="receiver")
    down.start()
    assert f"sentinel 127.0.0.1:{down.port}: " in text and "2 of 3 say" in text
    assert code == 0, text


def test_check_knows_the_sentinels_of_a_url_file(world, sentinels):
    file = world.receiver.directory / "redis-url"
    file.write_text(sentinels.url)
    file.chmod(0o600)
    edit(world.receiver, f"url: '{sentinels.url}'", "url_file: redis-url")
    text = acrelay(world.receiver, "check", user="receiver")[1]
    assert "3 of 3 say" in text and "min-replicas-to-write is 0" in text


def test_sentinels_that_hang_do_not_fill_the_log(tmp_path, monkeypatch):
    """Each attempt ends at another of them, so that its sentence differs from the one before."""
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "redis-connect=50 relay-backoff-max=50")
    asked = []
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    for listener in listeners:
        listener.setblocking(False)
    places = ",".join(f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners)
    receiver = harness.Receiver(tmp_path, f"{{url: 'redis+sentinel://{places}/mymaster'}}")

    def has_tried(times=30):
        for listener in listeners:
            try:
                asked.append(listener.accept())
            except BlockingIOError:
                pass
        return len(asked) > times

    try:
        wait_for("attempts", has_tried)
        lines = [line for line in receiver.read_log().splitlines() if "no answer in time" in line]
        assert len(set(line.split("sentinel ")[1][:16] for line in lines)) > 1
        assert len(lines) == 10
    finally:
        receiver.kill()
        for one in listeners + [client for client, _ in asked]:
            one.close()


def test_what_a_sentinel_refuses_is_told_in_its_words(world, sentinels):
    edit(world.receiver, "/mymaster/", "/another/")
    code, text = acrelay(world.receiver, "check", user="receiver")
    assert code == 78 and "does not know a master named another" in text
    assert "SENTINEL MASTERS shows the names" in text
    edit(world.receiver, "/another/", "/mymaster/")
    edit(world.receiver, "sentinel: {user: acrelay-sentinel", "sentinel: {user: somebody")
    code, text = acrelay(world.receiver, "check", user="receiver")
    assert code == 77 and "sentinel 127.0.0.1:" in text and "WRONGPASS" in text


def test_a_sentinel_that_names_a_replica_is_not_believed(world, sentinels, tmp_path):
    replica = sentinels.replicas_of(sentinels.owner())[0]
    lines = [line if "sentinel monitor" not in line
             else f"sentinel monitor mymaster 127.0.0.1 {replica.port} 9"
             for line in sentinels.sentinel_lines()]
    stale = topologies.Server(tmp_path / "stale", sentinels.tls, lines, ["--sentinel"],
                              topologies.SENTINEL)
    try:
        edit(world.receiver, "+sentinel://", f"+sentinel://127.0.0.1:{stale.port},")
        world.receiver.kill()
        world.receiver.start()
        assert world.receiver.post("type=subscribe&contact[id]=1") == 200
        world.receiver.wait_shipped()
        code, text = acrelay(world.receiver, "check", user="receiver")
        master = f"127.0.0.1:{sentinels.owner().port}"
        assert f"3 of 4 say that the master mymaster is at {master}" in text
        assert f"127.0.0.1:{stale.port} says that it is at 127.0.0.1:{replica.port}" in text
        assert code == 0, text
    finally:
        stale.kill()
        stale.client.close()


def test_tail_goes_on_at_the_new_master(world, sentinels):
    config = world.receiver.directory / "tail.yaml"
    config.write_text(world.receiver.config.read_text().replace(
        "acrelay-receiver", "acrelay-operator"))
    before = sentinels.owner()
    tail = subprocess.Popen(
        [harness.BUILD / "acrelay", "tail", "--from", "0", "--count", "2", "--json", "--config",
         config], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert world.receiver.post("type=subscribe&contact[id]=1") == 200
        tail.stdout.readline()
        sentinels.sentinels[0].client.execute_command("SENTINEL FAILOVER", topologies.MASTER)
        sentinels.wait_failover(before)
        assert world.receiver.post("type=subscribe&contact[id]=2") == 200
        assert '"2"' in tail.stdout.readline()
        assert tail.wait(20) == 0
    finally:
        tail.kill()
        tail.wait()
        tail.stdout.close()
    wait_for("the old master", lambda: before.role() == "slave")
    sentinels.wait_healthy()


def test_a_failover_to_a_stale_replica(world, sentinels):
    """What it had not got comes again; then the old master is back and believes to be one."""
    with world.load:
        world.load.wait_more()
        world.wait_shipping()
        master = world.lose_master_with_news()
        sentinels.wait_failover(master)
        world.load.wait_more()
        world.wait_shipping()
        master.start()  # a master by its own word, until a sentinel comes to it
        world.load.wait_more(50)
    world.receiver.wait_shipped()
    problems, counts = world.finish()
    assert not problems, counts
    assert world.receiver.metric("acrelay_relay_rewinds_total") > 0


def test_a_master_that_is_cut_off_and_refuses_writes_is_left(world, sentinels):
    """Its replicas and sentinels have lost their right to come to it. It answers us, as a master."""
    old = sentinels.owner()
    assert world.receiver.post("type=subscribe&contact[id]=6") == 200
    world.receiver.wait_shipped()  # so it is connected to that one
    for server in sentinels.servers:
        server.configure("min-replicas-to-write", 1, "min-replicas-max-lag", 1)
    try:
        old.client.acl_setuser("default", passwords=["+another"], reset_passwords=True)
        old.client.execute_command("CLIENT KILL USER default")
        sentinels.wait_failover(old)
        assert world.receiver.post("type=subscribe&contact[id]=7") == 200
        # On a busy machine sentinels fail over once more: what counts is what the master then has.
        wait_for("both, in order, at the new master", lambda: sentinels.owner() is not old
                 and subjects_at(sentinels.owner()) == [b"contact/6", b"contact/7"])
        assert "NOREPLICAS" in world.receiver.read_log()
    finally:
        old.kill()
        old.start()
        for server in sentinels.servers:
            server.configure("min-replicas-to-write", 0)
        sentinels.wait_healthy()
