"""A policy as frozen values: uses, texts, forms, controllers, processors, profiles, parameters.

Pure: nothing here reads a file or a clock. `read.py` makes these values from plain tables, `load.py` makes the tables
from a file. Policies compare and hash by their canonical bytes: those that go into the log and into every decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import Factory, field, fields, frozen, has

from consentlib import codec
from consentlib.errors import PolicyError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

FORMAT: Final = "consentlib-policy/v1"

UNCONDITIONAL: Final = ("consent", "soft_opt_in", "implied_consent")
"""Grounds whose own rules say when they hold; every other ground needs a condition."""

_V = TypeVar("_V")


class FrozenMap(Mapping[str, _V]):
    """A mapping that can't be changed, can be hashed and pickled, and keeps its order."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, _V]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> _V:
        return self._items[key]

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[dict[str, _V]]]:
        return (type(self), (self._items,))


def _map(items: Mapping[str, Any]) -> Mapping[str, Any]:
    return items if isinstance(items, FrozenMap) else FrozenMap(items)


# Metadata `key` is the name in the file and in the canonical bytes where it is not the attribute's; None: not written.
_KEY: Final[dict[str, Any]] = {"key": None}


@frozen(kw_only=True)
class Use:
    """What data is used for: one row of the policy (ISO/IEC TS 27560 and DPV: purpose)."""

    name: str = field(metadata=_KEY)
    label: Mapping[str, str] = field(default={}, converter=_map)
    purpose: Mapping[str, str] = field(default={}, converter=_map)
    aliases: tuple[str, ...] = ()
    grounds: tuple[str, ...] = field(metadata=_KEY)  # resolved; the first that holds carries the use
    declared_grounds: tuple[str, ...] = field(
        default=Factory(lambda self: self.grounds, takes_self=True), metadata={"key": "grounds"}
    )  # as in the file, where the name of a `*_ground` parameter may stand for its value
    conditions: Mapping[str, str] = field(default={}, converter=_map, metadata={"key": "condition"})  # by ground
    window: str | None = None  # the `*_days` parameter of `order_delivered_recently`
    channels: frozenset[str] = frozenset({"any"})
    data: frozenset[str]
    marketing: bool = False  # direct marketing in the sense of GDPR 21(2)
    objections: frozenset[str] = frozenset()  # kinds that stop it; `legitimate_interest` goes without saying
    carried_by: tuple[str, ...] = ()  # uses whose grant carries this one too
    renews: bool = False  # rests on a live grant of another use
    partner: bool = False  # the grant must name the partner
    declare_marketing: bool = True  # the message must say whether it carries marketing
    obligations: tuple[str, ...] = ()
    retention: str  # a parameter, or a key of the policy's `retentions`
    cite: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()

    def permits(self, channel: str) -> bool:
        """Whether the use may go out by `channel`. `none` (nothing is sent) is always permitted."""
        return channel == "none" or channel in self.channels or "any" in self.channels


@frozen(kw_only=True)
class Text:
    """A version of a consent text: what the person was told, in the exact words. `hash` is hex SHA-256 of the wording.

    `published` is milliseconds since the epoch. The canonical JSON of `wording` is what is hashed.
    """

    version: str = field(metadata=_KEY)
    uses: frozenset[str]
    channels: frozenset[str]
    controllers: frozenset[str]
    wording: Mapping[str, str] = field(converter=_map)
    published: int | None = None
    supersedes: str | None = None
    material: bool = False
    hash: str = field(init=False, eq=False)

    @hash.default
    def _hash(self) -> str:
        return sha256(codec.encode(dict(self.wording))).hexdigest()


@frozen(kw_only=True)
class Form:
    """Where consent is collected, described once (GDPR 7; EDPB 05/2020 para 108). `picture` is hex SHA-256."""

    name: str = field(metadata=_KEY)
    text: str
    uses: frozenset[str]
    channels: frozenset[str]
    active: bool
    prechecked: bool
    bundled_in_terms: bool
    conditional_on_purchase: bool
    informed_of_withdrawal: bool
    picture: str | None = None


@frozen(kw_only=True)
class Controller:
    """Who decides (GDPR 4(7)). `name` is the key that events and requests use."""

    name: str = field(metadata=_KEY)
    legal_name: str = field(metadata={"key": "name"})
    contact: str
    brands: tuple[str, ...] = ()


@frozen(kw_only=True)
class Processor:
    """Who works on the controller's behalf (GDPR 28). `country` is ISO 3166-1 alpha-2."""

    key: str = field(metadata=_KEY)
    name: str
    country: str
    safeguard: Mapping[str, str] = field(default={}, converter=_map)  # GDPR 45-46, for countries outside the EEA
    purpose: Mapping[str, str] = field(converter=_map)
    uses: frozenset[str] = frozenset()


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo  # here, because most questions need no calendar

    return ZoneInfo(name)


@frozen(kw_only=True)
class Profile:
    """A country's variants, as data. `zone` is an IANA name; statutory periods are calendar periods there."""

    name: str = field(metadata=_KEY)
    zone: str
    child_age: tuple[tuple[date, int], ...]  # sorted by date of consent; the age to consent alone (GDPR 8)
    soft_opt_in_negotiation: bool = False
    implied: bool = False
    implied_purchase_days: int = 0
    implied_inquiry_days: int = 0
    no_passivity: bool = False

    @property
    def tzinfo(self) -> ZoneInfo:
        """The zone itself."""
        return _zone(self.zone)

    def child_age_on(self, day: date) -> int:
        """The age from which somebody could consent alone on `day`."""
        return next(age for since, age in reversed(self.child_age) if since <= day)


