"""Sharing work out among processes: results come in order, and few jobs are on their way at once, so memory stays constant."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from consentlib.errors import InputError, StoreUnavailableError

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

_JOBS_A_PROCESS: Final = 4

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


@contextmanager
def share(
    work: Callable[[_Job], _Result],
    jobs: Iterable[_Job],
    processes: int,
    *,
    begin: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[Iterator[_Result]]:
    """What `work` makes of each job, in the order of the jobs; so do errors come, of jobs and of drawing them.

    With one of `processes`, this one does it. Several are started afresh, each with `begin(*arguments)`; they are not forked,
    as another thread may hold a lock just then. So all that goes to them must survive pickling, and the program's main
    module must be safe to import (`if __name__ == "__main__"`). Raises `StoreUnavailableError` if one of them dies.
    """
    if type(processes) is not int or processes < 1:
        raise InputError("expected a number of processes from 1, found another")
    if processes == 1:
        yield map(work, jobs)
        return
    from concurrent.futures import ProcessPoolExecutor  # here, because few who verify need it
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=begin, initargs=arguments)
    try:
        yield _in_order(_submitted(pool, work, jobs), _JOBS_A_PROCESS * processes)
    except BrokenProcessPool as error:
        raise StoreUnavailableError("expected every process that shares the work to live, found one dead") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, work: Callable[[_Job], _Result], jobs: Iterable[_Job]) -> Iterator[Future[_Result]]:
    try:
        for job in jobs:
            yield pool.submit(work, job)
    except Exception as error:  # noqa: BLE001  (raised in its turn: after the results of the jobs before it)
        failed: Future[_Result] = Future()
        failed.set_exception(error)
        yield failed


def _in_order(futures: Iterable[Future[_Result]], most: int) -> Iterator[_Result]:
    waiting: deque[Future[_Result]] = deque()
    for future in futures:
        waiting.append(future)
        if len(waiting) == most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
