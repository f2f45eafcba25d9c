"""Play an evaluation's episodes through the ROS nodes, in lockstep: simulator, network and command node as processes."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from worldagen_msgs.msg import TaskState
from worldagen_ros.client import StackClient, StackError
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.evaluate_direct import make_leg
from worldagen_ros.filming import Film
from worldagen_ros.messages import stamp_to_ns
from worldagen_ros.running import open_stack
from worldagen_ros.watching import Watcher
from worldagen_sim.evaluation import Leg, Result, Trial

PATIENCE_S = 600.0  # of one task


class StackPlayer:
    """Plays trials on a running stack."""

    def __init__(self, client: StackClient, config: DeploymentConfig, film: Film | None = None) -> None:
        self._client, self._config, self._film = client, config, film or Film(None, 0)
        self._live = config.timing.mode == "realtime"
        self._watcher = Watcher(client, self._live, self._film.see if self._film.is_wanted else None)

    def play(self, trial: Trial) -> Result:
        """Play a trial to its end; once more if the simulator failed. Raises StackError when the policy stops before."""
        result = self._play(trial)
        return self._play(trial) if result.legs[-1].detail else result

    def _play(self, trial: Trial) -> Result:
        started_s, legs = time.perf_counter(), []
        conditions = [f"{name}={value}" for name, value in trial.conditions]
        for task, words in zip(trial.tasks, trial.instructions, strict=True):
            world = {"keep_world": True} if legs else {"conditions": conditions}
            self._watcher.forget()
            self._film.begin()
            result = self._client.run_episode(
                task, trial.scene, trial.seed, self._config.sim.max_steps, PATIENCE_S, instruction=words, **world
            )
            if self._client.task_state.status == TaskState.RUNNING:
                raise StackError(f"{trial.key}: the policy stopped in {task}: {result.message}")
            legs.append(self._leg())
            if not legs[-1].success:
                self._film.keep(trial, len(legs) - 1)
                break
        return Result(tuple(legs), time.perf_counter() - started_s)

    def _leg(self) -> Leg:
        ended, begun_ns = self._client.task_state, self._client.episode_begun_ns
        if not self._live:  # in real time rows are dropped, and nothing says which chunk is the last
            self._client.wait(lambda: self._rows_since(begun_ns) >= ended.steps, "the last chunk")
        chunks = [msg for msg in self._watcher.chunks if stamp_to_ns(msg.header.stamp) >= begun_ns]
        return make_leg(ended.status == TaskState.SUCCEEDED, ended.steps, chunks, self._config, ended.detail)

    def _rows_since(self, begun_ns: int) -> int:
        return sum(len(msg.rows) for msg in self._watcher.chunks if stamp_to_ns(msg.header.stamp) >= begun_ns)


def play_all_through_ros(
    trials: Iterable[Trial], config: DeploymentConfig, log_file: Path, domain: int | None, film: Film | None = None
) -> Iterator[tuple[Trial, Result]]:
    """Each trial with its result, one after another. Raises StackError when a node dies or the policy stops."""
    with open_stack(config, log_file, domain) as client:
        player = StackPlayer(client, config, film)
        for trial in trials:
            yield trial, player.play(trial)
