"""Writing the export: a zip that says what it is, in public formats, with constant memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from consentlib.errors import StoreUnavailableError
from consentlib.log import format_line
from consentlib.log.merkle import frontier_root
from consentlib.store import Store

_CHUNK: Final = 2_000
_ATTEMPTS: Final = 5

_README: Final = """This is the whole log `{origin}`, {size} entries, exported by consentlib.

It is UNSIGNED: nothing in it shows who wrote it or that it was not written anew. Chain and content can be checked;
compare size and root with a value that somebody else holds.

size  {size}
tip   {tip}
root  {root}

log.ndjson   one line an entry: index, leaf (base64), and parts with salt and data (base64); null is erased, "withheld" withheld
policy/      every policy that was in force, as canonical JSON, named by the index of its entry

Leaf hash: SHA-256(0x00 || leaf). Tree: RFC 9162. A part opens its commitment in the leaf:
SHA-256("consentlib.dev/part/v1\\n" || decimal(index) || "\\n" || name || "\\n" || salt || data).
Each leaf names the hash of the one before it; the first names
SHA-256("consentlib.dev/genesis/v1\\n" || origin || "\\n").
"""


def write_export(store: Store, origin: str, path: Path, *, progress: Callable[[int], None] | None = None) -> int:
    """Write the log to a new zip at `path`; gives the number of entries. A half-written file never takes its place.

    Reads in short transactions, so that nobody waits for it, up to the head it catches up with. What is erased meanwhile must
    not be in the file: then it begins anew, and at last reads in one transaction.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        for attempt in range(_ATTEMPTS):
            size = _write(store, origin, aside, progress, at_once=attempt == _ATTEMPTS - 1)
            if size is not None:
                os.replace(aside, path)
                return size
    except OSError as error:
        raise StoreUnavailableError(f"expected to write the export, found: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)
    raise StoreUnavailableError("expected a quiet moment to export in, found erasures all the time")


def _write(store: Store, origin: str, path: Path, progress: Callable[[int], None] | None, *, at_once: bool) -> int | None:
    """One attempt. None if something was erased since it began: a part that is gone now may have been written."""
    import zipfile  # here, because few who import the library export

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        policies: list[tuple[int, bytes]] = []
        size, begun = 0, None
        with archive.open("log.ndjson", "w", force_zip64=True) as file:
            while True:
                with store.read() as view:
                    head = view.head()
                    begun = head.size if begun is None else begun
                    stop = head.size if at_once else min(head.size, size + _CHUNK)
                    for entry in view.entries(size, stop):
                        if entry.index >= begun and entry.leaf.split(b"\n", 6)[5:6] == [b"part.erased"]:
                            return None
                        file.write(format_line(entry))
                        policy = entry.parts.get("policy")
                        if isinstance(policy, tuple):
                            policies.append((entry.index, policy[1]))
                    size = stop
                if progress is not None:
                    progress(size)
                if size == head.size:
                    break
        for index, policy_bytes in policies:
            archive.writestr(f"policy/{index}.json", policy_bytes)
        root = frontier_root(head.frontier)
        archive.writestr("README.txt", _README.format(origin=origin, size=size, tip=head.tip.hex(), root=root.hex()))
    return size
