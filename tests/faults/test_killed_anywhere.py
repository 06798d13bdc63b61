"""Writers killed, and system calls failed, at every step of a writer's life: answers stay true, and nobody is shut out."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from lives import Place, begin, check, live
from traced import CHANGING, calls, needs_strace, traced

pytestmark = needs_strace()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A ledger to copy for each run."""
    return begin(tmp_path_factory.mktemp("template") / "ledger")


@pytest.fixture(scope="module")
def steps(template: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How often a life that nothing happens to does each system call."""
    folder = tmp_path_factory.mktemp("counted")
    place = template.copy_to(folder / "ledger")
    live(place)(lambda name, value: None, lambda: None)  # what is imported late is imported by now, and not counted
    place = template.copy_to(folder / "ledger")
    with traced(live(place), folder / "log", "-e", f"trace={','.join((*CHANGING, 'pread64'))}") as one:
        one.end()
    assert one.status == 0
    assert one.answers.keys() == {"first", "stop", "signed", "erased", "second", "closed"}
    check(place, one.answers)
    return calls(folder / "log")


def chosen(count: int, most: int) -> range:
    """Numbers from 1 to `count`, evenly, about `most` of them."""
    return range(1, count + 1, max(1, count // most))


FEW, ALL = 4, 10_000
MOST = pytest.mark.parametrize("most", [FEW, pytest.param(ALL, marks=pytest.mark.slow)], ids=["few", "all"])


@MOST
@pytest.mark.parametrize("call", CHANGING)
def test_killed_at_a_system_call(template: Place, steps: dict[str, int], tmp_path: Path, call: str, most: int) -> None:
    """Kill -9 before any system call of a writer loses nothing that was answered, and leaves no lock behind."""
    for number in chosen(steps[call], most):
        place = template.copy_to(tmp_path / "ledger")
        with traced(
            live(place), tmp_path / "log", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"
        ) as one:
            pass
        assert one.status == -signal.SIGKILL
        check(place, one.answers)


FAILURES = [
    *[(call, "EIO", "") for call in ("openat", "pread64", *CHANGING[1:8], "fcntl")],
    *[(call, "ENOSPC", "+") for call in ("openat", "write", "pwrite64", "ftruncate")],  # from then on: the disk stays full
]


@MOST
@pytest.mark.parametrize(("call", "error", "on"), FAILURES, ids=lambda one: str(one))
def test_a_system_call_fails(
    template: Place, steps: dict[str, int], tmp_path: Path, call: str, error: str, on: str, most: int
) -> None:
    """A disk that fails costs at most an answer: what was answered is there, also while the writer is still around."""
    log = tmp_path / "log"
    failed = refused = 0
    for number in chosen(steps[call], most):
        place = template.copy_to(tmp_path / "ledger")
        fault = f"inject={call}:error={error}:when={number}{on}"
        with traced(live(place), log, "-e", f"trace={call}", "-e", fault) as one:
            # A lock that the system refuses to take back is held until its process ends: SQLite can't help that.
            if one.listen() and call != "fcntl":
                check(place, one.answers)
            one.go()
        assert one.status == 0
        check(place, one.answers)
        failed += "(INJECTED)" in log.read_text()  # what the check did, the writer need not do when it closes
        refused += any(name.startswith("no") for name in one.answers)
    assert failed
    assert refused or call not in ("pwrite64", "fdatasync")
