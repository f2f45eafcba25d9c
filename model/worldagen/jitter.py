"""How evenly a loop ticks: arrival times in, statistics of the intervals out. A tick allocates nothing."""

from dataclasses import dataclass

import numpy as np

from worldagen.errors import ConfigError

MISSED_PERIODS = 1.5  # a longer interval means that a tick was missed


@dataclass(frozen=True)
class JitterReport:
    """Of the intervals in the window.

    p50_s, p99_s, max_s: percentiles of their deviation from the period, either way. missed: how many are longer than 1.5
    periods. rate_hz: achieved on average. intervals: how many there are.
    """

    p50_s: float
    p99_s: float
    max_s: float
    missed: int
    rate_hz: float
    intervals: int


class TickJitter:
    """The newest `window` intervals between ticks. Times are nanoseconds of a steady clock."""

    def __init__(self, period_s: float, window: int = 1000) -> None:
        """Raises ConfigError for a period or window that is not above 0."""
        if not (period_s > 0.0 and window > 0):
            raise ConfigError(f"ticks of {period_s} s over a window of {window}; expected both above 0")
        self._period_s = period_s
        self._intervals_ns = np.zeros(window, dtype=np.int64)
        self._count = 0
        self._last_ns: int | None = None

    def tick(self, now_ns: int) -> None:
        """A tick came."""
        if self._last_ns is not None:
            self._intervals_ns[self._count % len(self._intervals_ns)] = now_ns - self._last_ns
            self._count += 1
        self._last_ns = now_ns

    def reset(self) -> None:
        """The loop pauses: forget everything, the pause is no interval."""
        self._count, self._last_ns = 0, None

    def report(self) -> JitterReport | None:
        """The statistics now; None before the second tick."""
        if self._count == 0:
            return None
        intervals_ns = self._intervals_ns[: self._count]  # all of them, in any order
        seconds = intervals_ns * 1e-9
        p50, p99, worst = np.percentile(np.abs(seconds - self._period_s), (50, 99, 100))
        return JitterReport(
            p50_s=float(p50),
            p99_s=float(p99),
            max_s=float(worst),
            missed=int((intervals_ns > round(MISSED_PERIODS * self._period_s * 1e9)).sum()),
            rate_hz=len(seconds) / max(float(seconds.sum()), 1e-9),
            intervals=len(seconds),
        )
