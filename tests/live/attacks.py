"""HTTP as attackers speak it: a table of cases by name, each the bytes of one connection. `T` is
the path of a hook, with its token. Run as a program it prints what is answered, direct and behind
the proxies: the table in test_attacks.py came from there and was then judged line by line."""
import concurrent.futures
import re
import socket
import time

import harness

BODY = b"type=subscribe&contact[id]=7"
EVIL = b"type=subscribe&contact[id]=SMUGGLED"


def post(target=b"T", headers=(), body=BODY, version=b"HTTP/1.1", method=b"POST",
         length=None, host=(b"Host: hooks.acme.example",), eol=b"\r\n"):
    lengths = [b"Content-Length: %d" % len(body)] if length is None else list(length)
    return eol.join([method + b" " + target + b" " + version, *host, *lengths, *headers, b"", body])


def with_length(value):
    return post(length=[b"Content-Length:" + value])


def chunks(*parts, coding=b"Transfer-Encoding: chunked", more=()):
    return post(length=[coding, *more], body=b"".join(parts))


def whole(body=BODY):
    return b"%x\r\n%s\r\n" % (len(body), body)


END = b"0\r\n\r\n"
TO_DIRECTORY = b"/" * 8000 + b"sub?" + b"q" * 500
FORM_WITH_NUL = b"type=subscribe&a=\0"
SECOND = post(body=EVIL)


