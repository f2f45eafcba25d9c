"""The same pool as workers.py, on a Ray cluster: each machine needs this package and the checkpoint at the same path.

Ray moves the jobs and watches the machines; what is played, and what is written where, is as with local processes.
"""

import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from worldagen.errors import WorldAgenError
from worldagen_ros.workers import WorkerError


class RayWorkers:
    """A pool of actors; see open_ray_workers."""

    def __init__(self, ray: Any, actors: list[Any]) -> None:
        self._ray, self._actors = ray, actors

    def run(self, jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Each job with its result, as they end. Raises WorkerError in the worker's words, or when a machine was lost.

        What has ended before is handed out first, so that the same call goes on with what is missing.
        """
        ray, waiting, running = self._ray, iter(list(jobs)), {}

        def begin(actor: Any) -> None:
            job = next(waiting, None)
            if job is not None:
                running[actor.work.remote(job)] = (actor, job)

        for actor in self._actors:
            begin(actor)
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            actor, job = running.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise WorkerError(str(error.cause if error.cause is not None else error)) from None
            except ray.exceptions.RayError as error:
                raise WorkerError(f"a worker of the Ray cluster was lost ({error}); run the same command again") from None
            yield job, result
            begin(actor)


@contextmanager
def open_ray_workers(
    address: str, processes: int | None, build: Callable[..., Callable[[Any], Any]], *arguments: Any
) -> Iterator[RayWorkers]:
    """Actors on the cluster that call build(*arguments) once, and what it returns for every job.

    address: "auto", "HOST:PORT", "ray://..." or "local". processes: by default one for each CPU of the cluster. Raises
    WorkerError without Ray, or without a cluster there.
    """
    try:
        import ray
    except ImportError:
        raise WorkerError("Ray is not installed; on every machine of the cluster: pip install worldagen[ray]") from None
    _require_answer(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
    except Exception as error:  # Ray has no error of its own for this
        raise WorkerError(f"there is no Ray cluster at {address!r}: {' '.join(str(error).split())[:300]}") from None
    actors: list[Any] = []
    try:
        count = processes or max(1, int(ray.cluster_resources().get("CPU", 1)))
        actor_of = ray.remote(num_cpus=1)(_RayWorker)
        actors += [actor_of.remote(build, arguments) for _ in range(count)]
        yield RayWorkers(ray, actors)
    finally:
        for actor in actors:
            ray.kill(actor)
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes, then end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and "local" are Ray's to understand
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except OSError as error:
        raise WorkerError(f"there is no Ray cluster at {address!r}: {error}") from None


class _RayWorker:
    def __init__(self, build: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
        self._build, self._arguments = build, arguments
        self._do: Callable[[Any], Any] | None = None

    def work(self, job: Any) -> Any:
        try:
            self._do = self._do or self._build(*self._arguments)
            return self._do(job)
        except WorldAgenError as error:
            raise WorkerError(str(error)) from None
