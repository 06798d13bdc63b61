"""What happened: frozen events, past tense, one class a kind.

Every event has a `subject` (an address such as `anna@example.dk` or `phone:+4512345678`; `-` where it is about nobody),
`occurred_at` (when the person spoke: a datetime with zone or integer milliseconds since the epoch; None is the ledger's
clock) and an `event_id` (idempotency; None makes one).

A `Stop` is never refused: whatever can't be read in it is taken in the widest sense, because a missing scope never narrows
a stop. All other kinds raise `EventError` for anything that is not exactly of the type and form stated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date as Date
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeVar
from unicodedata import is_normalized, normalize

from attrs import Converter, evolve, field, fields, frozen

from consentlib.addresses import as_text
from consentlib.codec import millis
from consentlib.errors import EventError, TimeError
from consentlib.terms import OBJECTIONS

NOBODY: Final = "-"
ALL: Final = "all"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/+-]{0,127}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST_TEXT: Final = 4_000
_MOST_NAMES: Final = 64

Names = tuple[str, ...]
Scope = Names | Literal["all"]


# Reading of single values. Each takes the field's name, so that the error can say where.


def _found(value: object) -> str:
    return f"`{type(value).__name__}`"


def _name(value: Any, where: str) -> str:
    if type(value) is not str:
        raise EventError(f"expected text in `{where}`, found {_found(value)}", field=where)
    if _NAME.fullmatch(value) is None:
        raise EventError(
            f"expected a name of 1 to 128 letters, digits and `_.:/+-` in `{where}`, found other text", field=where
        )
    return value


def _text(value: Any, where: str) -> str:
    if type(value) is not str:
        raise EventError(f"expected text in `{where}`, found {_found(value)}", field=where)
    if not 0 < len(value) <= _LONGEST_TEXT:
        raise EventError(f"expected 1 to {_LONGEST_TEXT} characters in `{where}`, found {len(value)}", field=where)
    if not value.isascii():
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise EventError(f"expected Unicode text in `{where}`, found a lone surrogate", field=where)
        if not is_normalized("NFC", value):
            return normalize("NFC", value)
    return value


def _flag(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise EventError(f"expected true or false in `{where}`, found {_found(value)}", field=where)
    return value


def _names(value: Any, where: str) -> Names:
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise EventError(f"expected a list of names in `{where}`, found {_found(value)}", field=where)
    if len(value) > _MOST_NAMES:
        raise EventError(f"expected at most {_MOST_NAMES} names in `{where}`, found {len(value)}", field=where)
    return tuple(dict.fromkeys(_name(one, where) for one in (value if isinstance(value, (list, tuple)) else sorted(value))))


def _time(value: Any, where: str) -> int:
    try:
        return millis(value)
    except TimeError as error:
        raise EventError(f"{error} in `{where}`", field=where) from None


def _subject(value: Any, where: str) -> str:
    if type(value) is not str:
        raise EventError(f"expected an address as `{where}`, found {_found(value)}", field=where)
    if not 0 < len(value) <= 1_000:
        raise EventError(f"expected an address of 1 to 1000 characters as `{where}`, found {len(value)}", field=where)
    return value


def _addresses(value: Any, where: str) -> Names:
    if isinstance(value, str) or not isinstance(value, (list, tuple)) or len(value) > 16:
        raise EventError(f"expected a list of at most 16 addresses in `{where}`, found {_found(value)}", field=where)
    return tuple(_subject(one, where) for one in value)


def _date(value: Any, where: str) -> Date:
    if type(value) is Date:
        return value
    try:
        if type(value) is str and len(value) == 10:
            return Date.fromisoformat(value)
    except ValueError:
        pass
    raise EventError(f"expected a date such as `1990-05-31` in `{where}`, found {_found(value)}", field=where)


def _digests(value: Any, where: str) -> Names:
    if not isinstance(value, (list, tuple)) or not all(type(one) is str and _SHA256.fullmatch(one) for one in value):
        raise EventError(f"expected a list of SHA-256 digests in hex in `{where}`, found something else", field=where)
    return tuple(value)


_Reader = Callable[[Any, str], Any]


def _is(
    read: _Reader,
    name: str,
    default: Any = ...,
    *,
    person: bool = False,
    positional: bool = False,
    alias: str | None = None,
) -> Any:
    """A field read strictly; optional where a default is given. `person` puts it in the erasable personal part."""
    options: dict[str, Any] = {} if default is ... else {"default": default}
    known = object() if default is ... else default

    def convert(value: Any) -> Any:
        return value if value is known else read(value, name)  # most fields of most events are left out

    return field(
        converter=Converter(convert),  # made once a field; from a bare function attrs makes one for each class that inherits it
        kw_only=not positional,
        alias=alias,
        repr=not person,
        metadata={"person": person},
        **options,
    )


def _else(read: _Reader, otherwise: Any) -> _Reader:
    """A reader for stops: what can't be read becomes the widest reading."""

    def lenient(value: Any, where: str) -> Any:
        try:
            return read(value, where)
        except Exception:  # noqa: BLE001  # a stranger's object may raise anything when looked at, and a stop is never refused
            return otherwise

    return lenient


