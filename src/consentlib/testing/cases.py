"""Decision cases: what happened, what is asked, what the answer must be. `consentlib policy test` runs them.

A file is a JSON object with `cases`, each an object with `id`, `title`, `events` (in the form of `consentlib.wire`, plus
`recorded_at` and, in `consent.given`, `proof`), `request`, `expect`, and optionally `profile`, `policy_override` and `system`.
Each case is judged alone: the events known at `request.known_at` (default `request.at`) are folded, and the request is judged
under the policy with the case's profile and parameters laid over it. Nothing is stored; it is the code that a ledger runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from attrs import frozen

from consentlib.addresses import normalise
from consentlib.codec import read, read_time
from consentlib.errors import ConsentlibError, FormatError, InputError
from consentlib.facts import addresses_of, parts_of, placed
from consentlib.fold import Book, Fold, Known, refold
from consentlib.policy.model import Policy
from consentlib.rules import Decision, Holdings, Message, Request, Texts, judge
from consentlib.wire import read_event

# Of each object in a case the fields that it must have, and those that it may have, with their types.
_Fields = Mapping[str, type]
_CASE: Final[tuple[_Fields, _Fields]] = (
    {"id": str, "events": list, "request": dict, "expect": dict},
    {"title": str, "profile": str, "policy_override": dict, "system": dict}
    | {"sources": list, "basis": str, "note": str, "group": str},
)
_REQUEST: Final[tuple[_Fields, _Fields]] = (
    {"use": str, "channel": str, "to": str, "at": str},
    {"known_at": str, "controller": str, "order": str, "campaign": str, "data": list, "content": dict},
)
_EXPECT: Final[tuple[_Fields, _Fields]] = (
    {"decision": str},
    {"reason": str, "ground": str, "obligations_include": list},
)
_SYSTEM: Final[tuple[_Fields, _Fields]] = ({}, {"ledger_verified": bool, "ledger_available": bool, "policy_valid": bool})
_CONTENT: Final[tuple[_Fields, _Fields]] = (
    {},
    dict.fromkeys(("marketing", "unsubscribe", "sender_identified", "own_products", "branded", "tracking"), bool)
    | dict.fromkeys(("product_category", "partner", "processor", "kind"), str),
)


@frozen
class CaseResult:
    """How a case came out: `wrong` is empty if as expected, else one line a difference."""

    id: str
    title: str
    wrong: tuple[str, ...]
    decision: Decision | None


def read_cases(data: bytes) -> list[dict[str, Any]]:
    """The cases of a file. Raises `FormatError` or `InputError`."""
    found = read(data)
    cases = found.get("cases") if isinstance(found, dict) else None
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise FormatError("expected an object with a list of objects in `cases`, found something else")
    for place, case in enumerate(cases):
        named = f"case `{case['id']}`" if type(case.get("id")) is str else f"case at place {place}"
        _refuse_other_fields(case, _CASE, named)
        for event in case["events"]:
            if type(event) is not dict:
                raise InputError(f"{named}: expected objects in `events`, found `{type(event).__name__}`")
        _refuse_other_fields(case["request"], _REQUEST, f"{named}, `request`")
        _refuse_other_fields(case["request"].get("content", {}), _CONTENT, f"{named}, `content`")
        _refuse_other_fields(case["expect"], _EXPECT, f"{named}, `expect`")
        _refuse_other_fields(case.get("system", {}), _SYSTEM, f"{named}, `system`")
        for listed in (case["request"].get("data", ()), case["expect"].get("obligations_include", ())):
            if not all(type(one) is str for one in listed):
                raise InputError(f"{named}: expected lists of names in `data` and `obligations_include`, found something else")
    return cases


def _refuse_other_fields(found: Mapping[str, Any], form: tuple[_Fields, _Fields], where: str) -> None:
    """Raise unless an object has the fields of a form, in the types stated: what is mistyped would test nothing."""
    required, optional = form
    for name, value in found.items():
        wanted = required.get(name) or optional.get(name)
        if wanted is None:
            near = get_close_matches(name, [*required, *optional], n=1)
            raise InputError(
                f"{where}: expected a known field, found another" + (f"; did you mean `{near[0]}`?" if near else "")
            )
        if type(value) is not wanted:
            raise InputError(f"{where}: expected `{wanted.__name__}` in `{name}`, found `{type(value).__name__}`")
    for name in required.keys() - found.keys():
        raise InputError(f"{where}: expected `{name}`, found none")


def run_cases(policy: Policy, cases: Iterable[Mapping[str, Any]]) -> Iterator[CaseResult]:
    """Judge each case and compare."""
    for case in cases:
        title = case.get("title", "")
        try:
            decision = decide_case(policy, case)
        except ConsentlibError as error:
            yield CaseResult(case["id"], title, (f"expected a decision, found an error: {error}",), None)
        else:
            yield CaseResult(case["id"], title, tuple(_differences(case["expect"], decision)), decision)


def decide_case(policy: Policy, case: Mapping[str, Any]) -> Decision:
    """The decision a case leads to."""
    return judge(*judged(policy, case))


def judged(policy: Policy, case: Mapping[str, Any]) -> tuple[Policy | None, Texts, Holdings | None, Request]:
    """What the rules are given to judge a case: policy, texts, what is held, and the request."""
    policy = policy.overlay(case.get("profile"), case.get("policy_override", {}))
    asked, system = case["request"], case.get("system", {})
    request = _request(policy, asked)
    texts = Texts()
    texts.add_policy(policy, 0)
    held = None
    if system.get("ledger_available", True):
        known_at = request.at if request.known_at is None else request.known_at
        ledger = CaseLedger(policy)
        for event in sorted(case["events"], key=_recorded):
            ledger.add(event)
        for entry in ledger.known(known_at):
            if entry.kind == "text.published":
                texts.add_published(entry.facts, entry.time)
        held = ledger.holdings(request.address or "", known_at, request.at)
        held = held._replace(verified=system.get("ledger_verified", True))
    return policy if system.get("policy_valid", True) else None, texts, held, request


class CaseLedger:
    """Entries in memory, with address ids made as they come: just enough of a ledger to fold and judge."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._entries: list[Known] = []
        self._lives: dict[str, list[tuple[int, str]]] = {}

    def add(self, found: Mapping[str, Any]) -> None:
        """Add an event in its JSON form."""
        fields = dict(found)
        recorded = _recorded(fields)
        fields.pop("recorded_at", None)
        proof = fields.pop("proof", False)
        if proof and "evidence" not in fields:
            fields["evidence"] = {"reference": "case file"}
        event = read_event(fields)
        said = recorded if event.occurred_at is None else event.occurred_at
        roles = addresses_of(event)
        ids = {role: [self._id(one, said) for one in normal] for role, normal in roles.items()}
        facts = placed(parts_of(event, self._policy)[0], ids, said)
        if event.kind == "identity.released":
            facts["life"] = self._begin(roles["address"][0], min(said, recorded))
        if event.kind in ("consent.given", "consent.confirmed"):
            facts.setdefault("ref", facts.get("ref", "newest"))
        self._entries.append(Known(len(self._entries), recorded, event.kind, facts))

    def known(self, known_at: int | None) -> list[Known]:
        """The entries that had been recorded, in the order they were."""
        found = [entry for entry in self._entries if known_at is not None and entry.time <= known_at]
        return sorted(found, key=lambda entry: (entry.time, entry.index))

    def holdings(self, address: str, known_at: int | None, at: int | None) -> Holdings:
        """What would be known about an address."""
        book = refold(self.known(known_at), until=at)
        begun = [life for since, life in self._lives.get(address, ()) if since <= (at or 0)]
        lives = [life for life in begun if life in book.folds]
        if not lives:
            return Holdings(None)
        own, others = closure(book, lives)
        orders, elsewhere = (
            tuple(order for (owner, _), order in book.orders.items() if owner in owners) for owners in (lives[-1:], others)
        )
        return Holdings(own, tuple(book.folds[one] for one in others), orders, elsewhere=elsewhere)

    def _id(self, address: str, said: int) -> str:
        lives = self._lives.setdefault(address, [(0, f"{address}/0")])
        return next((life for since, life in reversed(lives) if since <= said), lives[0][1])

    def _begin(self, address: str, since: int) -> str:
        life = f"{address}/{len(self._lives[address])}"
        self._lives[address].append((since, life))
        return life


