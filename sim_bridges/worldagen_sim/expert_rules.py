"""What a scripted expert wants next: the start of the task and the present state in, a Goal out. One rule a task.

Every rule is a function of these two alone. The hand points down at all times; its yaw is that of CALVIN's, pi / 2 when the
fingers close along x. Metres and radians, world frame.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from worldagen.poses import wrap
from worldagen_sim.playtable.conditions import BLOCKS

Values = Mapping[str, float]

HOME_YAW_RAD = np.pi / 2
OPEN, CLOSED = 1.0, 0.0
STEPS_TO_GRIP = 6
APART_M = 0.075  # width of the gripper at which its fingers have let go of anything
AT_POINT_M = 0.012
HELD_M = 0.03
BETWEEN_FINGERS_M, ABOVE_BLOCK_M = 0.03, 0.05  # across and along the fingers: nearer, closing them would take hold of a block
GRASP_ABOVE_M = 0.004  # of the tool above a block's middle
BLOCK_CLEARANCE_M = 0.115  # above a stack that stands on the way
DRAWER_YAW_RAD = 0.1
BAY_CLEARANCE_M = 0.135  # above the door's knob
BAYS_FROM_M = 0.09  # what lies further away along y lies in a bay
HANDLE_CLEARANCE_M = 0.235  # the same for the drawer's handle, which is lower
KNOB_CLEARANCE_M = 0.05  # the arm reaches little higher so far back
CARRY_M = 0.625  # height of a block that is carried over everything, the door's knob too
LIFT_M = 0.12
PUSH_HEIGHT_M = 0.022  # of the tool above the table
PUSH_GAP_M = 0.037  # of the tool from a block's face before it pushes
LEVER_GAP_M = 0.040
LEVER_BELOW_TOP_M = 0.018
BUTTON_CLEARANCE_M = 0.10
PLACE_HEIGHT_M = 0.050  # of the tool above the floor of a bay
DRAWER_DEPTH_M = 0.085  # of the tool above the drawer's floor when it lets a block go
ROBOT_BASE_M, STACK_REACH_M = np.array([-0.34, -0.46]), 0.69  # across
ROTATE_RAD = np.radians(75)


@dataclass(frozen=True, eq=False)
class Goal:
    """Where the tool should be, (3,) m and yaw rad, and how far open the gripper.

    moves: the point that will move with the hand on the way there, "" for none; pace: share of the expert's speed.
    """

    point: np.ndarray
    yaw: float
    opening: float
    moves: str = ""
    pace: float = 1.0


Rule = Callable[[Values, Values], Goal]


def lift(block: str, start: Values, now: Values) -> Goal:
    """Grasp the block from above along two of its faces, then raise it."""
    grasp = _grasp_block(block, now)
    if grasp is not None:
        return grasp
    return Goal(np.array([*_target(now)[:2], start[f"{block}_z"] + LIFT_M]), now["target_yaw"], CLOSED, block)


def rotate(block: str, sign: float, start: Values, now: Values) -> Goal:
    """Grasp the block and turn the hand (sign +1: anticlockwise)."""
    # Begin turned back, so that the arm's last joint has room for the whole turn.
    yaw = _face_yaw(now, block, HOME_YAW_RAD - sign * np.pi / 4)
    turned = sign * wrap(now[f"{block}_yaw"] - start[f"{block}_yaw"])
    grasp = _grasp_block(block, now, yaw)
    if grasp is not None:
        return grasp
    place = _point(start, block) + np.array([0.0, 0.0, GRASP_ABOVE_M])
    return Goal(place, now["target_yaw"] + (sign * 0.1 if turned < ROTATE_RAD else 0.0), CLOSED, block)


def push(block: str, sign: float, start: Values, now: Values) -> Goal:
    """Put the closed fingers down beside the block and sweep along x (sign +1: to the right), following it sideways."""
    place, target = _point(now, block), _target(now)
    yaw, height = _face_yaw(now, block), now["table_top"] + PUSH_HEIGHT_M
    if sign * (now[f"{block}_x"] - start[f"{block}_x"]) > 0.10:
        return Goal(target, now["target_yaw"], CLOSED)
    gap = now[f"{block}_edge"] / 2 + PUSH_GAP_M
    if _is_behind(now, place, np.array([sign, 0.0]), height, gap):
        touching = sign * (place[0] - now["tcp_x"]) < now[f"{block}_edge"] / 2 + 0.020
        return Goal(np.array([target[0] + sign * 0.1, place[1], height]), yaw, CLOSED, block if touching else "")
    behind = np.array([place[0] - sign * gap, place[1], height])
    return Goal(_from_above(now, behind, BLOCK_CLEARANCE_M), yaw, CLOSED)


def pull_drawer(sign: float, start: Values, now: Values) -> Goal:
    """Take the handle's stem between the fingers from above and move it along y (sign +1: open)."""
    if sign * (now["drawer_opening"] - start["drawer_opening"]) > 0.125:
        return Goal(_target(now), HOME_YAW_RAD, CLOSED, "drawer_handle")
    handle = _point(now, "drawer_handle")
    grasp = _grasp(now, handle, HOME_YAW_RAD, HANDLE_CLEARANCE_M)
    if grasp is not None:
        return grasp
    point = np.array([handle[0], _target(now)[1] - sign * 0.1, handle[2]])
    return Goal(point, HOME_YAW_RAD, CLOSED, "drawer_handle")


