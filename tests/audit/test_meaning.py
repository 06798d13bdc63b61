"""The level *meaning*: whether each recorded send had a ground, as of the state of the log that its permit read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict, evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentlib import ConsentlibError, Ledger, Message, NotAllowedError
from consentlib.audit.verify import verify_file
from consentlib.checkpoints import MemoryCheckpoints
from consentlib.cli.shop_year import NEWSLETTER, Clock, write_year
from consentlib.events import (
    AddressChanged,
    BirthdateLearned,
    CampaignJoined,
    ConsentConfirmed,
    ConsentGiven,
    ConsentInvalidated,
    ConsentRefused,
    ConsentWithdrawn,
    EntryCorrected,
    IdentityLinked,
    IdentityReleased,
    MessageFailed,
    MessageSent,
    ObjectionRaised,
    OrderDelivered,
    OrderPlaced,
    PrizeDrawn,
    RestrictionLifted,
    RestrictionSet,
    TextPublished,
)
from consentlib.log import Finding, Meaning
from consentlib.log.checkpoint import open_checkpoint
from consentlib.log.note import Verifier
from consentlib.signing import verify
from shop import LETTER, POLICY, SEEN, Shop, rewrite

ANN = "ann@example.dk"
BO = "bo@example.dk"
ASKED: dict[str, Any] = {"use": "marketing_newsletter", "message": LETTER}
SENT: dict[str, Any] = {
    "use": "marketing_newsletter",
    "channel": "email",
    "message": {"marketing": True, "unsubscribe": True, "sender_identified": True},
}


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    shop.sign_up(ANN)
    yield shop
    shop.ledger.close()


def send(shop: Shop, address: str = ANN, **asked: Any) -> None:
    """A send as the shop should make it."""
    with shop.ledger.permit(address, **{**ASKED, **asked}):
        pass


def force(shop: Shop, address: str = ANN, *, id: str | None = None, **facts: Any) -> int:
    """A send put on record without asking, as a shop can that writes its own entries. Gives its index."""
    with shop.ledger._writing.appending() as recorder:
        id = id or recorder.view.lives(shop.ledger._asking.named(address).key)[-1].id
        said = {"occurred_at": recorder.time, "size": recorder.head.size, **SENT, "address": id, **facts}
        return recorder.append("message.sent", {name: value for name, value in said.items() if value is not None})


def meaning(shop: Shop) -> Meaning:
    """What the sends were worth."""
    found = shop.ledger.verify(meaning=True).meaning
    assert found is not None
    return found


def findings(shop: Shop) -> dict[int, str]:
    return {one.index: one.reason for one in meaning(shop).findings}


def exported(shop: Shop, folder: Path) -> Path:
    shop.ledger.export(folder / "audit.zip")
    return folder / "audit.zip"


def test_a_year(tmp_path: Path) -> None:
    """In a year of a shop that asks before each send all are lawful, whether its ledger is read or its export."""
    year = write_year(60, today=date(2026, 3, 2))
    clock = Clock(year.start)
    with Ledger.create("memory:", policy=POLICY, clock=clock, checkpoints=MemoryCheckpoints()) as ledger:
        held = ledger.checkpoint()
        year.play(ledger, clock)
        sent = list(ledger.permits(year.customers, use="marketing_newsletter", channel="email", message=NEWSLETTER))
        report = ledger.verify(checkpoints=[held], meaning=True)
        assert (report.level, report.meaning and report.meaning.unlawful) == ("meaning", 0)
        assert report.meaning is not None
        assert report.meaning.judged > len(sent) > 20
        ledger.export(tmp_path / "audit.zip")
        of_export = verify_file(tmp_path / "audit.zip", verifiers=[Verifier.parse(ledger.verifier)], meaning=True)
    assert of_export.meaning == report.meaning
    assert of_export.level == "signature"


def test_not_asked_for(shop: Shop) -> None:
    """Without being asked for it nothing is said of the sends, and the report says so."""
    force(shop, ANN)
    report = shop.ledger.verify()
    assert report.meaning is None
    assert report.not_checked[-1].startswith("meaning: no rule was replayed")


def test_after_a_withdrawal(shop: Shop) -> None:
    """A send after a withdrawal is found with the reason that `check` gives; the one before it stays lawful."""
    send(shop)
    shop.ledger.withdraw(ANN)
    reason = shop.newsletter(ANN).reason
    index = force(shop)
    held = shop.ledger.checkpoint()
    report = shop.ledger.verify(checkpoints=[held], meaning=True)
    assert report.level == "history"
    assert report.meaning == Meaning(2, 0, 0, 1, 0, 0, ((reason, 1),), (Finding(index, reason, 1),), None)
    assert shop.newsletter(ANN).reason == reason, "the ledger is not marked for what the shop did"


def test_lawful_then(shop: Shop) -> None:
    """What ended a consent later takes nothing from a send before: a new text, a correction, a stop that came to light late."""
    send(shop)
    shop.clock.tick(60)
    shop.ledger.record(TextPublished(text_version="nl-2", supersedes="nl-1", material=True, uses=["marketing_newsletter"]))
    shop.ledger.record(ConsentWithdrawn(ANN, occurred_at=shop.clock() - 120_000))
    assert meaning(shop).unlawful == 0
    index = force(shop)
    assert findings(shop).keys() == {index}


def test_superseded_text(shop: Shop) -> None:
    """A send on a consent whose text was replaced before is found."""
    shop.ledger.record(TextPublished(text_version="nl-2", supersedes="nl-1", material=True, uses=["marketing_newsletter"]))
    shop.clock.tick(1)
    reason = shop.newsletter(ANN).reason
    index = force(shop)
    assert findings(shop) == {index: reason}


def test_older_policy(shop: Shop) -> None:
    """A send is judged under the policy that was in force, not under one published since."""
    send(shop)
    strict = evolve(POLICY, version="later", parameters=evolve(POLICY.parameters, passivity_days=1))
    shop.ledger.publish(strict)
    shop.clock.tick(days=3)
    assert not shop.newsletter(ANN)
    assert meaning(shop).unlawful == 0
    index = force(shop)
    assert findings(shop) == {index: shop.newsletter(ANN, known_at=index).reason}


@pytest.mark.parametrize("size", [0, 3, 5, 6, -1, "4", True, None])
def test_forged_size(shop: Shop, size: Any) -> None:
    """A send must name the newest state of the log: an older one hides a stop, a larger one never was. None is no permit's."""
    shop.ledger.withdraw(ANN, limited=True)
    assert force(shop, size=size) == 4
    if size is None:
        assert meaning(shop).ground_only == 1
        assert findings(shop) == {4: "consent_withdrawn"}
    else:
        assert findings(shop) == {4: "wrong_log_size"}


