"""Processes that each build one thing, an environment for instance, and then do jobs with it, one after another."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from worldagen.child_processes import end_with_parent
from worldagen.errors import WorldAgenError

Job = TypeVar("Job")


class WorkerError(WorldAgenError):
    """A worker could not do its job; says why."""


class Workers:
    """A pool; see open_workers."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
        """Each job with its result, as they end; jobs that end together, in their order.

        Raises WorkerError in the words of the worker, or when one was killed. After an error no further job is begun; what
        is under way ends and is handed out before the error is raised.
        """
        running: dict[Future[Any], Job] = {self._pool.submit(_work, job): job for job in jobs}
        failed: BaseException | None = None
        while running:
            done = wait(running, return_when=FIRST_COMPLETED).done
            for future in [future for future in running if future in done]:  # of those that ended meanwhile, the first first
                job = running.pop(future)
                if future.cancelled():
                    continue
                error = future.exception()
                if error is None:
                    yield job, future.result()
                elif failed is None:
                    failed = error
                    for waiting in running:
                        waiting.cancel()
        if isinstance(failed, BrokenProcessPool):
            raise WorkerError(
                "a worker process was killed, for want of memory perhaps; run the same command again, with fewer --processes"
            ) from None
        if failed is not None:
            raise failed


@contextmanager
def open_workers(processes: int, build: Callable[..., Callable[[Any], Any]], *arguments: Any) -> Iterator[Workers]:
    """Processes that call build(*arguments) once, and what it returns for every job. All must be importable by name."""
    if processes > 1:  # the software driver would start as many threads as there are cores in every process
        os.environ.setdefault("LP_NUM_THREADS", "1")
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin_worker, initargs=(os.getpid(), build, arguments)
    )
    try:
        yield Workers(pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_build: Callable[[], Callable[[Any], Any]] | None = None
_do: Callable[[Any], Any] | None = None


def _begin_worker(parent: int, build: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    global _build
    end_with_parent()
    if os.getppid() != parent:  # it died while this process was still importing, before the kernel was asked to tell
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent lets it finish its job
    _build = lambda: build(*arguments)  # noqa: E731 - built with the first job, whose error the parent is told


def _work(job: Any) -> Any:
    global _do
    assert _build is not None
    try:
        _do = _do or _build()
        return _do(job)
    except WorldAgenError as error:
        raise WorkerError(str(error)) from None  # not every error of ours comes through a pipe as it was