def move_slider(sign: float, start: Values, now: Values) -> Goal:
    """Take the door's knob between the fingers from above and move it along x (sign +1: to the right)."""
    if sign * (now["slider_position"] - start["slider_position"]) > 0.13:
        return Goal(_target(now), HOME_YAW_RAD, CLOSED, "slider_handle")
    handle = _point(now, "slider_handle")
    grasp = _grasp(now, handle, HOME_YAW_RAD, KNOB_CLEARANCE_M)
    if grasp is not None:
        return grasp
    point = np.array([_target(now)[0] + sign * 0.1, handle[1], handle[2]])
    return Goal(point, HOME_YAW_RAD, CLOSED, "slider_handle")


def push_lever(sign: float, start: Values, now: Values) -> Goal:
    """Put the closed fingers down beside the lever and sweep along y (sign +1: away, which is on)."""
    lever, target = _point(now, "switch_lever"), _target(now)
    height = lever[2] - LEVER_BELOW_TOP_M
    wanted = 1.0 if sign > 0 else 0.0
    if now["lightbulb"] == wanted:
        return Goal(target, HOME_YAW_RAD, CLOSED)
    if _is_behind(now, lever, np.array([0.0, sign]), height, LEVER_GAP_M):
        moves = "switch_lever" if sign * (lever[1] - now["tcp_y"]) < 0.026 else ""
        return Goal(np.array([lever[0], target[1] + sign * 0.1, height]), HOME_YAW_RAD, CLOSED, moves)
    behind = np.array([lever[0], lever[1] - sign * LEVER_GAP_M, height])
    return Goal(_from_above(now, behind, BLOCK_CLEARANCE_M), HOME_YAW_RAD, CLOSED)


def press_button(start: Values, now: Values) -> Goal:
    """Put the closed fingers on the button from above and press; then go up."""
    top = _point(now, "button_top")
    if now["led"] != start["led"]:
        return Goal(top + np.array([0.0, 0.0, BUTTON_CLEARANCE_M]), HOME_YAW_RAD, CLOSED)
    across = np.hypot(*(_point(now, "tcp") - top)[:2])
    if across < 0.012 and now["tcp_z"] < top[2] + BUTTON_CLEARANCE_M:
        # Lower than the button goes: the arm leans on it.
        return Goal(np.array([*top[:2], top[2] - 0.02]), HOME_YAW_RAD, CLOSED, pace=0.7)
    return Goal(_from_above(now, top, BUTTON_CLEARANCE_M), HOME_YAW_RAD, CLOSED)


def place_in_drawer(start: Values, now: Values) -> Goal:
    """Carry the held block over the drawer, lower it and let it go."""
    drop = np.array([now["drawer_x"], now["drawer_drop_y"], now["drawer_z"] + DRAWER_DEPTH_M])
    return _put_down(start, now, drop, CARRY_M)


def place_in_slider(start: Values, now: Values) -> Goal:
    """Carry the held block over the bay that the door leaves open, lower it and let it go."""
    door_is_left = now["slider_handle_x"] < (now["left_bay_x"] + now["right_bay_x"]) / 2
    bay = _point(now, "right_bay" if door_is_left else "left_bay")
    return _put_down(start, now, bay + np.array([0.0, 0.0, PLACE_HEIGHT_M]), CARRY_M)


def stack(start: Values, now: Values) -> Goal:
    """Carry the held block over the nearest other one on the table, lower it onto that and let it go."""
    block = _held(start)
    others = [other for other in BLOCKS if other != block and _lies_on_table(other, start)]
    if not block or not others:
        return Goal(_target(now), now["target_yaw"], now["gripper_opening"])
    reachable = [other for other in others if np.hypot(*(_point(start, other)[:2] - ROBOT_BASE_M)) < STACK_REACH_M]
    base = min(reachable or others, key=lambda other: float(np.hypot(*(_point(start, "tcp") - _point(start, other))[:2])))
    height = now[f"{base}_z"] + (now[f"{base}_edge"] + now[f"{block}_edge"]) / 2 + 0.004
    return _put_down(start, now, np.array([now[f"{base}_x"], now[f"{base}_y"], height]), height + 0.05)


