"""A commit whose answer was lost: found out, and done once more where it did not take place."""

from __future__ import annotations

from consentlib.errors import CommitUndoneError, CommitUnknownError, StoreUnavailableError
from consentlib.store.protocol import Changes, Head, Store


def settle(store: Store, changes: Changes, before: Head, error: StoreUnavailableError) -> None:
    """Return if `changes`, which were to follow the head `before`, stand after all; else raise.

    Who has the writer's seat knows that the doubtful transaction is over. Its entries are there (a leaf holds fresh random
    commitments, so it can't be another's); or it is gone, and they go in just as they were, unless another writer was
    quicker: `CommitUndoneError`. Either way the seat is left by a commit, which waits for a standby where the doubtful one
    did not. `error` itself is raised where nothing can be found out, and for what was no doubtful commit.
    """
    if not changes.entries:
        raise error
    doubtful = isinstance(error, CommitUnknownError)
    last = changes.entries[-1]
    try:
        with store.write() as transaction:
            found = transaction.entry(last.index)
            stands = found is not None and found.leaf == last.leaf
            if doubtful and transaction.head() == before:
                transaction.apply(changes)
                stands = True
    except StoreUnavailableError:
        raise error from None
    if not stands:
        if not doubtful:
            raise error
        raise CommitUndoneError("expected the commit to have taken place, found it undone and another writer's in its place")
