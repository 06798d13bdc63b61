"""Erasing: what goes, what stays and how long, what remains of a no."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentlib import Evidence
from consentlib.errors import ErasedError, InputError, LedgerError, StoreUnavailableError, VerificationError
from consentlib.events import (
    AddressChanged,
    ComplaintOpened,
    ConsentConfirmed,
    ConsentGiven,
    ConsentWithdrawn,
    IdentityLinked,
    InquiryReceived,
    ObjectionRaised,
    OrderPlaced,
    RestrictionSet,
)
from consentlib.privacy import Finished
from shop import DAY, LETTER, POLICY, SEEN, Shop

ANN = "ann@example.dk"
WHY: dict[str, Any] = {"reason": "art17", "by": "dpo"}


def plain(shop: Shop, text: str) -> list[str]:
    """The files of the database that hold a text."""
    return [path.name for path in sorted(shop.path.parent.glob("shop.db*")) if text.encode() in path.read_bytes()]


def test_what_goes_and_what_stays(shop: Shop) -> None:
    """Personal parts go at once, facts without a reason to stay too; proof and books stay, and rules read them."""
    shop.sign_up(ANN)
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    shop.ledger.record(InquiryReceived(ANN))
    erased = shop.ledger.erase(ANN, **WHY)
    assert (erased.index, erased.parts, erased.kept, erased.pending) == (5, 2, 3, False)
    kinds = [(entry.kind, entry.facts is None, entry.person) for entry in shop.ledger.history(ANN)]
    assert kinds == [
        ("consent.given", False, None),
        ("consent.confirmed", False, None),
        ("order.placed", False, None),
        ("part.erased", False, None),
    ]
    assert shop.newsletter(ANN).reason == "erased"
    assert shop.ledger.check(ANN, use="legal_bookkeeping", order="o1")
    assert shop.ledger.verify(read_models=True).erased == 2


def test_later_erasure_takes_what_has_run_out(shop: Shop) -> None:
    """A second erasure takes facts whose time is over, and with the last of them the address's row; the stop outlives both."""
    shop.sign_up(ANN)
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    shop.ledger.record(IdentityLinked(ANN, other="a@work.dk"))
    shop.ledger.record(OrderPlaced("a@work.dk", order="o2"))
    shop.ledger.withdraw("a@work.dk")
    first = shop.ledger.erase(ANN, **WHY)
    assert shop.ledger.erase(ANN, **WHY).parts == 0
    shop.clock.tick(days=731)
    second = shop.ledger.erase(ANN, **WHY)
    assert (first.kept, second.parts, second.kept) == (7, 4, 3)
    shop.clock.tick(days=6 * 366)
    third = shop.ledger.erase(ANN, **WHY)
    assert (third.parts, third.kept) == (3, 0)
    assert shop.ledger.erase("a@work.dk", **WHY).parts == 0
    assert shop.look("SELECT count(*) FROM consentlib_lives") == [(0,)]
    for address in (ANN, "a@work.dk"):
        assert shop.ledger.history(address) == []
        assert shop.newsletter(address).reason == "erased"
    shop.ledger.verify(read_models=True)


def test_stops_survive_two_erasures(shop: Shop) -> None:
    """A stop left by an earlier erasure is not lost when the person comes back and is erased again."""
    shop.ledger.record(ObjectionRaised(ANN))
    shop.clock.tick(days=3000)
    shop.ledger.erase(ANN, **WHY)
    shop.ledger.record(InquiryReceived(ANN))
    shop.clock.tick(days=1)
    shop.ledger.erase(ANN, **WHY)
    [(stops,)] = shop.look("SELECT stops FROM consentlib_suppressions")
    assert "direct_marketing" in stops


def test_new_life(shop: Shop) -> None:
    """Who comes back starts with a new id; what they consent to now holds, what they said before does not."""
    shop.sign_up(ANN)
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(1)
    shop.ledger.record(ConsentGiven(ANN, form="footer", evidence=SEEN))
    assert not shop.newsletter(ANN)
    shop.sign_up(ANN)
    assert shop.newsletter(ANN)
    ids = {entry.facts["address"] for entry in shop.ledger.history(ANN) if entry.facts and "address" in entry.facts}
    assert len(ids) == 2
    shop.ledger.verify(read_models=True)


