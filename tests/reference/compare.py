"""Holds the events that acrelay makes against a second reading of the same bodies, written
from the description of the normal form (normal.py), and checks that what was sent can be had
back from each.

compare.py PROGRAM [--count N] [--seed S] [--zone Z]: all samples, the corpus of the fuzzer,
bodies known to be nasty, and N random ones (seed S, printed). Ends with 1 and the body when
two readings differ."""
import argparse
import json
import pathlib
import random
import subprocess
import sys
from urllib.parse import quote, quote_plus

import normal

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORM = b"application/x-www-form-urlencoded"
NASTY = [
    b"a[b", b"a[b]c=1", b"[a]=1", b"=1", b"&&&", b"a[]=1&a[]=2&a[x]=3", b"a[5]=1&a[]=2",
    b"a[007]=1&a[]=2&a[-1]=3", b"a[][x]=1&a[][x]=2", b"a=1&a[b]=2&a=3", b"a[b]=1&a=2",
    b"a[9223372036854775807]=1&a[]=2", b"a[9223372036854775806]=1&a[]=2&a[]=3",
    b"_relay=1&_relay[rest]=2", b"a%5Bb%5D=%41%4", b"a=%zz%", b"a=%00", b"a\0=1",
    b"a=\x80\x81\xff", b"a=%C3%BC&b=%FC", b"a=%ED%A0%80", b"a=%F4%90%80%80", b"a=%E2%80%A8",
    b"list=0", b"list=", b"list=14", b"list[0]=14", b"list[0][id]=14&list[0][name]=N",
    b"list[][id]=1&list[][id]=2", b"list[id]=3&list[name]=x", b"list[7][id]=1", b"list[][]=1",
    b"note=hi", b"note[id]=2&note[text]=hi", b"updated_fields=x", b"updated_fields[]=x",
    b"updated_fields[value]=5", b"updated_fields[1]=a", b"updated_fields[0][x]=a",
    b"updated_fields=", b"updated_fields[]=", b"updated_fields[][x]=a", b"updated_fields[value][x]=5",
    b"updated_fields[0]=a&updated_fields[1][x]=b", b"updated_fields[1]=a&updated_fields[0]=b",
    b"contact[tags]=t1%2C+t2", b"contact[tags]=t1,t2, t3", b"contact[tags]=a,", b"contact[tags]=",
    b"contact[tags][]=a&contact[tags][]=b", b"contact[tags][3]=a&contact[tags][5]=b",
    b"contact[tags][1]=a&contact[tags][0]=b", b"contact[tags][0][x]=a", b"contact[tags][][]=a",
    b"contact[tags][0]=a,b", b"contact[tags][0]=", b"contact[tags][x]=",
    b"contact[fields][3]=||", b"contact[fields][3]=|||",
    b"contact[fields][3]=||||", b"contact[fields][3]=|||||", b"contact[fields][3]=||||||",
    b"contact[fields][3]=||a||b||", b"contact[fields][3][0]=a", b"contact[fields][]=a",
    b"deal[fields][3]=v&deal[fields][Label]=w", b"deal[fields][0][id]=1&deal[fields][0][value]=2",
    b"deal[fields][4][id]=1", b"deal[fields][0][index]=1", b"deal[fields][][]=1", b"deal=5",
    b"account[fields][Label][0]=v", b"deal[fields][3][]=v&deal[fields][3][]=||a||", b"deal[fields][3][5]=v",
    b"deal[fields][3][]=v&deal[fields][7][id]=1", b"deal[fields][3][][x]=v&deal[fields][4]=w",
    b"deal[fields][0][index]=1&deal[fields][3][]=v", b"account[fields][L][0]=v&account[fields][L][1][x]=w",
    b"list[0]=1&list[1][]=2", b"list[0][]=1", b"list[0][0]=1", b"list[id][]=1&list[name]=x",
    b"account[fields][Label]=||a||", b"active_subscriptions[0]=1&active_subscriptions[1]=2",
    b"active_subscriptions=1", b"active_subscriptions=", b"active_subscriptions[][]=1",
    b"active_subscriptions[1]=1", b"date_time=0000-00-00+00:00:00", b"deal[create_date]=0000-00-00",
    b"task[duedate]=0000-00-00T00:00:00Z", b"type=a b", b"type[x]=1", b"seriesid=1", b"contact=1",
    b"type=deal_add&deal[id]=7", b"type=sent&campaign[id]=3", b"type=new&deal[id]=1&contact[id]=2",
    b"type=subscribe&contact[id]=a%20b", b"x" + b"[a]" * 16 + b"=1", b"x" + b"[a]" * 17 + b"=1",
    b"date_time=2026-03-08+02:30:00", b"date_time=2026-11-01+01:30:00", b"date_time=2026-02-30+00:00:00",
    b"date_time=9999-12-31T23:59:59-0001", b"date_time=1970-01-01T00:00:00%2B0001",
    b"date_time=9999-12-31+23:59:59", b"type=&contact[id]=7", b"type&seriesid=1", b"list[][][]=1",
    b"date_time=2026-03-02T09:15:04.5-0600", b"date_time=2026-12-31T23:59:60Z",
    b"&".join(b"k%d=1" % n for n in range(10000)), b"&".join(b"k%d=1" % n for n in range(10001)),
]


