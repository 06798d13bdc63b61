"""Discretion: nothing personal in a repr, a message or a log line, and everything handed out survives pickling."""

import logging
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentlib import ConsentlibError, Evidence, NotAllowedError, VerificationError
from consentlib.events import ConsentGiven, ConsentWithdrawn, EntryCorrected, IdentityLinked, OrderPlaced
from shop import LETTER, SEEN, Shop

words = st.text("abcdefghijklmnopqrstuvwxyzæøå", min_size=8, max_size=12).map(lambda text: f"zq{text}")


@settings(max_examples=25, deadline=None)
@given(words, words)
def test_nothing_personal_is_shown(name: str, note: str) -> None:
    """Names, notes and evidence stand in no repr, error or log line, whatever goes wrong with them."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("consentlib")
    log.addHandler(handler)
    shop = Shop(mode="warn")
    address = f"{name}@example.dk"
    plain = "zq" + "".join(letter for letter in note if letter.isascii())
    evidence = Evidence(ip="192.0.2.7", user_agent=note, reference=name)
    events: list[Any] = [
        lambda: ConsentGiven(address, form="footer", evidence=evidence, event_id=plain),
        lambda: OrderPlaced(address, order="o1", event_id=plain),
        lambda: ConsentGiven(name, form="footer"),
        lambda: EntryCorrected(corrects=plain, why=note),
        lambda: IdentityLinked(address, other=name),
        lambda: ConsentWithdrawn(name, text=note, event_id=plain),
        lambda: {"subject": address},
        lambda: name,
    ]
    for make in events:
        try:
            event = make()
            said.append(repr(event) if not isinstance(event, (str, dict)) else "")
            said.append(repr(shop.ledger.record(event)))
        except ConsentlibError as error:
            said.append(f"{error} {error!r} {getattr(error, '__notes__', '')}")
    for asked in ({"use": address}, {"use": "delivery", "channel": address}, {"use": "marketing", "controller": address}):
        said.append(repr(shop.ledger.check(address, **asked)))
        with pytest.raises(NotAllowedError) as caught:
            shop.ledger.require("no address", **asked)
        said.append(str(caught.value))
    said += [repr(shop.ledger.history(address)), repr(shop.ledger), repr(shop.ledger.erase(address, reason="art17", by="dpo"))]
    log.removeHandler(handler)
    for line in said:
        for secret in (name, note, plain, "192.0.2.7"):
            assert secret not in line


def test_pickling(shop: Shop, tmp_path: Any) -> None:
    """Values and errors come back equal, or with the same facts."""
    recorded = shop.sign_up("ann@example.dk")
    values: list[Any] = [recorded, shop.newsletter("ann@example.dk"), *shop.ledger.history("ann@example.dk")]
    values += [shop.ledger.verify(), shop.ledger.policy, LETTER, SEEN, ConsentWithdrawn("ann@example.dk")]
    values += [shop.ledger.erase("ann@example.dk", reason="art17", by="dpo")]
    for value in values:
        assert pickle.loads(pickle.dumps(value)) == value
        with pytest.raises((AttributeError, TypeError)):
            value.index = 5
    errors: list[Exception] = []
    for act in (
        lambda: shop.ledger.require("bo@example.dk", use="marketing"),
        lambda: shop.ledger.record(ConsentGiven("bo", form="footer")),
        lambda: (shop.steal("UPDATE consentlib_parts SET data = 'x' WHERE idx = 2"), shop.ledger.verify()),
    ):
        with pytest.raises(ConsentlibError) as caught:
            act()  # type: ignore[no-untyped-call]
        errors.append(caught.value)
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)
    assert isinstance(errors[-1], VerificationError)