@frozen(kw_only=True)
class Parameters:
    """The numbers and choices a shop may set. A day is exactly 24 hours for consent, a calendar day for statutes."""

    confirm_within_days: int = 7
    double_opt_in: bool = True
    passivity_days: int = 365
    consent_max_age_days: int | None = None
    soft_opt_in_channels: tuple[str, ...] = ()
    soft_opt_in_max_days: int = 730
    complaint_days: int = 730
    withdrawal_days: int = 14
    follow_up_days: int = 60
    follow_up_ground: str = "contract"
    survey_ground: str = "consent"
    survey_days: int = 30
    bookkeeping_years: int = 5
    proof_days: int = 730
    prize_claim_days: int = 30
    clock_skew_seconds: int = 300
    register_max_age_days: int = 92
    suppression_review_days: int = 1095


GROUND_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = FrozenMap(
    {"follow_up_ground": ("contract", "legitimate_interest"), "survey_ground": ("consent", "legitimate_interest")}
)
"""The values a `*_ground` parameter may take."""


@frozen(kw_only=True, eq=False, repr=False)
class Policy:
    """A whole policy in force. Made by `load_policy`, `parse_policy`, `from_canonical` or `overlay`, which check it.

    Mappings are keyed by name and can't be changed. `hash` is hex SHA-256 of `canonical()`.
    `marketing_use` is the use that marketing content in another use is judged as, `tracking_use` the one whose consent allows
    pixels and tracked links (None: nothing does).
    """

    id: str
    version: str
    controller: str
    profile: Profile
    marketing_use: str
    tracking_use: str | None
    promise: str | None
    channels: frozenset[str]
    products: Mapping[str, tuple[str, ...]] = field(converter=_map)
    security: Mapping[str, str] = field(converter=_map)
    parameters: Parameters
    controllers: Mapping[str, Controller] = field(converter=_map)
    processors: Mapping[str, Processor] = field(converter=_map)
    profiles: Mapping[str, Profile] = field(converter=_map)
    data: Mapping[str, Mapping[str, str]] = field(converter=_map)
    retentions: Mapping[str, Mapping[str, str]] = field(converter=_map)
    subjects: Mapping[str, Mapping[str, str]] = field(converter=_map)
    recipients: Mapping[str, Mapping[str, str]] = field(converter=_map)
    texts: Mapping[str, Text] = field(converter=_map)
    forms: Mapping[str, Form] = field(converter=_map)
    uses: Mapping[str, Use] = field(converter=_map)
    hash: str = field(init=False)
    _canonical: bytes = field(init=False)
    _names: Mapping[str, Use] = field(init=False)

    def __attrs_post_init__(self) -> None:
        canonical = codec.encode(self.plain())
        names = {alias: use for use in self.uses.values() for alias in use.aliases} | dict(self.uses)
        object.__setattr__(self, "_canonical", canonical)
        object.__setattr__(self, "hash", sha256(canonical).hexdigest())
        object.__setattr__(self, "_names", FrozenMap(names))

    def use(self, name: str) -> Use | None:
        """The use of that name or alias; None where the policy knows none."""
        return self._names.get(name)

    def canonical(self) -> bytes:
        """The exact bytes that go into the log: canonical JSON of `plain()`."""
        return self._canonical

    def plain(self) -> dict[str, Any]:
        """A fresh dict in the shape of the file, with every default written out."""
        head = ("id", "version", "controller", "marketing_use", "tracking_use", "promise", "channels", "products", "security")
        found = {name: _plain(getattr(self, name)) for name in head if getattr(self, name) is not None}
        tables = {name: _plain(getattr(self, name)) for name in _TABLES}
        return {"format": FORMAT, "policy": {**found, "profile": self.profile.name}, **tables}

    @classmethod
    def from_canonical(cls, data: bytes) -> Policy:
        """The policy of `canonical()` bytes. Raises `FormatError` or `PolicyError` for any others."""
        from consentlib.policy.read import read_policy  # makes the values of this module, so it can't be imported above

        found = read_policy(codec.decode(data), "canonical policy")
        if found.canonical() != data:
            raise PolicyError("expected every default of the policy written out, found some missing")
        return found

    def overlay(self, profile: str | None = None, parameters: Mapping[str, object] = FrozenMap({})) -> Policy:
        """This policy with another profile in force, or other parameters. Raises `PolicyError` for unknown names."""
        from consentlib.policy.read import read_policy  # as above

        if profile in (None, self.profile.name) and not parameters:
            return self
        changed = self.plain()
        changed["policy"]["profile"] = self.profile.name if profile is None else profile
        changed["parameters"].update(parameters)
        return read_policy(changed, "overlay")

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Policy) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Policy(id={self.id!r}, version={self.version!r}, hash={self.hash[:12]!r})"

    def __reduce__(self) -> tuple[Callable[[bytes], Policy], tuple[bytes]]:
        return (Policy.from_canonical, (self._canonical,))


_TABLES: Final = (
    "parameters",
    "controllers",
    "processors",
    "profiles",
    "data",
    "retentions",
    "subjects",
    "recipients",
    "texts",
    "forms",
    "uses",
)


def _plain(value: Any) -> Any:
    if has(type(value)):
        named = ((f.metadata.get("key", f.name), getattr(value, f.name)) for f in fields(type(value)) if f.init)
        return {key: _plain(item) for key, item in named if key is not None and item is not None}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value
