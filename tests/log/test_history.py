"""Signature and history: each level is reached as it says, and attacks on a log are caught by the one that must."""

import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_log import ORIGIN, log, plain
from small_note import NEXT, SHOP, checkpoint, root_of, signed

from consentlib.errors import VerificationError
from consentlib.log import WITHHELD, Entry, Report, genesis, merkle, verify_entries
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.signing import verify

SHAPES: list[tuple[str, dict[str, bytes | None]]] = [("consent.given", {"facts": None, "person": None})] * 9
SHAPES[4] = ("consent.withdrawn", {"facts": None})
ENTRIES = log(SHAPES)


def at(*sizes: int) -> list[Checkpoint]:
    """Checkpoints of the honest log."""
    return [checkpoint(ENTRIES[:size]) for size in sizes]


def refused(entries: Sequence[Entry], level: str, match: str, **options: Any) -> VerificationError:
    """The error that verification must raise, with the evidence it must carry."""
    with pytest.raises(VerificationError, match=match) as caught:
        verify_entries(entries, **options)
    assert (caught.value.level, caught.value.index) == (level, None)
    assert pickle.loads(pickle.dumps(caught.value)).evidence == caught.value.evidence
    return caught.value


def reached(report: Report) -> tuple[str, int | None, int | None, list[str]]:
    """The level, the sizes covered, and the first words of what was not checked."""
    return report.level, report.signed_size, report.held_size, [gap.split(":")[0] for gap in report.not_checked]


def test_levels() -> None:
    """Nothing given is content; a checkpoint over the whole log that came with it, signature; held ones besides, history."""
    assert reached(verify_entries(ENTRIES)) == ("content", None, None, ["head", "signature", "history", "meaning"])
    assert reached(verify_entries(ENTRIES, shipped=at(9))) == ("signature", 9, None, ["history", "meaning"])
    assert reached(verify_entries(ENTRIES, shipped=at(3, 9))) == ("signature", 9, None, ["history", "meaning"])
    both = verify_entries(ENTRIES, shipped=at(9), checkpoints=at(2, 5))
    assert reached(both) == ("history", 9, 5, ["history", "meaning"])
    assert both.not_checked[0] == "history: the entries from 5 on are newer than the checkpoints that were held"
    assert reached(verify_entries(ENTRIES, checkpoints=at(9, 4))) == ("history", 9, 9, ["meaning"])


def test_growing_log() -> None:
    """Every older checkpoint holds for a log that grew, but what came after the newest is under no signature."""
    report = verify_entries(ENTRIES, checkpoints=at(*range(9)))
    assert reached(report) == ("content", 8, 8, ["head", "signature", "history", "meaning"])
    assert report.not_checked[1] == "signature: the entries from 8 on are under no signed checkpoint"


def test_checkpoint_over_nothing() -> None:
    """A checkpoint of size 0 says nothing about a log that holds something."""
    assert verify_entries(ENTRIES, shipped=at(9), checkpoints=at(0)).level == "signature"
    assert verify_entries(ENTRIES, checkpoints=at(0)).level == "content"
    report = verify_entries([], checkpoints=at(0))
    assert (report.level, report.origin, report.tip) == ("history", ORIGIN, genesis(ORIGIN))
    assert verify_entries([], shipped=at(0), origin=ORIGIN).level == "signature"
    refused([], "history", "first `0` entries", checkpoints=[Checkpoint(ORIGIN, 0, bytes(32))])


def test_signed_and_withheld() -> None:
    """A log with withheld parts reaches its signed root and stays partial."""
    hidden = [ENTRIES[0]._replace(parts={"facts": WITHHELD, "person": WITHHELD}), *ENTRIES[1:]]
    report = verify_entries(hidden, shipped=at(9))
    assert (report.level, report.partial) == ("signature", True)