def test_size_of_another_moment(shop: Shop) -> None:
    """A size from before a send of another time, or an entry of another kind, is an older one."""
    send(shop)
    shop.clock.tick(1)
    assert (force(shop, size=3), force(shop)) == (4, 5)
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    assert force(shop, size=5) == 7
    assert findings(shop) == {4: "wrong_log_size", 7: "wrong_log_size"}


def test_one_transaction(shop: Shop) -> None:
    """Sends of one batch that fall into several entries name the same state, and so do those whose addresses it introduced."""
    phone = "+4512345678"
    shop.sign_up(phone)
    shop.ledger._asking.mode = "observe"
    rows = [ANN, phone, "new@example.dk"]
    assert list(shop.ledger.permits(rows, **ASKED)) == rows
    found = meaning(shop)
    kinds = dict(shop.ledger.verify().entries_by_kind)
    assert (kinds["contact.imported"], kinds["message.sent"]) == (1, 3)
    assert (found.judged, found.unlawful, found.let_through) == (3, 2, 2)
    assert dict(found.reasons) == {"unknown_subject": 1, shop.newsletter(phone).would_deny: 1}


def test_large_batches(shop: Shop) -> None:
    """A thousand recipients stand in one entry, and each is judged."""
    people = [f"p{number}@example.dk" for number in range(1_500)]
    shop.ledger.record_many(ConsentGiven(one, form="checkout", evidence=SEEN, address_verified=True) for one in people)
    shop.ledger.record_many(ConsentConfirmed(one) for one in people)
    assert len(list(shop.ledger.permits(people, **ASKED))) == len(people)
    found = meaning(shop)
    assert (found.judged, found.unlawful) == (1_500, 0)


