"""Vectors of a frozen encoder all point nearly the same way; centred and whitened, their angles tell places apart.

Legend: N frames, E width of a level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS, Embedding

LEAST_FRAMES = 16  # below that a covariance says nothing
NOWHERE = 1e-6  # standard deviations from the mean; what is nearer is there but for rounding, whose direction means nothing


@dataclass(frozen=True, eq=False)
class Whitening:
    """mean: (E,) and matrix: (E, E), float64, for each of LEVELS. Belongs to one encoder, as the embeddings do."""

    means: tuple[np.ndarray, ...]
    matrices: tuple[np.ndarray, ...]

    def __call__(self, embedding: Embedding) -> tuple[np.ndarray, ...]:
        """W (x - mu), scaled to unit length, at every level; zero where an embedding is the very mean.

        Raises BankError for an embedding of another width: it comes from another encoder.
        """
        if embedding.widths != tuple(len(mean) for mean in self.means):
            raise BankError(
                f"an embedding of {list(embedding.widths)} numbers, the whitening is of {[len(mean) for mean in self.means]}: "
                "it comes from another encoder; make the bank with this checkpoint"
            )
        seen = (
            matrix @ (level - mean) for level, mean, matrix in zip(embedding.levels, self.means, self.matrices, strict=True)
        )
        return tuple(unit(vector) if np.linalg.norm(vector) > NOWHERE else np.zeros_like(vector) for vector in seen)


def fit_whitening(frames: Sequence[Embedding], places: Sequence[int] = ()) -> Whitening:
    """From frames of many places. places: which of them each frame is of, by number; none: all of one.

    Whitened by the covariance within places (within-class covariance normalisation, Hatch et al. 2006), shrunk towards a
    multiple of the identity by `shrinkage`. By the whole covariance what tells places apart would be made as small as
    everything else: of three scenes of the playtable, a frame's cosine with its own scene was then 0.15, now 0.8.

    Raises BankError for fewer than LEAST_FRAMES frames, or where nothing differs in any place.
    """
    if len(frames) < LEAST_FRAMES:
        raise BankError(f"{len(frames)} frames to whiten by; give at least {LEAST_FRAMES}, of many places")
    numbers = np.array(places if len(places) else [0] * len(frames))
    if len(numbers) != len(frames):
        raise BankError(f"{len(numbers)} places of {len(frames)} frames; expected one of each, or none at all")
    means, matrices = [], []
    for level, name in enumerate(LEVELS):
        vectors = np.stack([frame.levels[level] for frame in frames])
        mean = vectors.mean(axis=0)
        centred = np.empty_like(vectors)
        for place in np.unique(numbers):
            ours = numbers == place
            centred[ours] = vectors[ours] - vectors[ours].mean(axis=0)
        if np.abs(centred).max() <= 1e-9 * np.abs(vectors).max():  # but for rounding
            raise BankError(f"all frames of a place look the very same at the level {name}; nothing can be whitened by them")
        covariance = centred.T @ centred / len(centred)
        share = shrinkage(centred)
        scale = np.trace(covariance) / len(covariance)
        values, axes = np.linalg.eigh((1.0 - share) * covariance + share * scale * np.eye(len(covariance)))
        floor = max(values.max(), 1e-300) * 1e-9  # units that never fire
        means.append(mean)
        matrices.append(axes @ np.diag(1.0 / np.sqrt(np.maximum(values, floor))) @ axes.T)
    return Whitening(tuple(means), tuple(matrices))


def shrinkage(centred: np.ndarray) -> float:
    """The share of the identity that is best for N centred vectors (N, E): Ledoit and Wolf 2004, lemmas 3.2 to 3.4."""
    count, width = centred.shape
    covariance = centred.T @ centred / count
    scale = np.trace(covariance) / width
    apart = ((covariance - scale * np.eye(width)) ** 2).sum()
    if apart == 0:
        return 1.0
    squares = (centred**2).T @ (centred**2) / count - covariance**2  # the variance of each product of two numbers
    return float(np.clip(squares.sum() / count / apart, 0.0, 1.0))


def unit(vector: np.ndarray) -> np.ndarray:
    """Of unit length; zero stays zero."""
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else np.zeros_like(vector)
