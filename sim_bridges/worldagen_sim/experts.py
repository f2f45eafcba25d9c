"""Scripted experts: named numbers of the present state in, rows of an ActionChunk out.

They read nothing but SimState.values, so they run in any process that is told those numbers. A rule looks at the present
state alone (and at the start, to know when enough is done): it says where the tool should be and how the gripper; thrown off
its way, it finds back. Several rows are planned by rolling the commanded pose forward, with the measured one trailing
behind it, while things stand still or move with the hand.

Metres and radians, world frame. The hand points down at all times; its yaw is that of CALVIN's, pi / 2 when the fingers
close along x.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.conventions import CONVENTIONS
from worldagen.errors import UnknownName
from worldagen.poses import Pose

Values = Mapping[str, float]

SPEED_SHARE = 0.8  # of the convention's full scale
HOME_YAW_RAD = np.pi / 2
# The arm follows its commands with a time constant of 0.05 s: in one row of 1/30 s it makes up this share of its lag.
FOLLOW_SHARE = 0.49
STEPS_TO_GRIP = 6
AT_POINT_M = 0.012
HELD_M = 0.03
BLOCK_CLEARANCE_M = 0.09
HANDLE_CLEARANCE_M = 0.19  # above blocks that stand between the tool and the handle
PUSH_HEIGHT_M = 0.022  # of the tool above the table
PUSH_START_M = 0.062  # of the tool from the block's middle
OPEN, CLOSED = 1.0, 0.0


@dataclass(frozen=True, eq=False)
class Goal:
    """Where the tool should be, (3,) m and yaw rad, and how far open the gripper."""

    point: np.ndarray
    yaw: float
    opening: float


def lift_red_block(start: Values, now: Values) -> Goal:
    """Grasp the block from above along two of its faces, then raise it."""
    block, tool, target = _point(now, "red_block"), _point(now, "tcp"), _point(now, "target")
    yaw = _grasp_yaw(now, "red_block")
    if now["gripper_closed_steps"] > 0 and np.linalg.norm(tool - block) < HELD_M:
        if now["gripper_closed_steps"] < STEPS_TO_GRIP:
            return Goal(target, now["target_yaw"], CLOSED)
        return Goal(np.array([*target[:2], start["red_block_z"] + 0.12]), now["target_yaw"], CLOSED)
    aligned = abs(_wrap(yaw - now["tcp_yaw"], 2 * np.pi)) < 0.1
    if np.abs(tool - block).max() < AT_POINT_M and aligned:
        return Goal(target, yaw, CLOSED)
    return Goal(_from_above(now, block, BLOCK_CLEARANCE_M), yaw, OPEN)


def push_blue_block_left(start: Values, now: Values) -> Goal:
    """Put the closed fingers down on the block's right (+x) side and sweep towards -x, following it sideways."""
    block, target = _point(now, "blue_block"), _point(now, "target")
    yaw, height = _grasp_yaw(now, "blue_block"), now["table_top"] + PUSH_HEIGHT_M
    if start["blue_block_x"] - now["blue_block_x"] > 0.10:
        return Goal(target, now["target_yaw"], CLOSED)
    if _stands_right_of_blue_block(now):
        return Goal(np.array([target[0] - 0.1, block[1], height]), yaw, CLOSED)
    right = np.array([block[0] + PUSH_START_M, block[1], height])
    return Goal(_from_above(now, right, BLOCK_CLEARANCE_M), yaw, CLOSED)


def open_drawer(start: Values, now: Values) -> Goal:
    """Take the handle's stem between the fingers from above and pull towards -y."""
    handle, tool, target = _point(now, "drawer_handle"), _point(now, "tcp"), _point(now, "target")
    if now["drawer_opening"] - start["drawer_opening"] > 0.12:
        return Goal(target, HOME_YAW_RAD, CLOSED)
    if now["gripper_closed_steps"] > 0 and np.linalg.norm(tool - handle) < HELD_M:
        pull = 0.1 if now["gripper_closed_steps"] >= STEPS_TO_GRIP else 0.0
        return Goal(target - np.array([0.0, pull, 0.0]), HOME_YAW_RAD, CLOSED)
    if np.abs(tool - handle).max() < AT_POINT_M:
        return Goal(target, HOME_YAW_RAD, CLOSED)
    return Goal(_from_above(now, handle, HANDLE_CLEARANCE_M), HOME_YAW_RAD, OPEN)


def _stands_right_of_blue_block(now: Values) -> bool:
    block, tool = _point(now, "blue_block"), _point(now, "tcp")
    is_low = tool[2] < now["table_top"] + PUSH_HEIGHT_M + 0.015
    return bool(is_low and tool[0] > block[0] + 0.03 and abs(tool[1] - block[1]) < 0.02)


def _pushes_blue_block(now: Values) -> bool:
    return _stands_right_of_blue_block(now) and now["tcp_x"] - now["blue_block_x"] < 0.045