@pytest.mark.parametrize("sizes", [(1023, 1024, 1025), (1, 2047, 2048), (2049, 2049, 1500), tuple(range(1000, 1100))])
def test_between_batches(sizes: tuple[int, ...]) -> None:
    """Wherever checkpoints lie, the roots at their sizes, the log's root and the progress stay right."""
    entries = plain(2049)
    seen: list[int] = []
    held = [checkpoint(entries[:size]) for size in sizes]
    report = verify_entries(entries, checkpoints=held, shipped=[checkpoint(entries)], progress=seen.append)
    assert (report.level, report.root, seen) == ("history", root_of(entries), [1024, 2048, 2049])
    for number, one in enumerate(held):
        wrong = [*held[:number], Checkpoint(ORIGIN, one.size, bytes(32)), *held[number + 1 :]]
        if number % 20 == 0:
            refused(entries, "history", f"first `{one.size}` entries", checkpoints=wrong)


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)), st.integers(0, 9))
def test_any_prefixes(held: list[int], shipped: list[int], size: int) -> None:
    """A log passes exactly if no checkpoint is beyond it and the newest that came with it is of its size."""
    beyond = any(one > size for one in held + shipped)
    if beyond or (shipped and max(shipped) != size):
        with pytest.raises(VerificationError):
            verify_entries(ENTRIES[:size], checkpoints=at(*held), shipped=at(*shipped))
    else:
        report = verify_entries(ENTRIES[:size], checkpoints=at(*held), shipped=at(*shipped))
        expected = "content" if size not in held + shipped else "history" if any(held) or (held and not size) else "signature"
        assert report.level == expected


def rechained(shapes: Sequence[tuple[str, dict[str, bytes | None]]]) -> list[Entry]:
    """A log written anew from the genesis: it verifies by itself, which is the point."""
    entries = log(shapes)
    assert verify_entries(entries).level == "content"
    return entries


def test_attack_3_edited_and_rechained() -> None:
    """An entry edited with all after it chained anew is found by any held checkpoint newer than it, and by no older one."""
    forged = rechained([*SHAPES[:3], ("consent.given", {"facts": b'{"uses":["newsletter"]}'}), *SHAPES[4:]])
    for held in (4, 9):
        error = refused(forged, "history", f"first `{held}` entries", checkpoints=at(held))
        assert error.evidence == {
            "checkpoint": at(held)[0].text(),
            "note": signed(ENTRIES[:held]),
            "signed_root": root_of(ENTRIES[:held]),
            "root": root_of(forged[:held]),
        }
    refused(forged, "signature", "first `9` entries", shipped=at(9))
    assert verify_entries(forged, shipped=[checkpoint(forged)], checkpoints=at(3)).held_size == 3


def test_attack_3_by_the_keys_holder() -> None:
    """Who holds the key signs the forged log and passes signature; a checkpoint that somebody kept still finds it."""
    forged = rechained([("consent.given", {"facts": b"{}"}), *SHAPES[1:]])
    assert verify_entries(forged, shipped=[checkpoint(forged)]).level == "signature"
    refused(forged, "history", "first `5` entries", shipped=[checkpoint(forged)], checkpoints=at(5))


def test_attack_4_withdrawal_deleted() -> None:
    """A withdrawal deleted from the middle, with the rest renumbered and chained anew, is found."""
    forged = rechained([*SHAPES[:4], *SHAPES[5:], SHAPES[0]])
    assert len(forged) == len(ENTRIES)
    refused(forged, "history", "first `9` entries", checkpoints=at(4, 9))
    refused(forged[:8], "history", "expected at least `9` entries, as signed, found `8`", checkpoints=at(4, 9))


@pytest.mark.parametrize("size", range(9))
def test_attack_5_cut(size: int) -> None:
    """A log cut at its end is found, with the root it has now as evidence, whether or not its maker signs it anew."""
    cut = ENTRIES[:size]
    for options in ({}, {"shipped": [checkpoint(cut)]}, {"shipped": at(9)}):
        error = refused(cut, "history", f"at least `9` entries, as signed, found `{size}`", checkpoints=at(9), **options)
        assert error.evidence["signed_root"] == root_of(ENTRIES)
        assert error.evidence["root"] == root_of(cut)
    refused(cut, "signature", "expected", shipped=at(9))


