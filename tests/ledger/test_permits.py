"""Permits: recorded before the hand-over, void after a minute, taken back where nothing was handed over."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve

from consentlib import Message, NotAllowedError
from consentlib.errors import InputError, LedgerError, PermitLapsedError, StoreUnavailableError
from consentlib.permits import PermitRun
from shop import LETTER, Shop

ANN = "ann@example.dk"
ASKED: dict[str, Any] = {"use": "marketing", "message": LETTER}


@pytest.fixture
def shop() -> Shop:
    shop = Shop()
    shop.sign_up(ANN)
    return shop


def kinds(shop: Shop, address: str = ANN) -> list[str]:
    """The kinds of the entries about somebody after the sign-up."""
    return [entry.kind for entry in shop.ledger.history(address)[2:]]


def people(shop: Shop, count: int) -> list[str]:
    """Signed up addresses."""
    addresses = [f"p{number}@example.dk" for number in range(count)]
    for address in addresses:
        shop.sign_up(address)
    return addresses


def test_recorded_before_the_hand_over(shop: Shop) -> None:
    """Inside the block the send is on record, naming the size that was read; nothing is added after it."""
    with shop.ledger.permit(ANN, **ASKED) as permit:
        assert kinds(shop) == ["message.sent"]
        assert permit.decision
    [sent] = shop.ledger.history(ANN)[2:]
    assert sent.facts is not None
    assert (sent.facts["use"], sent.facts["channel"], sent.facts["size"]) == ("marketing_newsletter", "email", 3)
    assert kinds(shop) == ["message.sent"]


def test_denied(shop: Shop) -> None:
    """A denial raises with the decision and records nothing."""
    shop.ledger.withdraw(ANN)
    with pytest.raises(NotAllowedError) as caught:
        shop.ledger.permit(ANN, **ASKED)
    assert caught.value.decision.reason == "objection_direct_marketing"
    assert "message.sent" not in kinds(shop)


def test_lapses(shop: Shop) -> None:
    """A permit that is not used within 60 seconds is void, and its send taken back; at 59.999 it still holds."""
    for seconds in (59.999, 60):
        permit = shop.ledger.permit(ANN, **ASKED)
        shop.clock.tick(seconds)
        if seconds == 60:
            with pytest.raises(PermitLapsedError), permit:
                pytest.fail("handed over")
        else:
            with permit:
                pass
    assert kinds(shop) == ["message.sent", "message.sent", "message.failed"]


def test_used_once(shop: Shop) -> None:
    """A permit is for one hand-over."""
    with (permit := shop.ledger.permit(ANN, **ASKED)):
        pass
    with pytest.raises(LedgerError, match="not used"), permit:
        pytest.fail("handed over twice")


def test_exception_takes_back(shop: Shop) -> None:
    """A hand-over that raises is no send: the passivity clock does not count it."""
    shop.clock.tick(days=300)
    with pytest.raises(OSError, match="smtp"), shop.ledger.permit(ANN, **ASKED):
        raise OSError("smtp")
    assert kinds(shop) == ["message.sent", "message.failed"]
    shop.clock.tick(days=70)
    assert shop.newsletter(ANN).reason == "consent_expired"
    shop.ledger.verify(read_models=True)


def test_exception_is_not_hidden_by_the_store(shop: Shop) -> None:
    """Where the send can't be taken back the caller still sees what went wrong at the hand-over, with a note."""

    def hand_over() -> None:
        with shop.ledger.permit(ANN, **ASKED):
            shop.ledger.close()
            raise OSError("smtp")

    with pytest.raises(OSError, match="smtp") as caught:
        hand_over()
    assert any("could not be taken back" in note for note in caught.value.__notes__)


def test_only_for_now(shop: Shop) -> None:
    """A permit can't be had for another time: `at` before a withdrawal would step around it."""
    shop.clock.tick(10)
    before = shop.clock() - 1
    shop.ledger.withdraw(ANN)
    for name in ("at", "known_at"):
        with pytest.raises(InputError, match="now"):
            shop.ledger.permit(ANN, **ASKED, **{name: before})
        with pytest.raises(InputError, match="now"):
            shop.ledger.permits([ANN], **ASKED, **{name: before})


UNLAWFUL: list[tuple[dict[str, Any], str]] = [
    ({"use": "newslettr"}, "unknown_use"),
    ({"channel": "emial"}, "unknown_channel"),
    ({"channel": "device"}, "unknown_channel"),
    ({"controller": "otherhsop"}, "consent_controller_mismatch"),
    ({"data": ["shoe_size"]}, "data_category_not_permitted"),
    ({"message": Message()}, "missing_fact"),
    ({"message": Message(marketing=True, unsubscribe=True)}, "message_obligation_unmet"),
    ({"message": evolve(LETTER, processor="mailchimpp")}, "consent_missing"),
    ({"use": "delivery", "message": Message(marketing=True)}, "message_obligation_unmet"),
]


