"""What can be done at the playtable, and when it counts as done.

An oracle compares named numbers (SimState.values) at the start of the task with those of now, so it runs anywhere, also on
a recording.

"Left" is -x. The static camera stands at +x, -y and looks at the table, so that what moves along -x moves to the left in
its picture (and away from the viewer a little), in every scene.
"""

from collections.abc import Callable, Mapping

from worldagen_sim.environment import Task

Values = Mapping[str, float]
LIFT_M = 0.05
PUSH_M = 0.08
DRAWER_M = 0.10


def lifted_red_block(start: Values, now: Values) -> bool:
    """The red block is 5 cm higher than at the start."""
    return now["red_block_z"] - start["red_block_z"] > LIFT_M


def pushed_blue_block_left(start: Values, now: Values) -> bool:
    """The blue block is 8 cm further along -x, left in the static picture, and still lies on the table."""
    on_table = abs(now["blue_block_z"] - start["blue_block_z"]) < 0.01
    return start["blue_block_x"] - now["blue_block_x"] > PUSH_M and on_table


def opened_drawer(start: Values, now: Values) -> bool:
    """The drawer stands 10 cm (of 16) further open than at the start."""
    return now["drawer_opening"] - start["drawer_opening"] > DRAWER_M


TASKS = (
    Task("lift_red_block", "lift the red block"),
    Task("push_blue_block_left", "push the blue block to the left"),
    Task("open_drawer", "open the drawer"),
)
# task -> oracle: (values at the start, values now) -> done
ORACLES: dict[str, Callable[[Values, Values], bool]] = {
    "lift_red_block": lifted_red_block,
    "push_blue_block_left": pushed_blue_block_left,
    "open_drawer": opened_drawer,
}
