"""The ledger against a plain list of what was recorded, and against a thief who changes one byte."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consentlib import ConsentlibError, Ledger
from consentlib.codec import show_time
from consentlib.errors import StoreUnavailableError, VerificationError
from consentlib.events import (
    AddressChanged,
    ConsentConfirmed,
    ConsentGiven,
    ConsentInvalidated,
    ConsentRefused,
    ConsentWithdrawn,
    EntryCorrected,
    Event,
    IdentityLinked,
    IdentityReleased,
    MessageSent,
    ObjectionRaised,
    OrderDelivered,
    OrderPlaced,
    RestrictionLifted,
    RestrictionSet,
)
from consentlib.testing.cases import decide_case
from consentlib.wire import event_json
from shop import DAY, LETTER, NOW, POLICY, SEEN, Shop

PEOPLE = ["ann@example.dk", "bo@example.dk", "+4512345678"]
STOPS = [ConsentWithdrawn, ConsentRefused, ObjectionRaised, ConsentInvalidated, RestrictionSet, IdentityReleased]
AGO = st.sampled_from([0, 0, 5, 400])
people = st.sampled_from(PEOPLE)


class Machine(RuleBasedStateMachine):
    """Whatever happens in whatever order, the ledger answers as a fresh reading of the list of events does."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop()
        self.events: list[dict[str, Any]] = []
        self.grants = 0

    def record(self, event: Event) -> None:
        try:
            self.shop.ledger.record(event)
        except ConsentlibError:
            return
        line = event_json(event)
        now = show_time(self.shop.clock())
        self.events.append({"occurred_at": now, **line, "recorded_at": now})

    @rule(seconds=st.sampled_from([0.001, 60, 86_400, 40 * 86_400, 200 * 86_400]))
    def wait(self, seconds: float) -> None:
        self.shop.clock.tick(seconds)

    @rule(
        who=people,
        form=st.sampled_from(["footer", "checkout", "survey"]),
        verified=st.booleans(),
        ago=st.sampled_from([0, 0, 5, 400]),
    )
    def give(self, who: str, form: str, verified: bool, ago: int) -> None:
        self.grants += 1
        said = self.shop.clock() - ago * DAY
        self.record(
            ConsentGiven(who, form=form, evidence=SEEN, address_verified=verified, ref=f"g{self.grants}", occurred_at=said)
        )

    @precondition(lambda self: self.grants)
    @rule(who=people, back=st.integers(0, 3))
    def confirm(self, who: str, back: int) -> None:
        self.record(ConsentConfirmed(who, ref=f"g{max(1, self.grants - back)}"))

    @rule(
        who=people,
        stop=st.sampled_from(STOPS),
        ago=st.sampled_from([0, 0, 3]),
    )
    def stop(self, who: str, stop: Any, ago: int) -> None:
        self.record(stop(who, occurred_at=self.shop.clock() - ago * DAY))

    @rule(who=people, uses=st.sampled_from([["survey"], ["marketing_newsletter"]]), channels=st.sampled_from(["all", ["sms"]]))
    def withdraw_some(self, who: str, uses: Any, channels: Any) -> None:
        self.record(ConsentWithdrawn(who, uses=uses, channels=channels, limited=True))

    @rule(who=people, kind=st.sampled_from([OrderPlaced, OrderDelivered]), order=st.sampled_from(["o1", "o2"]))
    def order(self, who: str, kind: Any, order: str) -> None:
        self.record(kind(who, order=order))

    @rule(who=people)
    def lift(self, who: str) -> None:
        self.record(RestrictionLifted(who))

    @rule(who=people)
    def send(self, who: str) -> None:
        self.record(MessageSent(who, use="marketing_newsletter", channel="email"))

    @rule(who=people, other=people, verified=st.booleans(), move=st.booleans())
    def link(self, who: str, other: str, verified: bool, move: bool) -> None:
        if who != other:
            moved = AddressChanged(who, to=other, by="subject", address_verified=verified)
            self.record(moved if move else IdentityLinked(who, other=other))

    @invariant()
    def answers_agree(self) -> None:
        for who in PEOPLE:
            for use, order in (("marketing_newsletter", None), ("survey", None), ("delivery", "o1")):
                decision = self.shop.ledger.check(who, use=use, order=order, message=LETTER)
                asked = {"use": use, "channel": decision.channel, "to": who, "at": show_time(self.shop.clock())}
                content = {"marketing": True, "unsubscribe": True, "sender_identified": True}
                more = {"order": order} if order else {}
                case = {"id": "x", "events": self.events, "request": {**asked, **more, "content": content}, "expect": {}}
                wanted = decide_case(POLICY, case)
                assert (decision.allowed, decision.reason, decision.valid_until) == (
                    wanted.allowed,
                    wanted.reason,
                    wanted.valid_until,
                )

    def teardown(self) -> None:
        report = self.shop.ledger.verify(read_models=True)
        assert report.size == 1 + len(self.events)


