import pytest

import harness


@pytest.fixture
def redis(tmp_path):
    server = harness.Redis(tmp_path)
    yield server
    if server.process.poll() is None:
        server.kill()


@pytest.fixture
def make_receiver(tmp_path, redis):
    made = []

    def make(**settings):
        made.append(harness.Receiver(tmp_path, redis.port, **settings))
        return made[-1]

    yield make
    for receiver in made:
        if receiver.process.poll() is None:
            receiver.kill()


@pytest.fixture
def receiver(make_receiver):
    return make_receiver()
