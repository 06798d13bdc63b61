"""Attack 20: somebody makes a key of his own the successor of the log's. What he lacks is the old key's signature.

Whoever can write to the database can append a `key.added` that fits; whoever stole the new key, or the old one after it was
replaced, can sign. None of them is believed by who holds the log's real keys, and the ledger itself signs for no heir that is
not in its key file.
"""

import zipfile
from pathlib import Path

import pytest

from consentlib import Ledger, codec
from consentlib.audit.verify import verify_file, verify_view
from consentlib.errors import KeyFileError, VerificationError
from consentlib.keys import Keys
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.merkle import frontier_root
from consentlib.log.note import Signer, Verifier, sign_note
from consentlib.signing import sign, signer
from forger import Forged, forge, reopen
from shop import Shop

ANN = "anna@example.dk"
THIEF = b"a thief's".ljust(32, b"\0")


def announced(shop: Shop, new: Verifier, old: str) -> Forged:
    """An entry that says which key comes next, as the ledger writes it."""
    facts = codec.encode({"key": str(new), "occurred_at": shop.clock.now, "replaces": old})
    return Forged(shop.clock.now, "key.added", {"facts": facts})


def export_by(shop: Shop, target: Path, *signers: Signer, keep: bool = True) -> Path:
    """What the thief makes of the database: an export of what is there, signed as he can; `keep` the checkpoints before."""
    shop.ledger._writing.mark("history: so that the export is unsigned")
    shop.ledger.export(target)
    with shop.ledger._store.read() as view:
        head = view.head()
        verify_view(view, shop.ledger.origin)
    note = sign_note(Checkpoint(shop.ledger.origin, head.size, frontier_root(head.frontier)).text(), signers, sign)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("checkpoint", note)
        for earlier in shop.ledger._notary.earlier(head.size) if keep else ():
            archive.writestr(f"checkpoints/{earlier.size}", earlier.note)
    return target


@pytest.fixture
def thief(shop: Shop) -> Signer:
    """Somebody with a key of his own, in the log's name."""
    shop.sign_up(ANN)
    return signer(shop.ledger.origin, THIEF)


def test_the_ledger_signs_for_no_heir_it_does_not_hold(shop: Shop, thief: Signer) -> None:
    """Appended to the database, the entry is signed over by nobody (`Notary._admit`): marked, stops taken, nothing allowed."""
    old = shop.ledger.verifier
    before = shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.append(announced(shop, thief.verifier, old)))
    for act in (shop.ledger.checkpoint, shop.ledger.verify, shop.ledger.rotate_key):
        with pytest.raises(VerificationError, match="expected only signing keys to be added that the key file holds") as caught:
            act()
        assert (caught.value.level, caught.value.index) == ("signature", 3)
    reopen(shop)
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    shop.ledger.withdraw(ANN, limited=True)
    assert shop.ledger._notary.checkpoints.read() == before


def test_without_a_key_file_nobody_can_tell(tmp_path: Path) -> None:
    """Keys without a file can't say whether they were rotated: nothing is signed; found on opening, the log is marked."""
    keys = Keys.generate()
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", keys=keys)
    shop.sign_up(ANN)
    shop.ledger.checkpoint()
    heir = signer(shop.ledger.origin, THIEF).verifier
    forge(shop, lambda entries: entries.append(announced(shop, heir, shop.ledger.verifier)))
    with pytest.raises(KeyFileError):
        shop.ledger.checkpoint()
    other = Ledger.open(shop.url, keys=keys, clock=shop.clock)
    assert other.check(ANN, use="delivery").reason == "ledger_unverified"
    other.close()
    shop.ledger.close()


def test_a_thief_of_the_database(shop: Shop, thief: Signer, tmp_path: Path) -> None:
    """His entry, under his own signature alone, passes no trust, with the real checkpoints beside it or without (`Trust`)."""
    old = shop.ledger.verifier
    kept = shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.append(announced(shop, thief.verifier, old)))
    for keep in (True, False):
        path = export_by(shop, tmp_path / "audit.zip", thief, keep=keep)
        for held in ((), (kept,)):
            with pytest.raises(VerificationError, match="by a known key, found none") as caught:
                verify_file(path, verifiers=[Verifier.parse(old)], checkpoints=held)
            assert caught.value.level == "signature"