Machine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMachine = Machine.TestCase


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A ledger with a bit of everything in it, in one file."""
    shop = Shop(f"sqlite:///{tmp_path_factory.mktemp('victim')}/shop.db")
    for name in ("ann", "bo"):
        shop.sign_up(f"{name}@example.dk")
    shop.ledger.record(OrderPlaced("ann@example.dk", order="o1", event_id="o1"))
    shop.ledger.record(OrderPlaced("ann@example.dk", order="o2", product_category="toys"))
    shop.ledger.record(IdentityLinked("ann@example.dk", other="a@work.dk"))
    shop.ledger.record(EntryCorrected(corrects="o1", why="a test"))
    with shop.ledger.permit("bo@example.dk", use="marketing", message=LETTER):
        pass
    shop.ledger.withdraw("ann@example.dk")
    shop.ledger.erase("bo@example.dk", reason="art17", by="dpo")
    shop.ledger.verify(read_models=True)
    return shop


LOG = ["entries.leaf", "entries.time", "entries.kind", "parts.name", "parts.salt", "parts.data", "parts.idx", "head.tip"]
LOG += ["head.size", "head.time", "head.frontier"]
MODELS = ["entries.hash", "nodes.hash", "lives.fold", "lives.key", "about.idx", "events.idx", "orders.category", "head.scope"]
MODELS += ["lives.idx", "lives.since", "suppressions.erased_at"]


@pytest.mark.parametrize("place", LOG + MODELS)
def test_any_byte_changed_is_found(victim: Shop, place: str) -> None:
    """One byte changed in a value of the log is found by `verify`; in one of the read models by `verify(read_models=True)`."""
    table, column = place.split(".")
    dice = random.Random(place)
    with closing(sqlite3.connect(victim.path, isolation_level=None)) as thief:
        for (name,) in thief.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            thief.execute(f"DROP TRIGGER {name}")
        columns = [row[1] for row in thief.execute(f"PRAGMA table_info(consentlib_{table})") if row[5]]
        there = f"{column} IS NOT NULL"
        if place == "lives.key":  # it can be told only while the address is in the log
            there = "idx IN (SELECT idx FROM consentlib_parts WHERE name = 'person' AND data IS NOT NULL)"
        rows = thief.execute(f"SELECT {column}, {', '.join(columns)} FROM consentlib_{table} WHERE {there}").fetchall()
        assert rows
        for value, *key in dice.sample(rows, min(6, len(rows))):
            where = " AND ".join(f"{one} = ?" for one in columns)
            theft = f"UPDATE OR FAIL consentlib_{table} SET {column} = ? WHERE {where}"
            changed = change(value, dice)
            after = [changed if one == column else part for one, part in zip(columns, key, strict=True)]
            thief.execute(theft, (changed, *key))
            with pytest.raises((VerificationError, StoreUnavailableError)) as caught:
                victim.ledger.verify(read_models=place in MODELS)
            assert "example" not in str(caught.value)
            thief.execute(theft, (value, *after))
            thief.execute("UPDATE consentlib_head SET unverified = NULL")
            victim.ledger.verify(read_models=True)


def change(value: Any, dice: random.Random) -> Any:
    """The value with one byte, or one digit, changed."""
    if isinstance(value, int):
        return value + 1000
    data = bytearray(value if isinstance(value, bytes) else value.encode())
    if not data:
        return data + b"\0"
    at = dice.randrange(len(data))
    data[at] = data[at] ^ 1 if isinstance(value, bytes) else ord("x") if data[at] != ord("x") else ord("y")
    return bytes(data) if isinstance(value, bytes) else data.decode()


def test_invalid_text_is_found(victim: Shop, tmp_path: Path) -> None:
    """A byte that is no UTF-8 in a name or kind is found too, whatever reads it first."""
    for table, column in (("entries", "kind"), ("parts", "name"), ("entries", "leaf"), ("parts", "data")):
        with closing(sqlite3.connect(victim.path, isolation_level=None)) as thief:
            row = f"consentlib_{table} WHERE rowid = {1 if table == 'entries' else 256}"
            [(rowid, value)] = thief.execute(f"SELECT rowid, {column} FROM {row}").fetchall()
            thief.execute(f"UPDATE consentlib_{table} SET {column} = CAST(x'ff' AS TEXT) WHERE rowid = ?", (rowid,))
            with pytest.raises((VerificationError, StoreUnavailableError)):
                victim.ledger.verify()
            thief.execute(f"UPDATE consentlib_{table} SET {column} = ? WHERE rowid = ?", (value, rowid))
            thief.execute("UPDATE consentlib_head SET unverified = NULL")
        victim.ledger.verify(read_models=True)
    assert isinstance(victim.ledger, Ledger)
    assert victim.clock() == NOW
