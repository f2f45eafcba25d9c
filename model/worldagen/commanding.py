"""From chunks to commanded poses: what the command node does, without ROS.

Chunk and measured poses in, one limited command per tick out, or the reason why nothing may be commanded. The commanded pose
integrates the rows and is seated on the measured pose when a run begins; when rows run out it stays where it is (hold). Rows of
a convention in FROM_MEASURED move the measured pose instead, each one anew.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from worldagen.chunking import ChunkPlayer
from worldagen.conventions import FROM_MEASURED
from worldagen.errors import BadChunk, BadCommand
from worldagen.limits import LimitsConfig, limit_step
from worldagen.poses import Pose
from worldagen.types import ActionChunk


class CommandState(Enum):
    """What the arm is being told."""

    READY = "nothing was commanded yet"
    RUNNING = "rows of a chunk are playing"
    HOLD = "the commanded pose stands still, because no row is there to play"
    STOPPED = "the commanded pose stands still, because the speed scale is 0; rows pass unplayed"


@dataclass(frozen=True, eq=False)
class Command:
    """One tick's command. pose: commanded tool pose; motion: (6,) from the pose that its row moved; opening: 0..1."""

    pose: Pose
    motion: np.ndarray
    opening: float
    limited_by: tuple[str, ...] = ()


class Commander:
    """Owns the plan and the commanded pose. Times are nanoseconds of the clock that stamps chunks and joint states."""

    def __init__(self, limits: LimitsConfig, blend_rows: int, max_chunk_age_s: float) -> None:
        self._limits = limits
        self._player = ChunkPlayer(blend_rows)
        self._max_chunk_age_ns = round(max_chunk_age_s * 1e9)
        self._target: Pose | None = None
        self._opening = 1.0
        self._from_measured = False
        self.state = CommandState.READY
        self.period_s = 0.0
        self.speed_scale = 1.0  # share of each row's motion that is made

    @property
    def has_rows(self) -> bool:
        """Whether a row is waiting to be played."""
        return self._player.remaining > 0

    def offer(self, chunk: ActionChunk, now_ns: int) -> None:
        """Take up a chunk; raises BadChunk, and changes nothing, when it is too old or overtaken."""
        age_s = (now_ns - chunk.stamp_ns) * 1e-9
        if age_s * 1e9 > self._max_chunk_age_ns:
            raise BadChunk(f"chunk {chunk.sequence} is {age_s:.2f} s old; allowed: {self._max_chunk_age_ns * 1e-9:g} s")
        self._player.offer(chunk)
        self.period_s = chunk.period_s
        self._from_measured = chunk.convention in FROM_MEASURED

    def scale_speed(self, scale: float) -> None:
        """Make only this share of each row's motion from now on, 0 to 1; at 0 the arm and the gripper stay as they are.

        Kept through everything that happens to plan and robot. Raises BadCommand, keeping the old one, for another number.
        """
        if not 0.0 <= scale <= 1.0:
            raise BadCommand(f"speed scale {scale}; expected a number from 0 to 1, keeping {self.speed_scale:g}")
        self.speed_scale = float(scale)

    def refuse_plan(self) -> None:
        """A bad chunk came: what was planned before it is not to be trusted either, so the arm holds."""
        self._player.clear()

    def release(self) -> None:
        """The robot's state was lost or jumped: forget plan and commanded pose; nothing is commanded until a new chunk."""
        self._player.clear()
        self._target = None
        self.state = CommandState.READY

    def hold(self, measured: Pose) -> Command:
        """Stand still where the arm was last sent, or where it is when it was never sent anywhere."""
        self._target = self._target or measured
        self.state = CommandState.HOLD
        return Command(self._target, np.zeros(6), self._opening)

    def tick(self, now_ns: int, measured: Pose) -> Command | None:
        """The command of this instant, or None while nothing was ever asked for."""
        played = self._player.next_row(now_ns)
        if played is None:
            return None if self._target is None else self.hold(measured)
        if self.speed_scale == 0.0:
            command = self.hold(measured)
            self.state = CommandState.STOPPED
            return command
        before = measured if self._from_measured else self._target or measured
        self._target, met = limit_step(played.row, before, measured, self._limits, self.speed_scale)
        self._opening = float(np.clip(played.row[6], 0.0, 1.0))
        self.state = CommandState.RUNNING
        return Command(self._target, before.row_to(self._target), self._opening, met)


class LockstepAnswers:
    """In lockstep: which commands a simulator still waits for. Stamps are nanoseconds of the simulator's clock.

    A chunk of M rows owes M commands, one for each of the following joint states, be it refused or not: the simulator has
    seen the same chunk. An instant that is shown again, because its answer was lost, gets the same answer again.
    """

    def __init__(self) -> None:
        self._chunk: tuple[int, int] | None = None  # stamp and rows of a chunk whose instant has not come yet
        self._owed = 0
        self._answered_ns = -1

    def clear(self) -> None:
        """The simulator was reset: nothing is owed. A chunk that waits for an instant to come may answer the new episode."""
        self._owed = 0

    def offer(self, stamp_ns: int, rows: int) -> None:
        """A chunk came."""
        if stamp_ns != self._answered_ns:
            self._chunk = (stamp_ns, rows)

    def begins(self, state_ns: int) -> bool:
        """Whether the waiting chunk begins with the joint states of this instant; says yes once."""
        if self._chunk is None or self._chunk[0] != state_ns or state_ns == self._answered_ns:
            return False
        self._owed, self._chunk = self._chunk[1], None
        return True

    def due(self, state_ns: int) -> bool:
        """Whether a new command is due for this instant; noting it as answered."""
        if state_ns == self._answered_ns or self._owed == 0:
            return False
        self._owed -= 1
        self._answered_ns = state_ns
        return True

    def again(self, state_ns: int) -> bool:
        """Whether this instant was answered already."""
        return state_ns == self._answered_ns
