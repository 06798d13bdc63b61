"""Makes the golden files of a format version, once: python tests/golden/make.py FOLDER. Those in `v1` are kept, never remade.

They hold a bit of everything: grants, confirmations, withdrawals, objections, orders, links, permits in a batch, a failed send,
an erasure, a rotated key, exports, another policy, and a stop that the journal alone has.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tarfile
import tempfile
from contextlib import closing
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from consentlib import Decision, Evidence, Ledger, Message
from consentlib.events import (
    AddressChanged,
    BirthdateLearned,
    CampaignJoined,
    ComplaintOpened,
    ConsentConfirmed,
    ConsentGiven,
    ConsentInvalidated,
    ContactImported,
    EntryCorrected,
    IdentityLinked,
    IdentityReleased,
    InquiryReceived,
    MessageFailed,
    ObjectionRaised,
    OrderCancelled,
    OrderClosed,
    OrderDelivered,
    OrderPlaced,
    RegisterChecked,
    RequestReceived,
    RestrictionLifted,
    RestrictionSet,
)
from consentlib.policy import parse_policy, starter

BEGIN = 1_772_445_600_000  # 2026-03-02T10:00:00Z
HOUR = 3_600_000
SOON, END = BEGIN + 4 * 24 * HOUR, BEGIN + 60 * 24 * HOUR
LETTER = {"marketing": True, "unsubscribe": True, "sender_identified": True}
ANN, BO, CARL, DORA, EVA, FINN, GERDA, HUGO = (
    f"{name}@example.dk" for name in ("ann", "bo", "carl", "dora", "eva", "finn", "gerda", "hugo")
)
CROWD = [f"customer{number}@example.dk" for number in range(18)]


class Clock:
    """Milliseconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> int:
        return self.now

    def tick(self, hours: int) -> None:
        self.now += hours * HOUR


def sign_up(ledger: Ledger, *addresses: str, form: str = "footer") -> None:
    """Newsletter sign-ups, confirmed."""
    seen = Evidence(ip="192.0.2.7", user_agent="Browser 1", url="https://littlesteps.example/", reference="form")
    asked = ledger.record_many([ConsentGiven(one, form=form, evidence=seen) for one in addresses])
    ledger.record_many([ConsentConfirmed.of(one) for one in asked])