@pytest.mark.parametrize("mode", ["warn", "observe"])
def test_let_through(mode: Any) -> None:
    """A send that a mode let through has no ground, and is told from one that nothing explains."""
    shop = Shop(mode=mode)
    shop.ledger.record(ConsentGiven(ANN, form="footer", evidence=SEEN))
    reason = shop.newsletter(ANN).would_deny
    send(shop)
    send(shop, BO)
    index = force(shop)
    found = meaning(shop)
    assert (found.judged, found.unlawful, found.let_through) == (3, 3, 2)
    assert [(one.reason, one.let_through) for one in found.findings] == [
        (reason, True),
        ("unknown_subject", True),
        (reason, False),
    ]
    assert found.findings[-1].index == index


def test_would_deny_counts(shop: Shop) -> None:
    """What says of itself that it was let through is no lawful send, even where the rules now find a ground."""
    index = force(shop, would_deny="consent_missing")
    assert meaning(shop).findings == (Finding(index, "consent_missing", 1, True),)


def test_taken_back(shop: Shop) -> None:
    """A send that was not handed over was none, lawful or not; what an event takes back is the newest of its use."""
    with pytest.raises(OSError, match="smtp"), shop.ledger.permit(ANN, **ASKED):
        raise OSError("smtp")
    shop.ledger.withdraw(ANN)
    force(shop)
    index = force(shop)
    shop.ledger.record(MessageFailed(ANN, use="marketing_newsletter", channel="email"))
    found = meaning(shop)
    assert (found.judged, found.unlawful, found.taken_back) == (1, 1, 2)
    assert found.findings[0].index == index - 1


def test_recorded_by_shop_code(shop: Shop) -> None:
    """A send without a permit is judged for its ground only, at the time it says, and its message is taken as it should be."""
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    for use, channel in (("marketing_newsletter", None), ("marketing_newsletter", "email"), ("safety_recall", None)):
        shop.ledger.record(MessageSent(ANN, use=use, channel=channel))
    found = meaning(shop)
    assert (found.judged, found.ground_only, found.unlawful, found.unjudged) == (2, 2, 0, 1)
    shop.clock.tick(60)
    shop.ledger.record(ConsentWithdrawn(ANN))
    shop.clock.tick(60)
    late = MessageSent(ANN, use="marketing_newsletter", channel="email", occurred_at=shop.clock() - 90_000)
    shop.ledger.record(late)
    assert meaning(shop).unlawful == 0
    index = shop.ledger.record(MessageSent(ANN, use="marketing_newsletter")).index
    assert findings(shop) == {index: "consent_withdrawn"}
    stranger = shop.ledger.record(MessageSent("cy@example.dk", use="marketing_newsletter")).index
    assert findings(shop)[stranger] == "unknown_subject"


def test_channel_by_address(shop: Shop) -> None:
    """Where shop code named no channel the address's own is meant, as in a check."""
    wide = evolve(POLICY.uses["marketing_newsletter"], channels=frozenset({"email", "sms"}))
    shop.ledger.publish(evolve(POLICY, version="wide", uses={**POLICY.uses, wide.name: wide}))
    shop.sign_up("+4512345678")  # for e-mail
    shop.ledger.record(MessageSent(ANN, use="marketing_newsletter"))
    index = shop.ledger.record(MessageSent("+4512345678", use="marketing_newsletter")).index
    assert findings(shop) == {index: shop.newsletter("+4512345678", channel="sms").reason}


