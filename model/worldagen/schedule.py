"""When a policy has to decide: observations are answered one chunk apart, because its history is spaced by chunks."""

from enum import Enum

from worldagen.types import ActionChunk


class Due(Enum):
    """What an observation calls for."""

    WAIT = "it belongs to rows that are still playing"
    ACT = "a decision is due"
    AFRESH = "a decision is due, and the gap since the last one broke the history"
    REPEAT = "it was answered already; the answer may have been lost"


class Schedule:
    """Compares observation stamps (ns) with the last chunk. replan_rows = 0 means a whole chunk."""

    def __init__(self, replan_rows: int, max_gap_s: float) -> None:
        self._replan_rows = replan_rows
        self._max_gap_ns = round(max_gap_s * 1e9)
        self.last: ActionChunk | None = None

    def start(self) -> None:
        """A new instruction: the next observation is due."""
        self.last = None

    def answered(self, chunk: ActionChunk) -> None:
        """Note the newest chunk."""
        self.last = chunk

    def due(self, stamp_ns: int) -> Due:
        """What an observation of this stamp calls for."""
        if self.last is None:
            return Due.ACT
        if stamp_ns == self.last.stamp_ns:
            return Due.REPEAT
        rows = min(self._replan_rows or len(self.last.rows), len(self.last.rows))
        period_ns = self.last.period_s * 1e9
        wait_ns = rows * period_ns
        gap_ns = stamp_ns - self.last.stamp_ns - wait_ns
        if stamp_ns < self.last.stamp_ns or gap_ns > self._max_gap_ns:
            return Due.AFRESH
        return Due.ACT if gap_ns > -0.5 * period_ns else Due.WAIT  # half a row of camera jitter
