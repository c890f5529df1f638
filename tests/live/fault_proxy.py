"""A TCP proxy that breaks connections in the ways networks do.

    with FaultProxy(redis.port) as proxy:       # connect to proxy.port
        proxy.cut_after(5000)                   # after so many bytes towards the server
        proxy.swallow_answers()                 # requests arrive, answers do not
        proxy.hold()                            # nothing arrives any more, and nobody is told
        proxy.cut_over(5000)                    # each request of more bytes
        proxy.cut_with(b"EVALSHA")              # each request that holds these
        proxy.delay(0.2)
        proxy.reset()                           # RST on all that is open
        proxy.refuse()                          # new connections are closed at once
        proxy.fault_reply(3, b"-LOADING x\\r\\n")  # instead of the third reply
        proxy.late(b"subscribe")                # a request that holds these is executed late
        proxy.rewrite(b"x", b"y")               # in all answers
        proxy.close_after_answer(b"$-1\\r\\n")   # each that is these bytes
        proxy.heal()
"""
import select
import socket
import struct
import ssl
import threading
import time

import harness


def ready(pair):
    """Those of both sockets that can be read; what TLS has read ahead, select does not see."""
    ahead = [s for s in pair if isinstance(s, ssl.SSLSocket) and s.pending()]
    return ahead or select.select(pair, [], [])[0]


def as_server(client):
    """Its TLS ends here where tests of TLS ask for that."""
    if not harness.TLS:
        return client
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*harness.TLS.pair)
    return context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)


def reply_end(data, at=0):
    """Where the reply (RESP2) that begins at `at` ends, or None when it is not all there."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    kind, count, at = data[at:at + 1], data[at + 1:line], line + 2
    if kind == b"$" and int(count) >= 0:
        at += int(count) + 2
    if kind == b"*":
        for _ in range(int(count)):
            at = reply_end(data, at)
            if at is None:
                return None
    return at if at <= len(data) else None


class FaultProxy:
    def __init__(self, port, host="127.0.0.1", listener=None):
        self.target = (host, port)
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.pairs = set()
        self.stopping = False
        self.cuts = self.connections = 0
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
        self._hold = False
        self._over = None
        self._with = None
        self._refuse = False
        self._delay = 0
        self._reply_at = None
        self._reply_fault = None
        self._late = None
        self._rewrite = None
        self._close_after = None
        self.replies = 0

    def fault_reply(self, n, fault):
        """Once, to the nth whole reply from now, of all connections, or to the first one that
        has these bytes: "cut" before it, "half" cut in its middle, "swallow" it, pass it "twice",
        or bytes that are passed in its place."""
        self.replies = 0
        self._reply_fault = fault
        self._reply_at = n

    def late(self, text, answer=None):
        """Once: a request that holds these bytes is executed just before the next one that does; until
        then its connection is cut, or it gets this answer, and new connections are refused."""
        self._late = (text, answer)
        self._kept = None

    def close_after_answer(self, bytes_):
        self._close_after = bytes_

    def rewrite(self, text, by):
        self._rewrite = (text, by)

    def cut_after(self, count):
        """Once: passes count more bytes towards the server, then resets that connection."""
        self._left = count

    def cut_answer_after(self, count):
        """Once: passes count more bytes of answers, then resets that connection."""
        self._answers_left = count

    def healthy(self):
        """Whether what was asked for once has happened."""
        return (self._left is None and self._answers_left is None
                and self._reply_at is None and self._late is None)

    def swallow_answers(self):
        self._swallow = True

    def hold(self):
        """As behind a router that lost its table: connections stay, bytes are lost."""
        self._hold = True

    def cut_over(self, count):
        self._over = count

    def cut_with(self, text):
        self._with = text

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
            self.connections += 1
            pair = (as_server(client), server)
            with self.lock:
                self.pairs.add(pair)
            threading.Thread(target=self._pump, args=(pair,), daemon=True).start()

    def _pump(self, pair):
        client, server = pair
        part = b""  # of a reply that is not all there
        request = b""  # since the last answer
        try:
            while True:
                for s in ready(pair):
                    data = s.recv(65536)
                    request = request + data if s is client else b""
                    if (self._over and len(request) > self._over
                            or self._with and self._with in request):
                        self.cuts += 1
                        return
                    if data and self._hold:
                        continue
                    if s is client and self._late and self._late[0] in data and not self._kept:
                        self._kept = data
                        if self._late[1] is None:
                            return
                        self._refuse = True
                        client.sendall(self._late[1])
                        continue
                    if s is client and self._late and self._late[0] in data:
                        self._execute_late()
                    if data and s is server and self._reply_at is not None:
                        part, go_on = self._replies(part + data, client)
                        if not go_on:
                            return
                        continue
                    if part and s is server:
                        data, part = part + data, b""
                    if not data or not self._pass(data, s is client, client, server):
                        return
        except (OSError, ValueError):
            return
        finally:
            with self.lock:
                self.pairs.discard(pair)
            self._kill(pair)

    def _execute_late(self):
        with socket.create_connection(self.target, 5) as server:
            server.sendall(self._kept)
            answer = b""
            while reply_end(answer) is None:
                answer += server.recv(65536)
        self._late = None

    def _replies(self, data, client):
        """Passes whole replies and does the fault to the nth. What is left, and whether the
        connection goes on."""
        while (end := reply_end(data)) is not None:
            reply, data = data[:end], data[end:]
            with self.lock:
                self.replies += 1
                at = self._reply_at
                hit = at in reply if isinstance(at, bytes) else at == self.replies
                if hit:
                    self._reply_at = None
            if not hit:
                client.sendall(reply)
                continue
            fault = self._reply_fault
            if fault == "half":
                client.sendall(reply[:len(reply) // 2])
            elif fault == "twice":
                client.sendall(reply + reply)
            elif isinstance(fault, bytes):
                client.sendall(fault)
            if fault in ("cut", "half"):
                return b"", False
            client.sendall(data)
            return b"", True
        return data, True

    def _pass(self, data, to_server, client, server):
        if self._delay:
            time.sleep(self._delay)
        if self._rewrite and not to_server:
            data = data.replace(*self._rewrite)
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
        return to_server or data != self._close_after