def _recent(value: Any, where: str) -> int:
    """A time at which somebody may have spoken. Before 1990 it is a mistake (seconds, zero), and would void a stop."""
    if (said := _time(value, where)) < _EARLIEST:
        raise EventError(f"expected a time after 1990 in `{where}`, found an earlier one", field=where)
    return said


_EARLIEST: Final = 631_152_000_000


def _scope(value: Any, where: str) -> Scope:
    return ALL if value is None or value == ALL else _names(value, where) or ALL


def _one_of(*allowed: str) -> _Reader:
    def read(value: Any, where: str) -> str:
        if type(value) is not str or value not in allowed:
            listed = ", ".join(f"`{one}`" for one in allowed)
            raise EventError(f"expected one of {listed} in `{where}`, found {_found(value)}", field=where)
        return value

    return read


def _any_subject(value: Any, where: str) -> str:
    return value if type(value) is str else as_text(value)


# Values inside events.


@frozen
class FormState:
    """How a consent form stood when it was answered (GDPR 4(11), 7; recital 32). A flag left out spoils the consent."""

    active: bool | None = _is(_flag, "active", None)
    prechecked: bool | None = _is(_flag, "prechecked", None)
    bundled_in_terms: bool | None = _is(_flag, "bundled_in_terms", None)
    conditional_on_purchase: bool | None = _is(_flag, "conditional_on_purchase", None)
    informed_of_withdrawal: bool | None = _is(_flag, "informed_of_withdrawal", None)

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

    ip: str | None = _is(_text, "ip", None, person=True)
    user_agent: str | None = _is(_text, "user_agent", None, person=True)
    url: str | None = _is(_text, "url", None, person=True)
    session: str | None = _is(_text, "session", None, person=True)
    reference: str | None = _is(_text, "reference", None, person=True)
    attachments: Names = _is(_digests, "attachments", (), person=True)

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
        raise EventError(f"expected `Evidence` in `{where}`, found {_found(value)}", field=where)
    return value


def _form(value: Any, where: str) -> str | FormState:
    return value if isinstance(value, FormState) else _name(value, where)


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


@frozen(eq=False, repr=False)
class Event:
    """Common fields of all events. `kind` and `effect` belong to the class. Equal are events of one class and content."""

    kind: ClassVar[str]
    effect: ClassVar[str]

    subject: str = _is(_subject, "subject", positional=True, person=True)
    occurred_at: int | None = _is(_time, "occurred_at", None)
    event_id: str | None = _is(_name, "event_id", None, person=True)

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

    subject: str = _is(_any_subject, "subject", positional=True, person=True)
    occurred_at: int | None = _is(_else(_recent, None), "occurred_at", None)
    event_id: str | None = _is(_else(_name, None), "event_id", None, person=True)
    evidence: Evidence | None = _is(_else(_evidence, None), "evidence", None, person=True)
    raw: str | None = _is(_else(_text, None), "raw", None, person=True)


@_kind("consent.requested")
@frozen(eq=False, repr=False)
class ConsentRequested(Event):
    """A person was asked; no answer yet."""

    uses: Names = _is(_names, "uses", ())
    channels: Names = _is(_names, "channels", ())
    text_version: str | None = _is(_name, "text_version", None)


