"""What happened: frozen events, past tense, one class a kind.

Every event has a `subject` (an address such as `anna@example.dk` or `phone:+4512345678`; `-` where it is about nobody),
`occurred_at` (when the person spoke: a datetime with zone or integer milliseconds since the epoch, from 2000 on; None is the
ledger's clock) and an `event_id` (idempotency; None makes one).

A `Stop` is never refused: whatever can't be read in it is taken in the widest sense, because a missing scope never narrows
a stop. All other kinds raise `EventError` for anything that is not exactly of the type and form stated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date as Date
from datetime import datetime
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from attrs import evolve, fields, frozen

from consentlib.errors import EventError
from consentlib.fields import (
    ALL,
    Names,
    Scope,
    any_subject,
    checked,
    found_type,
    one_of,
    otherwise,
    read_addresses,
    read_date,
    read_digests,
    read_flag,
    read_moment,
    read_name,
    read_names,
    read_reach,
    read_said,
    read_said_of_stop,
    read_subject,
    read_text,
)
from consentlib.terms import OBJECTIONS

NOBODY: Final = "-"


# Values inside events.


@frozen
class FormState:
    """How a consent form stood when it was answered (GDPR 4(11), 7; recital 32). A flag left out spoils the consent."""

    active: bool | None = checked(read_flag, "active", None)
    prechecked: bool | None = checked(read_flag, "prechecked", None)
    bundled_in_terms: bool | None = checked(read_flag, "bundled_in_terms", None)
    conditional_on_purchase: bool | None = checked(read_flag, "conditional_on_purchase", None)
    informed_of_withdrawal: bool | None = checked(read_flag, "informed_of_withdrawal", None)

    @property
    def faults(self) -> Names:
        """The names of the flags that spoil a consent given on this form."""
        return faults_of(self)


_SOUND: Final = (
    ("active", True),
    ("prechecked", False),
    ("bundled_in_terms", False),
    ("conditional_on_purchase", False),
    ("informed_of_withdrawal", True),
)


def faults_of(form: Any) -> Names:
    """The flags that spoil a consent given on a form, be it a `FormState` or one that a policy declares."""
    return tuple([flag for flag, wanted in _SOUND if getattr(form, flag) is not wanted])


@frozen
class Evidence:
    """What the shop holds to show that a person spoke (GDPR 7(1)). All of it is personal and stays out of the facts."""

    ip: str | None = checked(read_text, "ip", None, person=True)
    user_agent: str | None = checked(read_text, "user_agent", None, person=True)
    url: str | None = checked(read_text, "url", None, person=True)
    session: str | None = checked(read_text, "session", None, person=True)
    reference: str | None = checked(read_text, "reference", None, person=True)
    attachments: Names = checked(read_digests, "attachments", (), person=True)

    def __attrs_post_init__(self) -> None:
        if not any((self.ip, self.user_agent, self.url, self.session, self.reference, self.attachments)):
            raise EventError("expected at least one piece of evidence, found none", field="evidence")

    def truncated(self) -> Evidence:
        """The same with the last octet of an IPv4, or the last 80 bits of an IPv6 address, set to zero."""
        from ipaddress import ip_address, ip_network

        if self.ip is None:
            return self
        try:
            version = ip_address(self.ip).version
        except ValueError:
            raise EventError("expected an IP address in `ip`, found other text", field="ip") from None
        network = ip_network((self.ip, 24 if version == 4 else 48), strict=False)
        return evolve(self, ip=str(network.network_address))


def _evidence(value: Any, where: str) -> Evidence:
    if not isinstance(value, Evidence):
        raise EventError(f"expected `Evidence` in `{where}`, found {found_type(value)}", field=where)
    return value


def _form(value: Any, where: str) -> str | FormState:
    return value if isinstance(value, FormState) else read_name(value, where)


# The events. `kind` is the wire kind; `effect` is + (may allow), - (a stop) or = (neither), as in the design's table.
# Equality, hash and repr are inherited from `Event`: made anew for each class they were two thirds of this module's import.

_kinds: dict[str, type[Event]] = {}
KINDS: Final[Mapping[str, type[Event]]] = MappingProxyType(_kinds)
"""Every kind of event and its class."""

E = TypeVar("E", bound="type[Event]")


def _kind(name: str, effect: str = "=") -> Callable[[E], E]:
    def register(cls: E) -> E:
        cls.kind = name
        cls.effect = effect
        _kinds[name] = cls
        return cls

    return register


class Slot(NamedTuple):
    """A field of an event, for those who walk over all of them."""

    name: str
    alias: str
    default: Any
    person: bool


def _slots(cls: Any) -> tuple[Slot, ...]:
    return tuple(Slot(one.name, one.alias, one.default, one.metadata["person"]) for one in fields(cls))


slots: Final[Callable[[Any], tuple[Slot, ...]]] = cache(_slots)
"""The fields of an event class, of `Evidence` or `FormState`, in order."""


def _reader(cls: Any) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[Slot, ...], tuple[Any, ...]]:
    found = slots(cls)
    return attrgetter(*(one.name for one in found)), found, tuple(one.default for one in found)


_reading: Final[Callable[[Any], tuple[Callable[[Any], tuple[Any, ...]], tuple[Slot, ...], tuple[Any, ...]]]] = cache(_reader)


def stated(value: Any) -> list[tuple[Slot, Any]]:
    """The fields of an event, of `Evidence` or `FormState` that differ from their defaults, in order, with their values."""
    get, found, defaults = _reading(type(value))
    return [
        (slot, one)
        for slot, one, default in zip(found, get(value), defaults, strict=True)
        if one is not default and one != default
    ]


@frozen(eq=False, repr=False)
class Event:
    """Common fields of all events. `kind` and `effect` belong to the class. Equal are events of one class and content."""

    kind: ClassVar[str]
    effect: ClassVar[str]

    subject: str = checked(read_subject, "subject", positional=True, person=True)
    occurred_at: int | None = checked(read_said, "occurred_at", None)
    event_id: str | None = checked(read_name, "event_id", None, person=True)

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, one.name) == getattr(other, one.name) for one in slots(type(self)))

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, one.name) for one in slots(type(self)))))

    def __repr__(self) -> str:
        shown = (f"{one.name}={getattr(self, one.name)!r}" for one in slots(type(self)) if not one.person)
        return f"{type(self).__name__}({', '.join(shown)})"


@frozen(eq=False, repr=False)
class Stop(Event):
    """A no. Kept whatever it looks like; `raw` holds the text that could not be read in full."""

    subject: str = checked(any_subject, "subject", positional=True, person=True)
    occurred_at: int | None = checked(read_said_of_stop, "occurred_at", None)
    event_id: str | None = checked(otherwise(read_name, None), "event_id", None, person=True)
    evidence: Evidence | None = checked(otherwise(_evidence, None), "evidence", None, person=True)
    raw: str | None = checked(otherwise(read_text, None), "raw", None, person=True)


@_kind("consent.requested")
@frozen(eq=False, repr=False)
class ConsentRequested(Event):
    """A person was asked; no answer yet."""

    uses: Names = checked(read_names, "uses", ())
    channels: Names = checked(read_names, "channels", ())
    text_version: str | None = checked(read_name, "text_version", None)


@_kind("consent.given", "+")
@frozen(eq=False, repr=False)
class ConsentGiven(Event):
    """A person said yes (GDPR 4(11), 7). `form` names a form of the policy, or states how the form stood.

    With a declared form, uses, channels and text come from the policy; `uses` and `channels` may name fewer. Without
    `evidence` the consent is on record, and unproven. `addresses` lists further contact points of the same act.
    """

    form: str | FormState | None = checked(_form, "form", None)
    evidence: Evidence | None = checked(_evidence, "evidence", None, person=True)
    uses: Names = checked(read_names, "uses", ())
    channels: Names = checked(read_names, "channels", ())
    text_version: str | None = checked(read_name, "text_version", None)
    controllers: Names = checked(read_names, "controllers", ())
    ref: str | None = checked(read_name, "ref", None)
    address_verified: bool = checked(read_flag, "address_verified", False)
    given_by: str = checked(one_of("self", "parent"), "given_by", "self")
    addresses: Names = checked(read_addresses, "addresses", (), person=True)
    valid_until: int | None = checked(read_moment, "valid_until", None)
    partner: str | None = checked(read_name, "partner", None)
    processors: Names = checked(read_names, "processors", ())
    incentive: str | None = checked(read_text, "incentive", None)
    during_restriction: bool = checked(read_flag, "during_restriction", False)


@_kind("consent.confirmed", "+")
@frozen(eq=False, repr=False)
class ConsentConfirmed(Event):
    """A double opt-in was answered. `ref` is the grant's; None is the newest grant of this address."""

    ref: str | None = checked(read_name, "ref", None)
    evidence: Evidence | None = checked(_evidence, "evidence", None, person=True)

    @classmethod
    def of(cls, asked: Any, *, evidence: Evidence | None = None, occurred_at: datetime | int | None = None) -> ConsentConfirmed:
        """The confirmation of a grant, from what `record` returned for it."""
        said: Any = occurred_at  # read by the field, which tells a number from a time
        return cls(asked.subject, ref=asked.ref, evidence=evidence, occurred_at=said)


