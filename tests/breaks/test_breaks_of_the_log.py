"""Breaks 1 to 6 and 16, read in the code of existing consent ledgers: how the log is kept. Each says what protects."""

import hashlib
import threading
from base64 import b64encode

import pytest

from consentlib.errors import EventConflictError, VerificationError
from consentlib.events import ConsentWithdrawn, OrderPlaced
from consentlib.log import encode_leaf, leaf_hash, parse_leaf
from consentlib.log.leaf import commitment
from shop import DAY, NOW, Shop


def test_1_time_is_inside_the_hash(shop: Shop) -> None:
    """A grant moved a year back does not verify. Protects: `t` among the bytes that `encode_leaf` writes."""
    asked = shop.sign_up("anna@example.dk")
    [(leaf,)] = shop.look("SELECT CAST(leaf AS BLOB) FROM consentlib_entries WHERE idx = ?", asked.index)
    found = parse_leaf(leaf)
    moved = encode_leaf(found.origin, found.index, found.prev, NOW - 365 * DAY, found.kind, dict(found.parts))
    assert leaf_hash(moved) != leaf_hash(leaf)
    shop.steal("UPDATE consentlib_entries SET leaf = ?, time = ? WHERE idx = 1", values=(moved.decode(), NOW - 365 * DAY))
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify()
    assert caught.value.level == "chain"


def test_2_newest_row_deleted(shop: Shop) -> None:
    """The newest entry can't go unseen. Protects: `_check_head` in `log.verify`."""
    shop.sign_up("anna@example.dk")
    newest = shop.ledger.withdraw("anna@example.dk", limited=True).index
    shop.steal(f"DELETE FROM consentlib_entries WHERE idx = {newest}", f"DELETE FROM consentlib_parts WHERE idx = {newest}")
    with pytest.raises(VerificationError, match="end as its head says") as caught:
        shop.ledger.verify()
    assert caught.value.evidence["head"].size == newest + 1


def test_2_newest_row_replaced(shop: Shop) -> None:
    """The newest entry can't be exchanged for one that fits its predecessor. Protects: `_check_head`."""
    shop.sign_up("anna@example.dk")
    newest = shop.ledger.withdraw("anna@example.dk", limited=True).index
    [(leaf,)] = shop.look("SELECT CAST(leaf AS BLOB) FROM consentlib_entries WHERE idx = ?", newest)
    old = parse_leaf(leaf)
    facts = b'{"occurred_at":%d}' % NOW
    parts = {"facts": commitment(newest, "facts", bytes(32), facts)}
    new = encode_leaf(old.origin, newest, old.prev, old.t, "site.visited", parts)
    shop.steal(f"UPDATE consentlib_entries SET leaf = ?, kind = 'site.visited' WHERE idx = {newest}", values=(new.decode(),))
    shop.steal(
        f"UPDATE consentlib_parts SET salt = zeroblob(32), data = ? WHERE idx = {newest} AND name = 'facts'",
        values=(facts.decode(),),
    )
    with pytest.raises(VerificationError, match="another tip"):
        shop.ledger.verify()


def test_3_one_chain_for_everybody(shop: Shop) -> None:
    """Nobody can begin a chain of their own from a public constant. Protects: `prev` is the newest leaf, whoever it is about
    (`Recorder._tip`), and the first one's depends on the origin (`genesis`)."""
    for name in ("anna", "bo", "carl"):
        shop.ledger.withdraw(f"{name}@example.dk", limited=True)
    leaves = [leaf for (leaf,) in shop.look("SELECT CAST(leaf AS BLOB) FROM consentlib_entries ORDER BY idx")]
    links = [parse_leaf(leaf).prev for leaf in leaves]
    assert links[1:] == [leaf_hash(leaf) for leaf in leaves[:-1]]
    forged = encode_leaf("littlesteps/consent", 4, links[0], NOW, "consent.given", {"facts": bytes(32)})
    shop.steal("INSERT INTO consentlib_entries VALUES (4, ?, 'consent.given', ?, ?)", values=(NOW, forged.decode(), bytes(32)))
    with pytest.raises(VerificationError, match="predecessor") as caught:
        shop.ledger.verify()
    assert caught.value.index == 4


