"""One episode after another in an Environment: resets, steps toward commanded poses, and how an episode ends."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from worldagen.errors import SimulatorError
from worldagen.poses import Pose
from worldagen_sim.environment import Environment, SimState, find_task


class Status(IntEnum):
    """Where an episode stands; the numbers are those of worldagen_msgs/TaskState."""

    IDLE = 0
    RUNNING = 1
    SUCCEEDED = 2
    STEP_LIMIT = 3
    FAILED = 4


@dataclass(frozen=True)
class Assignment:
    """What an episode was asked to be; the same assignment gives the same episode."""

    task: str
    scene: str
    seed: int
    max_steps: int
    instruction: str


class Episodes:
    """Drives one Environment; the caller says when a step is due.

    tail_steps: control steps played on after success before the episode ends, so that a recording shows the result.
    ends_on_success: false: play every episode to its step limit, whatever happens; then tail_steps means nothing.
    """

    def __init__(self, environment: Environment, tail_steps: int = 0, ends_on_success: bool = True) -> None:
        self.environment = environment
        self.count = 0
        self.steps = 0
        self.status = Status.IDLE
        self.detail = ""  # what went wrong, in words
        self.assignment = Assignment("", "", 0, 0, "")
        self._tail_steps, self._ends_on_success = tail_steps, ends_on_success
        self._state: SimState | None = None

    def begin(
        self,
        task: str,
        scene: str,
        seed: int,
        max_steps: int,
        instruction: str = "",
        conditions: Mapping[str, str] | None = None,
    ) -> None:
        """Reset; no instruction means the task's plain one. Raises UnknownName or SimulatorError; the present episode stays."""
        words = instruction or find_task(self.environment, task).instruction
        self._enter(self.environment.reset(task, scene, seed, conditions), Assignment(task, scene, seed, max_steps, words))

    def restore(self, task: str, scene: str, state: np.ndarray, max_steps: int, instruction: str = "") -> None:
        """Begin from a stored state, (N,) numbers; raises UnknownName or SimulatorError; the present episode stays."""
        words = instruction or find_task(self.environment, task).instruction
        self._enter(self.environment.restore(task, scene, state), Assignment(task, scene, 0, max_steps, words))

    def take_up(self, task: str, max_steps: int, instruction: str = "") -> None:
        """An episode of another task in the world as it stands; raises UnknownName, and SimulatorError before the first one."""
        words = instruction or find_task(self.environment, task).instruction
        assignment = replace(self.assignment, task=task, max_steps=max_steps, instruction=words)
        self._enter(self.environment.take_up(task), assignment)

    def _enter(self, state: SimState, assignment: Assignment) -> None:
        self._state, self.assignment = state, assignment
        self.count += 1
        self.steps, self.detail = 0, ""
        self.status = Status.RUNNING
        self._last_step = assignment.max_steps
        self._succeeded = False

    @property
    def state(self) -> SimState:
        """The simulator's present state; raises SimulatorError before the first episode."""
        if self._state is None:
            raise SimulatorError("there is no episode yet; reset first")
        return self._state

    @property
    def commanded_pose(self) -> Pose:
        """The pose that the next row moves."""
        return Pose.from_euler(self.state.target_pose)

    def step(self, row: np.ndarray) -> None:
        """Play one row, (7,) SI. An episode that has ended stays ended, though its world may move on."""
        if self._state is None:
            raise SimulatorError("a step was asked for before the first reset; reset first")
        try:
            self._state = self.environment.step(row)
        except SimulatorError as error:
            self.status, self.detail = Status.FAILED, str(error)
            return
        if self.status is not Status.RUNNING:
            return
        self.steps += 1
        if self._state.success and not self._succeeded:
            self._succeeded = True
            self._last_step = self.steps + self._tail_steps if self._ends_on_success else self._last_step
        if self.steps >= self._last_step:
            self.status = Status.SUCCEEDED if self._succeeded else Status.STEP_LIMIT
