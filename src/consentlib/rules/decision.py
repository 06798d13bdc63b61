"""What is asked, and what is answered."""

from __future__ import annotations

from binascii import b2a_base64
from typing import Any, Final, NamedTuple

from attrs import frozen

from consentlib.codec import show_time
from consentlib.fold import Fold, Order, Stop
from consentlib.reasons import BY_RULE, REASONS, Reason


@frozen
class Message:
    """What the shop says about the message it wants to send. None is undeclared, and undeclared denies where a rule needs it.

    Judged: `marketing` content at all; `unsubscribe` a way to stop in it; `sender_identified`; `product_category` and
    `own_products` for a soft opt-in; `branded` for a survey; `partner` who receives data; `processor` who sends; `tracking`
    pixels or tracked links. `kind` is a label of the shop's own.
    """

    marketing: bool | None = None
    unsubscribe: bool | None = None
    sender_identified: bool | None = None
    product_category: str | None = None
    own_products: bool | None = None
    branded: bool | None = None
    partner: str | None = None
    processor: str | None = None
    kind: str | None = None
    tracking: bool | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("marketing", "unsubscribe", "sender_identified", "own_products", "branded", "tracking"):
            value = getattr(self, name)
            if value is not None and type(value) is not bool:
                raise TypeError(f"expected true, false or nothing in `{name}`, found `{type(value).__name__}`")


UNDECLARED = Message()


class Request(NamedTuple):
    """One question. Times in milliseconds; `at` None is a time that could not be read, `address` None an address so."""

    use: str
    channel: str
    address: str | None
    controller: str
    at: int | None
    known_at: int | None = None
    order: str | None = None
    campaign: str | None = None
    data: tuple[str, ...] = ()
    message: Message = UNDECLARED


class Holdings(NamedTuple):
    """What the ledger holds about a person: the fold of the address asked and those of linked addresses; orders likewise."""

    own: Fold | None
    others: tuple[Fold, ...] = ()
    orders: tuple[Order, ...] = ()
    verified: bool = True
    size: int = 0
    tip: bytes = b""
    unknown: frozenset[str] = frozenset()
    """Facts that can't be established now, by the names rules read them under."""
    elsewhere: tuple[Order, ...] = ()
    """Orders recorded under linked addresses."""
    lost: Stop | None = None
    """A no of everybody, where stops may have been lost."""


class Determinant(NamedTuple):
    """A rule that settled the answer, with the entry it rests on and where the rule comes from. `lacks`: the missing fact."""

    rule: str
    effect: str
    index: int | None  # type: ignore[assignment]  # hides tuple.index
    said: int | None
    cite: tuple[str, ...]
    lacks: str | None = None


@frozen(repr=False, slots=False)  # without slots it is made in half the time
class Decision:
    """The answer to a request. Its truth is the verdict.

    `reason` is one of `reasons.REASONS`; `ground` one of `terms.GROUNDS`, on an allow only. An allow holds if every one of
    `obligations` is met, until `valid_until` (milliseconds; None: until the person's next event), and must not be kept
    past the person's next event. `also_failed` are further reasons that would have denied. `size` and `tip` say which
    log was read. `would_deny` is the reason of a denial that the mode `warn` or `observe` let through.
    """

    allowed: bool
    reason: str
    use: str
    channel: str
    controller: str
    ground: str | None
    at: int | None
    known_at: int | None
    determined_by: tuple[Determinant, ...]
    also_failed: tuple[str, ...]
    obligations: tuple[str, ...]
    valid_until: int | None
    policy: tuple[str, str, str]
    size: int
    tip: bytes
    would_deny: str | None = None

    def __bool__(self) -> bool:
        return self.allowed

    def __repr__(self) -> str:
        verdict = "allow" if self.allowed else "deny"
        return f"<Decision {verdict} {self.reason} use={self.use} channel={self.channel}>"

    @property
    def would_allow_if(self) -> tuple[str, ...]:
        """What would have to be different, nearest first; empty where nothing the shop does could help."""
        if self.allowed:
            return ()
        nearest = self._explained()
        repairs = (nearest.repair, *(REASONS[code].repair for code in self.also_failed))
        return tuple(dict.fromkeys(repair for repair in repairs if repair))

    def text(self, language: str = "en", *, reader: str = "shop") -> str:
        """The reason as a sentence for the shop's staff or, with `reader="person"`, for the person (GDPR 15)."""
        reason = self._explained()
        if reader == "person":
            return reason.person[language]
        missing = next((one.lacks for one in self.determined_by if one.lacks), None)
        return reason.shop[language] + ("" if missing is None else f" {_MISSING[language]}: `{missing}`.")

    def _explained(self) -> Reason:
        rule = self.determined_by[0].rule if self.determined_by else ""
        return BY_RULE.get((self.reason, rule)) or REASONS[self.reason]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, in the public names; times as RFC 3339."""
        return {
            "decision": "allow" if self.allowed else "deny",
            "reason": self.reason,
            "use": self.use,
            "channel": self.channel,
            "controller": self.controller,
            "ground": self.ground,
            "at": _time(self.at),
            "known_at": _time(self.known_at),
            "determined_by": [
                {
                    "rule": one.rule,
                    "effect": one.effect,
                    "entry": one.index,
                    "said": _time(one.said),
                    "cite": list(one.cite),
                    **({"lacks": one.lacks} if one.lacks else {}),
                }
                for one in self.determined_by
            ],
            "also_failed": list(self.also_failed),
            "would_allow_if": list(self.would_allow_if),
            "obligations": list(self.obligations),
            "valid_until": _time(self.valid_until),
            "policy": dict(zip(("id", "version", "hash"), self.policy, strict=True)),
            "ledger": {"size": self.size, "tip": b2a_base64(self.tip, newline=False).decode()},
            "text": {language: self.text(language) for language in ("en", "da")},
            **({"would_deny": self.would_deny} if self.would_deny else {}),
        }


_MISSING: Final = {"en": "Missing", "da": "Mangler"}


def _time(millis: int | None) -> str | None:
    return None if millis is None else show_time(millis)
