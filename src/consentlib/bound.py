"""A ledger inside a transaction of the shop's own: an order and its consent commit or fail together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from consentlib.asking import Asked, Asking
from consentlib.errors import LedgerError, NotAllowedError
from consentlib.events import Event, Evidence
from consentlib.fields import ALL, Scope
from consentlib.outstanding import Outstanding
from consentlib.recorder import Prepared, Recorded
from consentlib.rules import Decision
from consentlib.store import Store
from consentlib.writing import Writing, withdrawal

_PROOF: Final = "a proof is of what is committed: ask the ledger after the commit"
_SEND: Final = "a send must be on record before it is handed over: ask the ledger for a permit after the commit"
_ELSEWHERE: Final = {
    **dict.fromkeys(("checkpoint", "receipt", "receipts", "export", "disclose", "verify"), _PROOF),
    **dict.fromkeys(("permit", "permits"), _SEND),
}


class BoundLedger:
    """What `Ledger.bind` gives: it records and answers in the shop's transaction, and never ends that.

    For the thread of the connection, until its block is left or the transaction is over: then every call raises
    `LedgerError`. Its answers count what the transaction recorded before. A refused event leaves the transaction usable.
    A stop goes to the stop journal first, as ever: it counts at once, everywhere, and stays where the shop rolls back.
    """

    def __init__(self, store: Store, asking: Asking, writing: Writing) -> None:
        self._store = store
        self._asking = asking.within(store)
        self._writing = _BoundWriting(store, self._asking, writing)

    def record(self, event: Event) -> Recorded:
        """As `Ledger.record`. The entry is there for others once the shop commits; if it does not, its index is another's."""
        return self.record_many([event])[0]

    def record_many(self, events: Iterable[Event]) -> list[Recorded]:
        """As `Ledger.record_many`, in a savepoint: all of them or none."""
        return self._writing.record(events)

    def withdraw(
        self,
        address: str,
        *,
        via: str | None = None,
        uses: Scope = ALL,
        channels: Scope = ALL,
        controller: str | None = None,
        limited: bool | None = None,
        evidence: Evidence | None = None,
        text: str | None = None,
        occurred_at: datetime | int | None = None,
        event_id: str | None = None,
    ) -> Recorded:
        """As `Ledger.withdraw`. It stays, whatever becomes of the transaction."""
        common: dict[str, Any] = {"channels": channels, "via": via, "text": text}
        common |= {"occurred_at": occurred_at, "evidence": evidence, "event_id": event_id}
        return self.record_many(withdrawal(address, uses=uses, controller=controller, limited=limited, **common))[0]

    def check(self, address: str, *, use: str, **asked: Any) -> Decision:
        """As `Ledger.check`, with what this transaction recorded."""
        with self._store.read():  # a transaction that is over raises; a denial would look like an answer
            pass
        return self._asking.check(address, Asked.read(use, **asked))

    def require(self, address: str, *, use: str, **asked: Any) -> Decision:
        """`check`, raising `NotAllowedError` on a denial."""
        decision = self.check(address, use=use, **asked)
        if not decision.allowed:
            raise NotAllowedError(decision)
        return decision

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name not in _ELSEWHERE:
            raise AttributeError(f"`{type(self).__name__}` has no attribute `{name}`")
        raise LedgerError(f"expected `{name}` outside of the shop's transaction, found it inside", note=_ELSEWHERE[name])


class _BoundWriting(Writing):
    """Appends in the shop's transaction alone: it carries out nothing that waits, and signs nothing that may be undone."""

    def __init__(self, store: Store, asking: Asking, of: Writing) -> None:
        super().__init__(store, of._keys, of._origin, asking, of._notary, _Promised(of._outstanding), of._clock)

    def catch_up(self) -> None:
        """What waits counts in checks; the next transaction of the ledger's own records it."""

    def _record_stops(self, stops: Sequence[Prepared], *, kept: bool) -> list[Recorded]:
        with self._store.read():  # a transaction that is over raises, though the journal has the stops by now
            pass
        return super()._record_stops(stops, kept=kept)

    def sign_if(self, due: Callable[[], bool]) -> None:
        """Checkpoints are made of committed state only."""


class _Promised(Outstanding):
    """The lines of a journal, as a transaction sees them that may be rolled back: then this process makes up for its stops.

    Until the log holds them, they pass for failed; once it does, whoever looks finds them there.
    """

    def __init__(self, of: Outstanding) -> None:
        super().__init__(of.journal)
        self._of = of

    def keep(self, stops: Sequence[Prepared], now: int) -> bool:
        """See `Outstanding.keep`."""
        kept = self._of.keep(stops, now)
        if kept:
            self._of.failed(stops)
        return kept

    def failed(self, stops: Iterable[Prepared]) -> None:
        """They were noted when they were kept."""