def test_soft_opt_in_needs_the_message(shop: Shop) -> None:
    """A soft opt-in without a permit can't be judged: nobody recorded which goods the message was about."""
    shop.ledger.record(OrderPlaced(BO, order="o1", product_category="toys", optout_offered=True))
    goods = evolve(LETTER, own_products=True, product_category="toys")
    use = evolve(POLICY.uses["marketing_newsletter"], grounds=("consent", "soft_opt_in"))
    offered = evolve(POLICY.parameters, soft_opt_in_channels=("email",))
    soft = evolve(POLICY, version="soft", parameters=offered, uses={**POLICY.uses, "marketing_newsletter": use})
    shop.ledger.publish(soft, allow_errors=True)
    send(shop, BO, message=goods)
    assert (meaning(shop).judged, meaning(shop).unlawful) == (1, 0)
    other = force(shop, BO, message={**SENT["message"], "own_products": True, "product_category": "books"})
    assert findings(shop) == {other: "soft_opt_in_not_similar"}
    shop.ledger.record(MessageSent(BO, use="marketing_newsletter", channel="email"))
    assert (meaning(shop).judged, meaning(shop).unjudged) == (2, 1)


def test_what_was_asked_is_on_record(shop: Shop) -> None:
    """Order, data and the message's own words are replayed: without them, or with others, there was no ground."""
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    shop.ledger.record(OrderPlaced(BO, order="o2"))
    service = Message(marketing=False, sender_identified=True)
    send(shop, BO, use="delivery", order="o1", message=service, data=["name", "email"])
    entry = shop.ledger.history(BO)[-1]
    assert entry.facts is not None
    assert {"order": "o1", "data": ["email", "name"]}.items() <= entry.facts.items()
    assert entry.facts["message"] == {"marketing": False, "sender_identified": True}
    assert meaning(shop).unlawful == 0
    named = {"use": "delivery", "message": {"marketing": False}}
    wrong = {
        force(shop, BO, **named): "missing_fact",
        force(shop, BO, **named, order="o3"): "no_open_contract",
        force(shop, BO, **named, order="o1", data=["shoe_size"]): "data_category_not_permitted",
        force(shop, ANN, message={"marketing": True}): "message_obligation_unmet",
        force(shop, ANN, controller="somebody"): "consent_controller_mismatch",
    }
    assert findings(shop) == wrong


def test_other_controller(shop: Shop) -> None:
    """A send for another company than the policy's own is judged by what that company was allowed."""
    sister = evolve(POLICY.controllers[POLICY.controller], name="sister")
    shop.ledger.publish(evolve(POLICY, version="two", controllers={**POLICY.controllers, "sister": sister}))
    shop.sign_up(BO, controllers=["sister"])
    send(shop, BO, controller="sister")
    assert meaning(shop).unlawful == 0
    index = force(shop, BO)
    assert findings(shop) == {index: "consent_controller_mismatch"}


def test_order_over_time(shop: Shop) -> None:
    """What became of an order is added to what was known of it."""
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    shop.ledger.record(OrderDelivered(BO, order="o1"))
    send(shop, BO, use="safety_recall", order="o1", message=Message(marketing=False, sender_identified=True))
    assert (meaning(shop).judged, meaning(shop).unlawful) == (1, 0)


def test_campaign(shop: Shop) -> None:
    """The campaign that a winner was written about is on record, and no other would have carried it."""
    for happened in (CampaignJoined(BO, campaign="c1", form="campaign"), PrizeDrawn(BO, campaign="c1")):
        shop.ledger.record(happened)
    send(shop, BO, use="campaign_prize", campaign="c1", message=Message(marketing=False, sender_identified=True))
    sent = shop.ledger.history(BO)[-1].facts
    assert sent is not None
    assert (sent["campaign"], meaning(shop).unlawful) == ("c1", 0)
    index = force(shop, BO, use=sent["use"], message=sent["message"], campaign="c2")
    assert findings(shop) == {index: "consent_missing"}


