"""Samples of several streams in, one set that belongs together out, or what is missing.

Also keeps watch: which stream has been silent for too long. Times are given by the caller; nothing here reads a clock.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

REMEMBERED_SAMPLES = 8


@dataclass(frozen=True)
class SampleSet:
    """One sample of each stream, all within the allowed skew. stamp_ns is the reference (first) stream's."""

    stamp_ns: int
    values: Mapping[str, Any]


class Assembler:
    """Pairs the newest samples by capture stamp. The first stream named is the reference."""

    def __init__(self, streams: tuple[str, ...], max_skew_s: float) -> None:
        self.streams = streams
        self._max_skew_ns = round(max_skew_s * 1e9)
        self._samples: dict[str, deque[tuple[int, Any]]] = {name: deque(maxlen=REMEMBERED_SAMPLES) for name in streams}

    def add(self, stream: str, stamp_ns: int, value: Any) -> None:
        """Remember a sample. A stamp older than the stream's newest means that time jumped back: everything is forgotten."""
        samples = self._samples[stream]
        if samples and stamp_ns < samples[-1][0]:
            self.clear()
        if samples and stamp_ns == samples[-1][0]:
            samples.pop()
        samples.append((stamp_ns, value))

    def newest(self) -> SampleSet | None:
        """The newest set with one sample of each stream, or None."""
        for stamp_ns, _ in reversed(self._samples[self.streams[0]]):
            chosen = {}
            for name in self.streams:
                nearest = min(self._samples[name], key=lambda sample: abs(sample[0] - stamp_ns), default=None)
                if nearest is None or abs(nearest[0] - stamp_ns) > self._max_skew_ns:
                    break
                chosen[name] = nearest[1]
            else:
                return SampleSet(stamp_ns, chosen)
        return None

    def clear(self) -> None:
        """Forget every sample, so that nothing from before can be paired with what comes."""
        for samples in self._samples.values():
            samples.clear()


@dataclass(frozen=True)
class StreamEvent:
    """A stream fell silent (lost) or spoke again; age_s is how long it was silent."""

    stream: str
    lost: bool
    age_s: float


class StreamWatch:
    """Notices streams that stop. Takes receive times of a monotonic clock in seconds.

    together: the streams come from a simulator that waits for us, so a stream is lost only when another one speaks on.
    """

    def __init__(self, streams: tuple[str, ...], max_age_s: float, now_s: float, together: bool = False) -> None:
        self.max_age_s = max_age_s
        self._together = together
        self._heard_s = dict.fromkeys(streams, now_s)
        self._lost: set[str] = set()

    @property
    def lost(self) -> frozenset[str]:
        """Streams that are silent now."""
        return frozenset(self._lost)

    def heard(self, stream: str, now_s: float) -> StreamEvent | None:
        """Note a sample; returns the recovery when the stream was lost."""
        age_s = now_s - self._heard_s[stream]
        self._heard_s[stream] = now_s
        if stream not in self._lost:
            return None
        self._lost.discard(stream)
        return StreamEvent(stream, lost=False, age_s=age_s)

    @property
    def next_s(self) -> float:
        """When the next stream is silent unless something comes before; infinite when all are."""
        return (
            min((heard_s for stream, heard_s in self._heard_s.items() if stream not in self._lost), default=inf)
            + self.max_age_s
        )

    def check(self, now_s: float) -> list[StreamEvent]:
        """The streams that have fallen silent since the last look."""
        events = []
        since_s = max(self._heard_s.values()) if self._together else now_s
        for stream, heard_s in self._heard_s.items():
            if since_s - heard_s > self.max_age_s and stream not in self._lost:
                self._lost.add(stream)
                events.append(StreamEvent(stream, lost=True, age_s=since_s - heard_s))
        return events


SPARSE = 16  # of so many rows of a picture one is compared first
FROZEN_S = 1.0  # so long a camera may repeat one picture while the robot moves


class FreezeWatch:
    """Notices a camera that repeats one picture, under fresh stamps, while the robot moves.

    A robot that stands may be shown the same picture for ever, by a simulator above all. So a stream is frozen when its
    pictures are the same, byte for byte, for longer than longest_s, and a joint has moved by more than moved meanwhile.
    """

    def __init__(self, longest_s: float = FROZEN_S, moved: float = 0.02) -> None:
        """moved: rad, or m for a joint that slides."""
        self._longest_ns, self._moved = round(longest_s * 1e9), moved
        self._first: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}  # of equal pictures: stamp, picture, joints of then
        self._farthest: dict[str, float] = {}  # that a joint has been from there
        self._joints = np.empty(0)

    def joints(self, positions: np.ndarray) -> None:
        """(J,) the newest measured positions."""
        self._joints = positions

    def picture(self, stream: str, stamp_ns: int, picture: np.ndarray) -> float:
        """Note a picture; for how long the stream has been frozen, s, or 0.0 while it is not."""
        stamp_before_ns, before, joints = self._first.get(stream, (stamp_ns, np.empty(0), self._joints))
        comparable = len(joints) == len(self._joints) and stamp_ns >= stamp_before_ns
        # Pictures of a real camera differ nearly everywhere, and are told apart by some of their rows.
        same = comparable and np.array_equal(before[::SPARSE], picture[::SPARSE]) and np.array_equal(before, picture)
        if not same:
            self._first[stream], self._farthest[stream] = (stamp_ns, picture, self._joints), 0.0
            return 0.0
        if len(joints):
            self._farthest[stream] = max(self._farthest[stream], float(np.abs(self._joints - joints).max()))
        frozen = stamp_ns - stamp_before_ns > self._longest_ns and self._farthest[stream] > self._moved
        return (stamp_ns - stamp_before_ns) * 1e-9 if frozen else 0.0
