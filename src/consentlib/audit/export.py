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
from consentlib.notary import Notary
from consentlib.store import Store

_CHUNK: Final = 2_000
_ATTEMPTS: Final = 5

_SIGNED: Final = """\
It is SIGNED: `checkpoint` is a C2SP signed note over origin, size and root. It counts under a key that you have from elsewhere
than this file; the one that made it says of itself that it is

{verifier}

`checkpoints/` holds earlier ones. Whoever kept one can see that nothing it covered was changed since: without one of your own
from another time, the holder of the key may have written the log anew.
"""

_UNSIGNED: Final = """\
It is UNSIGNED: nothing in it shows who wrote it or that it was not written anew. Chain and content can be checked;
compare size and root with a value that somebody else holds.
"""

_README: Final = """This is the whole log `{origin}`, {size} entries, exported by consentlib.

{signed}
Verify it:  python3 verify.py EXPORT.zip --key KEY --checkpoint NOTE      (Python alone, nothing to install)
            or open verify.html in a browser and drop the export on it    (nothing leaves your machine)

size  {size}
tip   {tip}
root  {root}

log.ndjson   one line an entry: index, leaf (base64), parts with salt and data (base64); null is erased, "withheld" withheld
policy/      every policy that was in force, as canonical JSON, named by the index of its entry

Leaf hash: SHA-256(0x00 || leaf). Tree: RFC 9162. A part opens its commitment in the leaf:
SHA-256("consentlib.dev/part/v1\\n" || decimal(index) || "\\n" || name || "\\n" || salt || data).
Each leaf names the hash of the one before it; the first names
SHA-256("consentlib.dev/genesis/v1\\n" || origin || "\\n").
"""


def write_export(store: Store, notary: Notary, path: Path, *, progress: Callable[[int], None] | None = None) -> int:
    """Write the log to a new zip at `path`; gives the number of entries. A half-written file never takes its place.

    Signed by a checkpoint of exactly what is in it, unless the ledger is marked unverified: that can be exported as evidence,
    and says that it is unsigned. Reads in short transactions, so that nobody waits for it, up to the head it catches up with.
    What is erased meanwhile must not be in the file: then it begins anew, and at last reads in one transaction.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        for attempt in range(_ATTEMPTS):
            size = _write(store, notary, aside, progress, at_once=attempt == _ATTEMPTS - 1)
            if size is not None:
                os.replace(aside, path)
                return size
    except OSError as error:
        raise StoreUnavailableError(f"expected to write the export, found: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)
    raise StoreUnavailableError("expected a quiet moment to export in, found erasures all the time")


def _write(store: Store, notary: Notary, path: Path, progress: Callable[[int], None] | None, *, at_once: bool) -> int | None:
    """One attempt. None if something was erased since it began: a part that is gone now may have been written."""
    import zipfile  # here, because few who import the library export
    from importlib.resources import files

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        policies: list[tuple[int, bytes]] = []
        size, begun, note = 0, None, None
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
                    trusted = head.unverified is None
                    if size == head.size and trusted:
                        note = notary.sign_view(view)
                if progress is not None:
                    progress(size)
                if size == head.size:
                    if note is not None or not trusted:
                        break
                    notary.sign()  # somebody else was first, or the log was cut: then this says so
        for index, policy_bytes in policies:
            archive.writestr(f"policy/{index}.json", policy_bytes)
        if note is not None:
            archive.writestr("checkpoint", note)
            for earlier in notary.earlier(size):
                archive.writestr(f"checkpoints/{earlier.size}", earlier.note)
        for name in ("verify.py", "verify.html"):
            archive.writestr(name, files("consentlib.audit").joinpath("standalone", name).read_bytes())
        facts = {
            "origin": notary.verifier.name,
            "size": size,
            "tip": head.tip.hex(),
            "root": frontier_root(head.frontier).hex(),
        }
        signed = _SIGNED.format(verifier=notary.verifier) if note is not None else _UNSIGNED
        archive.writestr("README.txt", _README.format(signed=signed, **facts))
    return size