def make(folder: Path) -> None:
    """The plain ledger with what was exported of it, then the sealed one."""
    clock = Clock()
    place: dict[str, Any] = {"checkpoints": folder / "checkpoints", "clock": clock}
    url = f"sqlite:///{folder}/shop.db"
    ledger = Ledger.create(url, policy=parse_policy(starter()), **place)
    sign_up(ledger, ANN, BO, CARL, DORA, EVA, *CROWD)
    ledger.record(IdentityLinked(ANN, other="+4512345678"))
    ledger.record_many(
        [OrderPlaced(ANN, order="o1", product_category="toys", optout_offered=True), OrderDelivered(ANN, order="o1")]
    )
    ledger.record_many([OrderPlaced(BO, order="o2"), OrderCancelled(BO, order="o2")])
    ledger.record_many([OrderPlaced(FINN, order="o3", event_id="shop-order-3"), OrderDelivered(FINN, order="o3")])
    clock.tick(24)
    letter = Message(**LETTER)
    assert len(list(ledger.permits([*CROWD, ANN, GERDA], use="marketing_newsletter", message=letter))) == len(CROWD) + 1
    ledger.record(MessageFailed(CROWD[0], use="marketing_newsletter", channel="email"))
    try:
        with ledger.permit(BO, use="marketing_newsletter", message=letter):
            raise ConnectionError
    except ConnectionError:
        clock.tick(1)
    (folder / "kept.checkpoint").write_bytes(ledger.checkpoint())
    (folder / "key.txt").write_text(f"{ledger.verifier}\n")

    (folder / "rotated.key.txt").write_text(f"{ledger.rotate_key()}\n")
    clock.tick(24)
    ledger.disclose(ANN, folder / "disclosure.zip", by="dpo", reason="art15")
    changed = starter().replace('version = "3"', 'version = "4"').replace("passivity_days = 365 ", "passivity_days = 30 ")
    ledger.publish(parse_policy(changed))
    stop = ledger.withdraw(BO, via="unsubscribe_link", text="no more, thanks")
    (folder / "withdrawal.tlog-proof").write_bytes(ledger.receipt(stop))
    ledger.withdraw(CARL, uses=["marketing_newsletter"], channels=["email"])
    ledger.record(ObjectionRaised(DORA, text="stop writing", via="reply"))
    ledger.record(RestrictionSet(HUGO))
    clock.tick(1)
    ledger.record_many([RestrictionLifted(HUGO), ConsentInvalidated(CROWD[1], why="bought_list")])
    ledger.record_many([ComplaintOpened(ANN, order="o1"), OrderClosed(FINN, order="o3"), InquiryReceived(GERDA)])
    ledger.record_many([BirthdateLearned(CROWD[2], date=date(2016, 5, 1)), CampaignJoined(CROWD[3], campaign="spring")])
    ledger.record_many(
        [ContactImported(HUGO, source="old_list", event_id="import-1"), RegisterChecked(HUGO, register="robinson", listed=True)]
    )
    ledger.record(EntryCorrected(corrects="shop-order-3", why="an order of somebody else"))
    ledger.record(AddressChanged(CROWD[4], to="moved@example.dk", by="subject", address_verified=True))
    ledger.record_many([IdentityReleased(CROWD[5]), RequestReceived(ANN, right="access")])
    ledger.erase(EVA, reason="art17", by="dpo")
    clock.tick(24)
    ledger.export(folder / "export.zip", by="auditor", reason="audit")
    (folder / "newest.checkpoint").write_bytes(ledger.checkpoint())
    sign_up(ledger, GERDA)
    ledger.close()
    ledger = Ledger.open(url, **place)
    with closing(sqlite3.connect(folder / "shop.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # half a minute later the log can't be written, and the journal answers alone
        assert ledger.withdraw(GERDA, limited=True, uses=["marketing_newsletter"]).index is None
    ledger.close()
    seal(folder / "sealed")


def seal(folder: Path) -> None:
    """A sealed ledger with its vault."""
    folder.mkdir()
    clock = Clock()
    ledger = Ledger.create(
        f"sqlite:///{folder}/shop.db",
        policy=parse_policy(starter()),
        checkpoints=folder / "checkpoints",
        clock=clock,
        sealed=True,
    )
    sign_up(ledger, ANN, BO, CARL)
    ledger.withdraw(BO, text="no more")
    ledger.erase(CARL, reason="art17", by="dpo")
    clock.tick(1)
    ledger.close()


def ask(ledger: Ledger, question: dict[str, Any]) -> Decision:
    """The answer to a question of `decisions.json`."""
    asked = {name: value for name, value in question.items() if name not in ("address", "message")}
    return ledger.check(question["address"], message=Message(**question["message"]), **asked)


def questions() -> list[dict[str, Any]]:
    """What is asked of the plain ledger: of everybody, at the end; of some, at other times and for other uses."""
    people = (ANN, BO, CARL, DORA, EVA, FINN, GERDA, HUGO, *CROWD[:6], "+4512345678", "moved@example.dk", "nobody@example.dk")
    news = {"use": "marketing_newsletter", "message": LETTER}
    found = [{"address": one, "at": when, **news} for when in (SOON, END) for one in people]
    found += [{"address": one, "at": BEGIN + 2 * HOUR, **news} for one in (ANN, BO, EVA, CROWD[2], CROWD[4])]
    found += [{"address": ANN, "at": END, "known_at": size, **news} for size in (1, 30, 60)]
    found += [{"address": FINN, "at": SOON, "use": "delivery", "order": "o3", "message": {"sender_identified": True}}]
    found += [{"address": ANN, "at": END, "use": "complaint", "order": "o1", "message": {"sender_identified": True}}]
    found += [{"address": EVA, "at": END, "use": "legal_bookkeeping", "message": {}}]
    found += [{"address": HUGO, "at": END, "use": "marketing_post", "channel": "post", "message": {"marketing": True}}]
    return found


def write_down(folder: Path) -> None:
    """The decisions of a copy of the ledger: opening it records what the journal has."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(folder, Path(place) / "copy"))
        with Ledger.open(f"sqlite:///{copy}/shop.db", checkpoints=copy / "checkpoints", clock=lambda: END) as ledger:
            cases = []
            for question in questions():
                answer = ask(ledger, question).as_dict()
                del answer["text"], answer["ledger"]["tip"]  # wording may get better; salts of what opening records are random
                cases.append({"question": question, "answer": answer})
    (folder / "decisions.json").write_text(json.dumps({"now": END, "cases": cases}, ensure_ascii=False) + "\n")


def pack(folder: Path) -> None:
    """Put the ledgers, which are mostly empty pages, into one archive each."""
    for name, files in {"ledger": ["shop.db", "shop.db.keys", "checkpoints"], "sealed": ["sealed"]}.items():
        with tarfile.open(folder / f"{name}.tar.xz", "w:xz") as archive:
            for file in files:
                archive.add(folder / file, file)
        for file in files:
            path = folder / file
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir()
    make(target)
    write_down(target)
    pack(target)
    sums = [f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(target.iterdir())]
    (target / "SHA256SUMS").write_text("".join(sums))
