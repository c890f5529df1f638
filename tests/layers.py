#!/usr/bin/env python3
"""The shape of src, held by a check: usage tests/layers.py BUILD

Includes point down: a file of src/X may include headers of X and of the floors X sees; each
foreign library is included by one file of src/edge only (cJSON by *_json.c files). No file
is longer than FILE_LINES_MAX. And no two files need each other's functions, straight or
around corners, by the symbols of the objects in BUILD. Prints lines, files and public
functions by folder, with bounds beside the totals.
"""
import pathlib
import re
import subprocess
import sys

SEES = {
    "base": [],
    "program": ["base"],
    "event": ["base"],
    "journal": ["base"],
    "edge": ["base"],
    "hook": ["base", "edge"],
    "command": ["base", "event", "edge"],
    "config": ["base", "event", "edge", "command"],
    "relay": ["base", "event", "journal", "edge", "config"],
    "receiver": ["base", "program", "event", "journal", "edge", "config", "relay"],
    "worker": ["base", "program", "event", "edge", "hook", "config", "relay", "command"],
    "cli": ["base", "program", "event", "journal", "edge", "hook", "config", "relay", "command",
            "worker"],
}
FOREIGN = {
    "civetweb.h": r"src/edge/http\.c",
    "hiredis/": r"src/edge/redis\.c",
    "curl/": r"src/edge/http_client\.c",
    "yaml.h": r"src/edge/yaml\.c",
    "openssl/": r"src/edge/(digest|tls)\.c",
    "cjson/": r"src/.*_json\.c",
}
FILE_LINES_MAX = 500
# Of the whole of src: the house as it stood before the features (29,094 lines, 134 files, 349
# functions), and what they brought: accounts, init and setup, the command lane, Redis over TLS,
# behind sentinels and as a cluster, partitions, the inspector. A feature may raise them, in the commit that needs it.
LINES_MAX, FILES_MAX, FUNCTIONS_MAX = 29094 + 15375, 134 + 68, 349 + 255


def complaints(path, text):
    floor = path.parts[1]
    for number, line in enumerate(text.splitlines(), 1):
        own = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if own:
            to = own[1].split("/")[0]
            if "/" not in own[1]:
                yield f"{path}:{number}: \"{own[1]}\" lacks its folder"
            elif to != floor and to not in SEES[floor]:
                yield f"{path}:{number}: {floor} must not see {to}"
        foreign = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
        if foreign:
            for library, allowed in FOREIGN.items():
                if foreign[1].startswith(library) and not re.fullmatch(allowed, str(path)):
                    yield f"{path}:{number}: <{foreign[1]}> belongs to {allowed} only"
    if text.count("\n") > FILE_LINES_MAX:
        yield f"{path}: {text.count(chr(10))} lines: which two files is it?"


def prototypes(text):
    """Public functions of a header; one declaration may go over lines."""
    return re.findall(r"^(?!typedef)[a-z][\w *]*\b\w+\([^;{]*\)[^;{]*;", text, re.M)


def needs(build, sources):
    """For each source file, the files that define what its object does not."""
    defined, undefined = {}, {}
    for source in sources:
        name = str(source.relative_to("src").with_suffix(""))
        symbols = subprocess.run(["nm", build / f"{name}.o"], capture_output=True, text=True,
                                 check=True).stdout
        for kind, symbol in re.findall(r"^[0-9a-f ]*([A-Z]) (\w+)$", symbols, re.M):
            if kind == "U":
                undefined.setdefault(name, []).append(symbol)
            else:
                defined[symbol] = name
    return {name: {defined[s]: s for s in symbols if s in defined}
            for name, symbols in undefined.items()}


def reachable(graph, start):
    found, todo = set(), [start]
    while todo:
        for name in graph.get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return found


def circles(graph):
    """Groups of files each of which needs, directly or not, every other."""
    reach = {name: reachable(graph, name) for name in graph}
    groups = {frozenset(n for n in reach[name] if name in reach.get(n, ())) | {name}
              for name in graph if name in reach[name]}
    for group in sorted(map(sorted, groups)):
        if len(group) > 1:
            steps = [f"{a} -> {b} ({graph[a][b]})" for a in group for b in group
                     if a != b and b in graph[a]]
            yield f"circle: {', '.join(steps)}"


def main():
    build = pathlib.Path(sys.argv[1])
    files = sorted(pathlib.Path("src").glob("*/*.[ch]"))
    found = []
    figures = {}
    for path in files:
        text = path.read_text()
        found += complaints(path, text)
        of_folder = figures.setdefault(path.parts[1], [0, 0, 0])
        of_folder[0] += text.count("\n")
        of_folder[1] += 1
        of_folder[2] += len(prototypes(text)) if path.suffix == ".h" else 0
    rings = list(circles(needs(build, [path for path in files if path.suffix == ".c"])))
    for line in found + rings:
        print(line)
    print(f"{'':10}{'lines':>14}{'files':>12}{'public functions':>19}")
    for folder in sorted(figures, key=list(SEES).index):
        print(f"{folder:10}{figures[folder][0]:8}{figures[folder][1]:14}{figures[folder][2]:14}")
    totals = [sum(column) for column in zip(*figures.values())]
    print(f"{'all':10}{totals[0]:8}/{LINES_MAX}{totals[1]:8}/{FILES_MAX}"
          f"{totals[2]:10}/{FUNCTIONS_MAX}")
    print(f"layers: {len(found)} complaints, {len(rings)} circles")
    sys.exit(1 if found or rings or not files else 0)


main()
