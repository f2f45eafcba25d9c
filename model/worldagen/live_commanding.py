"""From chunks to a continuous stream of poses: what the command node does in real time, without ROS.

Chunks, the measured pose and two clocks in; at each tick one limited pose out, or none while nothing may be commanded. Rows
move a goal by shares, in step with time; the pose that is sent follows the goal within the limits of speed, acceleration and
jerk (smoothing.py). Whatever goes wrong, the goal stays where it is and the pose comes to rest there.

Times are nanoseconds. `now_ns` is the clock that stamps chunks and joint states (ROS time), which somebody may set;
`steady_ns` is one that only ever runs forward, and it is what motion is measured by.

    DISABLED --enable--> READY --chunk--> RUNNING <--chunk, anything amiss--> HOLD
                         READY <--clear_fault-- FAULT <--a fault-- RUNNING, HOLD
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from worldagen.gripper import BinaryGripper
from worldagen.limits import LimitsConfig
from worldagen.poses import Pose
from worldagen.types import ActionChunk


class LiveState(Enum):
    """What the arm is being told, in real time."""

    DISABLED = "nothing is commanded until the node is activated"
    READY = "nothing is commanded until a chunk comes"
    RUNNING = "rows of a chunk are playing"
    HOLD = "the commanded pose comes to rest and stays"
    FAULT = "the commanded pose stays until a person clears the fault"


@dataclass(frozen=True, eq=False)
class LiveCommand:
    """One tick's command. pose: commanded tool pose; motion: (6,) since the command before, m and rad along the base axes;
    opening: 0.0 or 1.0; limited_by: names of the limits that changed the motion; seated: whether the pose was put onto the
    measured one in this tick, and so does not continue the one before (motion is zero then)."""

    pose: Pose
    motion: np.ndarray
    opening: float
    limited_by: tuple[str, ...] = ()
    seated: bool = False


class LiveCommander:
    """Owns the plan, the goal, the pose that is sent, and the state. One thread calls it.

    The node calls `tick` every `period_s`, in every state, and sends what it returns; `offer` with each chunk that it could
    decode, and `refuse` for one that it could not. `state` and `reason` say what the arm is told, and why.
    """

    def __init__(
        self,
        limits: LimitsConfig,
        gripper: BinaryGripper,
        *,
        period_s: float,
        blend_rows: int,
        max_chunk_age_s: float,
        max_state_age_s: float,
        max_tick_gap_s: float,
        max_clock_jump_s: float,
    ) -> None:
        """Raises ConfigError for limits that contradict each other. The state is DISABLED.

        period_s: of the ticks. blend_rows: rows over which an overlapping chunk is faded in. max_chunk_age_s: older chunks are
        refused. max_state_age_s: older joint states are lost. max_tick_gap_s: after a longer one between two ticks the plan is
        dropped. max_clock_jump_s: by so much ROS time may run before or behind the steady clock between two ticks, and a chunk
        be stamped in the future.
        """
        raise NotImplementedError

    @property
    def state(self) -> LiveState:
        """What the arm is being told."""
        raise NotImplementedError

    @property
    def reason(self) -> str:
        """Why the state is what it is, and what ends it, in words."""
        raise NotImplementedError

    @property
    def at_rest(self) -> bool:
        """Whether the commanded pose stands still (or there is none), so that a stop is not felt."""
        raise NotImplementedError

    @property
    def adapter(self) -> str:
        """Adapter id of the chunk that plays, or was offered and waits for the next tick; "" for the base or none."""
        raise NotImplementedError

    @property
    def row_period_s(self) -> float:
        """Of the newest chunk that was taken up; 0.0 before the first."""
        raise NotImplementedError

    @property
    def speed_scale(self) -> float:
        """Share of each row's motion that is made, 0 to 1."""
        raise NotImplementedError

    def enable(self) -> str:
        """DISABLED -> READY. Returns "" or, in FAULT, why not; in any other state it changes nothing."""
        raise NotImplementedError

    def disable(self) -> LiveCommand | None:
        """-> DISABLED; a FAULT stays one. Returns what must be the last command on the wire: the pose that was sent last, no
        motion; None when nothing was commanded since `enable`. The same again when called again.

        It stops at once. Who has the time calls `hold` first, and ticks until `at_rest`.
        """
        raise NotImplementedError

    def hold(self, reason: str) -> None:
        """RUNNING -> HOLD, by somebody's decision; in any other state it changes nothing. A fresh chunk goes on."""
        raise NotImplementedError

    def clear_fault(self) -> str:
        """FAULT -> READY (DISABLED, where it was disabled meanwhile), by a person's decision. Returns "", or the reason why it
        is refused: the cause is still there, or there is no fault."""
        raise NotImplementedError

    def scale_speed(self, scale: float) -> None:
        """Make only this share of each row's motion from now on, 0 to 1; at 0 the arm holds and the plan is dropped.

        Kept through everything that happens to plan and robot. Raises BadCommand, keeping the old one, for another number.
        """
        raise NotImplementedError

    def offer(self, chunk: ActionChunk, now_ns: int) -> str:
        """Take up a chunk; the next tick decides whether it may move the arm. Returns "", or why it was not taken up although
        nothing is wrong with it (DISABLED, FAULT).

        Raises BadChunk when it is too old, comes from the future, answers an observation from before the plan was dropped, or
        is overtaken by the one that plays. Too old or from the future, it is a reason to HOLD; else the plan goes on.
        """
        raise NotImplementedError

    def refuse(self, reason: str) -> None:
        """A chunk came that could not be decoded: what was planned before it is not to be trusted either. RUNNING -> HOLD."""
        raise NotImplementedError

    def tick(
        self,
        now_ns: int,
        steady_ns: int,
        measured: Pose | None,
        state_age_s: float,
        *,
        may_move: bool = True,
        states_bad: bool = False,
    ) -> LiveCommand | None:
        """The command of this instant; None while nothing may be commanded (DISABLED, READY, a FAULT before the first command).

        measured: tool pose of the newest good joint states, None before the first; state_age_s: how long ago they came, by the
        steady clock. may_move: the deadman's button is held, or not needed. states_bad: joint states come, but the newest held
        numbers that are not finite or could not be used. Never raises: an error of its own is a FAULT.
        """
        raise NotImplementedError
