"""What is kept of a place: at every level the mean of its frames, how many they were, and how much they varied."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS, Embedding

BASE = "base"  # domain 0: the bare base, whose place is what it was trained on


@dataclass(frozen=True, eq=False)
class Prototype:
    """mean, variance: a vector (E,) float64 for each of LEVELS, in the encoder's own numbers; count: frames they are of."""

    mean: Embedding
    variance: tuple[np.ndarray, ...]
    count: int

    def __post_init__(self) -> None:
        if self.count < 1 or tuple(len(level) for level in self.variance) != self.mean.widths:
            raise BankError(
                f"a prototype of {self.count} frames with variances of {[len(level) for level in self.variance]} numbers and "
                f"means of {list(self.mean.widths)}; expected at least one frame, and as many of each"
            )

    def joined(self, other: "Prototype") -> "Prototype":
        """Of the frames of both, as if they had been averaged together (Chan et al. 1979)."""
        if self.mean.widths != other.mean.widths:
            raise BankError(f"prototypes of {list(self.mean.widths)} and {list(other.mean.widths)} numbers cannot be joined")
        count = self.count + other.count
        share = other.count / count
        means, variances = [], []
        for level in range(len(LEVELS)):
            apart = other.mean.levels[level] - self.mean.levels[level]
            means.append(self.mean.levels[level] + share * apart)
            inside = (1 - share) * self.variance[level] + share * other.variance[level]
            variances.append(inside + share * (1 - share) * apart**2)
        return Prototype(Embedding(tuple(means)), tuple(variances), count)


def prototype_of(frames: Sequence[Embedding]) -> Prototype:
    """Of some frames of one place. Raises BankError for none."""
    if not frames:
        raise BankError("there is no frame to make a prototype of")
    levels = [np.stack([frame.levels[level] for frame in frames]) for level in range(len(LEVELS))]
    mean = Embedding(tuple(level.mean(axis=0) for level in levels))
    return Prototype(mean, tuple(level.var(axis=0) for level in levels), len(frames))