@_kind("consent.refused", "-")
@frozen(eq=False, repr=False)
class ConsentRefused(Stop):
    """A person was asked and said no; after a grant it works as a withdrawal."""

    uses: Scope = checked(otherwise(read_reach, ALL), "uses", ALL)
    channels: Scope = checked(otherwise(read_reach, ALL), "channels", ALL)


@_kind("consent.withdrawn", "-")
@frozen(eq=False, repr=False)
class ConsentWithdrawn(Stop):
    """A person took consent back (GDPR 7(3)). Unless `limited`, it is an objection to direct marketing too."""

    uses: Scope = checked(otherwise(read_reach, ALL), "uses", ALL)
    channels: Scope = checked(otherwise(read_reach, ALL), "channels", ALL)
    via: str | None = checked(otherwise(read_name, None), "via", None)
    controller: str | None = checked(otherwise(read_name, None), "controller", None)
    limited: bool = checked(otherwise(read_flag, False), "limited", False)
    text: str | None = checked(otherwise(read_text, None), "text", None, person=True)


@_kind("consent.invalidated", "-")
@frozen(eq=False, repr=False)
class ConsentInvalidated(Stop):
    """A grant was found not valid, by the shop or an authority. Without `ref` every grant so far is meant."""

    ref: str | None = checked(otherwise(read_name, None), "ref", None)
    why: str | None = checked(otherwise(read_name, None), "why", None)


