"""Replaying the stop journal: what waits in it becomes entries, in its order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from consentlib.journal import Line
from consentlib.keys import Keys
from consentlib.privacy import erase_again
from consentlib.recorder import Prepared, Recorder


def runs(due: Sequence[Prepared | Line]) -> Iterator[list[Prepared | Line]]:
    """What goes into one transaction: the stops between two erasures, or one erasure, which must see all before it stored."""
    for _, run in groupby(due, lambda one: one.id if isinstance(one, Line) else None):
        yield list(run)


def replay(recorder: Recorder, keys: Keys, run: Sequence[Prepared | Line]) -> None:
    """Record a run of `runs`, except what the log has by now."""
    for one in run:
        if isinstance(one, Prepared):
            recorder.record(one)
        elif recorder.view.event(one.id) is None:
            erase_again(recorder, keys, one)