def test_4_predecessor_is_hashed_and_compared(shop: Shop) -> None:
    """The link is part of what is hashed. Protects: `prev` inside the leaf, and its comparison in `verify_entries`."""
    shop.sign_up("anna@example.dk")
    [(leaf,)] = shop.look("SELECT CAST(leaf AS BLOB) FROM consentlib_entries WHERE idx = 2")
    other = leaf.replace(b64encode(parse_leaf(leaf).prev), b64encode(bytes(32)))
    assert leaf_hash(other) != leaf_hash(leaf)
    shop.steal("UPDATE consentlib_entries SET leaf = ? WHERE idx = 2", values=(other.decode(),))
    with pytest.raises(VerificationError, match="predecessor") as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("chain", 2)


def test_5_verification_reads_the_bytes(shop: Shop) -> None:
    """The same value in another spelling is another content. Protects: `commitment` is over the stored bytes, never over a
    value written anew."""
    shop.sign_up("anna@example.dk")
    shop.steal("UPDATE consentlib_parts SET data = replace(data, '\":', '\": ') WHERE idx = 1 AND name = 'facts'")
    with pytest.raises(VerificationError, match="open its commitment"):
        shop.ledger.verify()


def test_5_read_models_are_compared_on_request(shop: Shop) -> None:
    """A fold edited beside the log changes answers, and is found when asked for. Protects: `verify_read_models`."""
    shop.sign_up("anna@example.dk")
    shop.ledger.withdraw("anna@example.dk")
    shop.steal("UPDATE consentlib_lives SET fold = (SELECT json_set(fold, '$[4]', json('[]')) FROM consentlib_lives)")
    assert shop.newsletter("anna@example.dk")
    shop.ledger.verify()
    with pytest.raises(VerificationError, match="fold") as caught:
        shop.ledger.verify(read_models=True)
    assert caught.value.level == "read_models"
    shop.ledger.verify()
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"


def test_6_erasure_leaves_the_log_as_it_was(shop: Shop) -> None:
    """No leaf changes. Protects: erasing is an appended entry and the deletion of parts (`privacy.erase`)."""
    shop.sign_up("anna@example.dk")
    before = shop.look("SELECT idx, leaf, hash FROM consentlib_entries ORDER BY idx")
    shop.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    after = shop.look("SELECT idx, leaf, hash FROM consentlib_entries ORDER BY idx")
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    shop.ledger.verify(read_models=True)


def test_6_no_hash_that_a_dictionary_reverses(shop: Shop) -> None:
    """What stays of an address can't be found by hashing candidates. Protects: the salt in `commitment`, the keys in
    `address_key`, and random ids."""
    shop.sign_up("anna@example.dk")
    [(person,)] = shop.look("SELECT CAST(data AS BLOB) FROM consentlib_parts WHERE idx = 1 AND name = 'person'")
    shop.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    files = b"".join(path.read_bytes() for path in shop.path.parent.glob("shop.db*") if path.suffix != ".keys")
    for text in (b"anna@example.dk", b"email:anna@example.dk", b"anna", person):
        assert text not in files
        for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
            digest = hashlib.new(name, text).digest()
            for trace in (digest[:8], digest.hex()[:12].encode(), b64encode(digest)[:12]):
                assert trace not in files
    unsalted = hashlib.sha256(b"consentlib.dev/part/v1\n1\nperson\n" + person).digest()
    assert b64encode(unsalted)[:12] not in files


def test_16_a_refused_write_leaves_the_writer_free(shop: Shop) -> None:
    """After a refusal inside the transaction another connection writes at once. Protects: `Transaction.__exit__`, which ends
    the transaction whatever happened."""
    shop.ledger.record(OrderPlaced("anna@example.dk", order="o1", event_id="e1"))
    with pytest.raises(EventConflictError):
        shop.ledger.record(OrderPlaced("anna@example.dk", order="o2", event_id="e1"))
    done = threading.Event()

    def other() -> None:
        shop.ledger.record(ConsentWithdrawn("bo@example.dk"))
        done.set()

    threading.Thread(target=other, daemon=True).start()
    assert done.wait(3)
