"""An actor in an Environment, with no clock but the simulator's: one task, or a chain of them.

An actor plans rows; they are executed open loop to their end. What it needs of a state it takes itself: an expert the named
numbers, a policy the pictures, which are drawn only when asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from worldagen.types import Observation
from worldagen_sim.environment import Environment, SimState, Task, find_task, observe
from worldagen_sim.experts import STEADY, ExpertPolicy, Manner

Look = Callable[[], Observation]


class Actor(Protocol):
    """What decides in a rollout."""

    def take_up(self, task: Task, seed: int) -> None:
        """Begin a task."""
        ...

    def rows(self, state: SimState, look: Look) -> np.ndarray:
        """The next rows to execute, (M, 7) SI. look: draws what a policy sees of this state."""
        ...


class ExpertActor:
    """The scripted expert."""

    def __init__(self, rows: int = 1, manner: Manner = STEADY) -> None:
        self._expert, self._rows = ExpertPolicy(manner), rows

    def take_up(self, task: Task, seed: int) -> None:
        """Begin a task; raises UnknownName for one without an expert."""
        self._expert.reset(task.name, seed)

    def rows(self, state: SimState, look: Look) -> np.ndarray:
        """The expert's plan."""
        return self._expert.plan(state.values, self._rows)


@dataclass(frozen=True)
class Outcome:
    """How a task ended: done or not, after so many control steps."""

    success: bool
    steps: int


def play_task(environment: Environment, actor: Actor, task: str, state: SimState, seed: int, max_steps: int) -> Outcome:
    """Play a task that was just begun, from its first state, until it is done or its steps are used up."""
    actor.take_up(find_task(environment, task), seed)
    steps = 0
    while not state.success and steps < max_steps:
        shown = state  # the state a later call to look must not have moved on from
        for row in actor.rows(shown, lambda: observe(shown, environment.render())):  # noqa: B023 - used within this turn
            state, steps = environment.step(row), steps + 1
            if state.success or steps >= max_steps:
                break
    return Outcome(state.success, steps)


def play_episode(environment: Environment, actor: Actor, task: str, scene: str, seed: int, max_steps: int) -> Outcome:
    """Reset and play one task."""
    return play_task(environment, actor, task, environment.reset(task, scene, seed), seed, max_steps)


def play_chain(
    environment: Environment,
    actor: Actor,
    tasks: Sequence[str],
    scene: str,
    seed: int,
    conditions: Mapping[str, str] | None,
    max_steps: int,
) -> tuple[Outcome, ...]:
    """Play tasks one after another in one world, until the first that is not done; the outcomes of those that were begun."""
    outcomes: list[Outcome] = []
    for task in tasks:
        state = environment.take_up(task) if outcomes else environment.reset(task, scene, seed, conditions)
        outcomes.append(play_task(environment, actor, task, state, seed, max_steps))
        if not outcomes[-1].success:
            break
    return tuple(outcomes)