@_kind("consent.given", "+")
@frozen(eq=False, repr=False)
class ConsentGiven(Event):
    """A person said yes (GDPR 4(11), 7). `form` names a form of the policy, or states how the form stood.

    With a declared form, uses, channels and text come from the policy; `uses` and `channels` may name fewer. Without
    `evidence` the consent is on record, and unproven. `addresses` lists further contact points of the same act.
    """

    form: str | FormState | None = _is(_form, "form", None)
    evidence: Evidence | None = _is(_evidence, "evidence", None, person=True)
    uses: Names = _is(_names, "uses", ())
    channels: Names = _is(_names, "channels", ())
    text_version: str | None = _is(_name, "text_version", None)
    controllers: Names = _is(_names, "controllers", ())
    ref: str | None = _is(_name, "ref", None)
    address_verified: bool = _is(_flag, "address_verified", False)
    given_by: str = _is(_one_of("self", "parent"), "given_by", "self")
    addresses: Names = _is(_addresses, "addresses", (), person=True)
    valid_until: int | None = _is(_time, "valid_until", None)
    partner: str | None = _is(_name, "partner", None)
    processors: Names = _is(_names, "processors", ())
    incentive: str | None = _is(_text, "incentive", None)
    during_restriction: bool = _is(_flag, "during_restriction", False)


@_kind("consent.confirmed", "+")
@frozen(eq=False, repr=False)
class ConsentConfirmed(Event):
    """A double opt-in was answered. `ref` is the grant's; None is the newest grant of this address."""

    ref: str | None = _is(_name, "ref", None)
    evidence: Evidence | None = _is(_evidence, "evidence", None, person=True)

    @classmethod
    def of(cls, asked: Any, *, evidence: Evidence | None = None, occurred_at: datetime | int | None = None) -> ConsentConfirmed:
        """The confirmation of a grant, from what `record` returned for it."""
        said = None if occurred_at is None else millis(occurred_at)
        return cls(asked.subject, ref=asked.ref, evidence=evidence, occurred_at=said)


@_kind("consent.refused", "-")
@frozen(eq=False, repr=False)
class ConsentRefused(Stop):
    """A person was asked and said no; after a grant it works as a withdrawal."""

    uses: Scope = _is(_else(_scope, ALL), "uses", ALL)
    channels: Scope = _is(_else(_scope, ALL), "channels", ALL)


@_kind("consent.withdrawn", "-")
@frozen(eq=False, repr=False)
class ConsentWithdrawn(Stop):
    """A person took consent back (GDPR 7(3)). Unless `limited`, it is an objection to direct marketing too."""

    uses: Scope = _is(_else(_scope, ALL), "uses", ALL)
    channels: Scope = _is(_else(_scope, ALL), "channels", ALL)
    via: str | None = _is(_else(_name, None), "via", None)
    controller: str | None = _is(_else(_name, None), "controller", None)
    limited: bool = _is(_else(_flag, False), "limited", False)
    text: str | None = _is(_else(_text, None), "text", None, person=True)


@_kind("consent.invalidated", "-")
@frozen(eq=False, repr=False)
class ConsentInvalidated(Stop):
    """A grant was found not valid, by the shop or an authority. Without `ref` every grant so far is meant."""

    ref: str | None = _is(_else(_name, None), "ref", None)
    why: str | None = _is(_else(_name, None), "why", None)


@_kind("objection.raised", "-")
@frozen(eq=False, repr=False)
class ObjectionRaised(Stop):
    """An objection (GDPR 21). Unclear words are read as the wider objection, to direct marketing."""

    objection: str = _is(_else(_one_of(*OBJECTIONS), "direct_marketing"), "kind", "direct_marketing", alias="kind")
    channels: Scope = _is(_else(_scope, ALL), "channels", ALL)
    via: str | None = _is(_else(_name, None), "via", None)
    text: str | None = _is(_else(_text, None), "text", None, person=True)


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

    order: str = _is(_name, "order")
    product_category: str | None = _is(_name, "product_category", None)
    optout_offered: bool = _is(_flag, "optout_offered", False)
    optout_declined: bool = _is(_flag, "optout_declined", False)


@_kind("order.delivered")
@frozen(eq=False, repr=False)
class OrderDelivered(Event):
    """The goods arrived."""

    order: str = _is(_name, "order")


@_kind("order.cancelled")
@frozen(eq=False, repr=False)
class OrderCancelled(Event):
    """The order was called off."""

    order: str = _is(_name, "order")


@_kind("order.closed")
@frozen(eq=False, repr=False)
class OrderClosed(Event):
    """The order is settled in full."""

    order: str = _is(_name, "order")


@_kind("negotiation.opened", "+")
@frozen(eq=False, repr=False)
class NegotiationOpened(Event):
    """A person asked for a quote or began to buy; a ground only where the profile says so (PECR 22(3))."""

    product_category: str | None = _is(_name, "product_category", None)
    optout_offered: bool = _is(_flag, "optout_offered", False)
    optout_declined: bool = _is(_flag, "optout_declined", False)


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

    order: str = _is(_name, "order")


