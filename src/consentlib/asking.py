"""Asking: from what a caller says to a request that the rules can judge, and the answer from what a store holds."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, get_args

from attrs import evolve

from consentlib.addresses import KINDS, address_key, kind_of, normalise, stop_key
from consentlib.codec import millis
from consentlib.errors import AddressError, InputError, LedgerError
from consentlib.fold import Fold
from consentlib.keys import Keys
from consentlib.outstanding import Outstanding, fold_of
from consentlib.policy import Policy
from consentlib.reader import Limit, Scope, holdings, read_scope, simple
from consentlib.rules import (
    Decision,
    Holdings,
    Message,
    Request,
    Texts,
    absolute_reason,
    denied_for_anybody,
    judge,
    reads_orders,
)
from consentlib.rules.decision import UNDECLARED
from consentlib.rules.judge import ABSOLUTE, meant_channel
from consentlib.store import Store
from consentlib.store.protocol import Head, Life, View

Mode = Literal["enforce", "warn", "observe"]
Clock = Callable[[], int]

_log = logging.getLogger("consentlib")
_is_name = re.compile(r"[A-Za-z0-9_.:/+-]{1,128}", re.ASCII).fullmatch
_UNREADABLE: Final = "?"


class Asked(NamedTuple):
    """What a caller asks, apart from the address: names that are names, a message that is one, times in milliseconds."""

    use: str
    channel: str | None
    message: Message
    at: int | None
    known_at: int | None
    known_size: int | None
    timely: bool
    controller: str | None
    order: str | None
    campaign: str | None
    data: tuple[str, ...]

    @classmethod
    def read(
        cls,
        use: Any,
        channel: Any = None,
        message: Any = UNDECLARED,
        at: Any = None,
        known_at: Any = None,
        controller: Any = None,
        order: Any = None,
        campaign: Any = None,
        data: Any = (),
    ) -> Asked:
        """From the arguments of `check`, whatever they are. What can't be read is never left out: it denies.

        Values are told by their exact type, because an object of a stranger may raise at any other touch.
        """
        if message is None:
            message = UNDECLARED
        elif type(message) is not Message:
            message = _UNREAD_MESSAGE
        size = known_at if type(known_at) is int else None
        when = None if at is None else _millis(at)
        known = None if known_at is None or size is not None else _millis(known_at)
        return cls(
            read_as_name(use),
            None if channel is None else read_as_name(channel),
            message,
            when,
            known,
            size,
            _BAD not in (when, known) and (size is None or size >= 0),
            None if controller is None else read_as_name(controller),
            None if order is None else read_as_name(order),
            None if campaign is None else read_as_name(campaign),
            tuple(map(read_as_name, data)) if type(data) in (tuple, list, set, frozenset) else (_UNREADABLE,),
        )

    def times(self, now: int, size: int) -> tuple[int | None, Limit | None]:
        """When it is to happen, None if that can't be read, and how much of the log counts, None for all of it."""
        if not self.timely:
            return None, None
        at = now if self.at is None else self.at
        if self.known_size is not None:
            return at, None if self.known_size >= size else Limit(self.known_size)
        known_at = at if self.known_at is None else self.known_at
        return at, None if known_at >= now else Limit(size, known_at)

    def request(self, address: str | None, policy: Policy | None, at: int | None) -> Request:
        """The request that the rules judge."""
        channel, controller = self.channel or "", self.controller
        if policy is not None:
            channel = meant_channel(policy, self.use, address) if self.channel is None else channel
            controller = controller or policy.controller
        return Request(
            self.use,
            channel,
            address,
            controller or "",
            at,
            self.known_at if at is not None else None,
            self.order,
            self.campaign,
            self.data,
            self.message,
        )


_BAD: Final = -(2**63)
_UNREAD_MESSAGE: Final = Message(marketing=True)  # may be anything, so it is what needs most


