"""What a store is: opaque entry bytes, erasable parts, and read models, with one writer at a time.

A store does not know what the bytes mean. It keeps what a transaction hands it, gives back exactly that, and lets nothing
of a failed transaction show. Read models (lives, orders, event ids, nodes) are compared with the entries on request, as far
as their parts live; nothing makes them anew. A store treats them as plain rows.

A store is a class with the two constructors `create` and `open`; the entry-point group `consentlib.stores` maps the scheme
of a URL to it. `consentlib.testing.StoreContract` is the test that a store has to pass.

Errors: `StoreUnavailableError` when the store can't be reached, read or written (nothing of the transaction stays),
`CommitUnknownError` where the answer to a commit was lost (all of the transaction stays or nothing), `LedgerMissingError`
and `LedgerVersionError` from `open`, `LedgerExistsError` from `create`, `VerificationError` for a head or a text that can't
be what was stored. All methods may be called from several threads at once. A child may go on with a store after a fork; where
the parent had a view or a transaction open at that moment, the child may be refused with `StoreUnavailableError`, and can
never end or disturb what the parent has open.

Annotations are types here, and in `fold`, not text: so cattrs writes and reads `Changes` without being told how.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, Self, runtime_checkable

from attrs import define, field

from consentlib.errors import LedgerError, VerificationError
from consentlib.fold import Order
from consentlib.log import Entry
from consentlib.log.leaf import INDEX_LIMIT, TIME_LIMIT


def system_clock() -> int:
    """Now by the clock of this machine, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Head(NamedTuple):
    """Where the log stands. An empty log has size 0, `tip` the genesis hash, time 0, an empty frontier.

    `tip` is the newest leaf hash, `time` the newest recorded time in milliseconds, `frontier` as in `log.merkle.extend`,
    `scope` the size of the log when the policy or a text last changed, `unverified` why the log is not to be trusted, a line
    for each level that did not verify (None while it is).
    """

    size: int
    tip: bytes
    time: int
    frontier: bytes
    scope: int
    unverified: str | None

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> Self:
        """The head as it is stored. Raises `VerificationError` where there is none, or one that no log can have."""
        if not rows:
            raise VerificationError("expected the head of the log, found none", level="chain")
        size, tip, time, frontier, scope, unverified = head = cls._make(rows[0])
        numbers = type(size) is type(time) is type(scope) is int and 0 <= size < INDEX_LIMIT and 0 <= time < TIME_LIMIT
        hashes = type(tip) is type(frontier) is bytes and len(tip) == 32
        if not (numbers and hashes and (unverified is None or type(unverified) is str)):
            raise VerificationError("expected a head that a log can have, found another", level="chain")
        return head


class Life(NamedTuple):
    """An address in one life: the row that a check reads.

    `key` is the keyed address (32 bytes), `id` random and in no way made from it (32 hex digits), `since` the time from which
    events of this address belong to this life (0 for the first), `index` the entry that introduced it, `suppressed` the key of
    the suppression row of an earlier, erased life, `fold` the text of its fold.
    """

    key: bytes
    id: str
    since: int
    index: int  # type: ignore[assignment]
    suppressed: bytes | None
    fold: str


class NewEntry(NamedTuple):
    """An entry to append: its bytes, its parts as name -> (salt, data), and the ids of the addresses it is about.

    A part is None where it was erased before the entry came here, from another store.
    """

    index: int  # type: ignore[assignment]
    time: int
    kind: str
    leaf: bytes
    hash: bytes
    parts: Mapping[str, tuple[bytes, bytes] | None]
    about: Sequence[str]


class EventRow(NamedTuple):
    """An event id, as a keyed hash, and the entry it stands for. `digest` (keyed, over the content) is empty once erased."""

    id: bytes
    index: int  # type: ignore[assignment]
    digest: bytes


class Suppression(NamedTuple):
    """The one row that stays of an erased address, under the suppression key; `stops` is JSON. Times in milliseconds."""

    key: bytes
    erased_at: int
    review_at: int
    stops: str


