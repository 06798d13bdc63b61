"""Decision cases: what happened, what is asked, what the answer must be. `consentlib policy test` runs them.

A file is a JSON object with `cases`, each an object with `id`, `title`, `events` (in the form of `consentlib.wire`, plus
`recorded_at` and, in `consent.given`, `proof`), `request`, `expect`, and optionally `profile`, `policy_override` and `system`.
Each case is judged alone: the events known at `request.known_at` (default `request.at`) are folded, and the request is judged
under the policy with the case's profile and parameters laid over it. Nothing is stored; it is the code that a ledger runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from consentlib.addresses import normalise
from consentlib.codec import read, read_time
from consentlib.errors import ConsentlibError, FormatError, InputError
from consentlib.facts import addresses_of, facts_of
from consentlib.fold import Book, Fold, Known, about, refold
from consentlib.policy.model import Policy
from consentlib.rules import Decision, Holdings, Message, Request, Texts, judge
from consentlib.wire import read_event

_CASE_KEYS: Final = frozenset(
    {"id", "title", "events", "request", "expect", "profile", "policy_override", "system", "sources", "basis", "note", "group"}
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
    for case in cases:
        missing = {"id", "events", "request", "expect"} - case.keys()
        extra = case.keys() - _CASE_KEYS
        if missing or extra:
            name = sorted(missing or extra)[0]
            raise InputError(f"case `{case.get('id', '?')}`: {'expected' if missing else 'found an unknown'} `{name}`")
    return cases


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
    policy = policy.overlay(case.get("profile"), case.get("policy_override", {}))
    asked, system = case["request"], case.get("system", {})
    request = _request(policy, asked)
    texts = Texts()
    texts.add_policy(policy, 0)
    held = None
    if system.get("ledger_available", True):
        known_at = request.at if request.known_at is None else request.known_at
        ledger = CaseLedger(policy)
        for event in case["events"]:
            ledger.add(event)
        for entry in ledger.known(known_at):
            if entry.kind == "text.published" and entry.facts["occurred_at"] <= (request.at or 0):
                texts.add_published(entry.facts, entry.time)
        held = ledger.holdings(request.address or "", known_at, request.at)
        held = held._replace(verified=system.get("ledger_verified", True))
    return judge(policy if system.get("policy_valid", True) else None, texts, held, request)


class CaseLedger:
    """Entries in memory, with address ids made as they come: just enough of a ledger to fold and judge."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._entries: list[Known] = []
        self._lives: dict[str, list[tuple[int, str]]] = {}

    def add(self, found: Mapping[str, Any]) -> None:
        """Add an event in its JSON form."""
        fields = dict(found)
        recorded = read_time(fields.pop("recorded_at", fields.get("occurred_at")))
        proof = fields.pop("proof", False)
        if proof and "evidence" not in fields:
            fields["evidence"] = {"reference": "case file"}
        event = read_event(fields)
        said = recorded if event.occurred_at is None else event.occurred_at
        roles = addresses_of(event)
        ids = {role: [self._id(one, said) for one in normal] for role, normal in roles.items()}
        facts = facts_of(event, self._policy, ids, said)
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
        entries = self.known(known_at)
        book = refold(entries, until=at)
        named = {one for entry in entries for one in about(entry.facts)}
        lives = [life for _, life in self._lives.get(address, ()) if life in named]
        if not lives:
            return Holdings(None)
        own, others = closure(book, lives)
        reached = {lives[-1], *others}
        orders = tuple(order for (owner, _), order in book.orders.items() if owner in reached)
        return Holdings(own, tuple(book.folds[one] for one in others), orders)

    def _id(self, address: str, said: int) -> str:
        lives = self._lives.setdefault(address, [(0, f"{address}/0")])
        return next((life for since, life in reversed(lives) if since <= said), lives[0][1])

    def _begin(self, address: str, since: int) -> str:
        life = f"{address}/{len(self._lives[address])}"
        self._lives[address].append((since, life))
        return life


def closure(book: Book, lives: list[str]) -> tuple[Fold, list[str]]:
    """The fold of the newest life, and the ids of all that belongs to the same person: linked addresses, erased lives."""
    own = book.folds.get(lives[-1], Fold())
    reached = [lives[-1]]
    reached += [life for life in lives[:-1] if life in book.folds and book.folds[life].erased is not None]
    for one in reached:
        reached += [link.other for link in book.folds.get(one, Fold()).links if link.other not in reached]
    return own, [one for one in reached[1:] if one in book.folds]


def _request(policy: Policy, asked: Mapping[str, Any]) -> Request:
    known = {"use", "channel", "to", "controller", "at", "known_at", "order", "campaign", "data", "content"}
    if asked.keys() - known:
        raise InputError(f"expected a known field of a request, found `{sorted(asked.keys() - known)[0]}`")
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
