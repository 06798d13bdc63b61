"""Verifies chain and content of an export with the standard library alone: python independent_verify.py export.zip"""

import json
import re
import sys
import zipfile
from base64 import b64decode, b64encode
from hashlib import sha256

KEPT = {"policy.published", "text.published", "part.erased", "key.added", "log.recovered"}
LEAF = re.compile(
    rb"consentlib\.dev/leaf/v1\n([a-z0-9./-]{1,128})\n(0|[1-9][0-9]*)\n(\S{44})\n(0|[1-9][0-9]*)\n([a-z_.]+)\n"
    rb"((?:[a-z]+(?:\.[1-9][0-9]*)? [A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n){1,16})"
)


def demand(holds, problem):
    if not holds:
        raise ValueError(problem)


def verify(lines):
    origin, link, clock, missing, erased, tree, size = None, None, 0, set(), set(), [], 0
    for i, line in enumerate(lines):
        row = json.loads(line)
        leaf, parts = b64decode(row["leaf"], validate=True), row["parts"]
        match = LEAF.fullmatch(leaf)
        demand(match and len(leaf) < 1024, f"{i}: not a leaf")
        name, index, prev, time, kind, text = match.groups()
        origin, link = origin or name, link or sha256(b"consentlib.dev/genesis/v1\n%b\n" % name).digest()
        demand((row["i"], index, name, prev) == (i, b"%d" % i, origin, b64encode(link)), f"{i}: broken chain")
        demand(clock <= int(time) < 253402300800000, f"{i}: time falls or leaves the calendar")
        committed = dict(part.split(" ") for part in text.decode().splitlines())
        demand(sorted(committed) == [*committed] and len(committed) == text.count(b"\n"), f"{i}: parts out of order")
        demand(parts.keys() <= committed.keys(), f"{i}: parts that are not committed to")
        for part, commitment in committed.items():
            if parts.get(part) is None:
                demand(kind.decode() not in KEPT, f"{i}: {part} can't be erased")
                missing.add((i, part))
            elif parts[part] != "withheld":
                salt, data = (b64decode(parts[part][key], validate=True) for key in ("salt", "data"))
                opening = sha256(f"consentlib.dev/part/v1\n{i}\n{part}\n".encode() + salt + data).digest()
                demand(len(salt) == 32 and b64encode(opening).decode() == commitment, f"{i}: {part} does not open")
        if kind == b"part.erased":
            erased.update((at, part) for at, part in json.loads(b64decode(parts["facts"]["data"]))["parts"])
            demand(erased <= missing, f"{i}: a part is recorded as erased and is there")
        clock, size, link = int(time), i + 1, sha256(b"\0" + leaf).digest()
        tree += [link]
        while i & 1:
            tree[-2:], i = [sha256(b"\1" + tree[-2] + tree[-1]).digest()], i >> 1
    demand(missing == erased, "parts are gone without a record")
    while len(tree) > 1:
        tree[-2:] = [sha256(b"\1" + tree[-2] + tree[-1]).digest()]
    return size, b64encode(tree[0] if tree else sha256(b"").digest()).decode()


if __name__ == "__main__":
    with zipfile.ZipFile(sys.argv[1]) as export, export.open("log.ndjson") as file:
        print(*verify(file))