class Program:
    def __init__(self, path, zone):
        self.process = subprocess.Popen([path, zone], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def make(self, media, body):
        self.process.stdin.write(b"%d %d\n" % (len(media), len(body)) + media + body)
        self.process.stdin.flush()
        *words, size = self.process.stdout.readline().decode().rstrip("\n").split("\t")
        return (*words, self.process.stdout.read(int(size)))


# --- random bodies ------------------------------------------------------------------------------

ROOTS = ["a", "list", "contact", "deal", "account", "task", "note", "updated_fields", "type",
         "active_subscriptions", "date_time", "seriesid", "_relay", "campaign", "", "größe"]
SEGMENTS = ["", "0", "1", "2", "7", "12", "007", "-1", "id", "key", "value", "name", "fields",
            "tags", "text", "create_date", "duedate", "created_timestamp", "x", "größe [cm]",
            "a]b", "9223372036854775806", "index"]
VALUES = ["", "0", "1", "14", "hi", "t1, t2", "t1,t2", "||a||b||", "||||", "||", "|||||",
          "0000-00-00", "0000-00-00 00:00:00", "2026-03-02 09:15:04", "2026-03-02T09:15:04-06:00",
          "2026-03-08 02:30:00", "2026-11-01 01:30:00", "subscribe", "deal_add", "sent", "é\u2028\"\\\n\t",
          "\x01\x7f", "😀", "new_type", "list_add", "account_add", "long " * 30]


def random_key(r):
    key = r.choice(ROOTS)
    for _ in range(r.choice((0, 0, 1, 1, 1, 2, 2, 3, r.randrange(20)))):
        key += "[" + r.choice(SEGMENTS) + "]"
    if r.random() < 0.05:
        key += r.choice(("[", "]", "[x", "]]", "x"))
    return key


def encode(r, text):
    how = r.random()
    if how < 0.5:
        return quote_plus(text).encode()
    if how < 0.6:
        return quote(text, safe="[],|").encode()
    raw = text.encode("cp1252", "replace") if how < 0.7 else text.encode()
    return b"".join(b"%%%02x" % b if b in b"&=%+#" or r.random() < 0.1 else bytes([b])
                    for b in raw)


def random_body(r):
    pieces = []
    for _ in range(r.choice((1, 2, 3, 5, 8, 15, 40))):
        piece = encode(r, random_key(r))
        if r.random() < 0.95:
            piece += b"=" + encode(r, r.choice(VALUES))
        pieces.append(piece)
    if r.random() < 0.3:
        pieces.insert(0, b"contact[id]=7&contact[email]=a%40example.com")
    body = b"&".join(pieces)
    while r.random() < 0.1:
        at = r.randrange(len(body) + 1)
        body = body[:at] + bytes([r.choice(b"[]%&=+\xe2\x80\xc3|,0\0")]) + body[at:]
    return body


def bodies(count, seed):
    for line in (ROOT / "src/event/samples.txt").read_bytes().splitlines():
        if line and not line.startswith(b"#") and not line.endswith(b"}"):
            yield line.split(b"\t", 1)[1]
    for path in sorted((ROOT / "tests/fuzz/corpus/event").iterdir()):
        yield path.read_bytes()[1:]
    yield from NASTY
    r = random.Random(seed)
    for _ in range(count):
        yield random_body(r)


# --- the check ------------------------------------------------------------------------------------

def differ(body, what, ours, theirs):
    print(f"{what} for {body!r}:\n  acrelay:   {ours!r}\n  reference: {theirs!r}")
    sys.exit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--zone", default="America/Chicago")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    program = Program(given.program, given.zone)
    made, dead, back = 0, 0, 0
    for body in bodies(given.count, given.seed):
        ours, theirs = program.make(FORM, body), normal.normal(FORM, body, given.zone)
        if ours != theirs:
            differ(body, "two readings", ours, theirs)
        made += 1
        dead += ours[0] != "ok"
        # An `index` of AC's own cannot be told from one that an item gained.
        if ours[0] == "ok" and not any("[index]" in key for key, _ in normal.read_pairs(body)):
            back += 1
            if normal.flatten(json.loads(ours[4])) != normal.sent(body):
                differ(body, "not what was sent", normal.flatten(json.loads(ours[4])),
                       normal.sent(body))
    print(f"{made} bodies read the same twice ({dead} of them dead letters); "
          f"{back} given back as they were sent")


if __name__ == "__main__":
    main()
