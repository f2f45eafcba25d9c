"""How a place looks, at three levels: what the frozen encoder makes of the static view, averaged over frames.

The wrist view follows the arm and tells its pose, not the place. Words, joint states and actions stay out: an adapter must be
chosen by where the robot is, never by what it is told or how it stands.

Legend: B frames, E width of a level, N prototypes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worldagen.errors import BankError

if TYPE_CHECKING:  # a bank is looked at, and routed by, without torch
    import torch

    from worldagen.engines.encoder import Encoded

LEVELS = ("fine", "middle", "scene")  # colour and texture; parts; layout
DEFINITION = "static-pooled-1"  # of what the levels are; prototypes made by another definition are worth nothing here
FIRST_FRAMES = 8  # averaged plainly at the beginning
LATER_SHARE = 0.02  # of each frame afterwards


@dataclass(frozen=True, eq=False)
class Embedding:
    """One vector (E,) float64 for each of LEVELS, as they come from the encoder, neither centred nor of unit length."""

    levels: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if len(self.levels) != len(LEVELS) or any(level.ndim != 1 for level in self.levels):
            shapes = ", ".join(str(level.shape) for level in self.levels)
            raise BankError(f"an embedding has the shapes {shapes}; expected {len(LEVELS)} vectors: {', '.join(LEVELS)}")
        if not all(np.isfinite(level).all() for level in self.levels):
            raise BankError("an embedding has numbers that are not finite; the encoder or the pictures are broken")

    @property
    def widths(self) -> tuple[int, ...]:
        """E of each level."""
        return tuple(len(level) for level in self.levels)


def embed(encoded: "Encoded") -> list[Embedding]:
    """Encoded frames -> an embedding each.

    fine, middle: means over the patch tokens of the first two pooled depths of the vision encoder (of a ViT-B: after block 4
    and 8; of the convolutions: their middle and deep stage). scene: cls, and the mean of the resampler's latents. All of the
    static view.
    """
    names = list(encoded.pooled)
    if len(names) < 2:
        raise BankError(f"this encoder has the pooled outputs {', '.join(names) or 'none'}; a domain embedding needs two")
    fine, middle = (_numbers(encoded.pooled[name])[:, 0] for name in names[:2])
    latents, cls = _numbers(encoded.latents), _numbers(encoded.cls)
    scene = np.concatenate([cls[:, 0], latents[:, : latents.shape[1] // 2].mean(axis=1)], axis=-1)
    return [Embedding(levels) for levels in zip(fine, middle, scene, strict=True)]


def average(embeddings: Sequence[Embedding]) -> Embedding:
    """The mean of some frames. Raises BankError for none."""
    if not embeddings:
        raise BankError("there is no frame to take an embedding of")
    return Embedding(tuple(np.mean([one.levels[level] for one in embeddings], axis=0) for level in range(len(LEVELS))))


class RunningEmbedding:
    """The average over an episode: the first frames count alike, later ones a little each."""

    def __init__(self) -> None:
        self.frames = 0
        self._mean: Embedding | None = None

    def add(self, seen: Embedding) -> Embedding:
        """Take in one frame; returns the average so far."""
        self.frames += 1
        if self._mean is None:
            self._mean = seen
            return seen
        share = 1.0 / self.frames if self.frames <= FIRST_FRAMES else LATER_SHARE
        pairs = zip(self._mean.levels, seen.levels, strict=True)
        self._mean = Embedding(tuple((1.0 - share) * kept + share * new for kept, new in pairs))
        return self._mean

    @property
    def settled(self) -> bool:
        """Whether enough frames have been seen to route by."""
        return self.frames >= FIRST_FRAMES


def level_of_layer(layers: int) -> tuple[int, ...]:
    """Which level each layer of a backbone is routed by: thirds, as far as they go; early layers fine, late ones scene."""
    return tuple(min(layer * len(LEVELS) // layers, len(LEVELS) - 1) for layer in range(layers))


def chunks(count: int, most: int) -> Iterator[slice]:
    """Slices of at most `most`, for encoders that take so many frames at once."""
    return (slice(start, min(start + most, count)) for start in range(0, count, most))


def _numbers(tensor: "torch.Tensor") -> np.ndarray:
    return tensor.detach().float().cpu().numpy().astype(np.float64)
