"""The Littlesteps shop in fifty lines: what its web pages and its newsletter job call.

Run it: python shop.py (makes a ledger in a temporary folder).
"""

import sys
import tempfile
from pathlib import Path

from consentlib import Evidence, Ledger, Message
from consentlib.events import ConsentConfirmed, ConsentGiven, OrderDelivered, OrderPlaced
from consentlib.policy import starter

NEWSLETTER = Message(marketing=True, unsubscribe=True, sender_identified=True, processor="mailchimp", tracking=False)
SERVICE = Message(marketing=False)


def open_ledger(folder: Path) -> Ledger:
    policy = folder / "littlesteps.toml"
    policy.write_text(starter())
    return Ledger.create(f"sqlite:///{folder / 'shop.db'}", policy=policy)


def sign_up(ledger: Ledger, email: str, ip: str, send) -> None:
    asked = ledger.record(ConsentGiven(email, form="footer", evidence=Evidence(ip=ip).truncated()))
    with ledger.permit(email, use="consent_confirmation", message=SERVICE):
        send(email, "Please confirm your newsletter")
    ledger.record(ConsentConfirmed.of(asked))  # when the link in that mail was clicked


def newsletter(ledger: Ledger, customers: list[dict], send) -> dict:
    with ledger.permits(customers, address="email", use="marketing", message=NEWSLETTER) as run:
        for customer in run:
            send(customer["email"], "New shoes for little steps")
    return dict(run.counts)


def main(folder: Path) -> None:
    sent: list[tuple[str, str]] = []
    with open_ledger(folder) as ledger:
        customers = [{"email": f"{name}@example.dk"} for name in ("anna", "bo", "carl")]
        sign_up(ledger, "anna@example.dk", "192.0.2.17", lambda *mail: sent.append(mail))
        sign_up(ledger, "bo@example.dk", "192.0.2.18", lambda *mail: sent.append(mail))
        ledger.record(OrderPlaced("bo@example.dk", order="o-1", product_category="shoes"))
        ledger.withdraw("Bo@Example.dk", via="unsubscribe_link")
        print("newsletter:", newsletter(ledger, customers, lambda *mail: sent.append(mail)))
        print("delivery:", ledger.check("bo@example.dk", use="delivery", order="o-1").text())
        ledger.record(OrderDelivered("bo@example.dk", order="o-1"))
        print("why not bo:", ledger.check("bo@example.dk", use="marketing", message=NEWSLETTER).text())
        print("verified:", ledger.verify().size, "entries;", len(sent), "mails sent")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
