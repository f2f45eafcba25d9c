"""Moving the prototypes towards what they resemble among themselves while the robot runs, without gradients (after TMoW).

Each step multiplies the prototypes by a row-stochastic matrix, so repeated freely it makes them all the same, and routing flat.
The safe form starts from anchors that never change, stays within a bound of them, and gives up where routing has become flat;
what it makes lives as long as an episode. It can weigh known places anew, never tell of one that is none of them. Off by
default: whether it helps is a matter of measuring.
"""

from dataclasses import dataclass, replace

import numpy as np

from worldagen.config import setting
from worldagen.mixture.embedding import LEVELS, Embedding
from worldagen.mixture.routing import Places, RoutingConfig, cosines_of, most_entropy, route_cosines
from worldagen.mixture.whitening import unit

FORMS = ("off", "safe", "paper")


@dataclass(frozen=True)
class RefinementConfig:
    """Which form, and its bounds."""

    refine: str = setting("off", "off; safe: anchored and bounded; paper: as published, which collapses", choices=FORMS)
    rate: float = setting(0.5, "of a step (a)", low=0.0, high=1.0)
    temperature: float = setting(0.1, "of the softmax among prototypes (safe form; the paper tells none)", low=1e-3, high=10.0)
    most_drift: float = setting(0.25, "1 - cosine to the anchor that a prototype may reach", low=0.0, high=2.0)
    most_entropy: float = setting(0.9, "share of the largest possible entropy at which a step is discarded", low=0.0, high=1.0)


@dataclass(frozen=True, eq=False)
class Refined:
    """What a step made. saturated: it was discarded, because routing by it would have been flat."""

    places: Places
    saturated: bool


def refine(embedding: Embedding, places: Places, anchors: Places, config: RefinementConfig, routing: RoutingConfig) -> Refined:
    """One step from `places`, all prototypes from the old ones. anchors: the bank's own, which bound the safe form."""
    seen = places.whitening(embedding)
    if config.refine == "off":
        return Refined(places, False)
    moved = tuple(_step(places.anchors[level], anchors.anchors[level], seen[level], config) for level in range(len(LEVELS)))
    after = replace(places, anchors=moved)
    if config.refine == "paper":
        return Refined(after, False)
    active = min(routing.active, len(places.names))
    limit = config.most_entropy * most_entropy(active)
    mixed = route_cosines(after.cosines(embedding), places.names, -np.inf, replace(routing, route="mixture"))
    if active > 1 and (mixed.entropy > limit).any():
        return Refined(places, True)
    return Refined(after, False)


def _step(rows: np.ndarray, anchors: np.ndarray, seen: np.ndarray, config: RefinementConfig) -> np.ndarray:
    """(1 + N, E) prototypes of one level -> the next; in the safe form of unit length."""
    safe = config.refine == "safe"
    likeness = cosines_of(rows, seen)
    pull = config.rate * (np.clip(likeness, 0.0, 1.0) if safe else likeness)  # with a negative cosine it would push away
    scores = np.stack([cosines_of(rows, unit(row)) for row in rows]) / (config.temperature if safe else 1.0)
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    towards = chances / chances.sum(axis=1, keepdims=True) @ rows
    moved = (1.0 - pull)[:, None] * rows + pull[:, None] * towards
    if not safe:
        return moved
    return np.stack([_within(unit(row), anchor, config.most_drift) for row, anchor in zip(moved, anchors, strict=True)])


def _within(row: np.ndarray, anchor: np.ndarray, most_drift: float) -> np.ndarray:
    """The row, or the point of the arc from its anchor at the largest drift. Both of unit length."""
    cosine = float(np.clip(row @ anchor, -1.0, 1.0))
    if 1.0 - cosine <= most_drift:
        return row
    angle = np.arccos(np.clip(1.0 - most_drift, -1.0, 1.0))
    across = unit(row - cosine * anchor)
    return np.cos(angle) * anchor + np.sin(angle) * across