@_kind("complaint.closed")
@frozen(eq=False, repr=False)
class ComplaintClosed(Event):
    """The complaint is settled."""

    order: str = _is(_name, "order")


@_kind("return.opened", "+")
@frozen(eq=False, repr=False)
class ReturnOpened(Event):
    """A return or exchange was registered."""

    order: str = _is(_name, "order")


@_kind("return.closed")
@frozen(eq=False, repr=False)
class ReturnClosed(Event):
    """The return or exchange is settled."""

    order: str = _is(_name, "order")


@_kind("campaign.joined", "+")
@frozen(eq=False, repr=False)
class CampaignJoined(Event):
    """A person took part in a campaign: consent for that campaign, and for nothing else."""

    campaign: str = _is(_name, "campaign")
    form: str | FormState | None = _is(_form, "form", None)


@_kind("campaign.ended")
@frozen(eq=False, repr=False)
class CampaignEnded(Event):
    """A campaign is over."""

    subject: str = _is(_subject, "subject", NOBODY, positional=True, person=True)
    campaign: str = _is(_name, "campaign")


@_kind("prize.drawn")
@frozen(eq=False, repr=False)
class PrizeDrawn(Event):
    """The subject won."""

    campaign: str = _is(_name, "campaign")


@_kind("contact.imported")
@frozen(eq=False, repr=False)
class ContactImported(Event):
    """An address came from elsewhere. An address, not a ground."""

    source: str = _is(_name, "source")


@_kind("identity.linked")
@frozen(eq=False, repr=False)
class IdentityLinked(Event):
    """Two addresses are one person's. Stops travel both ways, grants do not."""

    other: str = _is(_subject, "other", person=True)


@_kind("identity.address_changed")
@frozen(eq=False, repr=False)
class AddressChanged(Event):
    """A person moved from `subject` to `to`. Grants follow only where the person said so and verified the new address."""

    to: str = _is(_subject, "to", person=True)
    by: str = _is(_one_of("subject", "staff"), "by")
    address_verified: bool = _is(_flag, "address_verified", False)


@_kind("identity.released", "-")
@frozen(eq=False, repr=False)
class IdentityReleased(Stop):
    """The address is no longer this person's. What came before is another person's."""


@_kind("subject.birthdate")
@frozen(eq=False, repr=False)
class BirthdateLearned(Event):
    """The person's date of birth."""

    date: Date = _is(_date, "date", person=False)


@_kind("text.published")
@frozen(eq=False, repr=False)
class TextPublished(Event):
    """A consent text came into use. A material one supersedes consents of `uses` given on the text it replaces."""

    subject: str = _is(_subject, "subject", NOBODY, positional=True, person=True)
    text_version: str = _is(_name, "text_version")
    supersedes: str | None = _is(_name, "supersedes", None)
    material: bool = _is(_flag, "material", False)
    uses: Names = _is(_names, "uses", ())


@_kind("register.checked")
@frozen(eq=False, repr=False)
class RegisterChecked(Event):
    """A public register of people who decline marketing was looked at (MFL 10(4))."""

    register: str = _is(_name, "register")
    listed: bool = _is(_flag, "listed")


@_kind("request.received", "+")
@frozen(eq=False, repr=False)
class RequestReceived(Event):
    """A person used a right (GDPR 15 to 22)."""

    right: str = _is(_name, "right")


@_kind("message.sent")
@frozen(eq=False, repr=False)
class MessageSent(Event):
    """A message was handed over, or is about to be. Feeds the passivity clock of its use, channel and address."""

    use: str = _is(_name, "use")
    channel: str | None = _is(_name, "channel", None)


@_kind("message.failed")
@frozen(eq=False, repr=False)
class MessageFailed(Event):
    """The newest message of this use and channel was not handed over after all."""

    use: str = _is(_name, "use")
    channel: str | None = _is(_name, "channel", None)


@_kind("erasure.completed", "-")
@frozen(eq=False, repr=False)
class ErasureCompleted(Stop):
    """Everything before it was erased. In case files; a ledger erases with `erase`."""


@_kind("entry.corrected")
@frozen(eq=False, repr=False)
class EntryCorrected(Event):
    """The entry with the event id `corrects` was entered in error. Never undoes a stop by the person."""

    subject: str = _is(_subject, "subject", NOBODY, positional=True, person=True)
    corrects: str = _is(_name, "corrects", person=True)
    why: str = _is(_text, "why", person=True)