def unstack(start: Values, now: Values) -> Goal:
    """Grasp the upper block, carry it to the freest place on the table, put it down and let it go."""
    block = max(BLOCKS, key=lambda name: start[f"{name}_z"] - 10.0 * (not _lies_over_table(name, start)))
    spot = _free_spot(start, block)
    ground = np.array([*spot, now["table_top"] + now[f"{block}_edge"] / 2 + 0.003])
    near = np.hypot(*(_point(now, block) - ground)[:2]) < 0.03
    if near and now[f"{block}_z"] < ground[2] + 0.01:
        return _let_go(now)
    grasp = _grasp_block(block, now)
    if grasp is not None:
        return grasp
    return _carry(now, block, ground, now["table_top"] + 0.15)


def _freed(rule: Rule) -> Rule:
    """The rule for a hand that must be empty: first let go of a block that is between the fingers, then rise off it."""

    def free_then(start: Values, now: Values) -> Goal:
        for block in BLOCKS:
            offset = _point(now, "tcp") - _point(now, block)
            if np.hypot(*offset[:2]) < BETWEEN_FINGERS_M and -0.03 < offset[2] < ABOVE_BLOCK_M:
                up = 0.1 if now["gripper_width"] > APART_M else 0.0
                return Goal(_target(now) + np.array([0.0, 0.0, up]), now["target_yaw"], OPEN)
        return rule(start, now)

    return free_then


def _grasp_block(block: str, now: Values, yaw: float | None = None) -> Goal | None:
    """How to take a block between the fingers; None once it is gripped."""
    point = _point(now, block) + np.array([0.0, 0.0, GRASP_ABOVE_M])
    clearance_m = BAY_CLEARANCE_M if point[1] > BAYS_FROM_M else BLOCK_CLEARANCE_M
    yaw = _face_yaw(now, block) if yaw is None else yaw
    if point[2] < now["table_top"]:  # in the drawer a turned hand would sit on the table's edge; the fingers turn the block
        yaw = float(np.clip(yaw, HOME_YAW_RAD - DRAWER_YAW_RAD, HOME_YAW_RAD + DRAWER_YAW_RAD))
    return _grasp(now, point, yaw, clearance_m, block)


def _grasp(now: Values, point: np.ndarray, yaw: float, clearance_m: float, moves: str = "") -> Goal | None:
    """Go to a point from above with open fingers and close them; None once they have gripped."""
    tool = _point(now, "tcp")
    if now["gripper_closed_steps"] > 0 and np.linalg.norm(tool - point) < HELD_M:
        return None if now["gripper_closed_steps"] >= STEPS_TO_GRIP else Goal(_target(now), now["target_yaw"], CLOSED, moves)
    if now["gripper_width"] < APART_M and now["gripper_opening"] < 0.5 and _held(now):
        return Goal(_target(now), now["target_yaw"], OPEN)  # let go first of what another task left in the hand
    aligned = abs(wrap(yaw - now["tcp_yaw"])) < 0.1
    if np.abs(tool - point).max() < AT_POINT_M and aligned and now["gripper_width"] > 0.07:
        return Goal(_target(now), yaw, CLOSED)
    return Goal(_from_above(now, point, clearance_m), yaw, OPEN)


def _put_down(start: Values, now: Values, place: np.ndarray, carry_m: float) -> Goal:
    """Bring the block that was held at the start to a place (of the block's middle) and let it go, then go up."""
    block = _held(start)
    if not block:
        return Goal(_target(now), now["target_yaw"], now["gripper_opening"])
    offset = _point(now, block) - place
    if now["gripper_opening"] > 0.5 or (np.hypot(*offset[:2]) < 0.008 and offset[2] < 0.006):
        return _let_go(now)
    return _carry(now, block, place, carry_m)


def _carry(now: Values, block: str, place: np.ndarray, carry_m: float) -> Goal:
    """Move the held block: up when it is low and far, across at a height, down when it is over the place."""
    offset = _point(now, block) - place
    across, in_hand = np.hypot(*offset[:2]), _point(now, "tcp") - _point(now, block)
    target = _target(now)
    if across > 0.03 and now[f"{block}_z"] < carry_m - 0.03:
        return Goal(np.array([*target[:2], carry_m + 0.02]), HOME_YAW_RAD, CLOSED, block)
    height = place[2] + (carry_m - place[2]) * np.clip((across - 0.006) / 0.02, 0.0, 1.0)
    return Goal(np.array([*place[:2], height]) + in_hand, HOME_YAW_RAD, CLOSED, block, pace=0.7 if across < 0.03 else 1.0)


