"""Chains of tasks in CALVIN's manner: five in a row, each possible after the one before, the first from given conditions.

A chain is a function of its seed. No two tasks of a chain are of one family (push, rotate, lift, ...); the family is drawn
first, so that the many tasks with blocks do not crowd out the drawer and the lights.
"""

from collections.abc import Sequence

import numpy as np

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.chains import LENGTH, Chain
from worldagen_sim.playtable.conditions import Conditions, checked, draw_conditions
from worldagen_sim.playtable.draws import Draws
from worldagen_sim.playtable.tasks import RULES


def draw_chain(seed: int, length: int = LENGTH) -> Chain:
    """The chain of a seed. Raises SimulatorError for a seed that is none, or a length that cannot be reached."""
    families = {rules.family for rules in RULES.values()}
    if not 1 <= length <= len(families):
        raise SimulatorError(f"a chain of {length} tasks; expected 1 to {len(families)}: one of each family of tasks")
    random = Draws(seed).generator("chain")
    while True:
        start = draw_conditions(random)
        tasks = _walk(start, length, random)
        if len(tasks) == length:
            return Chain(int(seed), start, tasks)


def conditions_along(conditions: Conditions, tasks: Sequence[str]) -> tuple[Conditions, ...]:
    """The conditions before each task and after the last: (tasks + 1).

    Raises UnknownName for a task that does not exist, SimulatorError for one that cannot be done when its turn comes.
    """
    along = [checked(conditions)]
    for number, task in enumerate(tasks, start=1):
        if task not in RULES:
            raise UnknownName("playtable task", task, RULES)
        if not RULES[task].requires(along[-1]):
            told = ", ".join(f"{name} {value}" for name, value in along[-1].items())
            raise SimulatorError(f"task {number} of the chain, {task}, cannot be done then: {told}")
        along.append(RULES[task].effect(along[-1]))
    return tuple(along)


def _walk(conditions: Conditions, length: int, random: np.random.Generator) -> tuple[str, ...]:
    """Tasks one after another, fewer than the length when it ends in a place from which nothing new can be done."""
    tasks: list[str] = []
    left = sorted({rules.family for rules in RULES.values()})
    while len(tasks) < length:
        possible = {
            family: [name for name, rules in RULES.items() if rules.family == family and rules.requires(conditions)]
            for family in left
        }
        families = [family for family in left if possible[family]]
        if not families:
            break
        family = str(random.choice(families))
        task = str(random.choice(possible[family]))
        left.remove(family)
        conditions = RULES[task].effect(conditions)
        tasks.append(task)
    return tuple(tasks)
