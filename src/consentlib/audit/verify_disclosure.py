"""Verifying a disclosure: one person's entries with their proofs. What it shows holds; that it is all, nothing can show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from consentlib import codec
from consentlib.audit.reading import LONGEST_NOTE, opened_lines, opened_zip, parsed, read_member
from consentlib.audit.receipt import check_parts, read_entry
from consentlib.errors import FormatError, VerificationError
from consentlib.log import NEVER_ERASED, WITHHELD, Entry, Leaf, Report, format_line
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.log.consistency import Consistency
from consentlib.log.note import Verifier, parse_note, restore_lines
from consentlib.log.receipt import Proof
from consentlib.log.span import named_parts
from consentlib.signing import verify

if TYPE_CHECKING:
    from zipfile import ZipFile

LINES: Final = "disclosure.ndjson"
"""The member that only a disclosure has; a whole log has `log.ndjson`, and no file has both."""

_LONGEST_PROOF: Final = 2_000_000
_NUMBERED: Final = re.compile(
    r"(?:proofs/(0|[1-9][0-9]{0,15})\.tlog-proof|policy/(?:0|[1-9][0-9]{0,15})\.json|consistency/(?:0|[1-9][0-9]{0,15}))"
)
_NAMED: Final = frozenset({"checkpoint", LINES, "README.txt", "verify.py", "verify.html"})


def is_disclosure(path: Path) -> bool:
    """Whether a file says of itself that it is a disclosure. Raises `FormatError` for what is no zip."""
    with opened_zip(path) as archive:
        return LINES in archive.namelist()


def verify_disclosure(
    path: Path,
    *,
    origin: str | None = None,
    verifiers: Sequence[Verifier] = (),
    checkpoints: Sequence[Checkpoint | bytes] = (),
    progress: Callable[[int], None] | None = None,
) -> Report:
    """A disclosure, up to the level that what is handed in allows; `partial` whatever that is.

    Each entry opens its commitments and is proven to be in the log of the checkpoint, one of them says that the disclosure
    was made, and nothing else is in the file. `size` and `root` of the report are those of the log, `shown` counts entries.
    `verifiers` are the pinned keys; nothing in a disclosure leads from one to its successor. `checkpoints` are those the
    auditor holds: one of the same size must have the same root, one of a size in `consistency/` must be a beginning of the
    log, others can't be compared. Raises `VerificationError` or `FormatError`.
    """
    kept = [
        one if isinstance(one, Checkpoint) else open_checkpoint(restore_lines(one), verifiers, verify) for one in checkpoints
    ]
    with opened_zip(path) as archive:
        names = archive.namelist()
        if LINES not in names or "log.ndjson" in names or len(set(names)) != len(names):
            raise FormatError(
                f"expected a disclosure, with `{LINES}` and without `log.ndjson`, each name once; found otherwise"
            )
        if strange := [name for name in names if name not in _NAMED and _NUMBERED.fullmatch(name) is None]:
            raise FormatError(f"expected only what a disclosure holds, found {len(strange)} other files")
        signed = _signed(archive, verifiers)
        if origin not in (None, signed.origin):
            raise VerificationError("expected the log of the origin named, found another", level="chain")
        shown = _Shown(archive, signed)
        with opened_lines(archive, LINES) as lines:
            for count, entry in enumerate(parsed(lines), start=1):
                shown.see(entry)
                if progress is not None:
                    progress(count)
        shown.end(names)
        held = [one.size for one in kept if _compared(archive, names, one, signed)]
        level = "content" if not verifiers else "history" if max(held, default=0) else "signature"
        return Report(
            level=level,
            origin=signed.origin,
            size=signed.size,
            root=signed.root,
            tip=None,
            first_time=shown.first_time,
            last_time=shown.last_time,
            entries_by_kind=tuple(sorted(shown.kinds.items())),
            erased=len(shown.gone),
            withheld=shown.withheld,
            not_checked=tuple(_gaps(shown, signed, level, held, len(checkpoints))),
            signed_size=signed.size if verifiers else None,
            held_size=max(held, default=None),
            shown=shown.kinds.total(),
        )


def _signed(archive: ZipFile, verifiers: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint that all proofs lead to, opened under the pinned keys; only read where there are none."""
    note = read_member(archive, "checkpoint", LONGEST_NOTE)
    if verifiers:
        return open_checkpoint(note, verifiers, verify)
    return evolve(Checkpoint.parse(parse_note(note)[0]), note=note)