def _millis(value: Any) -> int:
    if type(value) is not int and not issubclass(type(value), datetime):
        return _BAD
    try:
        return millis(value)
    except Exception:  # noqa: BLE001  # a zone may be anybody's code
        return _BAD


def read_as_name(value: Any) -> str:
    """A name, or `?` where it is none: what nothing is called, so that it neither fits nor shows what it was."""
    return value if type(value) is str and _is_name(value) else _UNREADABLE


class Named(NamedTuple):
    """An address as it was asked about: its key form, its key, and whether it could be read as it stands."""

    form: str
    key: bytes
    readable: bool


class Asking:
    """Answers requests from what a store holds, under the policy in force there. Threads may share it."""

    def __init__(self, store: Store, keys: Keys, clock: Clock, mode: Mode, outstanding: Outstanding) -> None:
        if mode not in get_args(Mode):
            raise InputError("expected mode `enforce`, `warn` or `observe`, found another")
        self.mode = mode
        self._store = store
        self._keys = keys
        self._clock = clock
        self._outstanding = outstanding
        self._held: Scope | None = None

    def within(self, store: Store) -> Asking:
        """One that answers from another state of the same log. What waits in the journal is looked for there anew."""
        found = Asking(store, self._keys, self._clock, self.mode, Outstanding(self._outstanding.journal))
        found._held = self._held
        return found

    def check(self, address: Any, asked: Asked) -> Decision:
        """The decision. Never raises: what goes wrong on the way to an answer is a denial."""
        try:
            named = self.named(address)
            head, lives = self._store.lookup(named.key)
            return self.decide(None, head, lives, named, asked, self._clock())
        except LedgerError:
            return self._refuse(None, asked)
        except Exception as error:  # noqa: BLE001  # as in `decide`
            return self._doubt(error, asked)

    def denied_for_anybody(self, asked: Asked) -> Decision | None:
        """The denial that no address could lift, in this mode; None where it depends on who is asked about."""
        try:
            with self._store.read() as view:
                head = view.head()
                policy = self.scope(head, view).policy
        except Exception:  # noqa: BLE001  # what can't be read now is told by the check of each row
            return None
        if policy is None:
            return None
        at, _ = asked.times(max(self._clock(), head.time), head.size)
        requests = [asked.request(f"{kind}:-", policy, at) for kind in KINDS]
        use = policy.use(asked.use)
        # Who names no channel means a message, if the use has any: an address that no message reaches is no way around it.
        sent = [one for one in requests if use is None or (one.channel not in ("none", "device") and use.permits(one.channel))]
        found = [denied_for_anybody(policy, one) for one in sent or requests]
        enforced = [one for one in found if one is not None and (self.mode == "enforce" or one.reason in ABSOLUTE)]
        return enforced[0] if len(enforced) == len(found) else None

    def named(self, address: Any) -> Named:
        """The key form of an address and its key. What is no address may still be known, from a stop or an order."""
        try:
            form, readable = normalise(address if issubclass(type(address), str) else ""), True
        except AddressError:
            form, readable = stop_key(address), False
        return Named(form, address_key(self._keys.address, form), readable)

    def scope(self, head: Head, view: View | None = None) -> Scope:
        """Policy and texts as of a head; read once for each change of them."""
        held = self._held
        if held is None or held.size != head.scope:
            if view is None:
                with self._store.read() as fresh:
                    held = read_scope(fresh, Limit(head.size))
            else:
                held = read_scope(view, Limit(head.size))
            self._held = held
        return held

    def decide(self, view: View | None, head: Head, lives: Sequence[Life], named: Named, asked: Asked, now: int) -> Decision:
        """Judge one request. Without a view the rows given must say all; if they don't, one is opened.

        Rows that can't be read deny as a log that did not verify. Raises `LedgerError` if the store does.
        """
        try:
            return self._decide(view, head, lives, named, asked, now)
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a damaged row makes of the code that reads it: doubt means no
            return self._doubt(error, asked)

    def _doubt(self, error: Exception, asked: Asked) -> Decision:
        """The denial where rows can't be read."""
        _log.error("a check met rows that can't be read: `%s`", type(error).__name__)
        return self._refuse(Holdings(None, verified=False), asked)

    @property
    def policy(self) -> Policy | None:
        """The policy that was read last, if any."""
        return self._held.policy if self._held is not None else None

    def _refuse(self, person: Holdings | None, asked: Asked) -> Decision:
        """A denial under the policy that was read last, if any."""
        policy = self.policy
        return judge(policy, Texts(), person, asked.request(None, policy, None))

    def _decide(self, view: View | None, head: Head, lives: Sequence[Life], named: Named, asked: Asked, now: int) -> Decision:
        held = self.scope(head, view)
        policy = held.policy
        if policy is None:
            return judge(None, held.texts, _nobody(head), asked.request(None, None, None))
        at, limit = asked.times(max(now, head.time), head.size)
        if head.time > now + policy.parameters.clock_skew_seconds * 1000:
            at = None
        known = named.readable or (bool(lives) and kind_of(named.form) == "verbatim")
        request = asked.request(named.form if known else None, policy, at)
        if at is None or not known:
            return judge(policy, held.texts, _nobody(head), request)
        orders: str | bool = reads_orders(policy, asked.use, asked.message) and (request.order or True)
        waiting = self._outstanding.any()
        fold = Fold.load(lives[0].fold) if len(lives) == 1 and not (orders or waiting) and limit is None else None
        if fold is not None and fold.newest <= at and fold.released is None and simple(lives[0], fold):
            person = Holdings(fold, (), (), head.unverified is None, head.size, head.tip)
        elif view is None:
            with self._store.read() as fresh:
                return self._decide(fresh, fresh.head(), fresh.lives(named.key), named, asked, now)
        else:
            stamp = view.suppression(address_key(self._keys.suppression, named.form)) if not lives else None
            unrecorded = self._unrecorded(view, named, policy, at, limit, max(now, head.time)) if waiting else None
            person = holdings(view, head, lives, suppression=stamp, orders=orders, at=at, limit=limit, waiting=unrecorded)
            held = held if limit is None else read_scope(view, limit)
        if held.lost is not None:
            person = person._replace(lost=held.lost)
        texts = held.texts
        decision = judge(policy, texts, person, request)
        return (
            decision if decision.allowed or self.mode == "enforce" else self._soften(decision, policy, texts, person, request)
        )

    def _unrecorded(
        self, view: View, named: Named, policy: Policy, at: int, limit: Limit | None, now: int
    ) -> Callable[[Iterable[bytes]], Fold | None] | None:
        """What finds the stops of a person that are in the journal and not in the log yet; None where there are none at all.

        What is there came by now, whatever the clock of who kept it says.
        """
        known = math.inf if limit is None else -math.inf if limit.time is None else limit.time
        found = [evolve(line, time=min(line.time, now)) for line in self._outstanding.lines(view)]
        lines = [line for line in found if line.time <= known]

        def find(keys: Iterable[bytes]) -> Fold | None:
            wanted = {named.key, *keys}
            found = [line for line in lines if not wanted.isdisjoint(line.keys)]
            return fold_of(found, policy, at) if found else None

        return find if lines else None

    def _soften(self, decision: Decision, policy: Policy, texts: Texts, person: Holdings, request: Request) -> Decision:
        """Let a denial through that the mode does not enforce, marked."""
        if decision.reason in ABSOLUTE or absolute_reason(policy, texts, person, request) is not None:
            return decision
        if self.mode == "warn":
            _log.warning("use `%s` would be denied: `%s`", decision.use, decision.reason)
        return evolve(decision, allowed=True, would_deny=decision.reason)


def _nobody(head: Head) -> Holdings:
    return Holdings(None, (), (), head.unverified is None, head.size, head.tip)
