"""The README.txt of an export and of a disclosure: for somebody who has never seen this library."""

from __future__ import annotations

from typing import Final

from consentlib.log.checkpoint import Checkpoint
from consentlib.log.leaf import base64
from consentlib.log.note import Verifier

_EXPORT: Final = """\
THE CONSENT LOG {origin}: THE WHOLE OF IT, {size} ENTRIES

This is everything the log holds: what people said about the use of their data, and what was sent to them. It is personal data.
It was written by consentlib; nothing of consentlib is needed to check it.

{signed}

WHAT YOU NEED BESIDES THIS FILE

The log's public key, one line `name+id+key`, which must have reached you by another way than this file; and a checkpoint of
this log that you, or somebody you trust, kept from earlier. Without the key you can't tell who wrote this, without the
checkpoint whoever holds the key may have written it anew.

HOW TO CHECK IT

With Python alone, version 3.9 or later, nothing to install. Take verify.py out of this zip (or from a copy of consentlib that
you got yourself: it is the same), and read it if you like:
    python3 verify.py EXPORT.zip --key KEY --checkpoint KEPT

With a browser alone, offline: take verify.html out, open it from disk, drop the zip and your checkpoint on it, paste the key.
Nothing leaves your machine.

With tools of others: `checkpoint` is a C2SP signed note, as Go's checksum database has them. note.Open of
golang.org/x/mod/sumdb/note checks its signature; tlog.TreeHash of golang.org/x/mod/sumdb/tlog over the leaves of log.ndjson
gives the root that stands in it.

{levels}
WHAT NO CHECK OF THIS FILE SHOWS

That what was recorded really happened; that nothing was left out before it was recorded (a person's receipt shows that); that
each send was lawful; that erased data is gone from copies elsewhere; and anything about README.txt, verify.py and verify.html,
which no signature covers.

WHAT THE FILES ARE

checkpoint    origin, size and root of the log, signed; none in an unsigned export
checkpoints/  those signed earlier, by size. They come from the shop, like all else here: only one that you kept shows the past
log.ndjson    one line an entry: its index, its leaf in base64, its parts with salt and data in base64; null is a part that was
              erased, "withheld" one that is not shown. The last entry, of kind `export.made`, says that this file was made
policy/       every policy that was in force, as canonical JSON (RFC 8785), named by the index of the entry that holds it too:
              the check compares both, byte for byte
verify.py     the check, for Python alone
verify.html   the check, for a browser alone

size  {size}
tip   {tip}
root  {root}

{format}"""

_SIGNED: Final = """\
It is SIGNED: `checkpoint` covers exactly these entries. The key that signed it says of itself that it is

{verifier}"""

_UNSIGNED: Final = """\
It is UNSIGNED: the shop's own check of the log had failed when it was made. Nothing in it shows who wrote it or that it was not
written anew. Chain and content can be checked; compare size and root with a value that somebody else holds."""

_DISCLOSURE: Final = """\
WHAT THE CONSENT LOG {origin} HOLDS ABOUT ONE PERSON: {shown} OF {size} ENTRIES

This is a PART of the log and not the whole: the entries about one person, each with a proof that it is in the signed log.
Entries about nobody but others are not in it. Where an entry is also about others, such as a letter to many people, its time
and kind are shown, and what it says is withheld.

FOR THE PERSON

Open verify.html, which is in this zip, in a browser, and drop the zip on it. It lists each entry, with its time, and what it
says. Nothing leaves your computer. Keep this file: if the shop should ever say something else, it proves what was on record.
Who gave it to you also owes you a copy that is easy to read; this one is for proof.

FOR AN AUDITOR

You need the log's public key, by another way than this file. The key that signed it says of itself that it is

{verifier}

With Python alone (3.9 or later):
    python3 verify.py DISCLOSURE.zip --key KEY --checkpoint KEPT

With a browser alone: verify.html. With tools of others: note.Open of golang.org/x/mod/sumdb/note checks the signature,
tlog.CheckRecord of golang.org/x/mod/sumdb/tlog each proof. Each file in proofs/ is also a whole receipt by itself.

KEPT is a checkpoint of this log that you kept from earlier. It can be compared if it has the size of `checkpoint`, or a size
that is in consistency/.

{levels}
A disclosure ends with 10 at best, since it is a part.

WHAT NO CHECK OF THIS FILE SHOWS

That these are all entries about the person: whoever wrote it may have left some out, which only the whole log can show. That
nothing was left out before it was recorded. That a part shown as erased was erased on record, unless the record is shown too.
That each send was lawful. And anything about README.txt, verify.py and verify.html, which no signature covers.

WHAT THE FILES ARE

checkpoint         origin, size and root of the whole log, signed
disclosure.ndjson  one line an entry: its index, its leaf in base64, its parts with salt and data in base64; null is a part
                   that was erased, "withheld" one that is not shown. Those of kind `export.made` say that this file was made
proofs/            for each entry, and for each policy, a C2SP tlog-proof that it is in the log under that checkpoint
policy/            the policies that were in force for these entries, named by the index of the entry that holds them
consistency/       by size, proofs that earlier checkpoints are beginnings of the same log, as a C2SP tlog-witness is sent them
verify.py          the check, for Python alone
verify.html        the check, for a browser alone

{format}"""

_LEVELS: Final = """\
WHAT IT SAYS

content    {content}
signature  and the holder of the key says: this is the log
history    and what your checkpoint covers was not changed since

verify.py ends with 0 verified to history, 10 verified, but without a checkpoint of yours or in part, 30 it contradicts a
checkpoint of yours, 40 invalid, 2 it was asked wrongly.
"""

_FORMAT: Final = """\
HOW IT IS MADE

Leaf hash: SHA-256(0x00 || leaf). Tree: RFC 9162. A part opens its commitment in the leaf:
SHA-256("consentlib.dev/part/v1\\n" || decimal(index) || "\\n" || name || "\\n" || salt || data).
Each leaf names the hash of the one before it; the first names SHA-256("consentlib.dev/genesis/v1\\n" || origin || "\\n").
"""


def export_readme(verifier: Verifier, size: int, tip: bytes, root: bytes, *, signed: bool) -> str:
    """That of a whole log."""
    return _EXPORT.format(
        origin=verifier.name,
        size=size,
        tip=base64(tip).decode(),
        root=base64(root).decode(),
        signed=_SIGNED.format(verifier=verifier) if signed else _UNSIGNED,
        levels=_LEVELS.format(content="everything follows on what came before, and nothing was quietly edited or taken away"),
        format=_FORMAT,
    )


def disclosure_readme(signed: Checkpoint, verifier: Verifier, shown: int) -> str:
    """That of the entries about one person."""
    content = "each entry shown is one of the log's, and what it shows was not edited"
    facts = {"origin": signed.origin, "size": signed.size, "shown": shown, "verifier": verifier}
    return _DISCLOSURE.format(**facts, levels=_LEVELS.format(content=content), format=_FORMAT)