class Wanted(NamedTuple):
    """What a writer will ask first: lives by address key, suppression rows by key, event rows by id."""

    lives: Sequence[bytes] = ()
    suppressions: Sequence[bytes] = ()
    events: Sequence[bytes] = ()


class Found(NamedTuple):
    """What there is, by what was wanted: no life, or None, where there is nothing."""

    lives: Mapping[bytes, tuple[Life, ...]] = MappingProxyType({})
    suppressions: Mapping[bytes, Suppression | None] = MappingProxyType({})
    events: Mapping[bytes, EventRow | None] = MappingProxyType({})


NOTHING_WANTED: Final = Wanted()
NOTHING_FOUND: Final = Found()


@define
class Changes:
    """Everything one transaction changes, handed over at once. Rows replace rows with the same key; entries never do.

    What is forgotten or erased goes after the rest was put: a row named in both ways is gone.
    """

    head: Head
    entries: list[NewEntry] = field(factory=list)
    nodes: list[tuple[int, int, bytes]] = field(factory=list)
    """(level, position, hash) of interior nodes, so with a level from 1; level 0 are the hashes of the entries."""
    lives: list[Life] = field(factory=list)
    """Keyed by `id`."""
    orders: list[tuple[str, Order]] = field(factory=list)
    """(address id, order), keyed by address id and order id."""
    events: list[EventRow] = field(factory=list)
    suppressions: list[Suppression] = field(factory=list)
    erase_parts: list[tuple[int, str]] = field(factory=list)
    """(index, part name): bytes and salt go, the name stays with None; each must be there."""
    forget_suppressions: list[bytes] = field(factory=list)
    """Keys of suppression rows."""
    forget_about: list[tuple[str, int]] = field(factory=list)
    """(address id, index): the entry is no longer found by `about`."""
    forget_lives: list[str] = field(factory=list)
    """Ids of lives that go altogether, with their orders."""
    forget_orders: list[tuple[str, str]] = field(factory=list)
    """(address id, order id)."""


class View(Protocol):
    """One consistent state of the store. Nothing that is committed meanwhile shows in it."""

    def head(self) -> Head: ...

    def lives(self, key: bytes) -> tuple[Life, ...]:
        """All lives of an address, oldest first (by `index`, then `since`)."""
        ...

    def lives_many(self, keys: Sequence[bytes]) -> Mapping[bytes, tuple[Life, ...]]:
        """`lives` of each of these keys, in few reads however many there are."""
        ...

    def lives_by_id(self, ids: Sequence[str]) -> tuple[Life, ...]:
        """The lives with these ids that exist, in any order."""
        ...

    def all_lives(self) -> Iterator[Life]:
        """Every life, in any order, read piecemeal like `entries`."""
        ...

    def orders(self, ids: Sequence[str], order: str | None = None) -> tuple[tuple[str, Order], ...]:
        """(address id, order) of these addresses; only the order with that id where one is named."""
        ...

    def event(self, id: bytes) -> EventRow | None: ...

    def events(self, ids: Sequence[bytes]) -> Mapping[bytes, EventRow | None]:
        """`event` of each of these ids, in few reads however many there are."""
        ...

    def all_events(self) -> Iterator[EventRow]:
        """Every event row, in any order, read piecemeal."""
        ...

    def suppression(self, key: bytes) -> Suppression | None: ...

    def all_suppressions(self) -> Iterator[Suppression]:
        """Every suppression row, in any order, read piecemeal."""
        ...

    def about(self, id: str) -> tuple[int, ...]:
        """The indices of the entries about an address id, ascending."""
        ...

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries with start <= index < stop in order, read piecemeal: memory does not grow with their number. The index is
        the stored one. Usable only while the view is open."""
        ...

    def entry(self, index: int) -> Entry | None: ...

    def entries_at(self, indices: Iterable[int]) -> Mapping[int, Entry]:
        """`entry` of each of these indices that there is, in few reads however many there are."""
        ...

    def kinds(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, str]]:
        """(index, time, kind) as stored beside the leaf, for people who look: `verify` compares them with the leaf."""
        ...

    def node(self, level: int, position: int) -> bytes:
        """The hash of a perfect subtree; level 0 are leaf hashes. Raises KeyError where there is none."""
        ...

    def nodes(self, places: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        """`node` of each of these (level, position) that there is, in few reads however many there are."""
        ...


class Transaction(View, Protocol):
    """The one writer. Its reads see what it has applied, other reads do not. Leaving the block commits durably; an exception
    undoes everything. Once another transaction has begun, one whose answer was lost is over. A thread that asks for a second
    one inside its first gets `StoreUnavailableError`."""

    found: Found
    """What came with the writer's seat of what was wanted; for the rest, which may be all of it, the view is asked."""

    def apply(self, changes: Changes) -> None:
        """Do all of it. Raises `StoreUnavailableError`, as for an entry whose index is taken or a part that is not there to
        erase; with the next read, or as the block is left, where a store sends changes along with that. After that the
        transaction is lost: leaving its block raises, also for who caught the error, and undoes it."""
        ...


