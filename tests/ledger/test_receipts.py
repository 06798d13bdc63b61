"""Receipts: proof for a person, in one call, that an entry is in the log; checked with nothing but the log's key."""

import json
import tracemalloc
from itertools import pairwise

import pytest

from consentlib.audit.receipt import verify_receipt
from consentlib.errors import FormatError, InputError, VerificationError
from consentlib.events import ConsentWithdrawn
from consentlib.log import Entry, Leaf, commitment, format_line, leaf_hash, parse_leaf, parse_line
from consentlib.log.merkle import verify_inclusion
from consentlib.log.note import Verifier
from consentlib.log.receipt import Proof
from consentlib.signing import signer, verify
from forger import forge, held, key
from shop import Shop

ANN = "anna@example.dk"


def leaf_of(entry: Entry) -> Leaf:
    """What its leaf says."""
    return parse_leaf(entry.leaf)


def test_of_a_withdrawal(shop: Shop) -> None:
    """One call after the withdrawal gives a tlog-proof whose extra line is the entry, in the clear, under the log's key."""
    shop.sign_up(ANN)
    withdrawn = shop.ledger.withdraw(ANN)
    receipt = shop.ledger.receipt(withdrawn)
    assert receipt.startswith(b"c2sp.org/tlog-proof@v1\nextra ")
    proof = Proof.parse(receipt)
    entry = parse_line(proof.extra)
    signed = proof.verify(entry.leaf, [key(shop)], verify)
    assert (proof.index, signed.size, signed.origin) == (withdrawn.index, 5, shop.ledger.origin)
    verify_inclusion(proof.index, signed.size, leaf_hash(entry.leaf), proof.hashes, signed.root)
    assert (leaf_of(entry).kind, leaf_of(entry).t) == ("consent.withdrawn", withdrawn.recorded_at)
    for name, committed in leaf_of(entry).parts:
        part = entry.parts[name]
        assert isinstance(part, tuple)
        assert commitment(entry.index, name, *part) == committed
    assert verify_receipt(receipt, [key(shop)]) == entry
    assert shop.ledger.receipt(withdrawn.index) == receipt


def test_who_and_what(shop: Shop) -> None:
    """The receipt of a person's first entry shows whom it is about and what was said."""
    entry = verify_receipt(shop.ledger.receipt(shop.ledger.withdraw(ANN)), [key(shop)])
    facts, person = (json.loads(entry.parts[name][1]) for name in ("facts", "person"))  # type: ignore[index]
    assert set(person["addresses"]) == {facts["address"]}
    assert list(person["addresses"].values()) == [f"email:{ANN}"]


def test_every_entry(shop: Shop) -> None:
    """Each entry has one, the policy's too, in trees of any size; an old one holds when the log has grown."""
    old: list[bytes] = []
    for number in range(9):
        shop.ledger.withdraw(f"p{number}@example.dk", limited=True)
        receipts = [shop.ledger.receipt(index) for index in range(number + 2)]
        for index, receipt in enumerate(receipts):
            assert verify_receipt(receipt, [key(shop)]).index == index
        old.append(receipts[0])
    assert {leaf_of(verify_receipt(one, [key(shop)])).kind for one in old} == {"policy.published"}
    covered = [held(shop, Proof.parse(one).checkpoint).size for one in old]
    assert all(first <= second for first, second in pairwise(covered))


def test_signs_only_if_it_must(shop: Shop) -> None:
    """A checkpoint that covers the entry is used again; one is signed for an entry that none covers."""
    first = shop.ledger.withdraw(ANN, limited=True)
    note = shop.ledger.checkpoint()
    shop.ledger.withdraw("bo@example.dk", limited=True)
    assert Proof.parse(shop.ledger.receipt(first)).checkpoint == note
    assert held(shop, Proof.parse(shop.ledger.receipt(2)).checkpoint).size == 3


