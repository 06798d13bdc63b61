"""Attack 16: one bit of what is not signed yet flips in storage. Once signed it would end the log (Yeti 2022).

What is new is read back and hashed again before each signature (`rehash` in checkpoints.py).
"""

import pytest

from consentlib.errors import VerificationError
from consentlib.log import commitment, leaf_hash, parse_leaf
from forger import reopen
from shop import Shop


def flip(shop: Shop, table: str, column: str, where: str, position: int) -> tuple[bytes, bytes]:
    """Flip the lowest bit of one stored byte; gives the bytes before and after."""
    [(old,)] = shop.look(f"SELECT CAST({column} AS BLOB) FROM {table} WHERE {where}")
    new = bytearray(old)
    new[position] ^= 1
    shop.steal(f"UPDATE {table} SET {column} = ? WHERE {where}", values=(bytes(new),))
    return old, bytes(new)


def refused(shop: Shop) -> VerificationError:
    """The error of the signer, who keeps the checkpoint that he had; the ledger is marked."""
    kept = shop.ledger._notary.checkpoints.read()
    with pytest.raises(VerificationError) as caught:
        shop.ledger.checkpoint()
    assert shop.ledger._notary.checkpoints.read() == kept
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"
    return caught.value


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("position", [0, 30, 75, 110, 150, -2, -10])
def test_leaf(shop: Shop, position: int, last: bool) -> None:
    """In a leaf, in the middle of the log or the newest: chain, commitment or head no longer fits, and nothing is signed."""
    asked = shop.sign_up("anna@example.dk")
    index = asked.index + last
    old, new = flip(shop, "consentlib_entries", "leaf", f"idx = {index}", position)
    assert leaf_hash(old) != leaf_hash(new)
    error = refused(shop)
    assert error.level in ("chain", "content")  # content: where it still reads as a commitment
    assert new in (error.evidence["leaf"], error.evidence.get("previous_leaf"))
    shop.steal(f"UPDATE consentlib_entries SET leaf = ? WHERE idx = {index}", values=(old,))
    shop.ledger.verify()
    shop.ledger.checkpoint()
    assert shop.newsletter("anna@example.dk")


@pytest.mark.parametrize(("column", "name"), [("data", "facts"), ("data", "person"), ("salt", "facts")])
def test_part(shop: Shop, column: str, name: str) -> None:
    """In a part or its salt: it no longer opens what the leaf commits to; part and leaf are the evidence."""
    asked = shop.sign_up("anna@example.dk")
    old, _ = flip(shop, "consentlib_parts", column, f"idx = {asked.index} AND name = '{name}'", 5)
    error = refused(shop)
    assert (error.level, error.index) == ("content", asked.index)
    salt, data = error.evidence["part"]
    assert dict(parse_leaf(error.evidence["leaf"]).parts)[name] != commitment(asked.index, name, salt, data)
    shop.steal(f"UPDATE consentlib_parts SET {column} = ? WHERE idx = {asked.index} AND name = '{name}'", values=(old,))
    shop.ledger.verify()
    shop.ledger.checkpoint()


@pytest.mark.parametrize("column", ["tip", "frontier"])
def test_head(shop: Shop, column: str) -> None:
    """In the stored head: it is no longer the tree over what is stored."""
    shop.sign_up("anna@example.dk")
    flip(shop, "consentlib_head", column, "id = 0", 3)
    error = refused(shop)
    assert error.level == "chain"
    assert error.evidence["head"] != error.evidence["found"]


def test_on_open_and_close(shop: Shop) -> None:
    """Closing signs nothing of it, and the next open marks the ledger; stops are taken."""
    shop.sign_up("anna@example.dk")
    kept = shop.ledger._notary.checkpoints.read()
    flip(shop, "consentlib_parts", "data", "idx = 1 AND name = 'facts'", 5)
    reopen(shop)
    assert shop.ledger._notary.checkpoints.read() == kept
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"
    assert shop.ledger.withdraw("anna@example.dk", limited=True).index == 3
