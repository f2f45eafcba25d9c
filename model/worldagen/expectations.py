"""Which picture that came belongs to which one that was expected: pairs by stamp, whatever order they arrive in. No ROS.

Expected pictures carry the stamp of the instant they are expected at. With them go the nearest pictures of each view, at most
so far away; a pair is known as soon as a picture of that very instant, or a later one, has come.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WAITING = 8  # expectations of pictures still to come
REMEMBERED = 16  # pictures of each view; an expectation may come late
SAME_NS = 1_000_000  # stamps of simulated time are rounded; no camera makes two pictures in a millisecond


@dataclass(frozen=True, eq=False)
class Pair:
    """What was expected of an instant and what came, by view, each (H, W, 3) uint8. stamp_ns: of the first view's picture."""

    stamp_ns: int
    expected: Mapping[str, np.ndarray]
    seen: Mapping[str, np.ndarray]


class Expectations:
    """Pairs the views given. Stamps are nanoseconds of one clock; those of a view rise, or time has begun anew."""

    def __init__(self, views: Sequence[str], max_skew_s: float) -> None:
        self._views = tuple(views)
        self._max_skew_ns = round(max_skew_s * 1e9)
        self._expected: dict[int, dict[str, np.ndarray]] = {}  # by the stamp expected, oldest first
        self._seen: dict[str, deque[tuple[int, np.ndarray]]] = {view: deque(maxlen=REMEMBERED) for view in self._views}

    def clear(self) -> None:
        """Forget what was expected: another instruction or another adapter."""
        self._expected.clear()

    def expect(self, view: str, stamp_ns: int, picture: np.ndarray) -> None:
        """An expectation came."""
        self._expected.setdefault(stamp_ns, {})[view] = picture
        while len(self._expected) > WAITING:
            self._expected.pop(next(iter(self._expected)))

    def see(self, view: str, stamp_ns: int, picture: np.ndarray) -> None:
        """A picture came. A stamp before the view's newest means that time jumped back: everything is forgotten."""
        seen = self._seen[view]
        if seen and stamp_ns < seen[-1][0]:
            self.clear()
            for pictures in self._seen.values():
                pictures.clear()
        if seen and stamp_ns == seen[-1][0]:
            seen.pop()  # shown again
        seen.append((stamp_ns, picture))

    def pairs(self) -> list[Pair]:
        """The pairs that are known now, each once, by stamp. An expectation that nothing came near to is dropped."""
        known = []
        for stamp_ns in sorted(self._expected):
            if set(self._expected[stamp_ns]) != set(self._views) or not all(self._decided(v, stamp_ns) for v in self._views):
                continue
            expected = self._expected.pop(stamp_ns)
            nearest = {view: min(self._seen[view], key=lambda item: abs(item[0] - stamp_ns)) for view in self._views}
            if all(abs(seen_ns - stamp_ns) <= self._max_skew_ns for seen_ns, _ in nearest.values()):
                seen = {view: picture for view, (_, picture) in nearest.items()}
                known.append(Pair(nearest[self._views[0]][0], expected, seen))
        return known

    def _decided(self, view: str, stamp_ns: int) -> bool:
        """Whether no nearer picture of that instant can come."""
        seen = self._seen[view]
        return bool(seen) and seen[-1][0] >= stamp_ns - min(SAME_NS, self._max_skew_ns)