def test_words_that_are_no_names(shop: Shop) -> None:
    """What a message says of itself is written only as a name: a permit neither fails on other words nor keeps them."""
    send(shop, message=evolve(LETTER, product_category="Anna's toys", processor=None, kind="spring mail"))
    facts = shop.ledger.history(ANN)[-1].facts
    assert facts is not None
    assert facts["message"]["product_category"] == "?"
    assert "kind" not in facts["message"]
    assert meaning(shop).unlawful == 0


def test_device(shop: Shop) -> None:
    """Of an address its kind is known while the log says it, and then by the channel: a device is never asked to confirm."""
    device = "device:d1"
    shop.ledger.record(ConsentGiven(device, form="cookies_marketing", evidence=SEEN))
    send(shop, device, use="cookies_marketing")
    assert (meaning(shop).judged, meaning(shop).unlawful) == (1, 0)
    shop.ledger.erase(device, reason="art17", by="dpo")
    assert (meaning(shop).judged, meaning(shop).unlawful) == (1, 0)


def test_released(shop: Shop) -> None:
    """A send to who had the address before is found, and so is one to who has it now and has not spoken."""
    with shop.ledger._store.read() as view:
        before = view.lives(shop.ledger._asking.named(ANN).key)[-1].id
    shop.ledger.record(IdentityReleased(ANN))
    assert findings(shop) == {}
    indices = force(shop), force(shop, id=before)
    assert findings(shop) == dict(zip(indices, ("consent_missing", "unknown_subject"), strict=True))


def test_erased(shop: Shop) -> None:
    """Where facts are gone the sends before are unjudged, also where they were lawful; of others nothing changes."""
    shop.ledger.record(BirthdateLearned(ANN, date=date(1980, 2, 3)))
    shop.sign_up(BO)
    send(shop)
    send(shop, BO)
    assert (meaning(shop).judged, meaning(shop).unjudged) == (2, 0)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    found = meaning(shop)
    assert (found.judged, found.unjudged, found.unlawful) == (1, 1, 0)
    held = shop.ledger.checkpoint()
    report = shop.ledger.verify(checkpoints=[held], meaning=True)
    assert report.level == "meaning"
    assert report.not_checked == ("meaning: 1 sends could not be judged, as facts they rest on are not there",)


def test_erasure_excuses_no_wrong_size(shop: Shop) -> None:
    """That a send named another state of the log than the newest needs no facts about anybody."""
    shop.ledger.record(BirthdateLearned(ANN, date=date(1980, 2, 3)))
    index = force(shop, size=0)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    assert findings(shop) == {index: "wrong_log_size"}


def test_erased_altogether(shop: Shop) -> None:
    """A send whose own facts are gone counts as unjudged."""
    send(shop)
    shop.clock.tick(days=4_000)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    assert (meaning(shop).judged, meaning(shop).unjudged) == (0, 1)


def test_erased_person_parts_only(shop: Shop) -> None:
    """Where only personal parts went, all that rules read is there: an erasure does not wash off an unlawful send."""
    shop.ledger.withdraw(ANN, limited=True)
    index = force(shop)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    assert findings(shop) == {index: "consent_withdrawn"}


def test_sent_after_an_erasure(shop: Shop) -> None:
    """That somebody was erased is itself on record: a send after it is found."""
    shop.ledger.record(BirthdateLearned(ANN, date=date(1980, 2, 3)))
    send(shop)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    index = force(shop)
    assert (findings(shop), meaning(shop).unjudged) == ({index: "erased"}, 1)


def test_allowed_after_an_erasure(shop: Shop) -> None:
    """What may still be sent after an erasure rests on facts of which some are gone."""
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    shop.ledger.record(BirthdateLearned(ANN, date=date(1980, 2, 3)))
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    shop.clock.tick(60)
    send(shop, use="safety_recall", order="o1", message=Message(marketing=False, sender_identified=True))
    assert (meaning(shop).judged, meaning(shop).unjudged) == (0, 1)


