"""The admin listener, where those who ask it are slow."""
import socket
import urllib.request

import harness


def waits(connection):
    """Neither answered nor closed."""
    try:
        connection.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    return False


def test_slow_clients_do_not_keep_others_from_an_answer(make_worker, running):
    """An answer while all of them still wait: it was not given after one of them had gone."""
    worker = make_worker()
    running(worker)
    harness.wait_for("the pages", lambda: worker.metric("acrelay_worker_leader") is not None)
    slow = [socket.create_connection(("127.0.0.1", worker.admin)) for _ in range(8)]
    try:
        for connection in slow[::2]:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: local")
        for page in ("livez", "metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{worker.admin}/{page}") as answer:
                assert answer.status == 200
            assert all(map(waits, slow)), page
    finally:
        for connection in slow:
            connection.close()
