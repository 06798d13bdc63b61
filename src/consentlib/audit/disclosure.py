"""Writing a disclosure: the entries about one person, each with its proof, and nothing of anybody else (GDPR 15).

It is a part of the log and can't pass for the whole: it holds no `log.ndjson`, says in its checkpoint how many entries there
are, and its own making is among those it shows. A zip of

    checkpoint                  the signed checkpoint that all proofs lead to
    disclosure.ndjson           the entries, spelled as in an export's `log.ndjson`
    proofs/<index>.tlog-proof   for each of them a whole receipt, also for each policy below
    policy/<index>.json         every policy that was in force for one of them
    consistency/<size>          that an earlier checkpoint of this size is a beginning of the same log (C2SP tlog-witness)
    README.txt, verify.py, verify.html

Parts that concern other people too, such as a batch of sends, are withheld: so are those of which nobody can tell any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from consentlib.audit.export import add_verifiers, made, replacing
from consentlib.audit.readme import disclosure_readme
from consentlib.audit.receipt import check_parts
from consentlib.damage import ReadingRows
from consentlib.errors import InputError, LedgerError, StoreUnavailableError, VerificationError
from consentlib.events import NOBODY
from consentlib.fold import about
from consentlib.log import WITHHELD, Entry, format_line, leaf_hash, parse_leaf
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.consistency import Consistency
from consentlib.log.merkle import consistency_proof, inclusion_proof, verify_inclusion
from consentlib.log.receipt import Proof
from consentlib.notary import Notary
from consentlib.reader import known, linked
from consentlib.recorder import Recorder
from consentlib.store import Store
from consentlib.store.protocol import View

_ATTEMPTS: Final = 8


def record_disclosure(recorder: Recorder, key: bytes, *, by: str | None, reason: str | None) -> list[str]:
    """Put on record that a person's entries are disclosed; gives the ids of all the person's addresses.

    Raises `InputError`, and records nothing, where no entry is about the person who has the address now; `LedgerError` where
    the log did not verify: nothing would be signed, and what nobody signed proves nothing to the person.
    """
    if recorder.head.unverified is not None:
        raise LedgerError(
            "expected a verified log to disclose from, found one that did not verify",
            note="`history` still answers the person, and `export` keeps the whole log as evidence, unsigned",
        )
    ids = linked(recorder.view, recorder.view.lives(key))
    if not any(recorder.view.about(one) for one in ids):
        raise InputError("expected an address that entries are about, found none")
    for one in ids:  # an entry each: one that named them all would outlive the erasure of each
        made(recorder, "person", by=by, reason=reason, address=one)
    return ids


def write_disclosure(store: Store, notary: Notary, ids: Sequence[str], path: Path) -> int:
    """Write the entries about these address ids to a new zip at `path`; gives their number. Memory holds one at a time.

    All of it is of one moment, under a checkpoint of exactly that. A half-written file never takes its place. Raises as
    `write_export`, `LedgerError` where the log turned out not to verify meanwhile, `VerificationError` where an entry does not.
    """
    with replacing(path) as aside:
        for _ in range(_ATTEMPTS):
            with ReadingRows(), store.read() as view:
                if view.head().unverified is not None:
                    raise LedgerError("expected a verified log to disclose from, found one that did not verify")
                note = notary.sign_view(view)
                if note is not None:
                    return _write(view, notary, notary.open(note), ids, aside)
        raise StoreUnavailableError("expected a quiet moment to disclose in, found other checkpoints all the time")


def shown(entry: Entry, ids: Collection[str]) -> Entry:
    """The entry as the person may see it: whole if it concerns nobody else, else with each part withheld that is not gone."""
    one = known(entry)
    if one is not None and set(about(one.facts)).issubset(ids):
        return entry
    return entry._replace(parts={name: None if part is None else WITHHELD for name, part in entry.parts.items()})


def _write(view: View, notary: Notary, signed: Checkpoint, ids: Sequence[str], path: Path) -> int:
    import zipfile  # here, because few who import the library disclose

    indices = sorted({index for one in ids for index in view.about(one)})
    policies = _policies(view, indices)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("checkpoint", signed.note)
        with archive.open("disclosure.ndjson", "w") as file:
            for entry in _entries(view, indices):
                file.write(format_line(shown(entry, ids)))
        for entry in _entries(view, indices):
            archive.writestr(f"proofs/{entry.index}.tlog-proof", _proof(view, signed, shown(entry, ids)))
        for entry in _entries(view, policies):
            part = entry.parts["policy"]
            assert isinstance(part, tuple)  # noqa: S101  # policies are never erasable
            archive.writestr(f"policy/{entry.index}.json", part[1])
            archive.writestr(f"proofs/{entry.index}.tlog-proof", _proof(view, signed, entry))
        for earlier in notary.earlier(signed.size):
            hashes = tuple(consistency_proof(earlier.size, signed.size, view.node))
            archive.writestr(f"consistency/{earlier.size}", Consistency(earlier.size, hashes, signed.note).format())
        archive.writestr("README.txt", disclosure_readme(signed, notary.verifier, len(indices)))
        add_verifiers(archive)
    return len(indices)


def _entries(view: View, indices: Sequence[int]) -> Iterator[Entry]:
    """The entries at these indices. Raises `VerificationError` where one is gone or is not what it committed to."""
    for index in indices:
        entry = view.entry(index)
        if entry is None:
            raise VerificationError(f"expected entry `{index}`, as signed, found none", level="content", index=index)
        check_parts(entry, parse_leaf(entry.leaf))
        yield entry


def _proof(view: View, signed: Checkpoint, entry: Entry) -> bytes:
    """The receipt of an entry, as it is shown. Raises `VerificationError` where stored nodes no longer lead to the root."""
    hashes = inclusion_proof(entry.index, signed.size, view.node)
    verify_inclusion(entry.index, signed.size, leaf_hash(entry.leaf), hashes, signed.root)
    return Proof(entry.index, tuple(hashes), signed.note, format_line(entry)).format()


def _policies(view: View, indices: Sequence[int]) -> list[int]:
    """The indices of the policies that were in force for one of these entries."""
    published = [
        one for entry in _entries(view, view.about(NOBODY)) if (one := known(entry)) and one.kind == "policy.published"
    ]
    in_force = {max((one.index for one in published if one.index < index), default=-1) for index in indices}
    return sorted(in_force - {-1})
