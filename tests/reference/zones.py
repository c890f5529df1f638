"""Holds the times that acrelay reads against Python's zoneinfo, at every change of offset of
every zone from 2012 to 2027: half an hour in steps of 10 minutes around what each change skips
or shows twice.

zones.py PROGRAM [--all]: every tenth zone and those with odd changes, or all (a minute). Ends
with 1 and what differs."""
import datetime
import pathlib
import sys
import zoneinfo

import compare
import normal

DAY, HOUR, MINUTE = (datetime.timedelta(**{unit: 1}) for unit in ("days", "hours", "minutes"))
UTC = datetime.timezone.utc
ODD = {"Africa/Sao_Tome", "America/Nuuk", "Antarctica/Casey", "Asia/Pyongyang", "Europe/Simferopol"}
START, END = (datetime.datetime(year, 1, 1, tzinfo=UTC) for year in (2012, 2028))


def changes(zone):
    """The moments at which the offset changes, to the minute, with both offsets."""
    offset = lambda at: at.astimezone(zone).utcoffset()
    at = START
    while at < END:
        low, high = at, at + DAY
        if offset(low) != offset(high):
            while high - low > MINUTE:
                middle = low + (high - low) / 2
                low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
            yield high.replace(second=0, microsecond=0), offset(low), offset(high)
        at += DAY


def walls(zone):
    for at, before, after in changes(zone):
        first, last = sorted((at + before, at + after))
        wall = first.replace(tzinfo=None) - 30 * MINUTE
        while wall <= last.replace(tzinfo=None) + 30 * MINUTE:
            yield wall
            yield wall + datetime.timedelta(seconds=1)
            wall += 10 * MINUTE


def main():
    # No links: a zone has one name in this list.
    lines = pathlib.Path("/usr/share/zoneinfo/tzdata.zi").read_text().splitlines()
    zones = [line.split()[1] for line in lines if line.startswith("Z ")]
    if "--all" not in sys.argv:
        zones = [z for i, z in enumerate(zones) if i % 10 == 0 or z in ODD]
    checked = 0
    for name in zones:
        program = None
        for wall in walls(zoneinfo.ZoneInfo(name)):
            program = program or compare.Program(sys.argv[1], name)
            body = f"type=update&contact[id]=1&date_time={wall:%Y-%m-%d %H:%M:%S}".encode()
            ours, theirs = (make(compare.FORM, body, *more) for make, more in (
                (program.make, ()), (normal.normal, (name,))))
            if ours != theirs:
                compare.differ(body, f"in {name}", ours, theirs)
            checked += 1
        if program:
            program.process.stdin.close()
            program.process.wait()
    print(f"{checked} local times read the same twice, in {len(zones)} zones")
    sys.exit(0 if checked > 1000 else 1)


if __name__ == "__main__":
    main()
