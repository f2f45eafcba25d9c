"""Record demonstrations without ROS in between: one environment a process, one bag an episode, bit for bit as through ROS."""

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message

from worldagen.bags.writer import BagWriter
from worldagen_ros import demonstrating
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.deciders import DECIDERS
from worldagen_ros.direct import DirectStack
from worldagen_ros.stack import end_with_parent
from worldagen_sim.demonstrations import EPISODE, Attempt, Ended, Ledger, Request
from worldagen_sim.environment import make_environment
from worldagen_sim.episode import Episodes, Status


class DirectRecorder:
    """Plays attempts and writes their bags."""

    def __init__(self, config: DeploymentConfig, request: Request) -> None:
        self._config, self._request = config, request
        environment = make_environment(request.environment, renderer=config.sim.renderer)
        self._episodes = Episodes(environment, request.tail_steps)
        self._stack = DirectStack(config, self._episodes, DECIDERS[config.policy.kind](config.policy, config.robot))
        self._topics = demonstrating.topics_of(config)

    def record(self, attempt: Attempt, folder: Path) -> Ended:
        """Play one attempt into a new bag folder. Raises WorldAgenError; an attempt without success leaves no bag."""
        episodes = self._episodes
        episodes.begin(attempt.task, attempt.scene, attempt.seed, self._request.max_steps, attempt.instruction)
        before = demonstrating.metadata_before(self._config, self._request, attempt)
        with BagWriter(folder, before) as bag:
            for topic in self._topics.values():
                bag.add_topic(topic)

            def write(name: str, msg: Any, stamp_ns: int) -> None:
                if name in self._topics:
                    bag.write(self._topics[name].name, serialize_message(msg), stamp_ns, stamp_ns)

            self._stack.play(attempt.begin_ns, write)
            kept = episodes.status is Status.SUCCEEDED
            conditions = episodes.environment.conditions
            bag.annotate(EPISODE, demonstrating.episode_after(before[EPISODE], kept, episodes.steps, conditions))
        if not kept:
            shutil.rmtree(folder)
        return Ended(attempt, kept, episodes.steps, bag.size_bytes if kept else 0)

    def close(self) -> None:
        """Free the environment."""
        self._episodes.environment.close()


def record_all(ledger: Ledger, config: DeploymentConfig, processes: int) -> Iterator[Ended]:
    """Record whatever the ledger misses, settle each attempt, and tell of it. Raises the first WorldAgenError of a worker."""
    if processes > 1:  # the software driver would start as many threads as there are cores in every process
        os.environ.setdefault("LP_NUM_THREADS", "1")
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin_worker, initargs=(config, ledger.request)
    )
    try:
        while due := list(ledger.missing()):
            jobs: set[Future[Ended]] = {pool.submit(_record, attempt, ledger.workplace(attempt)) for attempt in due}
            while jobs:
                done, jobs = wait(jobs, return_when=FIRST_COMPLETED)
                for job in done:
                    ended = job.result()
                    ledger.settle(ended)
                    yield ended
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: DirectRecorder | None = None


def _begin_worker(config: DeploymentConfig, request: Request) -> None:
    global _worker
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent lets it finish its episode
    _worker = DirectRecorder(config, request)


def _record(attempt: Attempt, folder: Path) -> Ended:
    assert _worker is not None
    return _worker.record(attempt, folder)