def test_second_erasure_of_who_came_back(shop: Shop) -> None:
    """The fold that stays of an earlier life counts its own erasure too, as the log does."""
    for _ in range(2):
        shop.sign_up(ANN)
        shop.ledger.erase(ANN, **WHY)
        shop.clock.tick(days=1)
    shop.ledger.verify(read_models=True)


def test_import_does_not_resurrect(shop: Shop) -> None:
    """A consent from before the erasure, imported afterwards, stays erased, under a known id and a new one."""
    old = shop.clock() - 10 * DAY
    shop.ledger.record(InquiryReceived(ANN, event_id="e1"))
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=1)
    grant = shop.ledger.record(
        ConsentGiven(ANN, form="footer", evidence=SEEN, address_verified=True, occurred_at=old, event_id="e2")
    )
    shop.ledger.record(ConsentConfirmed.of(grant, occurred_at=old))
    assert shop.newsletter(ANN).reason == "erased"
    with pytest.raises(ErasedError):
        shop.ledger.record(InquiryReceived(ANN, event_id="e1"))


def test_linked_addresses(shop: Shop) -> None:
    """The whole person goes: every linked address, asked by any of them, and several contact points of one act."""
    shop.ledger.record(ConsentGiven(ANN, form="checkout", evidence=SEEN, address_verified=True, addresses=["+4512345678"]))
    shop.ledger.record(IdentityLinked("+4512345678", other="a@work.dk"))
    shop.sign_up("bo@example.dk")
    shop.ledger.erase("a@work.dk", **WHY)
    for address in (ANN, "+4512345678", "a@work.dk"):
        assert shop.newsletter(address).reason == "erased"
    assert shop.newsletter("bo@example.dk")
    assert plain(shop, "12345678") == []
    shop.ledger.verify(read_models=True)


def test_other_people_in_the_same_entry(shop: Shop) -> None:
    """A batch of sends names many: it stays for the others, and the erased person's row stays with it."""
    shop.sign_up(ANN)
    shop.sign_up("bo@example.dk")
    assert len(list(shop.ledger.permits([ANN, "bo@example.dk"], use="marketing", message=LETTER))) == 2
    shop.clock.tick(days=731)
    erased = shop.ledger.erase(ANN, **WHY)
    assert (erased.parts, erased.kept) == (3, 1)
    assert "message.sent" in [entry.kind for entry in shop.ledger.history("bo@example.dk")]
    shop.ledger.verify(read_models=True)


def test_nobody(shop: Shop) -> None:
    """Erasing who is not there records nothing."""
    assert shop.ledger.erase("nobody@example.dk", **WHY).index is None


@pytest.mark.parametrize("bad", ["", "asked by Ann Hansen", "ann@example.dk", "æ", "x" * 129, None, 7])
@pytest.mark.parametrize("where", ["reason", "by"])
def test_what_is_no_name_is_kept_as_none(shop: Shop, caplog: pytest.LogCaptureFixture, where: str, bad: Any) -> None:
    """An erasure is never refused, and no free text stays of it: in the log, in the journal, or in what is logged."""
    shop.sign_up(ANN)
    erased = shop.ledger.erase(ANN, **{**WHY, where: bad})
    assert erased.index is not None
    with shop.ledger._store.read() as view:
        entry = view.entry(erased.index)
    assert entry is not None
    facts = json.loads(entry.parts["facts"][1])  # type: ignore[index]
    assert {name: facts[name] for name in WHY} == {**WHY, where: "?"}
    assert shop.ledger.journal.read()[0][-1].said[where] == "?"
    assert [one.getMessage() for one in caplog.records] == [
        f"an erasure is kept with `?` as its `{where}`: expected a name, found something else"
    ]


def test_unreadable_address(shop: Shop) -> None:
    """A stop under something that is no address can be erased under the same."""
    shop.ledger.record(ConsentWithdrawn("call me never"))
    assert shop.ledger.erase("Call me  never".replace("  ", " "), **WHY).parts == 1
    assert plain(shop, "call me never") == []


