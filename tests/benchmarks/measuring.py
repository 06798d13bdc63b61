"""How benchmarks measure: in turns, in processes of their own, and one line of a table for each figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import NamedTuple


class Row(NamedTuple):
    """A line of the table: what was measured, the raw operation beside it, the target and whether it was reached."""

    name: str
    value: str
    raw: str
    target: str
    reached: bool | None


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(rounds: int, *works: Callable[[], object]) -> list[float]:
    """The median seconds of each, measured in turns."""
    taken = [[timed(work) for work in works] for _ in range(rounds)]
    return [median(column) for column in zip(*taken, strict=True)]


def python(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    return done.stdout


def show(rows: Iterable[Row], *, as_json: bool) -> None:
    """Each row as soon as it is known."""
    if not as_json:
        print(f"{'':52}{'ours':>22}  {'raw, in the same run':34}{'target':>14}")
    for row in rows:
        mark = "" if row.reached is None else "  ok" if row.reached else "  short"
        line = f"{row.name:52}{row.value:>22}  {row.raw:34}{row.target:>14}{mark}"
        print(json.dumps(row._asdict()) if as_json else line, flush=True)
