"""The rows of the newest chunk, played by time: seconds in, the motion that belongs to them out."""

import numpy as np

from worldagen.chunking import ChunkPlayer
from worldagen.conventions import FROM_MEASURED
from worldagen.goal_limiting import shortened
from worldagen.limits import LimitsConfig
from worldagen.poses import Pose
from worldagen.smoothing import motion_between
from worldagen.types import ActionChunk

INSTANT_S = 1e-9  # less is rounding


class RowPlan:
    """The rows that are to come, played by time: seconds in, the motion that belongs to them out.

    Within a row the motion is even. Which row comes next, and how an overlapping chunk is faded in, is the ChunkPlayer's.
    """

    def __init__(self, limits: LimitsConfig, blend_rows: int) -> None:
        self._limits = limits
        self._player = ChunkPlayer(blend_rows)
        self._row: np.ndarray | None = None  # (6,) of the row that plays, limited in size
        self._pull = np.zeros(6)  # what it asks for besides, where rows count from the measured pose
        self._left_s = 0.0  # of the row that plays
        self._period_s = 0.0
        self._cut = False  # whether that row was too large
        self._from_measured = False
        self.chunk: ActionChunk | None = None
        """The newest that was taken up since the plan was dropped."""
        self.opening = 1.0
        """That the row which plays asks for, 0..1."""

    @property
    def waits(self) -> bool:
        """Whether there are rows, of which none plays yet."""
        return self._row is None and self._player.remaining > 0

    def offer(self, chunk: ActionChunk) -> None:
        """Take up a newer chunk; raises BadChunk, and keeps the plan, when it comes too late to matter."""
        self._player.offer(chunk)
        self.chunk = chunk

    def drop(self) -> None:
        """Forget it all."""
        self._player.clear()
        self._row, self._left_s, self.chunk = None, 0.0, None

    def begin(self, now_ns: int, measured: Pose, sent: Pose) -> bool:
        """Begin the next row; whether there was one."""
        played = self._player.next_row(now_ns)
        if played is None or self.chunk is None:
            self._row = None
            return False
        limits = self._limits
        wanted = played.row[:6]
        self._row = np.concatenate([shortened(wanted[:3], limits.max_step_m), shortened(wanted[3:], limits.max_step_rad)])
        self._cut = not np.array_equal(self._row, wanted)
        self._period_s = self._left_s = self.chunk.period_s
        self.opening = min(max(float(played.row[6]), 0.0), 1.0)
        # Rows that count from where the tool is: the goal is set back by what the arm lags behind the pose it was sent, not by
        # what that pose lags behind the goal. That lag is of our own making, and the policy's robot did not have it.
        from_measured = self.chunk.convention in FROM_MEASURED
        self._pull = motion_between(sent, measured) if from_measured else np.zeros(6)
        return True

    def play(self, seconds: float, now_ns: int, measured: Pose, sent: Pose, scale: float) -> tuple[np.ndarray, set[str], bool]:
        """The motion (6,) of so many seconds, the names of the limits that changed it, and whether rows ran out meanwhile.

        scale: share of the rows' motion that is made.
        """
        motion, met = np.zeros(6), set[str]()
        while seconds > INSTANT_S:
            if (self._row is None or self._left_s <= INSTANT_S) and not self.begin(now_ns, measured, sent):
                return motion, met, True
            assert self._row is not None
            taken = min(seconds, self._left_s)
            motion = motion + (self._row * scale + self._pull) * (taken / self._period_s)
            met |= ({"step"} if self._cut else set()) | ({"speed_scale"} if scale < 1.0 else set())
            self._left_s -= taken
            seconds -= taken
        return motion, met, False