def test_plaintext_is_in_no_file(shop: Shop) -> None:
    """Nothing personal is left in the database, its WAL or its journal, once the erasure is not pending."""
    secret = Evidence(ip="192.0.2.77", user_agent="SecretBrowser", url="https://shop.example/secret")
    shop.ledger.record(ConsentGiven(ANN, form="footer", evidence=secret))
    shop.ledger.record(ObjectionRaised(ANN, text="call my lawyer Zebedee"))
    assert plain(shop, "192.0.2.77")
    assert not shop.ledger.erase(ANN, **WHY).pending
    for text in ("ann@example", "192.0.2.77", "SecretBrowser", "Zebedee", "/secret"):
        assert plain(shop, text) == []


def test_pending_while_a_reader_holds_the_file(shop: Shop) -> None:
    """An open reader keeps the old bytes alive: the erasure says so, and is done when asked again after the reader left."""
    shop.sign_up(ANN)
    with shop.ledger._store.read():
        assert shop.ledger.erase(ANN, **WHY).pending
        assert plain(shop, ANN)
    again = shop.ledger.erase(ANN, **WHY)
    assert (again.parts, again.pending) == (0, False)
    assert plain(shop, ANN) == []


def test_in_memory() -> None:
    """The memory store erases as well."""
    shop = Shop()
    shop.sign_up(ANN)
    assert not shop.ledger.erase(ANN, **WHY).pending
    assert shop.newsletter(ANN).reason == "erased"
    shop.ledger.verify(read_models=True)


def test_exports_after_an_erasure_verify(shop: Shop, tmp_path: Path) -> None:
    """An export made after an erasure says `null` for what went, and verifies."""
    from consentlib.audit.verify import verify_file

    shop.sign_up(ANN)
    shop.ledger.erase(ANN, **WHY)
    shop.ledger.export(tmp_path / "audit.zip")
    assert verify_file(tmp_path / "audit.zip").erased == 1


def test_twice_with_a_life_in_between(shop: Shop) -> None:
    """Who comes back and is erased again: what is kept of the person still counts the erasure before."""
    for _ in range(2):
        shop.clock.tick(60)
        shop.sign_up("anna@example.dk")
        shop.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    shop.ledger.verify(read_models=True)


def test_finishing(shop: Shop) -> None:
    """What has run out of erased people goes without their addresses, and only that; linked people are one."""
    shop.sign_up(ANN)
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    shop.ledger.record(IdentityLinked(ANN, other="a@work.dk"))
    shop.ledger.record(OrderPlaced("a@work.dk", order="o2"))
    shop.ledger.record(IdentityLinked("a@work.dk", other="+4512345678"))
    shop.ledger.record(OrderPlaced("+4512345678", order="o3"))
    shop.ledger.withdraw("a@work.dk")
    shop.sign_up("bo@example.dk")
    shop.ledger.erase(ANN, **WHY)
    for days, wanted in ((0, (0, 0, 9)), (731, (1, 4, 5)), (0, (0, 0, 5)), (6 * 366, (1, 5, 0)), (0, (0, 0, 0))):
        shop.clock.tick(days=days)
        done = shop.ledger.finish_erasures(by="job")
        assert (done.people, done.parts, done.kept, done.pending) == (*wanted, False)
        shop.ledger.verify(read_models=True)
    assert shop.look("SELECT count(*) FROM consentlib_lives") == [(1,)]
    for address in (ANN, "a@work.dk", "+4512345678"):
        assert shop.ledger.history(address) == []
        assert shop.newsletter(address).reason == "erased"
    assert [entry.kind for entry in shop.ledger.history("bo@example.dk")] == ["consent.given", "consent.confirmed"]


def test_finishing_by_halves(shop: Shop) -> None:
    """Of an order whose complaint must stay for longer nothing is left but that, also not in the rows that checks read."""
    shop.ledger.record(OrderPlaced(ANN, order="o1", product_category="shoes"))
    shop.clock.tick(days=800)
    shop.ledger.record(ComplaintOpened(ANN, order="o1"))
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=5 * 365)
    assert shop.ledger.finish_erasures(by="job") == Finished(people=1, parts=1, kept=1)
    shop.ledger.verify(read_models=True)
    with shop.ledger._store.read() as view:
        [(_, order)] = view.orders([life.id for life in view.all_lives()])
    assert (order.placed, order.category, order.complaint_opened) == (None, None, shop.clock.now - 5 * 365 * DAY)