class _Shown:
    """What is known after some entries, each of which was checked in full before it was counted."""

    def __init__(self, archive: ZipFile, signed: Checkpoint) -> None:
        self._archive = archive
        self._signed = signed
        self._proven: set[str] = set()
        self._last = -1
        self._on_record = False
        self.gone: dict[tuple[int, str], bool] = {}  # parts that are not there -> whether that is on record here
        self.kinds: Counter[str] = Counter()
        self.withheld = 0
        self.first_time: int | None = None
        self.last_time: int | None = None

    def see(self, entry: Entry) -> None:
        """Check the entry of the next line: its proof, its parts, and that it comes after the one before it."""
        proof, _, leaf = self._prove(entry.index)
        if proof.extra != format_line(entry):
            raise _wrong("expected the line that its proof holds, found another", "content", entry, leaf)
        if entry.index <= self._last or (self.last_time is not None and leaf.t < self.last_time):
            raise _wrong("expected entries in the order of the log, found another order", "chain", entry, leaf)
        for name, part in entry.parts.items():
            if part is None:
                if leaf.kind in NEVER_ERASED:
                    raise _wrong(f"expected part `{name}`, which can never be erased, found nothing", "content", entry, leaf)
                self.gone[entry.index, name] = False
            self.withheld += part is WITHHELD
        facts = entry.parts.get("facts")
        if leaf.kind == "part.erased" and isinstance(facts, tuple):
            self._erased(entry, leaf, facts[1])
        if leaf.kind == "export.made" and isinstance(facts, tuple):
            said = codec.decode(facts[1])
            self._on_record |= isinstance(said, dict) and said.get("scope") == "person"
        self._last, self.last_time = entry.index, leaf.t
        self.first_time = leaf.t if self.first_time is None else self.first_time
        self.kinds[leaf.kind] += 1

    def end(self, names: Sequence[str]) -> None:
        """All lines were seen: check the policies, and that no proof is left over and the disclosure is on record."""
        for name in names:
            if name.startswith("policy/"):
                self._policy(name)
        left = {name for name in names if name.startswith("proofs/")} - self._proven
        if left:
            raise FormatError(f"expected a line for each proof, found {len(left)} proofs without")
        if not self._on_record:
            problem = "expected an entry that says that this disclosure was made, found none"
            raise VerificationError(problem, level="content")

    def _prove(self, index: int) -> tuple[Proof, Entry, Leaf]:
        """The proof of an index, and the entry that it shows to be in the log."""
        name = f"proofs/{index}.tlog-proof"
        proof = Proof.parse(read_member(self._archive, name, _LONGEST_PROOF))
        entry, leaf = read_entry(proof)
        if proof.index != index or proof.checkpoint != self._signed.note:
            raise _wrong("expected a proof of this entry under the checkpoint beside it, found another", "proof", entry, leaf)
        proof.verify_under(self._signed, entry.leaf)
        check_parts(entry, leaf)
        self._proven.add(name)
        return proof, entry, leaf

    def _policy(self, name: str) -> None:
        _, entry, leaf = self._prove(int(name.removeprefix("policy/").removesuffix(".json")))
        part = entry.parts.get("policy")
        whole = all(isinstance(one, tuple) for one in entry.parts.values())
        shown = whole and isinstance(part, tuple) and part[1] == read_member(self._archive, name, _LONGEST_PROOF)
        if leaf.kind != "policy.published" or not shown:
            raise _wrong("expected the policy that its proof holds, found another", "content", entry, leaf)

    def _erased(self, entry: Entry, leaf: Leaf, facts: bytes) -> None:
        """What an erasure names must be gone, as far as it is shown here."""
        try:
            named = named_parts(facts, entry.index)
        except FormatError as error:
            raise _wrong(str(error), "content", entry, leaf) from None
        for index, name in named:
            if (index, name) in self.gone:
                self.gone[index, name] = True
            elif f"proofs/{index}.tlog-proof" in self._proven:
                problem = f"expected part `{name}` of entry `{index}` to be gone as recorded, found it there"
                raise _wrong(problem, "content", entry, leaf)


def _wrong(problem: str, level: str, entry: Entry, leaf: Leaf) -> VerificationError:
    return VerificationError(f"entry `{leaf.index}`: {problem}", level=level, index=leaf.index, leaf=entry.leaf)


def _compared(archive: ZipFile, names: Sequence[str], held: Checkpoint, signed: Checkpoint) -> bool:
    """Whether a checkpoint that the auditor holds could be compared. Raises `VerificationError` where it contradicts."""
    name = f"consistency/{held.size}"
    both: dict[str, Any] = {"note": held.note, "checkpoint": held.text(), "signed_root": held.root, "root": signed.root}
    if held.origin != signed.origin:
        problem = f"expected a checkpoint of `{signed.origin}`, found one of `{held.origin}`"
        raise VerificationError(problem, level="history", **both)
    if held.size == signed.size:
        if held.root != signed.root:
            problem = f"expected the root that was signed for `{held.size}` entries, found another"
            raise VerificationError(problem, level="history", **both)
        return True
    if name not in names:
        return False
    grown = Consistency.parse(read_member(archive, name, LONGEST_NOTE))
    if grown.old_size != held.size or grown.checkpoint != signed.note:
        raise FormatError(f"expected in `{name}` what leads from that size to the checkpoint, found another")
    try:
        grown.verify(held.root, signed)
    except VerificationError as error:
        problem = f"expected the first `{held.size}` entries to have the root that was signed, found another: {error}"
        raise VerificationError(problem, level="history", proof=grown.hashes, **both) from None
    return True


def _gaps(shown: _Shown, signed: Checkpoint, level: str, held: Sequence[int], given: int) -> list[str]:
    gaps = ["completeness: this is a part of the log, and entries about the person may have been left out of it"]
    if shown.withheld:
        gaps.append(f"content: {shown.withheld} parts are withheld, so their bytes were not compared with their commitments")
    if silent := sum(not recorded for recorded in shown.gone.values()):
        gaps.append(f"content: {silent} parts are said to be erased, and the record of that is not shown here")
    gaps.append("chain: what lies between the entries is not shown, so no link was compared")
    if level == "content":
        gaps.append("signature: no key was given, so anyone may have signed the checkpoint")
    if len(held) < given:
        gaps.append(f"history: {given - len(held)} checkpoints have a size that nothing here leads from")
    if not max(held, default=0):
        gaps.append("history: no checkpoint was compared, so the log may have been rewritten or cut")
    elif max(held) < signed.size:
        gaps.append(f"history: the entries from {max(held)} on are newer than the checkpoints that were held")
    gaps.append("meaning: no rule was replayed, so a recorded send may have been unlawful")
    return gaps
