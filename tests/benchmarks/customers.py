"""The ledgers that are measured: what a shop records of its customers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import consentlib
from consentlib import Ledger, load_policy
from consentlib.events import ConsentConfirmed, ConsentGiven, Event, Evidence, OrderPlaced

POLICY = load_policy(Path(consentlib.__file__).with_name("policy") / "littlesteps.toml")
BATCH = 1_000


def address(number: int) -> str:
    return f"customer-{number}@example.dk"


def signed_up(number: int) -> ConsentGiven:
    evidence = Evidence(ip="192.0.2.7", user_agent="Mozilla/5.0 (X11; Linux x86_64)")
    return ConsentGiven(address(number), form="footer", evidence=evidence)


def customers(numbers: Iterable[int]) -> Iterator[Event]:
    """What a shop records of each customer: a sign-up, its confirmation, an order."""
    for number in numbers:
        yield signed_up(number)
        yield ConsentConfirmed(address(number))
        yield OrderPlaced(address(number), order=f"o-{number}", product_category="baby", optout_offered=True)


def build(folder: Path, entries: int) -> Ledger:
    """A ledger of about this many entries, three a customer."""
    ledger = Ledger.create(f"sqlite:///{folder}/{entries}.db", policy=POLICY)
    for start in range(0, entries // 3, BATCH):
        ledger.record_many(customers(range(start, min(start + BATCH, entries // 3))))
    return ledger