def test_finishing_leaves_who_came_back(shop: Shop) -> None:
    """Facts of an erased life go, and neither what is left of it nor that they went touches the life that followed."""
    shop.sign_up(ANN)
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=700)
    shop.sign_up(ANN)
    shop.clock.tick(days=31)
    assert shop.newsletter(ANN)
    done = shop.ledger.finish_erasures(by="job")
    assert (done.people, done.parts, done.kept) == (1, 2, 1)
    assert shop.newsletter(ANN)
    shop.ledger.verify(read_models=True)
    with shop.ledger.permit(ANN, use="marketing_newsletter", message=LETTER):
        pass
    found = shop.ledger.verify(meaning=True).meaning
    assert found is not None
    assert found.unlawful == 0


@pytest.mark.parametrize(
    ("late", "reason"),
    [
        (lambda said: ObjectionRaised(ANN, occurred_at=said), "objection_direct_marketing"),
        (lambda said: RestrictionSet(ANN, occurred_at=said), "restricted"),
    ],
)
def test_finishing_leaves_what_was_said_late(shop: Shop, late: Any, reason: str) -> None:
    """What was said before somebody came back and recorded after is the erased life's, and in no row: it stays."""
    shop.sign_up(ANN)
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=700)
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    shop.ledger.record(late(shop.clock.now - DAY))
    shop.clock.tick(days=60)
    assert shop.newsletter(ANN).reason == reason
    assert shop.ledger.finish_erasures(by="job") == Finished(people=0, parts=0, kept=3)
    assert shop.newsletter(ANN).reason == reason
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=6 * 366)
    assert shop.ledger.finish_erasures(by="job").kept == 0
    shop.ledger.verify(read_models=True)


def test_finishing_leaves_whom_somebody_was_linked_with_late(shop: Shop) -> None:
    """A change of address that was said before somebody came back leaves their old grants with who was never erased."""
    shop.sign_up(ANN)
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=700)
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    moved = AddressChanged(ANN, to="bo@example.dk", by="subject", address_verified=True, occurred_at=shop.clock.now - DAY)
    shop.ledger.record(moved)
    shop.clock.tick(days=60)
    assert shop.ledger.finish_erasures(by="job").parts == 0
    assert shop.ledger.history("bo@example.dk")[-1].person is not None
    shop.ledger.verify(read_models=True)


def test_finishing_leaves_what_alone_tells_of_an_erasure(shop: Shop) -> None:
    """Somebody came back when their row was reviewed away: a consent from before the erasure counts no more than it did."""
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    shop.ledger.erase(ANN, **WHY)
    said = shop.clock.now - DAY
    shop.clock.tick(days=1200)
    assert shop.ledger.review_suppressions(by="job").dropped == 1
    asked = shop.ledger.record(ConsentGiven(ANN, form="footer", evidence=SEEN, occurred_at=said))
    shop.ledger.record(ConsentConfirmed.of(asked, occurred_at=said))
    shop.clock.tick(days=6 * 366)
    assert shop.newsletter(ANN).reason == "erased"
    assert shop.ledger.finish_erasures(by="job") == Finished(people=0, parts=0, kept=1)
    assert shop.newsletter(ANN).reason == "erased"


def test_finishing_after_a_disclosure(shop: Shop, tmp_path: Path) -> None:
    """Who came back and asked what is held keeps nothing alive by that."""
    shop.sign_up(ANN)
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=700)
    shop.sign_up(ANN)
    shop.ledger.disclose(ANN, tmp_path / "ann.zip", by="dpo")
    shop.clock.tick(days=31)
    assert shop.ledger.finish_erasures(by="job").parts == 2
    shop.ledger.verify(read_models=True)


