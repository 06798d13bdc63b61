"""Logs whose signing key was rotated, honestly or not, with what signs them and what verifiers must say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from small_log import ORIGIN, log
from small_note import root_of

from consentlib import codec
from consentlib.log import Entry
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.note import Signer, sign_note
from consentlib.signing import sign, signer

KEYS: Mapping[str, Signer] = {name: signer(ORIGIN, name.encode().ljust(32, b"\0")) for name in ("one", "two", "three", "thief")}
OTHER = signer("other.example/consent", bytes(32))


class Signed(NamedTuple):
    """A checkpoint over the first `size` entries by the keys named, or, where `wrong`, over something else."""

    size: int
    by: str
    wrong: bool = False


class Case(NamedTuple):
    """A log of `size` entries, in which `added` says which key replaces which; what is shipped, pinned and held; the outcome.

    The first that is shipped is the export's `checkpoint`. `verdict` is the exit code, `level` the level reached at 0 and 10.
    """

    size: int
    added: Mapping[int, str | bytes]
    shipped: Sequence[Signed]
    pinned: str
    held: Sequence[Signed]
    verdict: int
    level: str = ""


def said(old: str, new: str) -> bytes:
    """The facts of a `key.added` entry."""
    old_key, new_key = ((KEYS | {"other": OTHER})[one].verifier for one in (old, new))
    return codec.encode({"key": str(new_key), "occurred_at": 1, "replaces": str(old_key)})


def entries_of(case: Case) -> list[Entry]:
    """The log."""
    shapes: list[tuple[str, dict[str, bytes | None]]] = [("consent.given", {"facts": None, "person": None})] * case.size
    for index, words in case.added.items():
        facts = said(*words.split(" to ")) if isinstance(words, str) else words
        shapes[index] = ("key.added", {"facts": facts})
    return log(shapes)


def note_of(entries: Sequence[Entry], signed: Signed) -> bytes:
    """A signed note."""
    root = bytes(32) if signed.wrong or signed.size > len(entries) else root_of(entries[: signed.size])
    by = [OTHER if name == "other" else KEYS[name] for name in signed.by.split()]
    return sign_note(Checkpoint(ORIGIN, signed.size, root).text(), by, sign)


BEFORE, BOTH, AFTER = Signed(2, "one"), Signed(5, "one two"), Signed(7, "two")


def rotated(*, pinned: str = "one", held: Sequence[Signed] = (), verdict: int = 10) -> Case:
    """Key two follows on key one at entry 4, both signed at 5; the log has nine entries."""
    level = {0: "history", 10: "signature"}.get(verdict, "")
    return Case(9, {4: "one to two"}, [Signed(9, "two"), BEFORE, BOTH], pinned, held, verdict, level)


CASES: Mapping[str, Case] = {
    "who knows the old key is led on": rotated(),
    "who knows the new key need not know the old": rotated(pinned="two"),
    "who knows both": rotated(pinned="one two"),
    "who knows a third": rotated(pinned="thief", verdict=40),
    "a checkpoint kept from before": rotated(held=[BEFORE], verdict=0),
    "one kept from after, by who knows the old key": rotated(held=[AFTER], verdict=0),
    "one that both signed": rotated(held=[BOTH], verdict=0),
    "all three": rotated(held=[AFTER, BEFORE, BOTH], verdict=0),
    "one from before, by who knows the new key alone": rotated(pinned="two", held=[BEFORE], verdict=2),
    "one from after, by who knows the new key": rotated(pinned="two", held=[AFTER], verdict=0),
    "one from after that says otherwise": rotated(held=[AFTER._replace(wrong=True)], verdict=30),
    "one from after that is longer": rotated(held=[Signed(11, "two")], verdict=30),
    "one by an unknown key that says otherwise": rotated(held=[Signed(7, "thief", wrong=True)], verdict=2),
    "signed by the old key long after": rotated(held=[Signed(7, "one")], verdict=2),
    "the old key signs on, and hides that both signed": Case(
        9, {4: "one to two"}, [Signed(9, "one"), BEFORE], "one", [], 10, "signature"
    ),
    "the old key signs on": Case(9, {4: "one to two"}, [Signed(9, "one"), BEFORE, BOTH], "one", [], 40),
    "the old key signs on, and both are known to have signed": Case(
        9, {4: "one to two"}, [Signed(9, "one")], "one", [BOTH], 40
    ),
    "a third rotation passes over two": Case(
        12,
        {3: "one to two", 6: "two to three"},
        [Signed(12, "three"), Signed(4, "one two"), Signed(8, "two three")],
        "one",
        [Signed(10, "three"), Signed(1, "one")],
        0,
        "history",
    ),
    "both rotations under one checkpoint": Case(
        9, {3: "one to two", 6: "two to three"}, [Signed(9, "one two three")], "one", [], 10, "signature"
    ),
    "the middle key does not return": Case(
        12,
        {3: "one to two", 6: "two to three"},
        [Signed(12, "two"), Signed(4, "one two"), Signed(8, "two three")],
        "one",
        [],
        40,
    ),
    "the first key is not let in again": Case(
        12, {3: "one to two", 6: "two to one"}, [Signed(12, "one"), Signed(4, "one two"), Signed(8, "two")], "one", [], 40
    ),
    "of two keys in a ring the one with the larger id is replaced": Case(
        9, {0: "one to three", 1: "three to one"}, [Signed(9, "one"), Signed(2, "one three")], "one", [], 40
    ),
    "of two keys in a ring the one with the smaller id signs on": Case(
        9, {0: "one to three", 1: "three to one"}, [Signed(9, "three"), Signed(2, "one three")], "one", [], 10, "signature"
    ),
    "the first key signs on, and the last key has signed": Case(
        12, {3: "one to two", 6: "two to three"}, [Signed(12, "one"), Signed(8, "three")], "one three", [], 40
    ),
    "a third knows only the last key": Case(
        9, {3: "one to two", 6: "two to three"}, [Signed(9, "three"), Signed(4, "one two")], "three", [], 10, "signature"
    ),
    "the last key does not vouch for one before it": Case(
        9, {3: "one to two", 6: "two to three"}, [Signed(9, "three"), Signed(8, "three")], "three", [Signed(5, "two")], 2
    ),
    "added and covered by nobody": Case(9, {4: "one to thief"}, [Signed(9, "thief"), Signed(4, "one")], "one", [], 40),
    "added, and signed for by the new key alone": Case(
        9, {4: "one to thief"}, [Signed(9, "thief"), Signed(5, "thief")], "one", [], 40
    ),
    "the covering checkpoint is of one entry too few": Case(
        9, {4: "one to two"}, [Signed(9, "two"), Signed(4, "one two")], "one", [], 40
    ),
    "covered with another root": Case(9, {4: "one to two"}, [Signed(9, "two"), Signed(5, "one", wrong=True)], "one", [], 40),
    "covered, with another root, by one that is kept": Case(
        9, {4: "one to two"}, [Signed(9, "two")], "one", [Signed(5, "one", wrong=True)], 30
    ),
    "covered by one that is kept": Case(9, {4: "one to two"}, [Signed(9, "two")], "one", [Signed(6, "one")], 0, "history"),
    "the new key came earlier than what the old one signed": Case(
        9, {1: "one to thief"}, [Signed(9, "thief"), Signed(2, "one", wrong=True)], "one", [], 40
    ),
    "another key than the one that signs": Case(9, {4: "one to two"}, [Signed(9, "thief"), Signed(5, "one")], "one", [], 40),
    "after another key than the one that signed": Case(
        9, {4: "three to two"}, [Signed(9, "two"), Signed(5, "one two")], "one", [], 40
    ),
    "a key of another log": Case(9, {4: "one to other"}, [Signed(9, "other"), Signed(5, "one")], "one", [], 40),
    "after a key of another log": Case(9, {4: "other to two"}, [Signed(9, "two"), Signed(5, "other")], "one", [], 40),
    "facts of another form": Case(9, {4: b'{"key":1,"replaces":[]}'}, [Signed(9, "one"), BEFORE], "one", [], 10, "signature"),
    "facts that are no object": Case(9, {4: b"[]"}, [Signed(9, "one")], "one", [BEFORE], 0, "history"),
    "facts in another spelling": Case(
        9, {4: said("one", "two").replace(b":", b": ", 1)}, [Signed(9, "two"), Signed(5, "one")], "one", [], 40
    ),
    "announced, and never used": Case(
        9, {4: "one to two"}, [Signed(9, "one"), BEFORE, Signed(5, "one")], "one", [], 10, "signature"
    ),
    "announced by a thief, and never signed for": Case(
        9, {4: "one to thief"}, [Signed(4, "one"), BEFORE], "one", [Signed(9, "thief")], 40
    ),
    "two of one size, by one key each": Case(
        9, {4: "one to two"}, [Signed(9, "two"), Signed(5, "two")], "one", [Signed(5, "one")], 0, "history"
    ),
}