@_kind("objection.raised", "-")
@frozen(eq=False, repr=False)
class ObjectionRaised(Stop):
    """An objection (GDPR 21). Unclear words are read as the wider objection, to direct marketing."""

    objection: str = checked(otherwise(one_of(*OBJECTIONS), "direct_marketing"), "kind", "direct_marketing", alias="kind")
    channels: Scope = checked(otherwise(read_reach, ALL), "channels", ALL)
    via: str | None = checked(otherwise(read_name, None), "via", None)
    text: str | None = checked(otherwise(read_text, None), "text", None, person=True)


@_kind("restriction.set", "-")
@frozen(eq=False, repr=False)
class RestrictionSet(Stop):
    """Processing is restricted (GDPR 18(1))."""


@_kind("restriction.lifted")
@frozen(eq=False, repr=False)
class RestrictionLifted(Event):
    """The restriction is over (GDPR 18(3): the person was told before)."""


@_kind("order.placed", "+")
@frozen(eq=False, repr=False)
class OrderPlaced(Event):
    """A contract was made. `optout_*` is the notice at checkout that a soft opt-in needs (ePrivacy 13(2))."""

    order: str = checked(read_name, "order")
    product_category: str | None = checked(read_name, "product_category", None)
    optout_offered: bool = checked(read_flag, "optout_offered", False)
    optout_declined: bool = checked(read_flag, "optout_declined", False)


@_kind("order.delivered")
@frozen(eq=False, repr=False)
class OrderDelivered(Event):
    """The goods arrived."""

    order: str = checked(read_name, "order")


@_kind("order.cancelled")
@frozen(eq=False, repr=False)
class OrderCancelled(Event):
    """The order was called off."""

    order: str = checked(read_name, "order")


@_kind("order.closed")
@frozen(eq=False, repr=False)
class OrderClosed(Event):
    """The order is settled in full."""

    order: str = checked(read_name, "order")


@_kind("negotiation.opened", "+")
@frozen(eq=False, repr=False)
class NegotiationOpened(Event):
    """A person asked for a quote or began to buy; a ground only where the profile says so (PECR 22(3))."""

    product_category: str | None = checked(read_name, "product_category", None)
    optout_offered: bool = checked(read_flag, "optout_offered", False)
    optout_declined: bool = checked(read_flag, "optout_declined", False)


@_kind("basket.abandoned")
@frozen(eq=False, repr=False)
class BasketAbandoned(Event):
    """A basket was left. A ground for nothing."""


@_kind("site.visited")
@frozen(eq=False, repr=False)
class SiteVisited(Event):
    """The site was visited. A ground for nothing."""


@_kind("inquiry.received", "+")
@frozen(eq=False, repr=False)
class InquiryReceived(Event):
    """A person asked something."""


@_kind("inquiry.closed")
@frozen(eq=False, repr=False)
class InquiryClosed(Event):
    """The question was answered."""


@_kind("complaint.opened", "+")
@frozen(eq=False, repr=False)
class ComplaintOpened(Event):
    """A person complained about an order."""

    order: str = checked(read_name, "order")