class Store(Protocol):
    """A place that keeps one ledger. Pickled, it is opened anew where it is unpickled, so that another process can help to
    read; one that no other process can open raises `InputError` when it is pickled."""

    meta: Mapping[str, str]
    """What `create` was given: format, origin, key ids and check values."""

    @classmethod
    def create(cls, url: str, meta: Mapping[str, str]) -> Self:
        """Make the empty ledger; `meta` must name its `origin` (else `InputError`). Of several processes at once one
        succeeds, the others get `LedgerExistsError`."""
        ...

    @classmethod
    def open(cls, url: str) -> Self: ...

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        """`head` and `lives` of one moment, by the shortest way: every check begins with it."""
        ...

    def read(self) -> AbstractContextManager[View]:
        """A view for several reads of one moment."""
        ...

    def write(self, wanted: Wanted = NOTHING_WANTED) -> AbstractContextManager[Transaction]:
        """The write transaction; waits for other writers, 30 seconds at the longest, then `StoreUnavailableError`. A store
        to which each read is a trip to a server brings what is `wanted` along, as `Transaction.found`."""
        ...

    def clock(self) -> int:
        """Now, in milliseconds since the epoch, by the clock that all who share the ledger go by: where a server keeps it,
        the server's. A `Ledger` asks it unless it was given another clock, right after a `lookup` or within a `write`."""
        ...

    def purge(self) -> bool:
        """Make erased bytes unrecoverable from the store's own files. False while something, such as a reader, prevents it."""
        ...

    def close(self) -> None:
        """Let go of everything. Further calls raise `StoreUnavailableError`."""
        ...


@runtime_checkable
class Binds(Protocol):
    """What a store can do besides: work inside a transaction of the shop's own. No store must."""

    def bind(self, connection: Any) -> Store:
        """A store that reads and writes on a connection of the shop's to the same database, in the transaction open there.

        Its `read` and `lookup` show what that transaction sees, its `write` is a savepoint in it: an error undoes what
        was done in the block and leaves the transaction usable. It never commits and never ends the transaction, its `purge`
        raises `LedgerError`, and its `close` ends the binding alone. While it is bound nobody else can write, and a thread
        that asks the store itself for a transaction gets `StoreUnavailableError`.

        Raises `LedgerError` unless the connection is to the ledger's own database and its transaction holds the writer's
        lock; later too, once that transaction is over.
        """
        ...


def bind(store: Store, connection: Any) -> Store:
    """`Binds.bind` of a store that has it, else `LedgerError`."""
    if not isinstance(store, Binds):
        raise LedgerError("expected a store that can work in a transaction of the shop's own, found one that can't")
    return store.bind(connection)