@pytest.mark.parametrize("damage", ["'{'", "replace(data, 'footer', 'header')"])
def test_finishing_takes_no_evidence(tmp_path: Path, damage: str) -> None:
    """Facts that were altered stay, however they read now, and mark the ledger: once gone they would be no trace."""
    shop = Shop(f"sqlite:///{tmp_path / 'ledger.db'}")
    shop.sign_up(ANN)
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=731)
    shop.steal(f"UPDATE consentlib_parts SET data = {damage} WHERE idx = 1 AND name = 'facts'")
    with pytest.raises(VerificationError, match="facts"):
        shop.ledger.finish_erasures(by="job")
    assert shop.look("SELECT count(*) FROM consentlib_parts WHERE name = 'facts' AND data IS NULL") == [(0,)]
    assert shop.newsletter("bo@example.dk").reason == "ledger_unverified"
    with pytest.raises(VerificationError, match="commitment"):
        shop.ledger.verify()
    assert shop.ledger.erase(ANN, **WHY).parts == 2


def test_finishing_waits_for_a_log_that_verifies(shop: Shop) -> None:
    """A job deletes nothing from a log that may be evidence; who asked to be erased is."""
    shop.sign_up(ANN)
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=731)
    shop.ledger._writing.mark("content: found otherwise")
    with pytest.raises(LedgerError, match="verified"):
        shop.ledger.finish_erasures(by="job")
    assert shop.ledger.erase(ANN, **WHY).parts == 2


def test_finishing_where_bytes_stay(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went is told also where the store can't be purged now, and nothing is asked of it where nothing went."""

    def purge(_: Any) -> bool:
        raise StoreUnavailableError("expected a store that answers, found none")

    monkeypatch.setattr(type(shop.ledger._store), "purge", purge)
    shop.sign_up(ANN)
    assert shop.ledger.erase(ANN, **WHY).pending
    assert shop.ledger.finish_erasures(by="job") == Finished(people=0, parts=0, kept=2)
    shop.clock.tick(days=731)
    assert shop.ledger.finish_erasures(by="job") == Finished(people=1, parts=2, kept=0, pending=True)


def test_finishing_says_who(shop: Shop) -> None:
    """It is on record by whom, under a name and no other text."""
    shop.sign_up(ANN)
    shop.ledger.erase(ANN, **WHY)
    with pytest.raises(InputError, match="by"):
        shop.ledger.finish_erasures(by="Ann, who lives next door")
    shop.clock.tick(days=731)
    shop.ledger.finish_erasures(by="job")
    with shop.ledger._store.read() as view:
        [*_, last] = [json.loads(entry.parts["facts"][1]) for entry in view.entries() if entry.parts["facts"]]
    assert (last["by"], last["reason"], last["parts"]) == ("job", "retention", [[1, "facts"], [2, "facts"]])


PEOPLE = [ANN, "bo@example.dk", "a@work.dk"]
_person = st.sampled_from(PEOPLE)
_steps = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 300, 731, 6 * 366])),
    st.tuples(st.just("sign up"), _person),
    st.tuples(st.just("order"), _person),
    st.tuples(st.just("stop"), _person),
    st.tuples(st.just("link"), _person, _person),
    st.tuples(st.just("erase"), _person),
    st.tuples(st.just("finish"), _person),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_steps, max_size=14))
def test_finishing_changes_no_answer(steps: list[tuple[Any, ...]]) -> None:
    """Whatever happened, a check answers as before, what checks read is what the log says, and nothing is left to do."""
    shop = Shop()
    for number, (what, *said) in enumerate([*steps, ("finish",)]):
        shop.clock.tick(1)
        if what == "wait":
            shop.clock.tick(days=said[0])
        elif what == "sign up":
            shop.sign_up(said[0])
        elif what == "order":
            shop.ledger.record(OrderPlaced(said[0], order=f"o{number}"))
        elif what == "stop":
            shop.ledger.record(ConsentWithdrawn(said[0]))
        elif what == "link" and said[0] != said[1]:
            shop.ledger.record(IdentityLinked(said[0], other=said[1]))
        elif what == "erase":
            shop.ledger.erase(said[0], **WHY)
        elif what == "finish":
            before = answers(shop)
            shop.ledger.finish_erasures(by="job")
            assert answers(shop) == before
            assert shop.ledger.finish_erasures(by="job").parts == 0
    shop.ledger.verify(read_models=True)


def answers(shop: Shop) -> list[Any]:
    """What a check says of each person and use."""
    asked = [(address, use) for address in PEOPLE for use in POLICY.uses]
    found = [shop.ledger.check(address, use=use, message=LETTER) for address, use in asked]
    return [(one.allowed, one.reason) for one in found]
