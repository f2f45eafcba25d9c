"""What can be done at the playtable: what must hold before, what holds after, and when it counts as done.

The names are CALVIN's where they mean the same. An oracle compares named numbers (SimState.values) at the start of the task
with those of now, so it runs anywhere, also on a recording, and what was done at the start already does not count.

"Left" is -x. The static camera stands at +x, -y and looks at the table, so that what moves along -x moves to the left in
its picture (and away from the viewer a little), in every scene. Rotations are named as seen from above: left is anticlockwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import pi

from worldagen.poses import wrap
from worldagen_sim.environment import Task
from worldagen_sim.playtable.conditions import BLOCKS, Conditions, at, changed, is_free, is_uncovered
from worldagen_sim.playtable.language import PHRASINGS

Values = Mapping[str, float]
Requirement = Callable[[Conditions], bool]
Effect = Callable[[Conditions], Conditions]
Oracle = Callable[[Values, Values], bool]

LIFT_M = 0.05
PUSH_M = 0.08
ROTATE_RAD = pi / 3
MOST_SHIFT_M = 0.10  # of a block that is rotated
DRAWER_M = 0.10  # of 0.16
SLIDER_M = 0.10  # of 0.146
ON_TABLE_M = 0.01
STACK_Z_M = 0.012  # how far from exactly one block higher
LEFT, RIGHT = -1.0, 1.0


@dataclass(frozen=True)
class Rules:
    """Of one task. family: tasks of one kind, of which a chain takes one; effect: the conditions it leaves behind."""

    family: str
    requires: Requirement
    effect: Effect
    oracle: Oracle


def lifted(block: str, start: Values, now: Values) -> bool:
    """The block is in the fingers and 5 cm higher than at the start."""
    return now[f"{block}_z"] - start[f"{block}_z"] > LIFT_M and now[f"{block}_held"] > 0


def pushed(block: str, sign: float, start: Values, now: Values) -> bool:
    """The block is 8 cm further along x and lies as high as before."""
    moved = sign * (now[f"{block}_x"] - start[f"{block}_x"])
    return moved > PUSH_M and abs(now[f"{block}_z"] - start[f"{block}_z"]) < ON_TABLE_M


def rotated(block: str, sign: float, start: Values, now: Values) -> bool:
    """The block is turned by 60 degrees (sign +1: anticlockwise) and lies within 10 cm of where it lay."""
    turned = sign * wrap(now[f"{block}_yaw"] - start[f"{block}_yaw"])
    shift = sum((now[f"{block}_{axis}"] - start[f"{block}_{axis}"]) ** 2 for axis in "xy") ** 0.5
    lies = abs(now[f"{block}_z"] - start[f"{block}_z"]) < ON_TABLE_M
    return turned > ROTATE_RAD and shift < MOST_SHIFT_M and lies


def moved_slider(sign: float, start: Values, now: Values) -> bool:
    """The door stands 10 cm (of 14.6) further along x."""
    return sign * (now["slider_position"] - start["slider_position"]) > SLIDER_M


def moved_drawer(sign: float, start: Values, now: Values) -> bool:
    """The drawer stands 10 cm (of 16) further open (sign +1) or closed."""
    return sign * (now["drawer_opening"] - start["drawer_opening"]) > DRAWER_M


def switched(light: str, on: float, start: Values, now: Values) -> bool:
    """The light is in this state and was not at the start."""
    return now[light] == on != start[light]


def placed_in_drawer(start: Values, now: Values) -> bool:
    """The block that was in the fingers lies in the drawer, let go."""
    return any(held_at_start(block, start) and _lies_in(block, "drawer", now) for block in BLOCKS)


def placed_in_slider(start: Values, now: Values) -> bool:
    """The block that was in the fingers lies in a bay of the cabinet, let go."""
    return any(
        held_at_start(block, start) and (_lies_in(block, "left_bay", now) or _lies_in(block, "right_bay", now))
        for block in BLOCKS
    )


def stacked(start: Values, now: Values) -> bool:
    """The block that was in the fingers lies on another one, let go."""
    return any(held_at_start(block, start) and stands_on(block, now) and _is_let_go(block, now) for block in BLOCKS)


def unstacked(start: Values, now: Values) -> bool:
    """The block that lay on another one lies on the table, let go."""
    return any(
        stands_on(block, start) and not stands_on(block, now) and _lies_on_table(block, now) and _is_let_go(block, now)
        for block in BLOCKS
    )


def held_at_start(block: str, start: Values) -> bool:
    """Whether the block was in the fingers."""
    return start[f"{block}_held"] > 0


def stands_on(block: str, values: Values) -> str:
    """The block that this one stands on, or ""."""
    for other in BLOCKS:
        height = (values[f"{block}_edge"] + values[f"{other}_edge"]) / 2
        over = all(abs(values[f"{block}_{axis}"] - values[f"{other}_{axis}"]) < height / 2 for axis in "xy")
        if other != block and over and abs(values[f"{block}_z"] - values[f"{other}_z"] - height) < STACK_Z_M:
            return other
    return ""


def _lies_in(block: str, container: str, values: Values) -> bool:
    """Containers are boxes: their middle x and y, the height of their floor, and their half extents."""
    aside = {axis: abs(values[f"{block}_{axis}"] - values[f"{container}_{axis}"]) for axis in "xy"}
    near = all(distance < values[f"{container}_half_{axis}"] for axis, distance in aside.items())
    above = values[f"{block}_z"] - values[f"{container}_z"]
    return near and 0 < above < values[f"{block}_edge"] and _is_let_go(block, values)


def _lies_on_table(block: str, values: Values) -> bool:
    return abs(values[f"{block}_z"] - values["table_top"] - values[f"{block}_edge"] / 2) < ON_TABLE_M


def _is_let_go(block: str, values: Values) -> bool:
    return values[f"{block}_held"] == 0 and values["gripper_opening"] > 0.5


def _hand_is_free(conditions: Conditions) -> bool:
    return not at(conditions, "hand")


def _unchanged(conditions: Conditions) -> Conditions:
    return conditions


def _set(**changes: str) -> Effect:
    return lambda conditions: changed(conditions, **changes)


def _put(place: Callable[[Conditions], str]) -> Effect:
    """The block in the hand goes to a place that may depend on the conditions."""
    return lambda conditions: changed(conditions, **{at(conditions, "hand")[0]: place(conditions)})


def _open_bay(conditions: Conditions) -> str:
    return "slider_right" if conditions["slider"] == "left" else "slider_left"


def _block_rules(block: str) -> dict[str, Rules]:
    def is_free_for_the_hand(conditions: Conditions) -> bool:
        return _hand_is_free(conditions) and is_free(conditions, block)

    def is_in_an_open_bay(conditions: Conditions) -> bool:
        place = conditions[block]
        return _hand_is_free(conditions) and place.startswith("slider") and is_uncovered(conditions, place)

    def is_in_the_open_drawer(conditions: Conditions) -> bool:
        return _hand_is_free(conditions) and conditions[block] == "drawer" and conditions["drawer"] == "open"

    to_hand, lift = _set(**{block: "hand"}), partial(lifted, block)
    on_table = partial(Rules, requires=is_free_for_the_hand, effect=_unchanged)
    return {
        f"lift_{block}_table": Rules("lift", is_free_for_the_hand, to_hand, lift),
        f"lift_{block}_slider": Rules("lift", is_in_an_open_bay, to_hand, lift),
        f"lift_{block}_drawer": Rules("lift", is_in_the_open_drawer, to_hand, lift),
        f"push_{block}_left": on_table("push", oracle=partial(pushed, block, LEFT)),
        f"push_{block}_right": on_table("push", oracle=partial(pushed, block, RIGHT)),
        f"rotate_{block}_left": on_table("rotate", oracle=partial(rotated, block, 1.0)),
        f"rotate_{block}_right": on_table("rotate", oracle=partial(rotated, block, -1.0)),
    }


def _toggle_rules(family: str, name: str, before: str, after: str, oracle: Oracle) -> Rules:
    return Rules(family, lambda now: _hand_is_free(now) and now[name] == before, _set(**{name: after}), oracle)


RULES: dict[str, Rules] = {
    "open_drawer": _toggle_rules("drawer", "drawer", "closed", "open", partial(moved_drawer, 1.0)),
    "close_drawer": _toggle_rules("drawer", "drawer", "open", "closed", partial(moved_drawer, -1.0)),
    "move_slider_left": _toggle_rules("slider", "slider", "right", "left", partial(moved_slider, LEFT)),
    "move_slider_right": _toggle_rules("slider", "slider", "left", "right", partial(moved_slider, RIGHT)),
    "turn_on_lightbulb": _toggle_rules("lightbulb", "lightbulb", "off", "on", partial(switched, "lightbulb", 1.0)),
    "turn_off_lightbulb": _toggle_rules("lightbulb", "lightbulb", "on", "off", partial(switched, "lightbulb", 0.0)),
    "turn_on_led": _toggle_rules("led", "led", "off", "on", partial(switched, "led", 1.0)),
    "turn_off_led": _toggle_rules("led", "led", "on", "off", partial(switched, "led", 0.0)),
    **{name: rules for block in BLOCKS for name, rules in _block_rules(block).items()},
    "place_in_drawer": Rules(
        "place",
        lambda now: bool(at(now, "hand")) and now["drawer"] == "open" and not at(now, "drawer"),
        _put(lambda now: "drawer"),
        placed_in_drawer,
    ),
    "place_in_slider": Rules(
        "place",
        lambda now: bool(at(now, "hand")) and not at(now, _open_bay(now)),
        _put(_open_bay),
        placed_in_slider,
    ),
    "stack_block": Rules(
        "stack",
        lambda now: bool(at(now, "hand")) and bool(at(now, "table")) and not at(now, "stack"),
        _put(lambda now: "stack"),
        stacked,
    ),
    "unstack_block": Rules(
        "stack",
        lambda now: _hand_is_free(now) and bool(at(now, "stack")),
        lambda now: changed(now, **{at(now, "stack")[0]: "table"}),
        unstacked,
    ),
}
TASKS = tuple(Task(name, *PHRASINGS[name]) for name in RULES)
ORACLES: dict[str, Oracle] = {name: rules.oracle for name, rules in RULES.items()}
