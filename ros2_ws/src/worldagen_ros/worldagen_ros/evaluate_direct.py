"""Play an evaluation's episodes without ROS in between: one environment and one network a process."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from worldagen_ros import topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.deciders import DECIDERS
from worldagen_ros.direct import DirectStack
from worldagen_ros.messages import decode_chunk
from worldagen_ros.workers import open_workers
from worldagen_sim.environment import make_environment
from worldagen_sim.episode import Episodes, Status
from worldagen_sim.evaluation import Leg, Result, Trial

BEGIN_NS = 1000 * 1_000_000_000  # stamp of every first instant


class DirectPlayer:
    """Plays trials."""

    def __init__(self, config: DeploymentConfig) -> None:
        self._config = config
        self._episodes = Episodes(make_environment(config.sim.environment, renderer=config.sim.renderer))
        self._stack = DirectStack(config, self._episodes, DECIDERS[config.policy.kind](config.policy, config.robot))

    def play(self, trial: Trial) -> Result:
        """Play a trial to its end. Raises WorldAgenError."""
        started_s, legs = time.perf_counter(), []
        for task, words in zip(trial.tasks, trial.instructions, strict=True):
            if legs:
                self._episodes.take_up(task, self._config.sim.max_steps, words)
            else:
                conditions = dict(trial.conditions) or None
                self._episodes.begin(task, trial.scene, trial.seed, self._config.sim.max_steps, words, conditions)
            legs.append(self._leg())
            if not legs[-1].success:
                break
        return Result(tuple(legs), time.perf_counter() - started_s)

    def close(self) -> None:
        """Free the environment."""
        self._episodes.environment.close()

    def _leg(self) -> Leg:
        chunks: list[Any] = []

        def hear(topic: str, msg: Any, stamp_ns: int) -> None:
            if topic == topics.ACTION_CHUNK:
                chunks.append(msg)

        self._stack.play(BEGIN_NS, hear)
        episodes = self._episodes
        return make_leg(episodes.status is Status.SUCCEEDED, episodes.steps, chunks, self._config, episodes.detail)


def make_leg(success: bool, steps: int, chunks: Iterable[Any], config: DeploymentConfig, detail: str) -> Leg:
    """How a task ended. chunks: the ActionChunk messages that answered it, in order."""
    rows = [decode_chunk(msg, config.robot.frame_id).rows for msg in chunks]
    digest = hashlib.sha256(b"".join(some.tobytes() for some in rows)).hexdigest()
    return Leg(success, steps, len(rows), digest, detail)


def play_all(trials: Iterable[Trial], config: DeploymentConfig, processes: int) -> Iterator[tuple[Trial, Result]]:
    """Each trial with its result, as they end. Raises WorkerError in the words of a worker."""
    with open_workers(processes, _make_player, config) as workers:
        yield from workers.run(trials)


def _make_player(config: DeploymentConfig) -> Callable[[Trial], Result]:
    return DirectPlayer(config).play