@pytest.mark.parametrize("index", [-1, 3, 2**60, True, 1.0, "1", b"1", None, [1]])
def test_wrong_index(shop: Shop, index: object) -> None:
    """What is no entry's index is one clear error of one line."""
    shop.sign_up(ANN)
    with pytest.raises(InputError, match="expected the index of one of `3` entries") as caught:
        shop.ledger.receipt(index)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_erased(shop: Shop) -> None:
    """A receipt from before an erasure still verifies, with all it shows; one made after it shows that the part is gone."""
    shop.sign_up(ANN)
    before = shop.ledger.receipt(1)
    erased = shop.ledger.erase(ANN, reason="art17", by="dpo")
    assert isinstance(verify_receipt(before, [key(shop)]).parts["person"], tuple)
    after = verify_receipt(shop.ledger.receipt(1), [key(shop)])
    assert after.parts["person"] is None
    assert after.leaf == verify_receipt(before, [key(shop)]).leaf
    assert leaf_of(verify_receipt(shop.ledger.receipt(erased.index), [key(shop)])).kind == "part.erased"


def test_of_a_rewritten_log(shop: Shop) -> None:
    """No receipt comes from a log that no longer leads to what was signed; the ledger is marked."""
    shop.sign_up(ANN)
    note = shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.__delitem__(-1))
    with pytest.raises(VerificationError) as caught:
        shop.ledger.receipt(1)
    assert (caught.value.level, caught.value.evidence["checkpoint"]) == ("history", note)
    assert shop.newsletter(ANN).reason == "ledger_unverified"


def test_of_an_edited_leaf(shop: Shop) -> None:
    """Nor from an entry that was edited below nodes that were not."""
    asked = shop.sign_up(ANN)
    shop.ledger.checkpoint()
    shop.steal("UPDATE consentlib_entries SET leaf = replace(leaf, 'consent.given', 'consent.taken') WHERE idx = 1")
    with pytest.raises(VerificationError, match="leads to another root") as caught:
        shop.ledger.receipt(asked)
    assert caught.value.level == "proof"


def test_many(shop: Shop) -> None:
    """Many at once, in any order and more than once, are the receipts that single calls give, under one checkpoint."""
    recorded = [shop.ledger.withdraw(f"p{number}@example.dk", limited=True) for number in range(20)]
    asked = [*reversed(recorded), 0, *recorded[5:9], 13]
    receipts = list(shop.ledger.receipts(iter(asked)))
    assert receipts == [shop.ledger.receipt(one) for one in asked]
    for one, receipt in zip(asked, receipts, strict=True):
        assert verify_receipt(receipt, [key(shop)]).index == (one if isinstance(one, int) else one.index)
    assert list(shop.ledger.receipts([])) == []


