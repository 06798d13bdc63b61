"""Seventy thousand real orders: who may still be written to, for what, and why not.

Reads `CDNOW_master.txt` (customer, YYYYMMDD, number of CDs, dollars; B. Hardie and P. Fader), shifts the dates so that the
newest order came yesterday, records every order as placed and, three days later, delivered, and asks four questions of
every customer.

Run it: python cdnow.py PATH/CDNOW_master.txt [--customers N] [--ledger FOLDER]
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from consentlib import Ledger, Message
from consentlib.events import Event, OrderDelivered, OrderPlaced
from consentlib.policy import starter

DAY = 86_400_000
QUESTIONS = ("delivery", "complaint", "legal_bookkeeping", "marketing_newsletter")
NEWSLETTER = Message(
    marketing=True, unsubscribe=True, sender_identified=True, tracking=False, product_category="music", own_products=True
)


def read_orders(path: Path, customers: int | None) -> list[tuple[str, int]]:
    """(customer, time in milliseconds) in order of time, dates shifted to the present."""
    rows = [row for line in path.read_text().splitlines() if (row := line.split()) and row[0].isdigit()]
    chosen = set(list(dict.fromkeys(row[0] for row in rows))[:customers])
    found = [
        (customer, int(datetime.strptime(day, "%Y%m%d").replace(hour=12, tzinfo=UTC).timestamp()) * 1000)
        for customer, day, *_ in rows
        if customer in chosen
    ]
    shift = time.time_ns() // 1_000_000 - DAY - max(when for _, when in found)
    return sorted(((customer, when + shift // DAY * DAY) for customer, when in found), key=lambda row: row[1])


def events(orders: list[tuple[str, int]]) -> Iterator[Event]:
    for number, (customer, when) in enumerate(orders):
        order, address = f"order-{number}", f"customer:{customer}"
        yield OrderPlaced(address, order=order, product_category="music", occurred_at=when)
        if when + 3 * DAY < time.time_ns() // 1_000_000:
            yield OrderDelivered(address, order=order, occurred_at=when + 3 * DAY)


def main(path: Path, customers: int | None, folder: Path) -> None:
    orders = read_orders(path, customers)
    newest = {customer: f"order-{number}" for number, (customer, _) in enumerate(orders)}
    policy = folder / "littlesteps.toml"
    policy.write_text(starter())
    with Ledger.create(f"sqlite:///{folder / 'cdnow.db'}", policy=policy) as ledger:
        started, stream = time.perf_counter(), events(orders)
        while batch := list(islice(stream, 1_000)):
            ledger.record_many(batch)
        recorded = time.perf_counter() - started
        print(f"{ledger.verify().size} entries about {len(newest)} customers, recorded in {recorded:.1f} s")
        for use in QUESTIONS:
            message = NEWSLETTER if use == "marketing_newsletter" else Message(marketing=False)
            channel = "email" if use != "legal_bookkeeping" else "none"
            answers = Counter(
                (decision.allowed, decision.reason)
                for customer, order in newest.items()
                for decision in [ledger.check(f"customer:{customer}", use=use, channel=channel, order=order, message=message)]
            )
            print(f"\n{use} (newest order of each customer)")
            for (allowed, reason), count in answers.most_common():
                print(f"  {'allowed' if allowed else 'denied ':7} {count:6}  {reason}")
        print(f"\nverified: {ledger.verify().size} entries")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What a shop's order history allows.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--customers", type=int, default=None, help="only the first N customers of the file")
    parser.add_argument("--ledger", type=Path, default=None, help="an empty folder for the ledger, instead of a temporary one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(asked.path, asked.customers, asked.ledger or Path(temporary))