@pytest.mark.parametrize(("wrong", "reason"), UNLAWFUL)
def test_what_no_row_can_change_is_told(
    shop: Shop, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any], reason: str
) -> None:
    """A question that is denied for anybody raises in `permits` as in `permit`, and `filter` logs it once."""
    asked = {**ASKED, **wrong}
    with pytest.raises(NotAllowedError) as alone:
        shop.ledger.permit(ANN, **asked)
    with pytest.raises(NotAllowedError) as together:
        shop.ledger.permits([ANN], **asked)
    assert not alone.value.decision
    assert together.value.decision.reason == reason
    assert list(shop.ledger.filter([ANN, ANN], **asked)) == []
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    assert reason in caplog.text
    assert kinds(shop) == []


def test_what_may_be_about_a_person_raises_nothing(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Where an address could be allowed, or the mode lets the denial through, a run counts as ever."""
    run = shop.ledger.permits(["bo@example.dk"], **ASKED)
    assert (list(run), run.counts) == ([], {"unknown_subject": 1})
    assert list(shop.ledger.filter([ANN], use="delivery")) == []
    assert list(shop.ledger.permits(["customer:7"], use="delivery")) == []
    watching = Shop(mode="observe").ledger
    assert list(watching.permits([ANN], use="marketing", message=Message())) == [ANN]
    with pytest.raises(NotAllowedError, match="unknown_use"):
        watching.permits([ANN], use="newslettr")
    assert caplog.text == ""


def test_a_key_that_no_row_has_is_told(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """`permits` raises at the end, when all rows have shown it, and `filter` logs; rows without it among others are counted."""
    for rows in ([{"mail": ANN}, {"mail": None}], [Shop()]):
        run = shop.ledger.permits(rows, address="maill", **ASKED)
        with pytest.raises(InputError, match=f"found none among {len(rows)}"):
            list(run)
        assert run.counts == {"invalid_address": len(rows)}
        assert list(shop.ledger.filter(rows, address="maill", **ASKED)) == []
        assert f"found none among {len(rows)}" in caplog.text
    assert list(shop.ledger.permits([{}, {"mail": ANN}], address="mail", **ASKED)) == [{"mail": ANN}]
    assert list(shop.ledger.permits([{"mail": None}], address="mail", **ASKED)) == []
    assert list(shop.ledger.permits(list[Any](), address="mail", **ASKED)) == []


def test_batches(shop: Shop) -> None:
    """A run records its sends in few entries, which hold random ids and nothing else of a person, and counts its reasons."""
    rows = [*people(shop, 100), "bo@example.dk", "nonsense", None]
    run = shop.ledger.permits(rows, **ASKED)
    assert list(run) == rows[:100]
    assert run.counts == {"allowed": 100, "unknown_subject": 1, "invalid_address": 2}
    with shop.ledger._store.read() as view:
        sends = [entry for entry in view.entries() if b"\nmessage.sent\n" in entry.leaf]
        assert len(sends) == 3
        ids = {life.id for life in view.all_lives()}
    for entry in sends:
        assert set(entry.parts) == {"facts"}
        facts = shop.ledger.history("p0@example.dk")[2].facts
        assert facts is not None
        assert set(facts) == {"occurred_at", "use", "channel", "size", "message", "addresses"}
        assert set(facts["addresses"]) < ids
    shop.ledger.verify(read_models=True)


def test_stop_between_batches(shop: Shop) -> None:
    """Who says no while a run goes on is not in its later batches."""
    rows = people(shop, 40)
    sent = []
    for row in shop.ledger.permits(rows, **ASKED):
        sent.append(row)
        if len(sent) == 1:
            shop.ledger.withdraw(rows[-1])
    assert sent == rows[:-1]


def test_slow_consumer(shop: Shop) -> None:
    """Rows that wait for a minute are checked again: a stop meanwhile counts, and no send stays recorded that was not made."""
    rows = people(shop, 10)
    sent = []
    run = shop.ledger.permits(rows, **ASKED)
    for row in run:
        sent.append(row)
        if len(sent) == 4:
            shop.ledger.withdraw(rows[7])
            shop.clock.tick(61)
    assert sent == [row for row in rows if row != rows[7]]
    assert run.counts == {"allowed": 9, "objection_direct_marketing": 1}
    assert kinds(shop, rows[0]) == ["message.sent"]
    assert kinds(shop, rows[5]) == ["message.sent", "message.failed", "message.sent"]
    assert kinds(shop, rows[7]) == ["message.sent", "consent.withdrawn", "objection.raised", "message.failed"]
    shop.ledger.verify(read_models=True)


def test_closed_early(shop: Shop) -> None:
    """What was not drawn when a run is closed is taken back."""
    rows = people(shop, 5)
    run = shop.ledger.permits(rows, **ASKED)
    drawing = iter(run)
    assert next(drawing) == rows[0]
    drawing.close()  # type: ignore[attr-defined]
    assert run.counts["allowed"] == 1
    assert kinds(shop, rows[0]) == ["message.sent"]
    assert kinds(shop, rows[1]) == ["message.sent", "message.failed"]


def send_until(run: PermitRun[str], bad: str, before: Callable[[], object] = lambda: None) -> None:
    """Hand over the rows of a run, up to one at which the mail server fails."""
    with run:
        for row in run:
            if row == bad:
                before()
                raise OSError("smtp")


def test_an_exception_in_a_run_takes_back_the_row(shop: Shop) -> None:
    """Inside `with` a hand-over that raises is no send, nor is what was not drawn; what was handed over before stays."""
    rows = people(shop, 4)
    run = shop.ledger.permits(rows, **ASKED)
    with pytest.raises(OSError, match="smtp") as caught:
        send_until(run, rows[1])
    taken_back = ["message.sent", "message.failed"]
    assert [kinds(shop, row) for row in rows] == [["message.sent"], taken_back, taken_back, taken_back]
    assert run.counts == {"allowed": 1, "failed": 1}
    assert caught.traceback  # which keeps the loop alive until here
    shop.ledger.verify(read_models=True)


def test_a_run_left_without_exception_keeps_the_row(shop: Shop) -> None:
    """Who leaves the loop after a hand-over has sent that row; and who comes to its end has sent them all."""
    rows = people(shop, 3)
    with shop.ledger.permits(rows, **ASKED) as run:
        for _ in run:
            break
    assert [kinds(shop, row) for row in rows] == [["message.sent"]] + 2 * [["message.sent", "message.failed"]]
    with shop.ledger.permits(rows[:1], **ASKED) as run:
        assert list(run) == rows[:1]
    assert (kinds(shop, rows[0]), run.counts) == (["message.sent", "message.sent"], {"allowed": 1})


def test_an_exception_between_rows_takes_back_nothing_that_was_handed_over(shop: Shop) -> None:
    """What goes wrong while the next row is drawn, or after `failed()`, or for a second row of one person, undoes no send."""
    rows = people(shop, 20)

    def end(rows: list[str], broken: bool = False) -> Iterator[str]:
        yield from rows
        if broken:
            raise OSError("list")

    with pytest.raises(OSError, match="list"), shop.ledger.permits(end(rows[:16], broken=True), **ASKED) as run:
        assert len(list(run)) == 16
    assert kinds(shop, rows[15]) == ["message.sent"]
    run = shop.ledger.permits(rows[16:17], **ASKED)
    with pytest.raises(OSError, match="smtp"):
        send_until(run, rows[16], run.failed)
    assert kinds(shop, rows[16]) == ["message.sent", "message.failed"]
    with pytest.raises(OSError, match="smtp"):
        send_until(shop.ledger.permits([ANN, ANN.upper()], **ASKED), ANN.upper())
    assert kinds(shop) == ["message.sent"]


def test_an_exception_in_a_run_is_not_hidden_by_the_store(shop: Shop) -> None:
    """Where the rows can't be taken back the caller still sees what went wrong at the hand-over, with a note."""
    rows = people(shop, 3)
    with pytest.raises(OSError, match="smtp") as caught:
        send_until(shop.ledger.permits(rows, **ASKED), rows[0], shop.ledger.close)
    assert any("could not be taken back" in note for note in caught.value.__notes__)


def test_failed_row(shop: Shop) -> None:
    """`failed()` takes back the row drawn last, once."""
    rows = people(shop, 3)
    run = shop.ledger.permits(rows, **ASKED)
    with pytest.raises(LedgerError):
        run.failed()
    for row in run:
        if row == rows[1]:
            run.failed()
    assert run.counts == {"allowed": 2, "failed": 1}
    assert [kinds(shop, row) for row in rows] == [["message.sent"], ["message.sent", "message.failed"], ["message.sent"]]


def test_same_address_twice(shop: Shop) -> None:
    """Two rows of one person are one send; closing early takes back only what nobody drew."""
    run = shop.ledger.permits([ANN, ANN.upper()], **ASKED)
    drawing = iter(run)
    next(drawing)
    drawing.close()  # type: ignore[attr-defined]
    assert kinds(shop) == ["message.sent"]


def test_same_address_fails(shop: Shop) -> None:
    """Of two rows of one person one is sent and one fails: the send stays on record, and the second row never goes without."""
    run = shop.ledger.permits([ANN, ANN.upper()], **ASKED)
    for row in run:
        if row == ANN.upper():
            run.failed()
    assert run.counts == {"allowed": 1, "failed": 1}
    assert kinds(shop) == ["message.sent"]
    run = shop.ledger.permits([ANN, ANN.upper()], **ASKED)
    for row in run:
        if row == ANN:
            run.failed()
    assert run.counts == {"allowed": 1, "failed": 1}
    assert kinds(shop)[1:] == ["message.sent", "message.failed", "message.sent"]


def test_observe_introduces_once() -> None:
    """While a shop only observes, somebody unknown becomes known with the first send, by any spelling."""
    shop = Shop(mode="observe")
    assert list(shop.ledger.permits([ANN, "Ann@Example.dk"], **ASKED)) == [ANN, "Ann@Example.dk"]
    assert [entry.kind for entry in shop.ledger.history(ANN)] == ["contact.imported", "message.sent"]
    shop.ledger.verify(read_models=True)


def test_store_gone(shop: Shop) -> None:
    """Without its store no permit is issued."""
    shop.ledger.close()
    with pytest.raises(StoreUnavailableError):
        shop.ledger.permit(ANN, **ASKED)