def test_many_of_large_entries(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large entries are in memory a few at a time, whatever number of receipts is asked for."""
    events = [ConsentWithdrawn(f"p{number}@example.dk", text="\U0001f984" * 4_000) for number in range(400)]
    asked = [*shop.ledger.record_many(events), 7, 7, 0]
    shop.ledger.checkpoint()
    monkeypatch.setattr("consentlib.notary._ROOM", 500_000, raising=False)
    monkeypatch.setattr("consentlib.notary._READ", 10, raising=False)
    tracemalloc.start()
    try:
        indices = [verify_receipt(one, [key(shop)]).index for one in shop.ledger.receipts(asked)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert indices == [*range(1, 401), 7, 7, 0]
    assert peak < 3_000_000


def test_many_and_one_wrong(shop: Shop) -> None:
    """One index among them that is no entry's is an error."""
    with pytest.raises(InputError, match="expected the index of one of `1` entries"):
        list(shop.ledger.receipts([0, 1]))


@pytest.mark.parametrize("statement", ["UPDATE consentlib_nodes SET hash = zeroblob(32)", "DELETE FROM consentlib_nodes"])
@pytest.mark.parametrize(
    ("place", "asked"),
    [
        ("level = 1 AND position = 0", [2, 3]),
        ("level = 2 AND position = 1", [0, 2]),
        ("level = 3 AND position = 0", [9]),
    ],
)
def test_of_a_damaged_tree(shop: Shop, statement: str, place: str, asked: list[int]) -> None:
    """No receipt is handed out that needs a node that is not as it was signed, or is not there, also among several."""
    for number in range(14):
        shop.ledger.withdraw(f"p{number}@example.dk", limited=True)
    shop.ledger.checkpoint()
    shop.steal(f"{statement} WHERE {place}")
    with pytest.raises(VerificationError) as caught:
        list(shop.ledger.receipts(asked))
    assert caught.value.level in ("proof", "history")


# What `verify_receipt` refuses.


@pytest.fixture
def proof(shop: Shop) -> Proof:
    """A good receipt, taken apart."""
    return Proof.parse(shop.ledger.receipt(shop.ledger.withdraw(ANN, limited=True)))


def refused(shop: Shop, proof: Proof, *others: Verifier) -> VerificationError:
    """The error for a receipt that does not hold."""
    with pytest.raises(VerificationError) as caught:
        verify_receipt(proof.format(), others or [key(shop)])
    return caught.value


def changed(proof: Proof, **parts: object) -> Proof:
    """The receipt with other parts of its entry than it commits to; None: without that one."""
    entry = parse_line(proof.extra)
    kept = {name: part for name, part in {**entry.parts, **parts}.items() if part != "none"}
    line = format_line(Entry(entry.index, entry.leaf, kept))  # type: ignore[arg-type]
    return Proof(proof.index, proof.hashes, proof.checkpoint, line)


def test_another_key(shop: Shop, proof: Proof) -> None:
    """A key of the same name that did not sign it knows nothing of it."""
    error = refused(shop, proof, signer(shop.ledger.origin, b"x" * 32).verifier)
    assert (error.level, error.evidence["note"]) == ("signature", proof.checkpoint)


def test_another_index(shop: Shop, proof: Proof) -> None:
    """Neither the proof nor the line may name another index than the leaf."""
    assert refused(shop, Proof(0, proof.hashes, proof.checkpoint, proof.extra)).level == "proof"
    entry = parse_line(proof.extra)
    line = format_line(Entry(0, entry.leaf, entry.parts))
    error = refused(shop, Proof(proof.index, proof.hashes, proof.checkpoint, line))
    assert (error.level, error.evidence["leaf"]) == ("content", entry.leaf)


def test_another_leaf(shop: Shop, proof: Proof) -> None:
    """Another entry's leaf is not what the proof is of."""
    other = parse_line(Proof.parse(shop.ledger.receipt(0)).extra)
    assert refused(shop, Proof(proof.index, proof.hashes, proof.checkpoint, format_line(other))).level == "proof"


def test_other_parts(shop: Shop, proof: Proof) -> None:
    """A part edited, moved from salt to data, left out or added is refused with what shows it."""
    entry = parse_line(proof.extra)
    salt, data = entry.parts["facts"]  # type: ignore[misc]
    for part in ((salt, data + b" "), (salt[:-1], salt[-1:] + data), (bytes(32), data)):
        error = refused(shop, changed(proof, facts=part))
        assert (error.level, error.index, error.evidence["part"]) == ("content", 1, part)
    for one in (changed(proof, facts="none"), changed(proof, note=(salt, data))):
        error = refused(shop, one)
        assert (error.level, error.evidence["leaf"]) == ("content", entry.leaf)


def test_no_receipt(shop: Shop, proof: Proof) -> None:
    """Bytes of another form, and proofs without an entry in them, are `FormatError`s of one line."""
    for data in (
        b"",
        b"hello",
        proof.checkpoint,
        Proof(proof.index, proof.hashes, proof.checkpoint).format(),
        Proof(proof.index, proof.hashes, proof.checkpoint, b"{}").format(),
        Proof(proof.index, proof.hashes, proof.checkpoint, b'{"i":1,"leaf":"","parts":{}}\n').format(),
    ):
        with pytest.raises(FormatError) as caught:
            verify_receipt(data, [key(shop)])
        assert "\n" not in str(caught.value)
