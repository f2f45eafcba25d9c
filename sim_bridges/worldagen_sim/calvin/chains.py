"""CALVIN's own evaluation: 1000 chains of five tasks, drawn as its `multistep_sequences` draws them, number by number.

A task may be done in several ways (a block lies here or there); in a chain it counts only where exactly one way is open, for
else nobody could say what the table looks like afterwards. No two tasks of a chain are of one family. Every initial state has
a generator of its own and its share of the chains; in the end all are shuffled. Needs no clone of CALVIN.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.calvin.conditions import BLOCKS, CHOICES, Conditions, checked, initial_conditions
from worldagen_sim.chains import LENGTH, Chain

COUNT = 1000
HAND = "grasped"


class Table(NamedTuple):
    """Conditions in the midst of a chain: a block may also be in the drawer, grasped, stacked_top or stacked_bottom."""

    led: str
    lightbulb: str
    slider: str
    drawer: str
    red_block: str
    blue_block: str
    pink_block: str

    def place(self, block: str) -> str:
        """Of a block."""
        return getattr(self, block)

    @property
    def held(self) -> str:
        """The block in the hand, or ""."""
        return next((block for block in BLOCKS if self.place(block) == HAND), "")


Ways = Callable[[Table], Iterator[Table]]  # the tables that a task may leave behind, one for each way to do it


@dataclass(frozen=True)
class Rules:
    """Of one task. family: tasks of one kind, of which a chain takes one."""

    family: str
    ways: Ways


def draw_chain(seed: int) -> Chain:
    """The chain of that number in CALVIN's evaluation; raises SimulatorError for one that it does not have.

    The first call draws all of them, which takes half a minute.
    """
    if isinstance(seed, bool) or not 0 <= seed < COUNT:
        raise SimulatorError(
            f"there is no chain {seed!r}; CALVIN's evaluation has those from 0 to {COUNT - 1}: begin at the seed 0"
        )
    return draw_chains()[seed]


def conditions_along(conditions: Conditions, tasks: tuple[str, ...]) -> tuple[dict[str, str], ...]:
    """The conditions before each task and after the last: (tasks + 1).

    Raises UnknownName for a task that does not exist, SimulatorError for one that cannot be done when its turn comes, or for
    which more than one way is open.
    """
    along = [Table(**checked(conditions))]
    for number, task in enumerate(tasks, start=1):
        if task not in RULES:
            raise UnknownName("calvin task", task, RULES)
        after = list(RULES[task].ways(along[-1]))
        if len(after) != 1:
            told = ", ".join(f"{name} {value}" for name, value in along[-1]._asdict().items())
            raise SimulatorError(f"task {number} of the chain, {task}, can be done in {len(after)} ways then: {told}")
        along.append(after[0])
    return tuple(table._asdict() for table in along)


@lru_cache
def starts_of(task: str) -> tuple[Conditions, ...]:
    """The initial states in which a task can be done; none for those that follow another one, such as placing.

    Raises UnknownName.
    """
    if task not in RULES:
        raise UnknownName("calvin task", task, RULES)
    return tuple(state for state in initial_conditions() if any(RULES[task].ways(Table(**state))))


@lru_cache(maxsize=4)
def draw_chains(count: int = COUNT) -> tuple[Chain, ...]:
    """The evaluation of that many chains, which is no part of a longer one."""
    states = initial_conditions()
    share, more = divmod(count, len(states))
    drawn = [(state, tasks) for index, state in enumerate(states) for tasks in draw_from(state, index, share + (index < more))]
    np.random.RandomState(0).shuffle(drawn)  # type: ignore[arg-type]  # a list is shuffled in place
    return tuple(Chain(number, state, tasks) for number, (state, tasks) in enumerate(drawn))


def draw_from(state: Conditions, seed: int, count: int) -> list[tuple[str, ...]]:
    """The first chains that a generator of this seed finds from a state: five different tasks are drawn until they fit."""
    random = np.random.RandomState(seed)  # the old generator: its streams never change
    table, tasks, everything = Table(**state), list(RULES), list(range(len(RULES)))
    first = {index for index, task in enumerate(tasks) if _after(table, task)}
    found: list[tuple[str, ...]] = []
    while len(found) < count:
        drawn = everything.copy()
        random.shuffle(drawn)
        if drawn[0] in first and _fits(table, chain := tuple(tasks[index] for index in drawn[:LENGTH])):
            found.append(chain)
    return found


def _fits(table: Table, tasks: tuple[str, ...]) -> bool:
    if len({RULES[task].family for task in tasks}) < len(tasks):
        return False
    for task in tasks:
        after = _after(table, task)
        if after is None:
            return False
        table = after
    return True


@cache  # 16 times some hundred tables
def _after(table: Table, task: str) -> Table | None:
    """The table after a task that can be done in exactly one way."""
    after = list(RULES[task].ways(table))
    return after[0] if len(after) == 1 else None


def _stays(block: str) -> Ways:
    def ways(table: Table) -> Iterator[Table]:
        if not table.held and table.place(block) == "table":
            yield table

    return ways


def _turns(name: str, before: str, after: str) -> Ways:
    def ways(table: Table) -> Iterator[Table]:
        if not table.held and table.place(name) == before:
            yield table._replace(**{name: after})

    return ways


def _lift(block: str, where: str) -> Ways:
    def ways(table: Table) -> Iterator[Table]:
        uncovered = {"slider": "slider_left" if table.slider == "right" else "slider_right"}
        reachable = where != "drawer" or table.drawer == "open"
        if not table.held and reachable and table.place(block) == uncovered.get(where, where):
            yield table._replace(**{block: HAND})

    return ways


def _place_in_slider(table: Table) -> Iterator[Table]:
    # CALVIN counts the block on the side where the door stands.
    if table.held:
        yield table._replace(**{table.held: f"slider_{table.slider}"})


def _place_in_drawer(table: Table) -> Iterator[Table]:
    if table.held and table.drawer == "open":
        yield table._replace(**{table.held: "drawer"})


def _push_into_drawer(table: Table) -> Iterator[Table]:
    for block in BLOCKS:
        others = (table.place(other) for other in BLOCKS if other != block)
        away = all(place.startswith("slider") for place in others)
        if not table.held and table.drawer == "open" and table.place(block) == "table" and away:
            yield table._replace(**{block: "drawer"})


def _stack(table: Table) -> Iterator[Table]:
    for bottom in BLOCKS:
        if table.held and table.place(bottom) == "table":
            yield table._replace(**{table.held: "stacked_top", bottom: "stacked_bottom"})


def _unstack(table: Table) -> Iterator[Table]:
    tops = [block for block in BLOCKS if table.place(block) == "stacked_top"]
    bottoms = [block for block in BLOCKS if table.place(block) == "stacked_bottom"]
    for top in tops:
        for bottom in bottoms:
            if not table.held:
                yield table._replace(**{top: "table", bottom: "table"})


def _block_tasks(family: str, verb: str) -> dict[str, Rules]:
    return {f"{verb}_{block}_{side}": Rules(family, _stays(block)) for block in BLOCKS for side in ("right", "left")}


# The order is CALVIN's: tasks are drawn by their place in it. Rotating and pushing are one family there, so are both lights.
RULES: dict[str, Rules] = {
    **_block_tasks("move", "rotate"),
    **_block_tasks("move", "push"),
    "move_slider_left": Rules("slider", _turns("slider", "right", "left")),
    "move_slider_right": Rules("slider", _turns("slider", "left", "right")),
    "open_drawer": Rules("drawer", _turns("drawer", "closed", "open")),
    "close_drawer": Rules("drawer", _turns("drawer", "open", "closed")),
    **{
        f"lift_{block}_{where}": Rules(f"lift_{where}", _lift(block, where))
        for block in BLOCKS
        for where in ("table", "slider", "drawer")
    },
    "place_in_slider": Rules("place", _place_in_slider),
    "place_in_drawer": Rules("place", _place_in_drawer),
    "stack_block": Rules("stack", _stack),
    "unstack_block": Rules("unstack", _unstack),
    "turn_on_lightbulb": Rules("lights", _turns("lightbulb", "0", "1")),
    "turn_off_lightbulb": Rules("lights", _turns("lightbulb", "1", "0")),
    "turn_on_led": Rules("lights", _turns("led", "0", "1")),
    "turn_off_led": Rules("lights", _turns("led", "1", "0")),
    "push_into_drawer": Rules("push_into_drawer", _push_into_drawer),
}
assert tuple(CHOICES) == Table._fields
