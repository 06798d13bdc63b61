"""Export: whole, verifiable without this library, in constant memory, and steady while others write and erase."""

import subprocess
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from consentlib.audit import export as exporting
from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from consentlib.events import ConsentWithdrawn, OrderPlaced
from consentlib.log.checkpoint import open_checkpoint
from consentlib.log.leaf import base64
from consentlib.log.note import Verifier
from consentlib.signing import verify
from shop import Shop

SCRIPT = Path(__file__).parents[1] / "independent_verify.py"


def test_independent_script(shop: Shop, tmp_path: Path) -> None:
    """A script that imports nothing of this library accepts the export, with erased people in it, and finds the same root."""
    for name in ("ann", "bo", "carl"):
        shop.sign_up(f"{name}@example.dk")
    shop.ledger.erase("bo@example.dk", reason="art17", by="dpo")
    size = shop.ledger.export(tmp_path / "audit.zip")
    found = subprocess.run([sys.executable, SCRIPT, tmp_path / "audit.zip"], capture_output=True, text=True, check=True)
    report = verify_file(tmp_path / "audit.zip", origin="littlesteps/consent")
    assert found.stdout.split()[0] == str(size) == str(report.size)
    assert report.root == shop.ledger.verify().root


def test_signed_and_checked_at_each_level(shop: Shop, tmp_path: Path) -> None:
    """Without a key the content counts, with it the signature, with a checkpoint kept from earlier the history."""
    shop.sign_up("early@example.dk")
    kept = shop.ledger.checkpoint()
    shop.sign_up("late@example.dk")
    shop.ledger.export(tmp_path / "audit.zip")
    key = Verifier.parse(shop.ledger.verifier)
    held = open_checkpoint(kept, [key], verify)
    assert verify_file(tmp_path / "audit.zip").level == "content"
    assert verify_file(tmp_path / "audit.zip", verifiers=[key]).level == "signature"
    report = verify_file(tmp_path / "audit.zip", verifiers=[key], checkpoints=[held])
    assert report.level == "history"
    assert "signature" not in {line.split(":")[0] for line in report.not_checked}
    with zipfile.ZipFile(tmp_path / "audit.zip") as found:
        assert {"log.ndjson", "checkpoint", "policy/0.json", "README.txt", "verify.py", "verify.html"} <= set(found.namelist())
        assert b"SIGNED" in found.read("README.txt")
        assert b"root  " + found.read("checkpoint").split(b"\n")[2] in found.read("README.txt")
        assert f"tip   {base64(report.tip or b'').decode()}\n".encode() in found.read("README.txt")


def test_says_that_it_is_unsigned(shop: Shop, tmp_path: Path) -> None:
    """A ledger that did not verify can be exported as evidence: nothing is signed, the file says so, and no key accepts it."""
    shop.ledger._writing.mark("content: a test")
    shop.ledger.export(tmp_path / "audit.zip")
    with zipfile.ZipFile(tmp_path / "audit.zip") as found:
        assert "checkpoint" not in found.namelist()
        assert b"UNSIGNED" in found.read("README.txt")
    assert verify_file(tmp_path / "audit.zip").level == "content"
    with pytest.raises(VerificationError) as caught:
        verify_file(tmp_path / "audit.zip", verifiers=[Verifier.parse(shop.ledger.verifier)])
    assert caught.value.level == "signature"


def test_while_others_write(shop: Shop, tmp_path: Path, monkeypatch) -> None:
    """Appends during an export are in it or after it; an erasure during it makes it begin anew, and it verifies."""
    monkeypatch.setattr(exporting, "_CHUNK", 7)
    for number in range(30):
        shop.sign_up(f"p{number}@example.dk")
    done = threading.Event()

    def write() -> None:
        for number in range(15):
            shop.ledger.withdraw(f"q{number}@example.dk")
            shop.ledger.erase(f"p{number}@example.dk", reason="art17", by="dpo")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while True:
        last = done.is_set()
        shop.ledger.export(tmp_path / "audit.zip")
        report = verify_file(tmp_path / "audit.zip")
        subprocess.run([sys.executable, SCRIPT, tmp_path / "audit.zip"], capture_output=True, check=True)
        if last:
            break
    thread.join()
    assert report.root == shop.ledger.verify(read_models=True).root
    assert report.erased == 15


def test_erased_meanwhile(shop: Shop, tmp_path: Path) -> None:
    """What is erased between two reads of an export is in no version of the file that is handed out."""
    shop.ledger.record_many([OrderPlaced(f"p{number}@example.dk", order="o1") for number in range(2100)])
    seen = []

    def progress(size: int) -> None:
        seen.append(size)
        if len(seen) == 1:
            shop.ledger.erase("p5@example.dk", reason="art17", by="dpo")

    shop.ledger.export(tmp_path / "audit.zip", progress=progress)
    assert seen == [2000, 2000, 2103]
    assert verify_file(tmp_path / "audit.zip").erased == 1


def test_memory(shop: Shop, tmp_path: Path) -> None:
    """Export and both verifications of thousands of entries stay within a few megabytes."""
    for start in range(0, 9000, 1000):
        shop.ledger.record_many([ConsentWithdrawn(f"p{start + number}@example.dk") for number in range(1000)])
    tracemalloc.start()
    try:
        shop.ledger.export(tmp_path / "audit.zip")
        verify_file(tmp_path / "audit.zip")
        shop.ledger.verify()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000
