"""Attack 19: the shop sends without asking, and puts the send on record so that it looks like any other. Caught by: meaning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from consentlib.audit.verify import verify_file
from consentlib.cli import main
from consentlib.codec import encode
from forger import Forged, forge, key, reopen
from shop import LETTER, Shop

ANN = "anna@example.dk"


@pytest.mark.parametrize("hidden", [False, True])
def test_sent_after_a_withdrawal(shop: Shop, hidden: bool, tmp_path: Path) -> None:
    """The log verifies at every other level, also where the send claims a size from before the withdrawal.

    Seen to pass without `Sends._recorded`, audit/meaning.py.
    """
    shop.sign_up(ANN)
    with shop.ledger.permit(ANN, use="marketing_newsletter", message=LETTER):
        pass
    shop.ledger.withdraw(ANN, limited=True)
    shop.clock.tick(60)
    index = 5

    def send(entries: list[Forged]) -> None:
        facts = json.loads(entries[3].parts["facts"])
        facts |= {"occurred_at": shop.clock(), "size": 3 if hidden else index}
        entries.append(Forged(shop.clock(), "message.sent", {"facts": encode(facts)}))

    forge(shop, send)
    reopen(shop)
    held = shop.ledger.checkpoint()
    assert shop.ledger.verify(checkpoints=[held]).level == "history"
    report = shop.ledger.verify(checkpoints=[held], meaning=True)
    assert (report.level, report.meaning and report.meaning.unlawful) == ("history", 1)
    assert report.meaning is not None
    [finding] = report.meaning.findings
    assert (finding.index, finding.reason) == (index, "wrong_log_size" if hidden else "consent_withdrawn")

    shop.ledger.export(tmp_path / "audit.zip")
    assert verify_file(tmp_path / "audit.zip", verifiers=[key(shop)], meaning=True).meaning == report.meaning
    plain = CliRunner().invoke(main, ["verify", str(tmp_path / "audit.zip"), "--key", str(key(shop))])
    asked = CliRunner().invoke(main, ["verify", str(tmp_path / "audit.zip"), "--key", str(key(shop)), "--meaning"])
    assert (plain.exit_code, asked.exit_code) == (10, 40)
    assert f"1 recorded send had no valid ground; the first is in entry {index}: `{finding.reason}`" in asked.stderr
