"""The rows that a store is handed, as third parties write and read them."""

from __future__ import annotations

from cattrs.preconf.json import make_converter

from consentlib.fold import Order
from consentlib.store import Changes, EventRow, Head, Life, NewEntry, Suppression

EVERY = Changes(
    Head(1, b"tip", 5, b"\0\xff", 0, None),
    [NewEntry(0, 1, "consent.given", b"leaf\n\xff", b"hash", {"facts": (b"salt", b"{}"), "person": None}, ("a",))],
    nodes=[(1, 0, b"\xfe")],
    lives=[Life(b"key", "a", 0, 0, None, "[]"), Life(b"key", "b", 1, 2, b"suppressed", "æ")],
    orders=[("a", Order("o1", category="toys", placed=3, offered=True))],
    events=[EventRow(b"event", 0, b"")],
    suppressions=[Suppression(b"key", 1, 2, "[]")],
    erase_parts=[(0, "facts")],
    forget_suppressions=[b"key"],
    forget_about=[("a", 0)],
    forget_lives=["b"],
    forget_orders=[("a", "o1")],
)


def test_cattrs_writes_and_reads_changes() -> None:
    """A store of somebody else's can keep `Changes` as JSON without being told how: each field comes back as it was."""
    assert all(getattr(EVERY, name) for name in Changes.__slots__ if name != "__weakref__")
    json = make_converter()
    [back] = json.loads(json.dumps([EVERY]), list[Changes])
    assert back == EVERY
    rows = (back.head, back.entries[0], back.lives[0], back.orders[0][1], back.events[0], back.suppressions[0])
    assert [type(row) for row in rows] == [Head, NewEntry, Life, Order, EventRow, Suppression]