def cases(token_path, other_token):
    name = token_path.split(b"/")[2]
    token = token_path.split(b"/")[3]
    t = token_path
    yield "good", post()
    # --- lengths
    yield "two-lengths-equal", post(length=[b"Content-Length: 28"] * 2)
    yield "two-lengths-different", post(length=[b"Content-Length: 28", b"Content-Length: 5"])
    yield "length-list", with_length(b" 28, 28")
    for label, value in (("plus", b" +28"), ("negative", b" -1"), ("hex", b" 0x1c"),
                         ("space-behind", b" 28  "), ("no-space", b"28"), ("tab", b"\t28"),
                         ("too-large", b" 99999999999999999999"),
                         ("two-to-64", b" 18446744073709551616"),
                         ("two-to-64-less-one", b" 18446744073709551615"),
                         ("empty", b""), ("exponent", b" 3e1"), ("semicolon", b" 28;"),
                         ("words", b" 2 8"), ("zeros", b" 000028")):
        yield f"length-{label}", with_length(value)
    yield "length-zero", post(body=b"")
    yield "no-length", post(length=[])
    yield "length-short-then-request", post(length=[b"Content-Length: 4"], body=b"a=1&" + post())
    yield "header-no-name-hides-coding", post(headers=[b": x", b"Transfer-Encoding: chunked"])
    yield "header-folded-hides-length", post(headers=[b" x", b"Content-Length: 5"])
    yield "length-long-half-closed", post(length=[b"Content-Length: 500"])
    yield "length-over-body-max", post(length=[b"Content-Length: 99999999"])
    # --- chunks
    yield "chunked", chunks(whole(), END)
    yield "chunked-upper", chunks(whole(), END, coding=b"TRANSFER-ENCODING: CHUNKED")
    yield "chunked-and-length", chunks(whole(), END, more=[b"Content-Length: 28"])
    yield "length-and-chunked", post(length=[b"Content-Length: 6", b"Transfer-Encoding: chunked"],
                                     body=END + SECOND)
    for label, coding in (("identity", b"identity"), ("gzip-chunked", b"gzip, chunked"),
                          ("twice-in-list", b"chunked, chunked"), ("x", b"xchunked"),
                          ("vertical-tab", b"chunked\x0b"), ("quoted", b'"chunked"'),
                          ("parameter", b"chunked;q=1"), ("empty", b"")):
        yield f"coding-{label}", chunks(whole(), END, coding=b"Transfer-Encoding: " + coding)
    yield "coding-twice", chunks(whole(), END, more=[b"Transfer-Encoding: chunked"])
    yield "coding-space-before-colon", chunks(whole(), END, coding=b"Transfer-Encoding : chunked")
    yield "coding-underscore-and-length", chunks(
        whole(), END, coding=b"Transfer_Encoding: chunked", more=[b"Content-Length: 5"])
    yield "chunked-1.0", post(version=b"HTTP/1.0", length=[b"Transfer-Encoding: chunked"],
                              body=whole() + END)
    yield "chunk-extension", chunks(b"1c;a=b\r\n" + BODY + b"\r\n", END)
    yield "chunk-extension-line-feed", chunks(b"1c;a\nb\r\n" + BODY + b"\r\n", END)
    yield "chunk-upper-hex", chunks(b"1C\r\n" + BODY + b"\r\n", END)
    yield "chunk-zeros", chunks(b"000000000000001c\r\n" + BODY + b"\r\n", END)
    yield "chunk-no-hex", chunks(b"zz\r\n" + BODY + b"\r\n", END)
    yield "chunk-negative", chunks(b"-1c\r\n" + BODY + b"\r\n", END)
    yield "chunk-0x", chunks(b"0x1c\r\n" + BODY + b"\r\n", END)
    yield "chunk-huge", chunks(b"ffffffffffffffff\r\n" + BODY + b"\r\n", END)
    yield "chunk-overflow", chunks(b"1000000000000001c\r\n" + BODY + b"\r\n", END)
    yield "chunk-empty-size", chunks(b"\r\n" + BODY + b"\r\n", END)
    yield "chunk-space", chunks(b"1c \r\n" + BODY + b"\r\n", END)
    yield "chunk-without-end-of-line", chunks(b"1c\r\n" + BODY + b"5\r\nhello\r\n", END)
    yield "chunk-line-feed-only", chunks(b"1c\n" + BODY + b"\n", b"0\n\n")
    yield "chunk-cut", chunks(b"1c\r\n" + BODY[:9])
    yield "chunk-no-last", chunks(whole())
    yield "chunk-trailer", chunks(whole(), b"0\r\nX-Trailer: 1\r\n\r\n")
    yield "chunk-trailer-length", chunks(whole(), b"0\r\nContent-Length: 5\r\n\r\n")
    yield "chunks-over-body-max", chunks(*[whole(b"x" * 65536)] * 20, END)
    yield "chunked-then-request", chunks(whole(), END) + post(target=b"/hook/none/x", body=EVIL)
    # --- headers
    yield "headers-60", post(headers=[b"X-%d: 1" % n for n in range(60)])
    yield "headers-64", post(headers=[b"X-%d: 1" % n for n in range(62)])
    yield "headers-200", post(headers=[b"X-%d: 1" % n for n in range(200)])
    yield "header-20-KiB", post(headers=[b"X: " + b"x" * 20480])
    yield "header-folded", post(headers=[b"X-A: 1", b" Content-Length: 5"])
    yield "header-folded-coding", post(length=[b"Transfer-Encoding:", b" chunked"],
                                       body=whole() + END)
    yield "line-feeds-only", post(eol=b"\n")
    yield "bare-carriage-return", post(headers=[b"X: a\rContent-Length: 5"])
    yield "header-nul-in-value", post(headers=[b"X: a\0b"])
    yield "header-nul-in-name", post(headers=[b"X\0: a"])
    yield "header-no-colon", post(headers=[b"no colon here"])
    yield "header-no-name", post(headers=[b": x"])
    yield "header-space-in-name", post(headers=[b"X Y: x"])
    yield "header-tab-before-colon", post(headers=[b"X\t: x"])
    yield "header-latin-name", post(headers=[b"X-\xfc: x"])
    yield "header-latin-value", post(headers=[b"X: \xfc"])
    yield "host-none", post(host=[])
    yield "host-two", post(host=[b"Host: a", b"Host: b"])
    yield "host-odd", post(host=[b"Host: a/b@c"])
    yield "content-type-300-bytes", post(headers=[b"Content-Type: a/" + b"b" * 300])
    yield "content-encoding", post(headers=[b"Content-Encoding: gzip"])
    yield "expect", post(headers=[b"Expect: 100-continue"])
    yield "expect-odd", post(headers=[b"Expect: the-unexpected"])
    yield "connection-close", post(headers=[b"Connection: close"]) + SECOND
    yield "connection-names-length", post(headers=[b"Connection: content-length"])
    yield "upgrade-h2c", post(headers=[b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
                                       b"HTTP2-Settings: AAMAAABkAAQAAP__"])
    yield "upgrade-websocket", post(method=b"GET", headers=[
        b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="])
    yield "method-override", post(method=b"GET", headers=[b"X-HTTP-Method-Override: POST"])
    # --- the request line
    for method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"PATCH", b"BREW",
                   b"post", b"CONNECT"):
        yield f"method-{method.decode()}", post(method=method)
    yield "method-none", b" " + t + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    yield "options-star", b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    yield "http-1.0", post(version=b"HTTP/1.0")
    yield "http-0.9", b"POST " + t + b"\r\n"
    yield "http-2.0", post(version=b"HTTP/2.0")
    yield "http-1.2", post(version=b"HTTP/1.2")
    yield "http-lower", post(version=b"http/1.1")
    yield "http-11.1", post(version=b"HTTP/11.1")
    yield "http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "tls-hello", bytes.fromhex("160301002f0100002b0303") + b"\1" * 37
    yield "garbage", bytes(range(256)) + b"\r\n\r\n"
    yield "nothing", b""
    yield "only-line-ends", b"\r\n" * 50
    yield "two-spaces", post(target=b" T")
    yield "tab-separated", b"POST\t" + t + b"\tHTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    yield "line-ends-first", b"\r\n\r\n" + post()
    yield "space-first", b" " + post()
    yield "absolute-form", post(target=b"http://hooks.acme.example" + t)
    yield "absolute-form-elsewhere", post(target=b"http://evil.example" + t)
    yield "authority-form", post(target=b"hooks.acme.example:443")
    yield "url-10-KiB", post(target=b"/" + b"a" * 10240)
    yield "url-30-KiB", post(target=b"/" + b"a" * 30720)
    yield "query", post(target=b"T?a=1")
    yield "query-1024", post(target=b"T?" + b"q" * 1024)
    yield "query-1025", post(target=b"T?" + b"q" * 1025)
    yield "query-percent", post(target=b"T?a=%00%ff%zz")
    # --- the path
    for label, target in (
            ("percent-in-token", t[:-1] + b"%%%02x" % t[-1]), ("percent-slash", t.replace(b"/", b"%2f")),
            ("percent-name", t.replace(b"contacts", b"%63ontacts")), ("dots", b"/hook/../hook" + t[5:]),
            ("dot", b"/./hook" + t[5:]), ("percent-dots", b"/a/%2e%2e" + t),
            ("double-slash", b"/" + t), ("double-slash-inside", t.replace(b"contacts/", b"contacts//")),
            ("slash-behind", t + b"/"), ("backslash", t.replace(b"/", b"\\")),
            ("upper-hook", t.replace(b"/hook", b"/HOOK")), ("upper-name", t.replace(b"contacts", b"CONTACTS")),
            ("parameter", t + b";a=1"), ("fragment", t + b"#x"), ("overlong", t + b"%c0%af"),
            ("utf-8", t + b"\xc3\xbc"), ("percent-nul", t + b"%00"), ("nul", t + b"\0"),
            ("percent-question", t + b"%3fa"), ("token-longer", t + b"A"), ("token-shorter", t[:-1]),
            ("token-of-another", b"/hook/" + name + b"/" + other_token), ("token-none", b"/hook/" + name + b"/"),
            ("name-none", b"/hook//" + token), ("token-case", t.swapcase().replace(b"/HOOK/CONTACTS", b"/hook/contacts")),
            ("root", b"/"), ("favicon", b"/favicon.ico"), ("metrics", b"/metrics"), ("etc-passwd", b"/../../etc/passwd")):
        yield f"path-{label}", post(target=target)
    # --- known holes of civetweb
    yield "cve-2025-55763-directory", post(target=TO_DIRECTORY, method=b"GET", length=[], body=b"")
    yield "cve-2025-9648-form", post(body=FORM_WITH_NUL)
    # --- several requests
    yield "pipelined", post() + post(body=b"type=update&contact[id]=8")
    yield "pipelined-get", post() + post(method=b"GET", body=b"")
    yield "pipelined-garbage", post() + b"\x00\x01garbage\r\n\r\n"
    yield "pipelined-100", post() * 100


def talk(port, data, tls=None, seconds=8):
    """All that is answered on one connection whose writing half is closed behind the data."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as plain:
        s = tls.wrap_socket(plain, server_hostname="hooks.acme.example") if tls else plain
        try:
            for at in range(0, len(data), 65536):
                s.sendall(data[at:at + 65536])
            if not tls:  # closing one half is not something TLS peers agree on
                s.shutdown(socket.SHUT_WR)
            else:
                s.settimeout(2.0)
            end = time.monotonic() + seconds
            while time.monotonic() < end and (piece := s.recv(65536)):
                answer += piece
        except (ConnectionError, TimeoutError, OSError):
            pass
    return answer


def codes(answer):
    """The final status codes in an answer, compressed: "200", "200*100", "-" for none."""
    found = [c for c in re.findall(rb"HTTP/1\.[01] (\d{3})[ \r]", answer) if c[:1] != b"1"]
    if not found:
        return "-"
    text = [c.decode() for c in found]
    return f"{text[0]}*{len(text)}" if len(text) > 2 and len(set(text)) == 1 else ",".join(text)


def run_all(receiver, others, on_case):
    """Each case direct and through each of `others` (name, port, TLS context), several at a
    time: most of it is waiting for an answer that does not come."""
    t = receiver.path().encode()
    to = [("direct", receiver.port, None), *others]
    made = [(name, data.replace(b" T", b" " + t), *where)
            for name, data in cases(t, harness.token("deals").encode()) for where in to]

    def run(case):
        name, data, via, port, tls = case
        return name, via, codes(talk(port, data, tls))
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        for name, via, answers in pool.map(run, made):
            on_case(name, via, answers)
