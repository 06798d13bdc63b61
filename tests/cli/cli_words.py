"""What the tests of the command line share: events as JSON, the options of a newsletter, one question."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

Run = Callable[..., Result]

SIGNED_UP = {
    "type": "consent.given",
    "subject": "anna@example.dk",
    "form": "footer",
    "ref": "c1",
    "evidence": {"ip": "192.0.2.1"},
}
CONFIRMED = {"type": "consent.confirmed", "subject": "anna@example.dk", "ref": "c1"}
ORDERED = {"type": "order.placed", "subject": "anna@example.dk", "order": "o1"}
STOPPED = {"type": "consent.withdrawn", "subject": "bo@example.dk"}
SEND = ("--use", "newsletter", "--marketing", "--unsubscribe", "--sender-identified")


def reason(run: Run, url: str, address: str, *more: str) -> str:
    """The reason code of a check of the newsletter."""
    return str(json.loads(run("check", url, address, *SEND, "--json", *more).stdout)["reason"])