def _let_go(now: Values) -> Goal:
    """Open; once the fingers are apart, go straight up."""
    up = 0.1 if now["gripper_width"] > APART_M else 0.0
    return Goal(_target(now) + np.array([0.0, 0.0, up]), now["target_yaw"], OPEN, pace=0.5)


def _is_behind(now: Values, place: np.ndarray, along: np.ndarray, height: float, gap: float) -> bool:
    """Whether the tool stands low behind a place, seen along a direction (2,), to push it."""
    offset = (place - _point(now, "tcp"))[:2]
    ahead, aside = float(offset @ along), abs(float(offset[0] * along[1] - offset[1] * along[0]))
    return bool(now["tcp_z"] < height + 0.015 and 0.0 < ahead < gap + 0.03 and aside < 0.02)


def _from_above(now: Values, point: np.ndarray, clearance_m: float) -> np.ndarray:
    """Where to go next to reach a point from above: up when low and far, across at a height, down when over it."""
    tool = _point(now, "tcp")
    across = np.hypot(*(tool - point)[:2])
    if across > 0.03 and tool[2] < point[2] + 0.7 * clearance_m:
        return np.array([now["target_x"], now["target_y"], point[2] + clearance_m])
    height = clearance_m * np.clip((across - 0.008) / 0.022, 0.0, 1.0)
    return point + np.array([0.0, 0.0, height])


def _free_spot(start: Values, block: str) -> np.ndarray:
    """The place (2,) on a coarse grid of the table that is farthest from all other blocks, not too near the edges."""
    spots = np.array([(x, y) for x in (-0.14, -0.07, 0.0, 0.07, 0.14) for y in (-0.12, -0.05, 0.02)])
    others = np.array([_point(start, other)[:2] for other in BLOCKS if other != block])
    away = np.linalg.norm(spots[:, None] - others[None], axis=-1).min(axis=1)
    far = np.linalg.norm(spots - _point(start, block)[:2], axis=1)
    return spots[np.argmax(np.minimum(away, 0.12) - 0.1 * far)]


def _held(values: Values) -> str:
    return next((block for block in BLOCKS if values[f"{block}_held"] > 0), "")


def _lies_on_table(block: str, values: Values) -> bool:
    above = values[f"{block}_z"] - values["table_top"] - values[f"{block}_edge"] / 2
    return abs(above) < 0.01 and values[f"{block}_y"] < BAYS_FROM_M


def _lies_over_table(block: str, values: Values) -> bool:
    return values[f"{block}_y"] < BAYS_FROM_M and values[f"{block}_z"] > values["table_top"]


def _face_yaw(now: Values, block: str, near: float = HOME_YAW_RAD) -> float:
    """The yaw nearest to the wanted one at which the fingers stand along two faces of the block."""
    return near + wrap(now[f"{block}_yaw"] - near, np.pi / 2)


def _target(values: Values) -> np.ndarray:
    return _point(values, "target")


def _point(values: Values, name: str) -> np.ndarray:
    return np.array([values[f"{name}_{axis}"] for axis in "xyz"])


def _block_rules(block: str) -> dict[str, Rule]:
    return {
        **{f"lift_{block}_{place}": partial(lift, block) for place in ("table", "slider", "drawer")},
        f"push_{block}_left": _freed(partial(push, block, -1.0)),
        f"push_{block}_right": _freed(partial(push, block, 1.0)),
        f"rotate_{block}_left": partial(rotate, block, 1.0),
        f"rotate_{block}_right": partial(rotate, block, -1.0),
    }


RULES: dict[str, Rule] = {
    "open_drawer": _freed(partial(pull_drawer, 1.0)),
    "close_drawer": _freed(partial(pull_drawer, -1.0)),
    "move_slider_left": _freed(partial(move_slider, -1.0)),
    "move_slider_right": _freed(partial(move_slider, 1.0)),
    "turn_on_lightbulb": _freed(partial(push_lever, 1.0)),
    "turn_off_lightbulb": _freed(partial(push_lever, -1.0)),
    "turn_on_led": _freed(press_button),
    "turn_off_led": _freed(press_button),
    **{name: rule for block in BLOCKS for name, rule in _block_rules(block).items()},
    "place_in_drawer": place_in_drawer,
    "place_in_slider": place_in_slider,
    "stack_block": stack,
    "unstack_block": unstack,
}
