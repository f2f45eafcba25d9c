"""The table in words: which things are open, on, or where. Tasks ask for such conditions, chains of tasks are planned in them.

A condition is a flat mapping, as in CALVIN's `initial_state`:

    slider     left | right               the end at which the door stands; it covers the bay on that side
    drawer     open | closed
    lightbulb  on | off
    led        on | off
    red_block, blue_block, pink_block     table | drawer | slider_left | slider_right | hand | stack

A block in the place "stack" lies on another one; which one is not said, so that after stacking no block on the table counts as
free.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from worldagen.errors import SimulatorError
from worldagen_sim.choices import fault_of_choices

Conditions = Mapping[str, str]
BLOCKS = ("red_block", "blue_block", "pink_block")
PLACES = ("table", "drawer", "slider_left", "slider_right", "hand", "stack")
SINGLE_PLACES = PLACES[1:]  # each holds one block at most
CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "slider": ("left", "right"),
        "drawer": ("open", "closed"),
        "lightbulb": ("on", "off"),
        "led": ("on", "off"),
        **dict.fromkeys(BLOCKS, PLACES),
    }
)
# Where a block is when an episode begins: mostly on the table, as in CALVIN's initial states.
PLACE_SHARES = (0.64, 0.08, 0.08, 0.08, 0.06, 0.06)


def at(conditions: Conditions, place: str) -> tuple[str, ...]:
    """The blocks in a place."""
    return tuple(block for block in BLOCKS if conditions[block] == place)


def is_free(conditions: Conditions, block: str) -> bool:
    """Whether a block lies on the table with certainly nothing on it."""
    return conditions[block] == "table" and not at(conditions, "stack")


def is_uncovered(conditions: Conditions, bay: str) -> bool:
    """Whether the door leaves this bay ("slider_left" or "slider_right") open."""
    return bay != f"slider_{conditions['slider']}"


def fault_of(conditions: Conditions) -> str:
    """Why the table cannot be like this, in words; "" when it can."""
    if fault := fault_of_choices(conditions, CHOICES):
        return fault
    for place in SINGLE_PLACES:
        if len(blocks := at(conditions, place)) > 1:
            return f"{' and '.join(blocks)} are both in the place {place!r}, which holds one"
    if at(conditions, "stack") and not at(conditions, "table"):
        return f"{at(conditions, 'stack')[0]} is on a stack, but no block on the table is under it"
    return ""


def checked(conditions: Conditions) -> Conditions:
    """A frozen copy; raises SimulatorError when the table cannot be like this."""
    if fault := fault_of(conditions):
        raise SimulatorError(f"impossible conditions: {fault}")
    return MappingProxyType(dict(conditions))


def changed(conditions: Conditions, **changes: str) -> Conditions:
    """The conditions after a change."""
    return checked({**conditions, **changes})


def draw_conditions(random: np.random.Generator) -> Conditions:
    """Possible conditions, drawn until they are possible."""
    while True:
        drawn = {name: str(random.choice(choices)) for name, choices in CHOICES.items() if name not in BLOCKS}
        drawn.update({block: str(random.choice(PLACES, p=PLACE_SHARES)) for block in BLOCKS})
        if not fault_of(drawn):
            return MappingProxyType(drawn)
