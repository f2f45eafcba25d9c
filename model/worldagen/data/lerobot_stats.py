"""The statistics that LeRobot keeps of every feature, exactly: of all frames and all pixels, not of a sample.

Shapes: N frames, n numbers of a feature. Pictures are counted in 256 bins a channel, which loses nothing of uint8.
"""

from collections.abc import Mapping

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
LEVELS = 256
Statistics = Mapping[str, np.ndarray]


def describe_numbers(numbers: np.ndarray) -> Statistics:
    """(N, n) -> min, max, mean, std and quantiles (n,), and the count (1,)."""
    numbers = numbers.astype(np.float64)
    described = {
        "min": numbers.min(axis=0),
        "max": numbers.max(axis=0),
        "mean": numbers.mean(axis=0),
        "std": numbers.std(axis=0),
        "count": np.array([len(numbers)]),
    }
    return described | dict(zip(QUANTILES, np.quantile(numbers, list(QUANTILES.values()), axis=0), strict=True))


class PictureCounts:
    """How often each channel has each level. Adds up over pictures and over episodes."""

    def __init__(self) -> None:
        self.levels = np.zeros((3, LEVELS), np.int64)
        self.pictures = 0

    def add(self, picture: np.ndarray) -> None:
        """One (H, W, 3) uint8."""
        for channel, counts in enumerate(self.levels):
            counts += np.bincount(picture[..., channel].ravel(), minlength=LEVELS)
        self.pictures += 1

    def merge(self, other: "PictureCounts") -> None:
        self.levels += other.levels
        self.pictures += other.pictures

    def describe(self) -> Statistics:
        """Of pixels from 0 to 1: min, max, mean, std and quantiles (3, 1, 1), and the count of pictures (1,)."""
        values = np.arange(LEVELS) / (LEVELS - 1)
        weights = self.levels / self.levels.sum(axis=1, keepdims=True)  # (3, 256)
        mean = weights @ values
        reached = np.cumsum(weights, axis=1)
        there = self.levels > 0
        described = {
            "min": values[there.argmax(axis=1)],
            "max": values[LEVELS - 1 - there[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt((weights * (values - mean[:, None]) ** 2).sum(axis=1)),
        }
        for name, share in QUANTILES.items():  # the lowest level that so many pixels do not exceed
            described[name] = values[(reached >= share - 1e-12).argmax(axis=1)]
        return {name: value.reshape(3, 1, 1) for name, value in described.items()} | {"count": np.array([self.pictures])}
