"""Play an evaluation's episodes without ROS in between, and measure its world model: what each worker of a pool does."""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from worldagen.deciding import Decider, Routable
from worldagen_ros import topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.deciders import DECIDERS
from worldagen_ros.direct import DirectStack
from worldagen_ros.evaluate_world import Measured, WorldMeter
from worldagen_ros.filming import Film
from worldagen_ros.messages import decode_chunk
from worldagen_sim.environment import make_environment
from worldagen_sim.episode import Episodes, Status
from worldagen_sim.evaluation import EXPERT, Leg, Result, Trial

BEGIN_NS = 1000 * 1_000_000_000  # stamp of every first instant


class DirectEvaluator:
    """Does any trial; made by name in a worker process. What a trial needs is built with the first one that needs it."""

    def __init__(self, config: DeploymentConfig, films: Path | None = None, most_films: int = 0) -> None:
        """films: folder of those of failed episodes, at most so many of them; None for none."""
        self._config = config
        self._film = Film(films, most_films)
        self._player: DirectPlayer | None = None
        self._meter: WorldMeter | None = None

    def __call__(self, trial: Trial) -> Result | Measured:
        """Measured for an episode of the expert, else Result. Raises WorldAgenError."""
        if trial.kind == EXPERT:
            self._meter = self._meter or WorldMeter(self._config)
            return self._meter.measure(trial)
        self._player = self._player or DirectPlayer(self._config, self._film)
        return self._player.play(trial)


class DirectPlayer:
    """Plays trials."""

    def __init__(self, config: DeploymentConfig, film: Film | None = None) -> None:
        self._config, self._film = config, film or Film(None, 0)
        # The network first: torch's compiler crashes when it is loaded after an OpenGL driver with an LLVM of its own.
        self._decider = DECIDERS[config.policy.kind](config.policy, config.robot, config.engine)
        self._episodes = Episodes(make_environment(config.sim.environment, config.sim.renderer, config.sim.options))
        self._stack = DirectStack(config, self._episodes, self._decider)

    def play(self, trial: Trial) -> Result:
        """Play a trial to its end; once more if the simulator failed, which a reset starts anew. Raises WorldAgenError."""
        result = self._play(trial)
        return self._play(trial) if result.legs[-1].detail else result

    def _play(self, trial: Trial) -> Result:
        started_s, legs = time.perf_counter(), []
        for number, (task, words) in enumerate(zip(trial.tasks, trial.instructions, strict=True)):
            if legs:
                self._episodes.take_up(task, self._config.sim.max_steps, words)
            else:
                conditions = dict(trial.conditions) or None
                self._episodes.begin(task, trial.scene, trial.seed, self._config.sim.max_steps, words, conditions)
            self._film.begin()
            legs.append(self._leg())
            if not legs[-1].success:
                self._film.keep(trial, number)
                break
        return Result(tuple(legs), time.perf_counter() - started_s)

    def close(self) -> None:
        """Free the environment."""
        self._episodes.environment.close()

    def _leg(self) -> Leg:
        chunks: list[Any] = []
        routed: list[tuple[int, dict[str, float]]] = []

        def hear(topic: str, msg: Any, stamp_ns: int) -> None:
            self._film.hear(topic, msg)
            if topic == topics.ACTION_CHUNK:
                chunks.append(msg)
                weights = weights_of(self._decider)
                if weights and (not routed or weights != routed[-1][1]):
                    routed.append((len(chunks) - 1, weights))

        self._stack.play(BEGIN_NS, hear)
        episodes = self._episodes
        leg = make_leg(episodes.status is Status.SUCCEEDED, episodes.steps, chunks, self._config, episodes.detail)
        return replace(leg, routed=tuple(routed))


def weights_of(decider: Decider) -> dict[str, float]:
    """Of the places that have any, at the scene level, in the newest decision; empty without a bank."""
    told = decider.routed if isinstance(decider, Routable) else None
    return {name: round(share, 4) for name, share in told.routed.shares.items()} if told is not None else {}


def make_leg(success: bool, steps: int, chunks: Iterable[Any], config: DeploymentConfig, detail: str) -> Leg:
    """How a task ended. chunks: the ActionChunk messages that answered it, in order."""
    decoded = [decode_chunk(msg, config.robot.frame_id) for msg in chunks]
    digest = hashlib.sha256(b"".join(chunk.rows.tobytes() for chunk in decoded)).hexdigest()
    thinking_s = median(chunk.inference_s for chunk in decoded) if decoded else 0.0
    return Leg(success, steps, len(decoded), digest, detail, thinking_s)