def test_attack_5_cut_and_grown() -> None:
    """A log cut and then grown past the signed size is found."""
    forged = rechained([*SHAPES[:4], *[("consent.given", {"facts": None})] * 8])
    refused(forged, "history", "first `9` entries", shipped=[checkpoint(forged)], checkpoints=at(4, 9))
    assert verify_entries(forged, shipped=[checkpoint(forged)], checkpoints=at(4)).level == "history"


def test_attack_7_all_restored() -> None:
    """Log and its own checkpoints restored together pass signature; the auditor's own, newer one finds it."""
    assert verify_entries(ENTRIES[:6], shipped=at(3, 6)).level == "signature"
    refused(ENTRIES[:6], "history", "at least `8`", shipped=at(3, 6), checkpoints=at(5, 8))


def test_attack_13_another_origin() -> None:
    """A log whose checkpoint is of another origin is refused, also where nobody named the origin and in an empty log."""
    other = Checkpoint("other.dk", 9, root_of(ENTRIES))
    for options in ({}, {"origin": ORIGIN}):
        refused(ENTRIES, "signature", f"a checkpoint of `{ORIGIN}`, found one of `other.dk`", shipped=[other], **options)
        refused(ENTRIES, "history", "found one of `other.dk`", shipped=at(9), checkpoints=[other], **options)
    empty = Checkpoint("other.dk", 0, merkle.EMPTY_ROOT)
    refused([], "signature", "found one of `other.dk`", shipped=[empty], origin=ORIGIN)
    refused([], "signature", "found one of", shipped=[empty, *at(0)])


def test_attack_13_unsigned_tail() -> None:
    """Entries added after what was signed make the log that a checkpoint came with another log, not a signed one."""
    error = refused(ENTRIES, "signature", "covers all `9` entries, found one of `7`", shipped=at(3, 7))
    assert error.evidence["note"] == signed(ENTRIES[:7])


def test_attack_15_truncated_and_signed_with_a_newer_key() -> None:
    """After a cut, a rotated key signs on; a checkpoint under the old key, still pinned, finds it."""
    forged = rechained([*SHAPES[:5], ("key.added", {"facts": None}), *SHAPES[:6]])
    pinned = [SHOP.verifier, NEXT.verifier]
    shipped = open_checkpoint(signed(forged, NEXT), pinned, verify)
    assert verify_entries(forged, shipped=[shipped]).level == "signature"
    kept = open_checkpoint(signed(ENTRIES), pinned, verify)
    refused(forged, "history", "first `9` entries", shipped=[shipped], checkpoints=[kept])


def test_fork() -> None:
    """Of two signed logs of one size, a log can be only one: the other's note is the evidence against the signer."""
    forged = rechained([*SHAPES[:8], ("consent.given", {"facts": b"{}"})])
    for log_shown, kept in ((ENTRIES, forged), (forged, ENTRIES)):
        error = refused(log_shown, "history", "first `9`", shipped=[checkpoint(log_shown)], checkpoints=[checkpoint(kept)])
        assert open_checkpoint(error.evidence["note"], [SHOP.verifier], verify).root == root_of(kept)
        refused(log_shown, "history", "first `9`", checkpoints=[checkpoint(ENTRIES), checkpoint(forged)])


def test_held_before_shipped() -> None:
    """Where both kinds disagree with a log at one size, the error is that of what the auditor holds."""
    forged = rechained([("consent.given", {"facts": b"{}"}), *SHAPES[1:]])
    refused(forged, "history", "first `9`", shipped=at(9), checkpoints=at(9))
    refused(ENTRIES[:5], "history", "at least `9`", shipped=at(7), checkpoints=at(9))
