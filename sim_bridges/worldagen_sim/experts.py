"""Scripted experts: named numbers of the present state in, rows of an ActionChunk out.

They read nothing but SimState.values, so they run in any process that is told those numbers. A rule (expert_rules.py) looks at
the present state alone, and at the start of the task to know when enough is done: it says where the tool should be and how the
gripper; thrown off its way, it finds back. Several rows are planned by rolling the commanded pose forward, with the measured
one trailing behind it, while things stand still or move with the hand.

For demonstrations an expert has a manner: a speed drawn for each episode, and noise in what is executed. The clean answer is
what a policy should learn, the executed one what it will see in its history.

Metres and radians, world frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.conventions import CONVENTIONS
from worldagen.errors import UnknownName
from worldagen.poses import Pose, wrap
from worldagen_sim.expert_rules import RULES, Goal

Values = Mapping[str, float]

FULL = CONVENTIONS["calvin"]
FULL_SCALE = np.array([FULL.translation_scale_m] * 3 + [FULL.rotation_scale_rad] * 3)
# The arm follows its commands with a time constant of 0.05 s: in one row of 1/30 s it makes up this share of its lag.
FOLLOW_SHARE = 0.49


@dataclass(frozen=True)
class Manner:
    """How an expert moves. Shares of the convention's full scale.

    speed: lowest and highest speed, one drawn for each episode; noise: deviation of every executed row; burst_chance: a row, of
    beginning a burst of burst_rows (least, most) rows with one random push of burst_noise deviation.
    """

    speed: tuple[float, float] = (0.8, 0.8)
    noise: float = 0.0
    burst_chance: float = 0.0
    burst_noise: float = 0.45
    burst_rows: tuple[int, int] = (2, 5)


STEADY = Manner()
# Measured in the small experiments this benchmark began with: slow enough for windows of 16 rows, thrown off often enough to
# teach finding back.
DEMONSTRATOR = Manner(speed=(0.4, 0.8), noise=0.04, burst_chance=0.05)


@dataclass(frozen=True, eq=False)
class Plan:
    """Rows (N, 7): metres, rotation vectors in radians, gripper opening 0 or 1.

    clean: the expert's answer; executed: the same with noise.
    """

    clean: np.ndarray
    executed: np.ndarray


class ExpertPolicy:
    """Plans rows for one task after another."""

    def __init__(self, manner: Manner = STEADY) -> None:
        self._manner = manner

    def reset(self, task_name: str, seed: int = 0) -> None:
        """Take up a task; the next values given are its start. The seed is that of the manner. Raises UnknownName."""
        if task_name not in RULES:
            raise UnknownName("expert", task_name, RULES)
        self._rule = RULES[task_name]
        self._start: Values | None = None
        self._random = np.random.default_rng(seed)
        self._speed = self._random.uniform(*self._manner.speed)
        self._burst, self._burst_rows = np.zeros(6), 0

    def plan(self, values: Values, rows: int) -> np.ndarray:
        """The next rows to execute from SimState.values: (rows, 7)."""
        return self.demonstrate(values, rows).executed

    def demonstrate(self, values: Values, rows: int) -> Plan:
        """The next rows, with and without noise. Bad numbers in, bad rows out: the values are the simulator's own."""
        if self._start is None:
            self._start = dict(values)
        now, clean, executed = dict(values), np.empty((rows, 7)), np.empty((rows, 7))
        for index in range(rows):
            goal = self._rule(self._start, now)
            clean[index] = _row_towards(goal, now, self._speed)
            executed[index] = self._disturbed(clean[index])
            now = _roll_forward(now, executed[index], goal.moves)
        return Plan(clean, executed)

    def _disturbed(self, row: np.ndarray) -> np.ndarray:
        """The row with noise, clipped to full scale; the gripper is never disturbed."""
        manner = self._manner
        if manner.noise == 0.0 and manner.burst_chance == 0.0:
            return row
        if self._burst_rows == 0 and self._random.random() < manner.burst_chance:
            self._burst = self._random.normal(size=6) * manner.burst_noise
            self._burst_rows = int(self._random.integers(manner.burst_rows[0], manner.burst_rows[1] + 1))
        push = self._random.normal(size=6) * manner.noise
        if self._burst_rows > 0:
            push, self._burst_rows = push + self._burst, self._burst_rows - 1
        motion = np.clip(row[:6] / FULL_SCALE + push, -1.0, 1.0) * FULL_SCALE
        return np.append(motion, row[6])


def _row_towards(goal: Goal, now: Values, speed: float) -> np.ndarray:
    """One row (7,) from the commanded pose towards the goal, within this share of full scale."""
    wanted = Pose.from_euler(np.array([*goal.point, np.pi, 0.0, goal.yaw]))
    motion = _pose(now, "target").row_to(wanted)
    share = min(1.0, goal.pace) * speed
    limits = (FULL.translation_scale_m * share, FULL.rotation_scale_rad * share)
    parts = zip((motion[:3], motion[3:]), limits, strict=True)
    slowed = [part * min(1.0, limit / max(float(np.linalg.norm(part)), 1e-9)) for part, limit in parts]
    return np.concatenate([*slowed, [goal.opening]])


def _roll_forward(now: Values, row: np.ndarray, moves: str) -> dict[str, float]:
    """The state one row later, as far as it can be foreseen without physics. moves: what goes with the hand, or ""."""
    later = dict(now)
    target = _pose(now, "target").moved(row)
    _set_pose(later, "target", target)
    lag = _pose(now, "tcp").row_to(target)
    _set_pose(later, "tcp", _pose(now, "tcp").moved(FOLLOW_SHARE * lag))
    closed = row[6] <= 0.5
    later["gripper_opening"] = row[6]
    later["gripper_closed_steps"] = now["gripper_closed_steps"] + 1 if closed else 0.0
    if moves:
        for axis in "xyz":
            later[f"{moves}_{axis}"] += later[f"tcp_{axis}"] - now[f"tcp_{axis}"]
        if f"{moves}_yaw" in later:
            later[f"{moves}_yaw"] += wrap(later["tcp_yaw"] - now["tcp_yaw"])
    later["drawer_opening"] += now["drawer_handle_y"] - later["drawer_handle_y"]
    later["slider_position"] += later["slider_handle_x"] - now["slider_handle_x"]
    later["switch_position"] += later["switch_lever_y"] - now["switch_lever_y"]
    return later


def _pose(values: Values, name: str) -> Pose:
    return Pose.from_euler(np.array([values[f"{name}_{axis}"] for axis in ("x", "y", "z", "roll", "pitch", "yaw")]))


def _set_pose(values: dict[str, float], name: str, pose: Pose) -> None:
    values.update(zip((f"{name}_{axis}" for axis in "xyz"), map(float, pose.position), strict=True))
    angles = Rotation.from_quat(pose.quaternion).as_euler("xyz")
    values.update(zip((f"{name}_{axis}" for axis in ("roll", "pitch", "yaw")), map(float, angles), strict=True))
