"""What an engine is tried with: frames of bags, or, where there are none, drawn pictures that are the same in every run.

Drawn pictures have edges, textures and moving things, as camera pictures have, and nothing of the place a robot works in. An
engine that passes on them computes the network as it should; whether it does on what this robot sees, only frames of it tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from worldagen.data.episodes import Episode
from worldagen.errors import BagError, DataError, EngineError
from worldagen.types import Observation
from worldagen.windows import require_pictures

DRAWN_FRAMES = 8
BAG_FRAMES = 32  # at most: one frame costs several encodings for each engine that is tried
RUN = 4  # frames that follow each other, a decision apart, so that the window fills
WORDS = "push the blue block to the left"


@dataclass(frozen=True, eq=False)
class Probe:
    """Runs of observations, each with its instruction. source: where they come from, in words."""

    source: str
    runs: Sequence[tuple[str, Sequence[Observation]]]

    @property
    def frames(self) -> int:
        return sum(len(observations) for _, observations in self.runs)


def make_probe(bags: Sequence[Path], step: int) -> Probe:
    """Of bags or folders of bags; of drawn pictures where there are none. step: rows of a chunk. Raises EngineError."""
    return read_probe(bags, step) if bags else draw_probe()


def draw_probe(frames: int = DRAWN_FRAMES, seed: int = 0) -> Probe:
    """Coloured things that drift over a textured ground, from two views; the states drift along."""
    rng = np.random.default_rng(seed)
    runs = []
    for begin in range(0, frames, RUN):
        place, drift = rng.uniform(-0.3, 0.3, 3), rng.normal(0, 0.01, 3)
        views = [_Scene(rng, side) for side in (200, 84)]
        observations = [
            Observation(
                stamp_ns=step,
                static_image=views[0].draw(step),
                wrist_image=views[1].draw(step),
                state=np.array([*(place + step * drift), np.pi, 0.0, 0.1 * step, float(rng.integers(0, 2))]),
            )
            for step in range(min(RUN, frames - begin))
        ]
        runs.append((WORDS, observations))
    return Probe(f"{frames} drawn frames", runs)


class _Scene:
    """One view: a ground of blurred noise, and rectangles and discs that drift."""

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        coarse = Image.fromarray(rng.integers(60, 200, (9, 9, 3), dtype=np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        fine = rng.normal(0, 6, (side, side, 3))
        self._ground = np.clip(np.asarray(coarse, np.float32) + fine, 0, 255).astype(np.uint8)
        self._things = [
            (
                bool(rng.integers(0, 2)),
                rng.uniform(0, side, 2),
                rng.normal(0, side / 30, 2),
                rng.uniform(side / 16, side / 5),
                tuple(int(level) for level in rng.integers(0, 256, 3)),
            )
            for _ in range(8)
        ]

    def draw(self, step: int) -> np.ndarray:
        picture = Image.fromarray(self._ground)
        pen = ImageDraw.Draw(picture)
        for round_one, place, drift, size, colour in self._things:
            low, high = place + step * drift - size / 2, place + step * drift + size / 2
            (pen.ellipse if round_one else pen.rectangle)([*low, *high], fill=colour)
        return np.asarray(picture)


def read_probe(bags: Sequence[Path], step: int, frames: int = BAG_FRAMES) -> Probe:
    """Frames of bags, spread evenly over their episodes; those of a run are `step` instants apart. Raises EngineError."""
    from worldagen.data.bags import BagSource

    try:
        sources = [BagSource(path) for path in bags]
        episodes = [(source, name) for source in sources for name in source.episodes()]
        count = max(1, frames // RUN)
        places = np.unique(np.linspace(0, len(episodes) - 1, min(count, len(episodes))).round().astype(int))
        each = -(-count // len(places))
        runs = [run for place in places for run in _runs(episodes[place][0].read(episodes[place][1]), step, each)][:count]
    except (DataError, BagError) as error:
        raise EngineError(f"no frames to try engines with: {error}") from None
    return Probe(f"{sum(len(seen) for _, seen in runs)} frames of {', '.join(path.name for path in bags)}", runs)


def _runs(episode: Episode, step: int, count: int) -> list[tuple[str, list[Observation]]]:
    """Some runs of an episode, spread evenly from its first instant to its last. Raises EngineError."""
    require_pictures(episode.every, (step,), step, episode.name, EngineError)
    length = min(RUN, 1 + (len(episode) - 1) // step)
    last = len(episode) - 1 - (length - 1) * step
    begins = np.unique(np.linspace(0, last // episode.every, count).round().astype(int)) * episode.every
    wanted = {int(begin) + step * place for begin in begins for place in range(length)}
    seen = {
        instant: Observation(instant, static.copy(), wrist.copy(), episode.states[instant])
        for instant, static, wrist in episode.frames()
        if instant in wanted
    }
    return [(episode.instruction, [seen[int(begin) + step * place] for place in range(length)]) for begin in begins]
