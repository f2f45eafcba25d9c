"""A binary gripper: opening in (0 closed .. 1 open, any number), opening out that is 0 or 1 and does not flutter.

A gripper is an action server that takes a second for a grasp; a network's opening crosses one half many times on the way. So
there are two thresholds (hysteresis), and after a change the gripper is left alone for a while (dwell). Times are nanoseconds
of a steady clock.
"""

from worldagen.errors import ConfigError

CLOSED, OPEN = 0.0, 1.0


class BinaryGripper:
    """Remembers what was decided last; a wish that comes during the dwell counts once it is over, if it still stands then."""

    def __init__(self, close_below: float = 0.4, open_above: float = 0.6, dwell_s: float = 0.3) -> None:
        """Raises ConfigError for thresholds out of order or a dwell below 0."""
        if not 0.0 <= close_below <= open_above <= 1.0:
            raise ConfigError(
                f"the gripper closes below {close_below} and opens above {open_above}; expected two numbers from 0 to 1, "
                "the first not above the second"
            )
        if not dwell_s >= 0.0:
            raise ConfigError(f"the gripper's dwell is {dwell_s} s; expected 0 or more")
        self._close_below, self._open_above = close_below, open_above
        self._dwell_ns = round(dwell_s * 1e9)
        self._changed_ns = 0
        self._opening: float | None = None

    @property
    def opening(self) -> float | None:
        """What was decided last: 0.0 or 1.0; None before the first wish."""
        return self._opening

    def decide(self, wish: float, now_ns: int) -> float:
        """The opening to command now, 0.0 or 1.0. A wish that is no number (NaN) changes nothing."""
        if self._opening is None:  # nothing to keep yet: the nearer of the two
            self._opening, self._changed_ns = (OPEN if wish >= 0.5 else CLOSED), now_ns
        elif now_ns - self._changed_ns >= self._dwell_ns:
            decided = CLOSED if wish < self._close_below else OPEN if wish > self._open_above else self._opening
            if decided != self._opening:
                self._opening, self._changed_ns = decided, now_ns
        return self._opening
