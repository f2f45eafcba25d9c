"""From chunks to a continuous stream of poses: what the command node does in real time, without ROS.

Chunks, the measured pose and two clocks in; at each tick one limited pose out, or none while nothing may be commanded. Rows
move a goal by shares, in step with time; the pose that is sent follows the goal within the limits of speed, acceleration and
jerk (smoothing.py). Whatever goes wrong, the goal stays where it is and the pose comes to rest there.

Times are nanoseconds. `now_ns` is the clock that stamps chunks and joint states (ROS time), which somebody may set;
`steady_ns` is one that only ever runs forward, and it is what motion is measured by.

    DISABLED --enable--> READY --chunk--> RUNNING <--chunk, anything amiss--> HOLD
                         READY <--clear_fault-- FAULT <--a fault-- RUNNING, HOLD
"""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from worldagen.errors import BadChunk, BadCommand
from worldagen.goal_limiting import GoalLimiter, in_order
from worldagen.gripper import BinaryGripper
from worldagen.limits import LimitsConfig
from worldagen.poses import Pose
from worldagen.row_plan import RowPlan
from worldagen.smoothing import MotionBounds, PoseFollower, angle_between, motion_between
from worldagen.types import ActionChunk

SHORTEST_ROW_S, LONGEST_ROW_S = 0.001, 10.0
FARTHEST_M = 100.0  # no arm's tool is measured farther from its base


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
        self._limits, self._gripper = limits, gripper
        self._max_chunk_age_s, self._max_state_age_s = max_chunk_age_s, max_state_age_s
        self._max_tick_gap_s, self._max_clock_jump_s = max_tick_gap_s, max_clock_jump_s
        self._follower = PoseFollower(
            period_s,
            MotionBounds(limits.max_speed_mps, limits.max_accel_mps2, limits.max_jerk_mps3),
            MotionBounds(limits.max_speed_radps, limits.max_accel_radps2, limits.max_jerk_radps3),
        )
        self._limiter = GoalLimiter(limits, self._follower)
        self._plan = RowPlan(limits, blend_rows)
        self._state, self._reason = LiveState.DISABLED, "not enabled yet"
        self._enabled = False
        self._scale = 1.0
        self._row_period_s = 0.0
        self._sent: LiveCommand | None = None  # the newest command since the pose was seated
        self._last: LiveCommand | None = None  # what `disable` returned
        self._was_inside = False  # whether that pose was in the work space since it was seated
        self._seat_anew = False  # HOLD is left by READY only
        self._fault = ""  # its kind
        self._standing = False  # whether there is a pose to command
        self._played_ns = 0  # ROS time of the newest tick that moved the goal
        self._barrier_ns = 0  # the same when the plan was dropped: what was seen before is no ground to move anew
        self._now_ns: int | None = None
        self._steady_ns = 0
        self._elapsed_s = 0.0  # between the two newest ticks
        self._jump_s = 0.0  # of ROS time, between them
        self._measured: Pose | None = None
        self._measured_ns = 0  # steady time when it came
        self._states_bad = False
        self._may_move = False
        self._astray_ns: int | None = None  # steady time since when the arm does not follow

    @property
    def state(self) -> LiveState:
        """What the arm is being told."""
        return self._state

    @property
    def reason(self) -> str:
        """Why the state is what it is, in words."""
        return self._reason

    @property
    def at_rest(self) -> bool:
        """Whether the commanded pose stands still (or there is none), so that a stop is not felt."""
        return not self._standing or self._follower.at_rest

    @property
    def adapter(self) -> str:
        """Adapter id of the chunk that plays, or was offered and waits for the next tick; "" for the base or none."""
        return self._plan.chunk.adapter if self._plan.chunk else ""

    @property
    def row_period_s(self) -> float:
        """Of the newest chunk that was taken up; 0.0 before the first."""
        return self._row_period_s

    @property
    def speed_scale(self) -> float:
        """Share of each row's motion that is made, 0 to 1."""
        return self._scale

    def enable(self) -> str:
        """DISABLED -> READY. Returns "" or, in FAULT, why not; in any other state it changes nothing."""
        if self._state is LiveState.FAULT:
            return f"there is a fault, {self._reason}; clear it first"
        if self._state is LiveState.DISABLED:
            self._enabled, self._last = True, None
            self._become_ready("enabled, waits for a chunk")
        return ""

    def disable(self) -> LiveCommand | None:
        """-> DISABLED; a FAULT stays one. Returns what must be the last command on the wire: the pose that was sent last, no
        motion; None when no pose is being commanded (where motions are commanded, say none all the same). The same again when
        called again.

        It stops at once. Who has the time calls `hold` first, and ticks until `at_rest`.
        """
        if self._enabled:
            self._enabled = False
            self._last = self._sent and LiveCommand(self._sent.pose, np.zeros(6), self._sent.opening)
            self._standing, self._sent = False, None
            self._drop()
            if self._state is not LiveState.FAULT:
                self._state, self._reason = LiveState.DISABLED, "disabled"
        return self._last

    def hold(self, reason: str) -> None:
        """RUNNING -> HOLD, by somebody's decision; in any other state it changes nothing. A fresh chunk goes on."""
        if self._state is LiveState.RUNNING:
            self._hold(reason)

    def clear_fault(self) -> str:
        """FAULT -> READY (DISABLED, where it was disabled meanwhile), by a person's decision. Returns "", or the reason why it
        is refused: the cause is still there, or there is no fault."""
        if self._state is not LiveState.FAULT:
            return f"there is no fault to clear, the state is {self._state.name}"
        if problem := self._cause_remains():
            return f"the cause is still there: {problem}"
        self._fault, self._played_ns = "", self._now_ns or 0
        if self._enabled:
            self._become_ready("the fault was cleared, waits for a chunk")
        else:
            self._state, self._reason = LiveState.DISABLED, "the fault was cleared, not enabled"
        return ""

    def scale_speed(self, scale: float) -> None:
        """Make only this share of each row's motion from now on, 0 to 1; at 0 the arm holds and the plan is dropped.

        Kept through everything that happens to plan and robot. Raises BadCommand, keeping the old one, for another number.
        """
        if not 0.0 <= scale <= 1.0:
            raise BadCommand(f"speed scale {scale}; expected a number from 0 to 1, keeping {self._scale:g}")
        self._scale = float(scale)

    def offer(self, chunk: ActionChunk, now_ns: int) -> str:
        """Take up a chunk; the next tick decides whether it may move the arm. Returns "", or why it was not taken up although
        nothing is wrong with it (DISABLED, FAULT).

        Raises BadChunk when it is too old, comes from the future, answers an observation from before the plan was dropped, or
        is overtaken by the one that plays. Too old or from the future, it is a reason to HOLD; else the plan goes on.
        """
        if self._state in (LiveState.DISABLED, LiveState.FAULT):
            return f"{self._state.name}: {self._reason}"
        if problem := self._problem_with(chunk, now_ns):
            self.refuse(problem)
            raise BadChunk(problem)
        if chunk.stamp_ns < self._barrier_ns:
            raise BadChunk(
                f"chunk {chunk.sequence} answers an observation from {(self._barrier_ns - chunk.stamp_ns) * 1e-9:.3f} s before "
                "the plan was dropped; expected one from after that"
            )
        self._plan.offer(chunk)
        self._row_period_s = chunk.period_s
        return ""

    def refuse(self, reason: str) -> None:
        """A chunk came that could not be decoded: what was planned before it is not to be trusted either. RUNNING -> HOLD."""
        if self._state is LiveState.RUNNING:
            self._hold(f"a chunk was refused: {reason}")
        elif self._plan.waits:
            self._drop()

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
        try:
            self._read_clocks(now_ns, steady_ns)
            self._read_states(measured, state_age_s, states_bad)
            self._may_move = may_move
            self._change_state()
            return self._command()
        except Exception as error:  # whatever it is, the arm must come to rest
            self._enter_fault("internal", f"internal error: {type(error).__name__}: {error}")
            try:
                return self._follow(self._limiter.stay())
            except Exception:  # not even that: where it was sent last
                return self._sent and LiveCommand(self._sent.pose, np.zeros(6), self._sent.opening)

    # ---------------------------------------------------------------- what is known at a tick

    def _read_clocks(self, now_ns: int, steady_ns: int) -> None:
        if self._now_ns is None:
            self._now_ns, self._steady_ns = now_ns, steady_ns
        steady_s = (steady_ns - self._steady_ns) * 1e-9
        self._elapsed_s = max(0.0, steady_s)
        # A steady clock that ran backwards is none; then nothing that was measured by it counts.
        self._jump_s = (now_ns - self._now_ns) * 1e-9 - steady_s if steady_s >= 0.0 else steady_s - self._max_clock_jump_s
        self._now_ns, self._steady_ns = now_ns, steady_ns

    def _read_states(self, measured: Pose | None, age_s: float, bad: bool) -> None:
        known = measured is not None and age_s >= 0.0 and math.isfinite(age_s)
        usable = measured is None or (
            all(abs(number) < FARTHEST_M for number in measured.position.tolist())
            and abs(math.hypot(*measured.quaternion.tolist()) - 1.0) < 0.01  # not so for NaN either
        )
        self._states_bad = bad or not usable or not (known or measured is None)
        if known and usable:
            self._measured, self._measured_ns = measured, self._steady_ns - round(age_s * 1e9)

    @property
    def _state_age_s(self) -> float:
        return (self._steady_ns - self._measured_ns) * 1e-9

    @property
    def _fresh(self) -> Pose | None:
        """The measured pose, while it is fresh."""
        return self._measured if 0.0 <= self._state_age_s <= self._max_state_age_s else None

    def _astray(self, measured: Pose) -> str:
        """By how much the arm is away from where it was sent, in words; "" while that is allowed."""
        limits, sent = self._limits, self._follower.pose
        if sent is None:
            return ""
        away_m = math.dist(sent.position.tolist(), measured.position.tolist())
        away_rad = angle_between(sent.quaternion, measured.quaternion)
        if away_m <= limits.max_following_m and away_rad <= limits.max_following_rad:
            return ""
        return (
            f"the arm is {away_m:.3f} m and {away_rad:.2f} rad from where it was sent; "
            f"allowed: {limits.max_following_m:g} m and {limits.max_following_rad:g} rad"
        )

    def _far_outside(self, measured: Pose) -> str:
        """By how much the tool is outside the work space, in words; "" within the margin."""
        outside_m = self._limiter.outside_by(measured.position)
        if outside_m <= self._limits.workspace_margin_m:
            return ""
        return f"the tool is {outside_m:.3f} m outside the work space; allowed: {self._limits.workspace_margin_m:g} m"

    # ---------------------------------------------------------------- states and what changes them

    def _change_state(self) -> None:
        jumped, fresh = abs(self._jump_s) > self._max_clock_jump_s, self._fresh
        if jumped:
            self._played_ns = self._now_ns or 0  # stamps from before the jump mean nothing any more
            self._drop()
        if self._state in (LiveState.RUNNING, LiveState.HOLD):
            self._look_for_faults(fresh)
        hindrance = self._hindrance(jumped, fresh)
        if self._state is LiveState.RUNNING and hindrance:
            self._hold(hindrance)
        if self._state is LiveState.HOLD:
            self._seat_anew = self._seat_anew or jumped or fresh is None
            if self._seat_anew and fresh is not None and not jumped and self._follower.at_rest:
                self._become_ready(f"{self._reason}; all is well again, waits for a chunk")
                return  # READY is seen for a tick at least
            hindrance = hindrance or ("the arm has yet to come to rest" if self._seat_anew else "")
        if self._state in (LiveState.READY, LiveState.HOLD) and self._plan.waits:
            if self._states_bad:  # a run that plays bears that for a while, but none begins so
                hindrance = hindrance or "joint states come with numbers that cannot be used"
            if hindrance:
                self._drop()
                self._reason = f"a chunk was not played: {hindrance}"
            elif fresh is not None:
                self._run(fresh)

    def _hindrance(self, jumped: bool, fresh: Pose | None) -> str:
        """Why rows may not move the arm at this instant; "" when they may."""
        if jumped:
            return f"the clock jumped by {self._jump_s:+.2f} s; allowed: {self._max_clock_jump_s:g} s"
        if self._elapsed_s > self._max_tick_gap_s:
            return f"a tick came {self._elapsed_s:.2f} s after the one before; allowed: {self._max_tick_gap_s:g} s"
        if fresh is None:
            since = "no joint states yet" if self._measured is None else f"no joint states for {self._state_age_s:.2f} s"
            return f"{since}; allowed: {self._max_state_age_s:g} s"
        if not self._may_move:
            return "the deadman's button is not held"
        if self._scale == 0.0:
            return "the speed scale is 0"
        return ""

    def _look_for_faults(self, fresh: Pose | None) -> None:
        """-> FAULT, when there is a reason."""
        running = self._state is LiveState.RUNNING
        if fresh is None:
            self._astray_ns = None
            if running and self._states_bad:
                self._enter_fault("states", f"joint states came with numbers that cannot be used for {self._state_age_s:.2f} s")
            return
        if self._seat_anew:  # the arm may be anywhere, and is not sent there from here
            return
        if running and self._was_inside and (words := self._far_outside(fresh)):
            self._enter_fault("workspace", words)
            return
        words = self._astray(fresh)
        if not words:
            self._astray_ns = None
            return
        self._astray_ns = self._steady_ns if self._astray_ns is None else self._astray_ns
        astray_s = (self._steady_ns - self._astray_ns) * 1e-9
        if astray_s > self._limits.max_following_s:
            self._enter_fault("following", f"for {astray_s:.2f} s {words}")
            self._seat(fresh)  # or the arm would spring there as soon as whatever keeps it lets go

    def _cause_remains(self) -> str:
        """Why the fault cannot be cleared, in words."""
        if self._fault == "internal":
            return ""
        if self._states_bad:
            return "joint states come with numbers that cannot be used"
        if (fresh := self._fresh) is None:
            return f"no joint states for {self._state_age_s:.2f} s"
        return {"following": self._astray, "workspace": self._far_outside}.get(self._fault, lambda _: "")(fresh)

    def _become_ready(self, reason: str) -> None:
        self._drop()
        self._standing, self._sent, self._seat_anew, self._astray_ns = False, None, False, None
        self._state, self._reason = LiveState.READY, reason

    def _run(self, fresh: Pose) -> None:
        """READY or HOLD -> RUNNING."""
        assert self._plan.chunk is not None
        if self._state is LiveState.READY:
            self._seat(fresh)
        self._state, self._reason = LiveState.RUNNING, f"chunk {self._plan.chunk.sequence} plays"

    def _hold(self, reason: str) -> None:
        self._drop()
        self._state, self._reason = LiveState.HOLD, reason

    def _drop(self) -> None:
        """Drop the plan, and whatever else was decided before the arm was last moved: part of it may have been played."""
        self._plan.drop()
        self._barrier_ns = self._played_ns

    def _enter_fault(self, kind: str, reason: str) -> None:
        self._drop()
        if self._state is not LiveState.FAULT:
            self._state, self._reason, self._fault = LiveState.FAULT, reason, kind

    # ---------------------------------------------------------------- what is sent

    def _seat(self, pose: Pose) -> None:
        self._limiter.seat(self._follower.seat(pose))
        self._standing, self._sent, self._was_inside, self._astray_ns = True, None, False, None

    def _command(self) -> LiveCommand | None:
        if not self._standing:
            return None
        if self._state is not LiveState.RUNNING:
            return self._follow(self._limiter.stay())
        return self._play()

    def _play(self) -> LiveCommand | None:
        """RUNNING: the command of this tick; -> HOLD when rows run out in it."""
        sent, measured = self._follower.pose, self._measured
        assert sent is not None and measured is not None and self._now_ns is not None
        self._played_ns = self._now_ns
        if self._sent is None:  # seated in this tick: the row's time begins now
            self._plan.begin(self._now_ns, measured, sent)
            self._gripper.decide(self._plan.opening, self._steady_ns)
            return self._follow(self._limiter.stay())
        motion, met, ran_out = self._plan.play(self._elapsed_s, self._now_ns, measured, sent, self._scale)
        met |= self._limiter.move(motion, measured)
        self._gripper.decide(self._plan.opening, self._steady_ns)
        if ran_out:  # the memory of what was played stays, for a chunk that answers an observation from meanwhile
            self._state, self._reason = LiveState.HOLD, "the rows ran out, waits for a chunk"
        return self._follow(met)

    def _follow(self, met: set[str]) -> LiveCommand | None:
        """The pose that follows the goal, as this tick's command."""
        before, opening = self._follower.pose, self._gripper.opening
        if not self._standing or before is None or opening is None:
            return None
        pose, seated = self._follower.follow(self._limiter.goal), self._sent is None
        if self._was_inside:  # it is, but for rounding
            pose = Pose(self._limiter.inside(pose.position), pose.quaternion)
        motion = np.zeros(6) if seated else motion_between(before, pose)
        self._sent = LiveCommand(pose, motion, opening, in_order(met), seated)
        self._was_inside = self._was_inside or self._limiter.outside_by(pose.position) == 0.0
        return self._sent

    def _problem_with(self, chunk: ActionChunk, now_ns: int) -> str:
        """Why a chunk may not move an arm at all, in words; "" when it may."""
        age_s = (now_ns - chunk.stamp_ns) * 1e-9
        if age_s > self._max_chunk_age_s:
            return f"chunk {chunk.sequence} is {age_s:.2f} s old; allowed: {self._max_chunk_age_s:g} s"
        if age_s < -self._max_clock_jump_s:
            return (
                f"chunk {chunk.sequence} is stamped {-age_s:.2f} s in the future; allowed: {self._max_clock_jump_s:g} s; "
                "check that the machines' clocks agree"
            )
        if not SHORTEST_ROW_S <= chunk.period_s <= LONGEST_ROW_S:
            return (
                f"chunk {chunk.sequence} has rows of {chunk.period_s:g} s; allowed: {SHORTEST_ROW_S:g} to {LONGEST_ROW_S:g} s"
            )
        return ""