def test_linked_to_a_life_before(shop: Shop) -> None:
    """A link that came to light late may lead to an erased life: what is gone of it may have been a stop."""
    shop.ledger.record(BirthdateLearned(ANN, date=date(1980, 2, 3)))
    before = shop.clock()
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    shop.clock.tick(60)
    shop.sign_up(ANN)
    shop.sign_up(BO)
    send(shop, BO)
    shop.ledger.record(IdentityLinked(BO, other=ANN, occurred_at=before))
    send(shop, BO)
    assert (meaning(shop).judged, meaning(shop).unjudged) == (1, 1)


def test_erasure_that_names_one_of_two(shop: Shop) -> None:
    """An erasure counts for linked addresses too, whomever it names."""
    shop.sign_up(BO)
    linked = shop.ledger.record(IdentityLinked(ANN, other=BO)).index
    send(shop, BO)
    born = shop.ledger.record(BirthdateLearned(ANN, date=date(1980, 2, 3))).index
    assert linked < born
    with shop.ledger._writing.appending() as recorder:
        id = recorder.view.lives(shop.ledger._asking.named(ANN).key)[-1].id
        said = {"occurred_at": recorder.time, "reason": "tidying", "by": "it", "address": id}
        recorder.append("part.erased", {**said, "parts": [[born, "facts"]]})
        recorder.changes.erase_parts.append((born, "facts"))
    assert (meaning(shop).judged, meaning(shop).unjudged) == (0, 1)


def test_linked_with_the_erased(shop: Shop) -> None:
    """Who was linked with an erased address is unjudged too."""
    shop.ledger.record(BirthdateLearned(ANN, date=date(1980, 2, 3)))
    shop.sign_up(BO)
    shop.ledger.record(IdentityLinked(ANN, other=BO))
    send(shop, BO)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    assert (meaning(shop).judged, meaning(shop).unjudged) == (0, 1)


def test_came_back(shop: Shop) -> None:
    """Who comes back after an erasure is judged by what the log no longer says: the send says so, and is unjudged."""
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    shop.clock.tick(60)
    shop.sign_up(ANN)
    send(shop)
    facts = shop.ledger.history(ANN)[-1].facts
    assert facts is not None
    assert facts["returned"] is True
    assert (meaning(shop).judged, meaning(shop).unjudged) == (0, 1)


def test_introduction_is_gone(tmp_path: Path) -> None:
    """An entry of the same transaction whose facts were erased stands between size and send as before."""
    shop = Shop(mode="observe")
    shop.sign_up(BO)
    assert list(shop.ledger.permits([ANN, BO], **ASKED)) == [ANN, BO]
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    with shop.ledger._store.read() as view:
        imported = next(one for one in view.entries() if b"\ncontact.imported\n" in one.leaf)
    assert imported.parts["facts"] is None
    found = meaning(shop)
    assert (found.judged, found.unjudged, found.unlawful) == (1, 1, 0)


