"""Several processes: the same report and the same first problem as one, wherever the log is cut; strangers are told."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consentlib import Ledger, load_policy
from consentlib.audit.sharing import share
from consentlib.audit.verify import verify_file, verify_view
from consentlib.errors import FormatError, InputError, StoreUnavailableError, VerificationError
from consentlib.log import format_line
from consentlib.log.verify import span_ranges
from consentlib.store import open_store
from forger import held
from shop import POLICY, Shop


def double(number: int) -> int:
    return 2 * number


def die(_: int) -> None:
    os._exit(1)


def test_results_and_errors_come_in_turn() -> None:
    """Results come in the order of the jobs, and an error of drawing the jobs after those of the jobs before it."""

    def jobs() -> Iterator[int]:
        yield from range(20)
        raise FormatError("expected more, found the end")

    for processes in (1, 2):
        found = []
        with share(double, jobs(), processes) as results, pytest.raises(FormatError, match="found the end"):
            found += [found.append(one) for one in results]
        assert found == list(range(0, 40, 2))
