"""A TCP proxy that breaks connections in the ways networks do.

    with FaultProxy(redis.port) as proxy:       # connect to proxy.port
        proxy.cut_after(5000)                   # after so many bytes towards the server
        proxy.swallow_answers()                 # requests arrive, answers do not
        proxy.delay(0.2)
        proxy.reset()                           # RST on all that is open
        proxy.refuse()                          # new connections are closed at once
        proxy.heal()
"""
import select
import socket
import struct
import threading
import time


class FaultProxy:
    def __init__(self, port, host="127.0.0.1"):
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.pairs = set()
        self.stopping = False
        self.cuts = 0
        self.heal()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.listener.close()
        self.reset()

    def heal(self):
        self._left = None
        self._answers_left = None
        self._swallow = False
        self._refuse = False
        self._delay = 0

    def cut_after(self, count):
        """Once: passes count more bytes towards the server, then resets that connection."""
        self._left = count

    def cut_answer_after(self, count):
        """Once: passes count more bytes of answers, then resets that connection."""
        self._answers_left = count

    def healthy(self):
        """Whether what was asked for once has happened."""
        return self._left is None and self._answers_left is None

    def swallow_answers(self):
        self._swallow = True

    def delay(self, seconds):
        self._delay = seconds

    def refuse(self):
        self._refuse = True

    def reset(self):
        with self.lock:
            pairs, self.pairs = self.pairs, set()
        for pair in pairs:
            self._kill(pair)

    @staticmethod
    def _kill(pair):
        for s in pair:
            try:
                # A linger of 0 seconds: close sends RST.
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def _accept(self):
        while not self.stopping:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self._refuse:
                    raise ConnectionRefusedError
                server = socket.create_connection(self.target, 5)
            except OSError:
                client.close()
                continue
            pair = (client, server)
            with self.lock:
                self.pairs.add(pair)
            threading.Thread(target=self._pump, args=(pair,), daemon=True).start()

    def _pump(self, pair):
        client, server = pair
        try:
            while True:
                for s in select.select(pair, [], [])[0]:
                    data = s.recv(65536)
                    if not data or not self._pass(data, s is client, client, server):
                        return
        except (OSError, ValueError):
            return
        finally:
            with self.lock:
                self.pairs.discard(pair)
            self._kill(pair)

    def _pass(self, data, to_server, client, server):
        if self._delay:
            time.sleep(self._delay)
        name = "_left" if to_server else "_answers_left"
        left = getattr(self, name)
        if left is not None and len(data) >= left:
            setattr(self, name, None)
            (server if to_server else client).sendall(data[:left])
            self.cuts += 1
            return False
        if left is not None:
            setattr(self, name, left - len(data))
        if to_server:
            server.sendall(data)
        elif not self._swallow:
            client.sendall(data)
        return True