@_kind("complaint.closed")
@frozen(eq=False, repr=False)
class ComplaintClosed(Event):
    """The complaint is settled."""

    order: str = checked(read_name, "order")


@_kind("return.opened", "+")
@frozen(eq=False, repr=False)
class ReturnOpened(Event):
    """A return or exchange was registered."""

    order: str = checked(read_name, "order")


@_kind("return.closed")
@frozen(eq=False, repr=False)
class ReturnClosed(Event):
    """The return or exchange is settled."""

    order: str = checked(read_name, "order")


@_kind("campaign.joined", "+")
@frozen(eq=False, repr=False)
class CampaignJoined(Event):
    """A person took part in a campaign: consent for that campaign, and for nothing else."""

    campaign: str = checked(read_name, "campaign")
    form: str | FormState | None = checked(_form, "form", None)


@_kind("campaign.ended")
@frozen(eq=False, repr=False)
class CampaignEnded(Event):
    """A campaign is over."""

    subject: str = checked(read_subject, "subject", NOBODY, positional=True, person=True)
    campaign: str = checked(read_name, "campaign")


@_kind("prize.drawn")
@frozen(eq=False, repr=False)
class PrizeDrawn(Event):
    """The subject won."""

    campaign: str = checked(read_name, "campaign")


@_kind("contact.imported")
@frozen(eq=False, repr=False)
class ContactImported(Event):
    """An address came from elsewhere. An address, not a ground."""

    source: str = checked(read_name, "source")


@_kind("identity.linked")
@frozen(eq=False, repr=False)
class IdentityLinked(Event):
    """Two addresses are one person's. Stops travel both ways, grants do not."""

    other: str = checked(read_subject, "other", person=True)


@_kind("identity.address_changed")
@frozen(eq=False, repr=False)
class AddressChanged(Event):
    """A person moved from `subject` to `to`. Grants follow only where the person said so and verified the new address."""

    to: str = checked(read_subject, "to", person=True)
    by: str = checked(one_of("subject", "staff"), "by")
    address_verified: bool = checked(read_flag, "address_verified", False)


@_kind("identity.released", "-")
@frozen(eq=False, repr=False)
class IdentityReleased(Stop):
    """The address is no longer this person's. What came before is another person's."""


@_kind("subject.birthdate")
@frozen(eq=False, repr=False)
class BirthdateLearned(Event):
    """The person's date of birth."""

    date: Date = checked(read_date, "date", person=False)


@_kind("text.published")
@frozen(eq=False, repr=False)
class TextPublished(Event):
    """A consent text came into use. A material one supersedes consents of `uses` given on the text it replaces."""

    subject: str = checked(read_subject, "subject", NOBODY, positional=True, person=True)
    text_version: str = checked(read_name, "text_version")
    supersedes: str | None = checked(read_name, "supersedes", None)
    material: bool = checked(read_flag, "material", False)
    uses: Names = checked(read_names, "uses", ())


@_kind("register.checked")
@frozen(eq=False, repr=False)
class RegisterChecked(Event):
    """A public register of people who decline marketing was looked at (MFL 10(4))."""

    register: str = checked(read_name, "register")
    listed: bool = checked(read_flag, "listed")


@_kind("request.received", "+")
@frozen(eq=False, repr=False)
class RequestReceived(Event):
    """A person used a right (GDPR 15 to 22)."""

    right: str = checked(read_name, "right")


@_kind("message.sent")
@frozen(eq=False, repr=False)
class MessageSent(Event):
    """A message was handed over, or is about to be. Feeds the passivity clock of its use, channel and address."""

    use: str = checked(read_name, "use")
    channel: str | None = checked(read_name, "channel", None)


@_kind("message.failed")
@frozen(eq=False, repr=False)
class MessageFailed(Event):
    """The newest message of this use and channel was not handed over after all."""

    use: str = checked(read_name, "use")
    channel: str | None = checked(read_name, "channel", None)


@_kind("erasure.completed", "-")
@frozen(eq=False, repr=False)
class ErasureCompleted(Stop):
    """Everything before it was erased. In case files; a ledger erases with `erase`."""


@_kind("entry.corrected")
@frozen(eq=False, repr=False)
class EntryCorrected(Event):
    """The entry with the event id `corrects` was entered in error. Never undoes a stop by the person."""

    subject: str = checked(read_subject, "subject", NOBODY, positional=True, person=True)
    corrects: str = checked(read_name, "corrects", person=True)
    why: str = checked(read_text, "why", person=True)