def test_rows_beside_the_log_hide_nothing(tmp_path: Path) -> None:
    """Who takes a withdrawal out of what checks read has not taken it out of the log."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db")
    shop.sign_up(ANN)
    withdrawn = shop.ledger.withdraw(ANN, limited=True).index
    shop.steal(f"DELETE FROM consentlib_about WHERE idx = {withdrawn}")
    index = force(shop)
    assert findings(shop) == {index: "consent_withdrawn"}
    shop.ledger.close()


def hidden(shop: Shop, folder: Path, index: int, value: Any) -> Path:
    """An export in which the facts of an entry are something else."""

    def change(lines: list[dict[str, Any]]) -> None:
        lines[index]["parts"]["facts"] = value

    return rewrite(exported(shop, folder), folder / "partial.zip", change)


def test_withheld(shop: Shop, tmp_path: Path) -> None:
    """From an entry on whose facts are withheld nobody can tell of whom it spoke: what follows is unjudged."""
    send(shop)
    withdrawn = shop.ledger.withdraw(ANN, limited=True).index
    force(shop)
    verifier = Verifier.parse(shop.ledger.verifier)
    report = verify_file(hidden(shop, tmp_path, withdrawn, "withheld"), verifiers=[verifier], meaning=True)
    assert report.meaning is not None
    assert (report.meaning.judged, report.meaning.unjudged, report.meaning.unread) == (1, 1, withdrawn)
    assert report.level == "signature"
    assert any(gap.startswith(f"meaning: from entry {withdrawn} on") for gap in report.not_checked)


def test_withheld_person(shop: Shop, tmp_path: Path) -> None:
    """Where only personal parts are withheld all is judged, but the level is not reached: not everything was shown."""
    send(shop)

    def change(lines: list[dict[str, Any]]) -> None:
        lines[1]["parts"]["person"] = "withheld"

    held = open_checkpoint(shop.ledger.checkpoint(), [Verifier.parse(shop.ledger.verifier)], verify)
    partial = rewrite(exported(shop, tmp_path), tmp_path / "partial.zip", change)
    for export, level in ((tmp_path / "audit.zip", "meaning"), (partial, "history")):
        report = verify_file(export, verifiers=[Verifier.parse(shop.ledger.verifier)], checkpoints=[held], meaning=True)
        assert report.meaning is not None
        assert (report.level, report.meaning.judged, report.meaning.unjudged) == (level, 1, 0)


@pytest.mark.parametrize("facts", [{"v": 2}, {"address": 7}, {"use": {}}, {"message": {"colour": 1}}, {"channel": ["email"]}])
def test_unreadable(shop: Shop, facts: dict[str, Any]) -> None:
    """Facts that this library can't read, in a log that holds, are no crash and no ground: what follows is unjudged."""
    send(shop)
    with shop.ledger._writing.appending() as recorder:
        index = recorder.head.size
        recorder._fold = lambda *_: None  # type: ignore[method-assign]  # whoever wrote this did not fold it
        recorder.append("message.sent", {"occurred_at": recorder.time, "size": index, **SENT, "address": "0" * 32, **facts})
    send(shop)
    found = meaning(shop)
    assert (found.judged, found.unjudged, found.unread) == (1, 2, index)


def test_unreadable_failure(shop: Shop) -> None:
    """What takes back a send that has no number takes back nothing, and ends the judging."""
    send(shop)
    with shop.ledger._writing.appending() as recorder:
        id = recorder.view.lives(shop.ledger._asking.named(ANN).key)[-1].id
        failed = {"use": "marketing_newsletter", "channel": "email", "entry": [3], "address": id}
        index = recorder.append("message.failed", {"occurred_at": recorder.time, **failed})
    send(shop)
    found = meaning(shop)
    assert (found.judged, found.unjudged, found.taken_back, found.unread) == (1, 1, 0, index)


def test_forged_facts_do_not_pass(shop: Shop) -> None:
    """A withdrawal in a later version's form is not skipped over: the send after it is not lawful."""
    with shop.ledger._writing.appending() as recorder:
        id = recorder.view.lives(shop.ledger._asking.named(ANN).key)[-1].id
        recorder.append("consent.withdrawn", {"v": 2, "occurred_at": recorder.time, "address": id})
    force(shop)
    report = shop.ledger.verify(meaning=True, checkpoints=[shop.ledger.checkpoint()])
    assert report.meaning is not None
    assert (report.level, report.meaning.judged, report.meaning.unjudged, report.meaning.unread) == ("history", 0, 1, 3)


def test_corrected(shop: Shop) -> None:
    """A grant that a correction took out carries what was sent before, as known then, and nothing after."""
    asked = shop.ledger.record(ConsentGiven(BO, form="checkout", evidence=SEEN, address_verified=True, event_id="wrong"))
    if not shop.newsletter(BO):
        shop.ledger.record(ConsentConfirmed.of(asked))
    send(shop, BO)
    shop.ledger.record(EntryCorrected(corrects="wrong", why="somebody else"))
    assert meaning(shop).unlawful == 0
    reason = shop.newsletter(BO).reason
    index = force(shop, BO)
    assert findings(shop) == {index: reason}


