#!/usr/bin/env python3
"""Every include points down: the floors of STYLE, held by a check.

A file of src/X may include headers of X and of the floors X sees; each foreign
library is included by one file of src/edge only (cJSON by *_json.c files).
"""
import pathlib
import re
import sys

SEES = {
    "base": [],
    "program": ["base"],
    "event": ["base"],
    "journal": ["base"],
    "hook": ["base"],
    "edge": ["base"],
    "config": ["base", "edge"],
    "relay": ["base", "event", "journal", "edge", "config"],
    "receiver": ["base", "program", "event", "journal", "edge", "config", "relay"],
    "worker": ["base", "program", "event", "hook", "edge", "config", "relay"],
    "cli": ["base", "program", "event", "journal", "hook", "edge", "config", "relay", "worker"],
}
FOREIGN = {
    "civetweb.h": r"src/edge/http\.c",
    "hiredis/": r"src/edge/redis\.c",
    "curl/": r"src/edge/rest\.c",
    "yaml.h": r"src/edge/yaml\.c",
    "openssl/": r"src/edge/digest\.c",
    "cjson/": r"src/.*_json\.c",
}


def complaints(path, text):
    floor = path.parts[1]
    for number, line in enumerate(text.splitlines(), 1):
        own = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if own:
            to = own[1].split("/")[0]
            if "/" not in own[1]:
                yield number, f'"{own[1]}" lacks its folder'
            elif to != floor and to not in SEES[floor]:
                yield number, f"{floor} must not see {to}"
        foreign = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
        if foreign:
            for library, allowed in FOREIGN.items():
                if foreign[1].startswith(library) and not re.fullmatch(allowed, str(path)):
                    yield number, f"<{foreign[1]}> belongs to {allowed} only"


LINES_MAX = 500  # of a file

found = lines = functions = 0
files = sorted(pathlib.Path("src").glob("*/*.[ch]"))
for path in files:
    text = path.read_text()
    for number, what in complaints(path, text):
        print(f"{path}:{number}: {what}")
        found += 1
    count = text.count("\n")
    if count > LINES_MAX:
        print(f"{path}: {count} lines: which two files is it?")
        found += 1
    lines += count
    if path.suffix == ".h":  # prototypes, one declaration may go over lines
        functions += len(re.findall(r"^[a-z][\w *]*\b\w+\([^;{]*\)[^;{]*;", text, re.M))
print(f"layers: {len(files)} files, {lines} lines, {functions} public functions; {found} complaints")
sys.exit(1 if found or not files else 0)
