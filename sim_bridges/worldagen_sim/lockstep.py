"""Lockstep: which answer a simulator waits for, so that a run is a pure function of its seed.

One turn: publish an observation, wait for the chunk that answers it, then, for each row of the chunk, wait for the motion
and the gripper command of this very instant and play one control step; then publish the next observation. Messages may
arrive in any order and twice; only those that carry the awaited stamp count.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Command:
    """What to play now: a motion and a gripper command, whatever was offered as such."""

    motion: Any
    gripper: Any


class LockStep:
    """Bookkeeping of one episode; owns no simulator and no clock. Stamps are nanoseconds."""

    def __init__(self) -> None:
        self._now_ns = -1
        self._observation_ns = -1
        self._rows_left = 0
        self._chunk: tuple[int, int] | None = None  # stamp, rows
        self._motion: tuple[int, Any] | None = None
        self._gripper: tuple[int, Any] | None = None

    @property
    def waits_for(self) -> str:
        """In words, for the log."""
        if self._rows_left == 0:
            return f"the chunk that answers the observation of {self._observation_ns * 1e-9:.3f} s"
        return f"the command for {self._now_ns * 1e-9:.3f} s"

    @property
    def waits_for_chunk(self) -> bool:
        """True between an observation and its chunk."""
        return self._rows_left == 0

    def observed(self, now_ns: int) -> None:
        """An observation with this stamp was published."""
        self._now_ns = self._observation_ns = now_ns
        self._rows_left = 0
        self._adopt()

    def offer_chunk(self, stamp_ns: int, rows: int) -> None:
        """A chunk came; it counts when it answers the present observation."""
        self._chunk = (stamp_ns, rows)
        self._adopt()

    def offer_motion(self, stamp_ns: int, motion: Any) -> None:
        """A motion command came."""
        self._motion = (stamp_ns, motion)

    def offer_gripper(self, stamp_ns: int, gripper: Any) -> None:
        """A gripper command came."""
        self._gripper = (stamp_ns, gripper)

    def take(self) -> Command | None:
        """The command of this instant once all three messages are there, else None."""
        if self._rows_left == 0 or self._motion is None or self._gripper is None:
            return None
        if self._motion[0] != self._now_ns or self._gripper[0] != self._now_ns:
            return None
        return Command(self._motion[1], self._gripper[1])

    def stepped(self, now_ns: int) -> bool:
        """The command was played and it is now this late; True when the chunk is played out and an observation is due."""
        self._now_ns = now_ns
        self._rows_left -= 1
        return self._rows_left == 0

    def _adopt(self) -> None:
        if self._rows_left == 0 and self._chunk is not None and self._chunk[0] == self._observation_ns:
            self._rows_left = self._chunk[1]
            self._chunk = None