def closure(book: Book, lives: list[str]) -> tuple[Fold, list[str]]:
    """The fold of the newest life, and the ids of all that belongs to the same person: linked addresses, erased lives."""
    own = book.folds[lives[-1]]
    reached = [lives[-1]]
    reached += [life for life in lives[:-1] if life in book.folds and book.folds[life].erased is not None]
    for one in reached:
        reached += [link.other for link in book.folds.get(one, Fold()).links if link.other not in reached]
    return own, [one for one in reached[1:] if one in book.folds]


def _recorded(event: Mapping[str, Any]) -> int:
    return read_time(event.get("recorded_at", event.get("occurred_at")))


def _request(policy: Policy, asked: Mapping[str, Any]) -> Request:
    return Request(
        asked["use"],
        asked["channel"],
        normalise(asked["to"]),
        asked.get("controller", policy.controller),
        _time(asked["at"]),
        _time(asked["known_at"]) if "known_at" in asked else None,
        asked.get("order"),
        asked.get("campaign"),
        tuple(asked.get("data", ())),
        Message(**asked.get("content", {})),
    )


def _time(text: str) -> int | None:
    try:
        return read_time(text)
    except InputError:
        return None


def _differences(expect: Mapping[str, Any], decision: Decision) -> Iterator[str]:
    found = {"decision": "allow" if decision.allowed else "deny", "reason": decision.reason, "ground": decision.ground}
    for key in ("decision", "reason", "ground"):
        if key in expect and expect[key] != found[key]:
            yield f"expected {key} `{expect[key]}`, found `{found[key]}`"
    missing = set(expect.get("obligations_include", ())) - set(decision.obligations)
    if missing:
        yield f"expected the obligations {sorted(missing)}, found {list(decision.obligations)}"
