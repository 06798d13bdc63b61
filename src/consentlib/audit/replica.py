"""The read models of a log, rebuilt entry by entry in a file without a name: what a check would have read at each size.

Made from the log alone, so that nothing a store keeps beside it can hide an entry. Of an address only its kind is kept.
Memory does not grow with the log.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from consentlib.addresses import kind_of
from consentlib.codec import writer
from consentlib.events import NOBODY
from consentlib.fold import SCOPE_KINDS, Book, Fold, Known, Order, about, refold
from consentlib.log import Entry
from consentlib.reader import Limit, Scope, linked, read_known, read_scope
from consentlib.rules import Texts
from consentlib.store.protocol import Life, Suppression

_SCHEMA: Final = """
CREATE TABLE entry (idx INTEGER PRIMARY KEY, leaf BLOB, facts BLOB, policy BLOB);
CREATE TABLE about (id TEXT, idx INTEGER, PRIMARY KEY (id, idx)) WITHOUT ROWID;
CREATE TABLE life (id TEXT PRIMARY KEY, kind TEXT, lost INTEGER, fold TEXT);
CREATE TABLE orders (id TEXT, name TEXT, row TEXT, PRIMARY KEY (id, name)) WITHOUT ROWID;
"""
_KEEP_FOLD: Final = "INSERT INTO life VALUES (?, '', 0, ?) ON CONFLICT (id) DO UPDATE SET fold = excluded.fold"
_KEEP_KIND: Final = "INSERT INTO life VALUES (?, ?, 0, ?) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind"
_dump: Final = writer(sort_keys=False)
_EMPTY: Final = Fold().dump()


class Replica:
    """Holds what was applied; answers as a store's view does, for `reader`. A context manager."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # a temporary file of SQLite's own, gone when closed
        self._db.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32000; {_SCHEMA} BEGIN;")
        self.scope = Scope(0, None, Texts())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()

    def apply(self, entry: Entry, one: Known) -> None:
        """Let an entry that has its facts have its effect. Raises what bad facts make of the code that reads them."""
        ids, facts, policy = about(one.facts), entry.parts["facts"], entry.parts.get("policy")
        row = (one.index, entry.leaf, _data(facts), _data(policy))
        self._db.execute("INSERT INTO entry VALUES (?, ?, ?, ?)", row)
        self._db.executemany("INSERT INTO about VALUES (?, ?)", [(id, one.index) for id in ids or [NOBODY]])
        if one.kind in SCOPE_KINDS:
            self.scope = read_scope(self, Limit(one.index + 1))
        elif one.kind == "entry.corrected":
            self._fold_without(one, ids)
        elif ids:
            self._fold(one, ids)
        person = entry.parts.get("person")
        if isinstance(person, tuple):
            introduced = json.loads(person[1]).get("addresses", {})
            self._db.executemany(_KEEP_KIND, [(id, _kind(form), _EMPTY) for id, form in introduced.items()])

    def kind(self, id: str) -> str:
        """The kind of an address, empty where the log does not say it any more."""
        row = self._db.execute("SELECT kind FROM life WHERE id = ?", (id,)).fetchone()
        return "" if row is None else str(row[0])

    def lose(self, ids: Iterable[str]) -> list[str]:
        """Note that facts about these people were erased. Gives their ids and those linked with them."""
        found = dict.fromkeys(other for id in ids for other in (id, *linked(self, self.lives_by_id([id]))))
        self._db.executemany("UPDATE life SET lost = 1 WHERE id = ?", [(id,) for id in found])
        return list(found)

    def lost(self, lives: Sequence[Life], *, linked_too: bool) -> bool:
        """Whether facts about these lives were erased, or about those linked with them."""
        ids = linked(self, lives) if linked_too else [life.id for life in lives]
        rows = (self._db.execute("SELECT lost FROM life WHERE id = ?", (id,)).fetchone() for id in ids)
        return any(row[0] for row in rows)

    # As in `View`.

    def lives_by_id(self, ids: Sequence[str]) -> tuple[Life, ...]:
        rows = (self._db.execute("SELECT id, fold FROM life WHERE id = ?", (id,)).fetchone() for id in ids)
        return tuple(Life(b"", row[0], 0, 0, None, row[1]) for row in rows if row is not None)

    def orders(self, ids: Sequence[str], order: str | None = None) -> tuple[tuple[str, Order], ...]:
        query, more = ("", ()) if order is None else (" AND name = ?", (order,))
        found = [
            (id, Order(*json.loads(row)))
            for id in ids
            for (row,) in self._db.execute(f"SELECT row FROM orders WHERE id = ?{query}", (id, *more))
        ]
        return tuple(found)

    def suppression(self, key: bytes) -> Suppression | None:
        """None: what remains of an erased address is no part of the log."""
        return None

    def about(self, id: str) -> tuple[int, ...]:
        return tuple(row[0] for row in self._db.execute("SELECT idx FROM about WHERE id = ? ORDER BY idx", (id,)))

    def entry(self, index: int) -> Entry | None:
        row = self._db.execute("SELECT leaf, facts, policy FROM entry WHERE idx = ?", (index,)).fetchone()
        if row is None:
            return None
        parts = {name: (b"", data) for name, data in (("facts", row[1]), ("policy", row[2])) if data is not None}
        return Entry(index, row[0], parts)

    def entries_at(self, indices: Iterable[int]) -> dict[int, Entry]:
        return {index: entry for index in indices if (entry := self.entry(index)) is not None}

    def _fold(self, one: Known, ids: list[str]) -> None:
        order = one.facts.get("order")
        orders = {(owner, row.order): row for owner, row in self.orders(ids, order)} if order is not None else {}
        book = Book({life.id: Fold.load(life.fold) for life in self.lives_by_id(ids)}, orders)
        book.apply(one)
        self._save(book)

    def _fold_without(self, one: Known, ids: list[str]) -> None:
        """A correction: everybody it reaches is folded afresh, as the recorder does."""
        for id in ids:  # grants move along links
            links = [link.other for life in self.lives_by_id([id]) for link in Fold.load(life.fold).links]
            ids += [other for other in dict.fromkeys(links) if other not in ids]
        entries = read_known(self, {index for id in ids for index in self.about(id)}, Limit(one.index + 1))
        book = refold(entries, only=ids)
        book.folds = {id: book.folds.get(id, Fold()) for id in ids}
        book.changed_folds |= set(ids)
        self._db.executemany("DELETE FROM orders WHERE id = ?", [(id,) for id in ids])
        self._save(book)

    def _save(self, book: Book) -> None:
        self._db.executemany(_KEEP_FOLD, [(id, book.folds[id].dump()) for id in book.changed_folds])
        rows = [(*key, _dump(book.orders[key])) for key in book.changed_orders]
        self._db.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", rows)


def _kind(form: str) -> str:
    kind = kind_of(form)
    return kind if kind != "verbatim" else "email" if "@" in form else "customer"


def _data(part: object) -> bytes | None:
    return part[1] if isinstance(part, tuple) else None