def test_an_earlier_entry(shop: Shop, thief: Signer, tmp_path: Path) -> None:
    """Moved below what the old key signed, by hashing all anew, it is below another root than that which was signed."""
    old = shop.ledger.verifier
    kept = shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.__setitem__(1, announced(shop, thief.verifier, old)))
    path = export_by(shop, tmp_path / "audit.zip", thief, keep=False)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("checkpoints/3", kept)
    with pytest.raises(VerificationError) as caught:
        verify_file(path, verifiers=[Verifier.parse(old)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("signature", kept)
    bare = export_by(shop, tmp_path / "bare.zip", thief, keep=False)
    with pytest.raises(VerificationError, match="by a known key, found none"):
        verify_file(bare, verifiers=[Verifier.parse(old)])
    with pytest.raises(VerificationError) as caught:
        verify_file(bare, verifiers=[Verifier.parse(old)], checkpoints=[kept])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)


def test_a_thief_of_the_new_key(shop: Shop, thief: Signer, tmp_path: Path) -> None:
    """The new key alone rewrites nothing of before: who knows the old key is led to it only by what the old key signed."""
    old = shop.ledger.verifier
    kept = shop.ledger.checkpoint()
    shop.ledger.rotate_key()
    stolen = shop.ledger._notary.keys.current
    forge(shop, lambda entries: entries.__delitem__(2))
    path = export_by(shop, tmp_path / "audit.zip", stolen, keep=False)
    with pytest.raises(VerificationError, match="by a known key, found none"):
        verify_file(path, verifiers=[Verifier.parse(old)])
    assert verify_file(path, verifiers=[stolen.verifier]).level == "signature"
    with pytest.raises(VerificationError) as caught:
        verify_file(path, verifiers=[Verifier.parse(old), stolen.verifier], checkpoints=[kept])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)


def test_a_thief_of_the_old_key(shop: Shop, thief: Signer, tmp_path: Path) -> None:
    """Replaced, it signs no log any more that somebody has seen both keys sign; it is refused by the ledger at once."""
    robbed = shop.ledger._notary.keys.current
    shop.ledger.rotate_key()
    both = shop.ledger.checkpoint()
    shop.ledger.withdraw("bo@example.dk", limited=True)
    path = export_by(shop, tmp_path / "audit.zip", robbed)
    with pytest.raises(VerificationError, match="by a key that was replaced"):
        verify_file(path, verifiers=[robbed.verifier])
    hidden = export_by(shop, tmp_path / "hidden.zip", robbed, keep=False)
    assert verify_file(hidden, verifiers=[robbed.verifier]).level == "signature"
    with pytest.raises(VerificationError, match="by a key that was replaced"):
        verify_file(hidden, verifiers=[robbed.verifier], checkpoints=[both])
    store, head = shop.ledger._notary.checkpoints, both.split(b"\n")
    with shop.ledger._store.read() as view:
        root = frontier_root(view.head().frontier)
        size = view.head().size
    assert size > int(head[1])
    store.replace(both, sign_note(Checkpoint(robbed.name, size, root).text(), [robbed], sign))
    reopen(shop)
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    with pytest.raises(VerificationError, match="under the newest signing key, found one under a key from before"):
        shop.ledger.verify()


def test_heir_again(shop: Shop, thief: Signer) -> None:
    """An entry that would put the old key back in place of the new one is refused like any other that the file doesn't know."""
    old = shop.ledger.verifier
    new = shop.ledger.rotate_key()
    forge(shop, lambda entries: entries.append(announced(shop, Verifier.parse(old), new)))
    with pytest.raises(VerificationError, match="expected only signing keys to be added that the key file holds"):
        shop.ledger.checkpoint()