def _grips(now: Values) -> bool:
    return now["gripper_closed_steps"] >= STEPS_TO_GRIP


@dataclass(frozen=True)
class Expert:
    """rule: (start, now) -> where to go; carries: whether the thing called carried moves with the hand."""

    rule: Callable[[Values, Values], Goal]
    carried: str
    carries: Callable[[Values], bool]


EXPERTS = {
    "lift_red_block": Expert(lift_red_block, "red_block", _grips),
    "push_blue_block_left": Expert(push_blue_block_left, "blue_block", _pushes_blue_block),
    "open_drawer": Expert(open_drawer, "drawer_handle", _grips),
}


class ExpertPolicy:
    """Plans rows for one task after another."""

    def reset(self, task_name: str) -> None:
        """Take up a task; the next values given are its start. Raises UnknownName."""
        if task_name not in EXPERTS:
            raise UnknownName("expert", task_name, EXPERTS)
        self._expert = EXPERTS[task_name]
        self._start: Values | None = None

    def plan(self, values: Values, rows: int) -> np.ndarray:
        """The next rows from SimState.values: (rows, 7), metres, rotation vectors in radians, gripper opening 0 or 1."""
        if self._start is None:
            self._start = dict(values)
        now, planned = dict(values), np.empty((rows, 7))
        for index in range(rows):
            planned[index] = _row_towards(self._expert.rule(self._start, now), now)
            now = _roll_forward(now, planned[index], self._expert)
        return planned


def _row_towards(goal: Goal, now: Values) -> np.ndarray:
    """One row (7,) from the commanded pose towards the goal, within the speed."""
    wanted = Pose.from_euler(np.array([*goal.point, np.pi, 0.0, goal.yaw]))
    motion = _pose(now, "target").row_to(wanted)
    full = CONVENTIONS["calvin"]
    limits = (full.translation_scale_m * SPEED_SHARE, full.rotation_scale_rad * SPEED_SHARE)
    parts = zip((motion[:3], motion[3:]), limits, strict=True)
    slowed = [part * min(1.0, limit / max(float(np.linalg.norm(part)), 1e-9)) for part, limit in parts]
    return np.concatenate([*slowed, [goal.opening]])


def _roll_forward(now: Values, row: np.ndarray, expert: Expert) -> dict[str, float]:
    """The state one row later, as far as it can be foreseen without physics."""
    later = dict(now)
    target = _pose(now, "target").moved(row)
    _set_pose(later, "target", target)
    lag = _pose(now, "tcp").row_to(target)
    _set_pose(later, "tcp", _pose(now, "tcp").moved(FOLLOW_SHARE * lag))
    closed = row[6] <= 0.5
    later["gripper_opening"] = row[6]
    later["gripper_closed_steps"] = now["gripper_closed_steps"] + 1 if closed else 0.0
    if closed and expert.carries(now):
        for axis in "xyz":
            later[f"{expert.carried}_{axis}"] += later[f"tcp_{axis}"] - now[f"tcp_{axis}"]
    later["drawer_opening"] += now["drawer_handle_y"] - later["drawer_handle_y"]
    return later


def _from_above(now: Values, point: np.ndarray, clearance_m: float) -> np.ndarray:
    """Where to go next to reach a point from above: up when low and far, across at a height, down when over it."""
    tool = _point(now, "tcp")
    across = np.hypot(*(tool - point)[:2])
    if across > 0.03 and tool[2] < point[2] + 0.7 * clearance_m:
        return np.array([now["target_x"], now["target_y"], point[2] + clearance_m])
    height = clearance_m * np.clip((across - 0.008) / 0.022, 0.0, 1.0)
    return point + np.array([0.0, 0.0, height])


def _grasp_yaw(now: Values, block: str) -> float:
    """The yaw nearest to the hand's at which its fingers stand along two faces of the block."""
    hand = now["tcp_yaw"]
    return hand + _wrap(now[f"{block}_yaw"] - hand, np.pi / 2)


def _wrap(angle: float, turn: float) -> float:
    """The angle less whole turns, in [-turn / 2, turn / 2)."""
    return (angle + turn / 2) % turn - turn / 2


def _point(values: Values, name: str) -> np.ndarray:
    return np.array([values[f"{name}_{axis}"] for axis in "xyz"])


def _pose(values: Values, name: str) -> Pose:
    return Pose.from_euler(np.array([values[f"{name}_{axis}"] for axis in ("x", "y", "z", "roll", "pitch", "yaw")]))


def _set_pose(values: dict[str, float], name: str, pose: Pose) -> None:
    values.update(zip((f"{name}_{axis}" for axis in "xyz"), map(float, pose.position), strict=True))
    angles = Rotation.from_quat(pose.quaternion).as_euler("xyz")
    values.update(zip((f"{name}_{axis}" for axis in ("roll", "pitch", "yaw")), map(float, angles), strict=True))
