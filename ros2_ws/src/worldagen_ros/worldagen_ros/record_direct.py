"""Record demonstrations without ROS in between: one environment a process, one bag an episode, bit for bit as through ROS."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message

from worldagen.bags.writer import BagWriter
from worldagen_ros import demonstrating
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.deciders import DECIDERS
from worldagen_ros.direct import DirectStack
from worldagen_ros.workers import open_workers
from worldagen_sim.demonstrations import EPISODE, Attempt, Ended, Ledger, Request
from worldagen_sim.environment import make_environment
from worldagen_sim.episode import Episodes, Status


class DirectRecorder:
    """Plays attempts and writes their bags."""

    def __init__(self, config: DeploymentConfig, request: Request) -> None:
        self._config, self._request = config, request
        environment = make_environment(request.environment, config.sim.renderer, config.sim.options)
        self._episodes = Episodes(environment, request.tail_steps)
        self._stack = DirectStack(
            config, self._episodes, DECIDERS[config.policy.kind](config.policy, config.robot, config.engine)
        )
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

            self._stack.play(attempt.begin_ns, write, picture_every=self._request.picture_every)
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
    with open_workers(processes, _make_recorder, config, ledger.request) as workers:
        while due := list(ledger.missing()):
            for _, ended in workers.run([(attempt, ledger.workplace(attempt)) for attempt in due]):
                ledger.settle(ended)
                yield ended


def _make_recorder(config: DeploymentConfig, request: Request) -> Callable[[tuple[Attempt, Path]], Ended]:
    recorder = DirectRecorder(config, request)
    return lambda job: recorder.record(*job)
