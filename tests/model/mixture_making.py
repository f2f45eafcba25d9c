"""Small places, what is seen of them, and adapters for them, that the tests of the bank share."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from adaptation_making import RECIPE
from demonstration_making import Demonstration, demonstrate, write_demonstration
from PIL import Image

from worldagen.adaptation.adapter import digest_of, name_adapter, save_adapter, weights_of
from worldagen.adaptation.recipe import TrainedSection
from worldagen.adaptation.trained import training_of
from worldagen.mixture.embedding import Embedding
from worldagen.mixture.places import Base, Calibration, SeenPlace
from worldagen.mixture.prototypes import Prototype
from worldagen.mixture.whitening import Whitening
from worldagen.network.worldagen import WorldAgen

WIDTHS = (5, 6, 8)  # of made-up embeddings
SIDE = 32


def textured(place: int, seed: int, steps: int = 14) -> Demonstration:
    """A rollout before a coloured, patterned background, which is the place; light and a block on it vary."""
    shown = demonstrate(f"push block {seed}", steps, seed)
    rng = np.random.default_rng([place, seed])
    look = np.random.default_rng(place)
    tiles = look.integers(30, 220, (4, 4, 3)).astype(np.uint8)
    ground = np.asarray(Image.fromarray(tiles).resize((SIDE, SIDE), Image.Resampling.NEAREST)).astype(float)
    pictures = np.repeat(ground[None] * rng.uniform(0.9, 1.1), steps, axis=0)
    for step in range(steps):
        row, column = rng.integers(0, SIDE - 5, 2)
        pictures[step, row : row + 5, column : column + 5] = rng.uniform(0, 255, 3)
    pictures += rng.normal(0, 2, pictures.shape)
    wrist = rng.integers(0, 256, (steps, SIDE, SIDE, 3), np.uint8)
    return replace(shown, static=pictures.clip(0, 255).astype(np.uint8), wrist=wrist)


def noise(place: int, seed: int, steps: int = 14) -> Demonstration:
    """A static camera that gives nothing but noise, of which a little changes from frame to frame."""
    shown = textured(place, seed, steps)
    rng = np.random.default_rng(seed)
    pictures = np.repeat(rng.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8), steps, axis=0)
    pictures[:, :6] = rng.integers(0, 256, (steps, 6, SIDE, 3), np.uint8)
    return replace(shown, static=pictures)


def write_place(
    folder: Path, place: int, seeds: Sequence[int] = range(6), make: Callable[[int, int], Demonstration] = textured
) -> str:
    """A bag for each seed; returns the source that reads them."""
    for seed in seeds:
        write_demonstration(folder / str(seed), make(place, seed))
    return f"bag:{folder}"


def make_place_adapter(network: WorldAgen, root: Path, seed: int, verdict: str = "accepted", **section) -> Path:
    """An adapter of random weights. section: of its recipe, e.g. rank=2."""
    trained_by = TrainedSection(**{"rank": 4, "alpha": 8.0, **section})
    with training_of(network, trained_by, seed) as trained:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for parameter in trained.parameters:
                parameter.add_(0.1 * torch.randn_like(parameter))
        tensors = trained.tensors()
    name = name_adapter(f"seed{seed}", tensors, datetime.now(timezone.utc))
    gate = {"verdict": verdict, "checks": [], "reasons": []}
    base = digest_of(weights_of(network))
    recipe = replace(RECIPE, trained=trained_by)
    return save_adapter(root, name, tensors, network.config.backbone, base, recipe, {"gate": gate})


def direction(place: int, off: float = 0.0, levels: Sequence[int] = (0, 1, 2)) -> Embedding:
    """A made-up place: a random direction a level, the same for the same number; `off` turns it aside at some levels."""
    vectors = []
    for level, width in enumerate(WIDTHS):
        vector = np.random.default_rng([place, level]).normal(size=width)
        vector /= np.linalg.norm(vector)
        aside = np.random.default_rng([place, level, 1]).normal(size=width)
        aside -= (aside @ vector) * vector
        vectors.append(vector + (off if level in levels else 0.0) * aside / np.linalg.norm(aside))
    return Embedding(tuple(vectors))


def prototype(place: int, count: int = 10, off: float = 0.0, levels: Sequence[int] = (0, 1, 2)) -> Prototype:
    """Of a made-up place."""
    return Prototype(direction(place, off, levels), tuple(np.full(width, 0.01) for width in WIDTHS), count)


def seen(base: Base, place: int, count: int = 10, frames: str = "", **turned) -> SeenPlace:
    """A recording of a made-up place. frames: their digest."""
    told = {"digest": frames or f"digest {place} {count} {turned}", "count": count, "from": f"recording_{place}"}
    return SeenPlace(prototype(place, count, **turned), base.encoder, (told,))


def plain_calibration(least: float = 0.5) -> Calibration:
    """Whitens nothing: cosines are those of the made-up directions."""
    whitening = Whitening(tuple(np.zeros(width) for width in WIDTHS), tuple(np.eye(width) for width in WIDTHS))
    known = [("trained", prototype(1000))]
    return Calibration(whitening, prototype(1000), known, least, {"quantile": 0.01})
