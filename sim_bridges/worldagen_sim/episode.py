"""One episode after another in an Environment: resets, steps toward commanded poses, and how an episode ends."""

from dataclasses import dataclass
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
    """Drives one Environment; the caller says when a step is due."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.count = 0
        self.steps = 0
        self.status = Status.IDLE
        self.detail = ""  # what went wrong, in words
        self.assignment = Assignment("", "", 0, 0, "")
        self._state: SimState | None = None

    def begin(self, task: str, scene: str, seed: int, max_steps: int) -> None:
        """Reset; raises UnknownName, and keeps the present episode, when task or scene do not exist."""
        instruction = find_task(self.environment, task).instruction
        self._state = self.environment.reset(task, scene, seed)
        self.assignment = Assignment(task, scene, seed, max_steps, instruction)
        self.count += 1
        self.steps, self.detail = 0, ""
        self.status = Status.RUNNING

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
        if self._state.success:
            self.status = Status.SUCCEEDED
        elif self.steps >= self.assignment.max_steps:
            self.status = Status.STEP_LIMIT
