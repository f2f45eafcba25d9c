"""ChunkPlayer: chunks and ticks in, one row per tick out.

A chunk's rows begin at its observation. Rows that other chunks already played since that observation are dropped, so the
arm never moves twice for the same time; time in which the arm held still consumed nothing, so no motion is lost.

Worked example, rows of 100 ms: chunk A (stamp 0 s, rows a0..a4) plays a0 at 0.1 s and a1 at 0.2 s. Chunk B answers the
observation of 0.15 s and arrives at 0.25 s: one row (a1) was played since then, so B goes on with b1 at 0.3 s.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from worldagen.errors import BadChunk
from worldagen.types import ActionChunk

REMEMBERED_TICKS = 1000  # more than any chunk can overlap


@dataclass(frozen=True, eq=False)
class PlayedRow:
    """One row to command now: (7,) SI, and which chunk and index it came from."""

    row: np.ndarray
    sequence: int
    index: int


class ChunkPlayer:
    """Holds the newest chunk and hands out its rows. Times are nanoseconds of one clock, given by the caller."""

    def __init__(self, blend_rows: int = 0) -> None:
        self._blend_rows = blend_rows
        self._ticks: deque[int] = deque(maxlen=REMEMBERED_TICKS)  # when rows were played
        self._rows = np.empty((0, 7))
        self._index = 0
        self._chunk: ActionChunk | None = None

    @property
    def remaining(self) -> int:
        """Rows left to play."""
        return len(self._rows) - self._index

    def clear(self) -> None:
        """Forget the plan, for instance because the robot was reset."""
        self._rows, self._index, self._chunk = np.empty((0, 7)), 0, None
        self._ticks.clear()

    def offer(self, chunk: ActionChunk) -> None:
        """Take up a newer chunk. Raises BadChunk, and keeps the present plan, when it comes too late to matter."""
        if self._chunk is not None and chunk.sequence != 0 and chunk.stamp_ns < self._chunk.stamp_ns:
            raise BadChunk(
                f"chunk {chunk.sequence} answers an older observation than chunk {self._chunk.sequence}, which is playing"
            )
        consumed = sum(1 for tick in self._ticks if tick >= chunk.stamp_ns)
        if consumed >= len(chunk.rows):
            raise BadChunk(
                f"chunk {chunk.sequence} came too late: {consumed} rows were played since its observation, "
                f"it has {len(chunk.rows)}"
            )
        rows = np.array(chunk.rows)
        old = self._rows[self._index : self._index + self._blend_rows]
        new = rows[consumed : consumed + len(old)]
        share = ((np.arange(len(new)) + 1) / (len(old) + 1))[:, None]  # of the new chunk, rising over the seam
        new[:, :6] = share * new[:, :6] + (1 - share) * old[: len(new), :6]  # the gripper is a decision, not a mixture
        self._rows, self._index, self._chunk = rows, consumed, chunk

    def next_row(self, now_ns: int) -> PlayedRow | None:
        """The row for this tick, or None when the plan is played out."""
        if self._chunk is None or self.remaining == 0:
            return None
        played = PlayedRow(self._rows[self._index], self._chunk.sequence, self._index)
        self._index += 1
        self._ticks.append(now_ns)
        return played