def test_many_findings(shop: Shop) -> None:
    """All are counted, the first hundred are named, by entry and reason."""
    shop.ledger.withdraw(ANN, limited=True)
    indices = [force(shop) for _ in range(130)]
    found = meaning(shop)
    assert found.unlawful == 130
    assert [one.index for one in found.findings] == indices[:100]


FOOTER: dict[str, Any] = {"unsubscribe": True, "sender_identified": True}
PEOPLE = [ANN, BO, "+4512345678"]
_stops = st.sampled_from(
    [ConsentWithdrawn, ConsentRefused, ObjectionRaised, ConsentInvalidated, RestrictionSet, RestrictionLifted, IdentityReleased]
)
_who = st.sampled_from(PEOPLE)
_steps = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 60, 86_400, 40 * 86_400, 200 * 86_400])),
    st.tuples(st.just("give"), _who, st.sampled_from(["footer", "checkout", "survey"]), st.booleans()),
    st.tuples(st.just("confirm"), _who),
    st.tuples(st.just("stop"), _who, _stops, st.sampled_from([0, 0, 3])),
    st.tuples(st.just("order"), _who, st.sampled_from([OrderPlaced, OrderDelivered]), st.sampled_from(["o1", "o2"])),
    st.tuples(st.just("link"), _who, _who, st.booleans()),
    st.tuples(st.just("send"), _who, st.sampled_from(["marketing_newsletter", "survey", "delivery"])),
    st.tuples(st.just("send"), _who, st.just("marketing_newsletter")),
    st.tuples(st.just("erase"), _who),
)


def play(shop: Shop, step: Any) -> None:
    """Let one thing happen, if it can."""
    what, *said = step
    ledger, now = shop.ledger, shop.clock()
    with suppress(ConsentlibError):
        if what == "wait":
            shop.clock.tick(said[0])
        elif what == "give":
            ledger.record(ConsentGiven(said[0], form=said[1], evidence=SEEN, address_verified=said[2]))
        elif what == "confirm":
            ledger.record(ConsentConfirmed(said[0]))
        elif what == "stop":
            ledger.record(said[1](said[0], occurred_at=now - said[2] * 86_400_000))
        elif what == "order":
            ledger.record(said[1](said[0], order=said[2]))
        elif what == "link" and said[0] != said[1]:
            moved = AddressChanged(said[0], to=said[1], by="subject", address_verified=True)
            ledger.record(moved if said[2] else IdentityLinked(said[0], other=said[1]))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_steps, max_size=25), st.booleans())
def test_random_histories(steps: list[Any], erasing: bool) -> None:
    """Each send that a permit made is lawful, and each forced in after a denial is found with the reason `check` gave.

    Where somebody was erased a send may be unjudged instead; never is one that a permit made unlawful, or one forced in lawful.
    """
    shop = Shop()
    made, forced = 0, {}
    for step in steps:
        if step[0] == "erase" and erasing:
            shop.ledger.erase(step[1], reason="art17", by="dpo")
            shop.clock.tick(1)  # who comes back in the same millisecond is denied, and by nothing that is left in the log
        elif step[0] != "send":
            play(shop, step)
        else:
            asked = {"use": step[2], "message": Message(marketing=step[2] != "delivery", **FOOTER), "order": "o1"}
            if step[2] == "survey":
                asked["message"] = Message(marketing=False, branded=False, **FOOTER)
            try:
                send(shop, step[1], **asked)
                made += 1
            except NotAllowedError as error:
                if shop.ledger.history(step[1]):
                    said = {name: value for name, value in asdict(asked["message"]).items() if value is not None}
                    index = force(shop, step[1], use=step[2], channel=error.decision.channel, message=said, order="o1")
                    forced[index] = error.decision.reason
    found = meaning(shop)
    if erasing:
        assert {one.index for one in found.findings} <= forced.keys()
        assert found.judged - found.unlawful <= made
        assert found.judged + found.unjudged >= found.unlawful
    else:
        assert {one.index: one.reason for one in found.findings} == forced
        assert (found.judged, found.unjudged) == (made + len(forced), 0)
