"""What is usual for a network: the errors of its world model along recorded episodes, one chunk ahead, as the session paints.

Episodes must be of places the network was trained in, yet none that it was trained on: errors on those give too small a bound.

Legend: N units of an episode, S side of a painted picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from worldagen.checkpoint import load_checkpoint
from worldagen.data.episodes import Episode, Source
from worldagen.errors import BadEpisode, CalibrationError
from worldagen.network.config import VIEWS
from worldagen.network.worldagen import WorldAgen
from worldagen.picture_errors import cut_units
from worldagen.policy_conventions import PolicyConventions, require_match
from worldagen.preprocess import restore_image
from worldagen.surprise import Calibration, SurpriseConfig, SurpriseMonitor, picture_error
from worldagen.world_error import paint_ahead


@dataclass(frozen=True, eq=False)
class EpisodeErrors:
    """One episode's errors. stamps_ns: (N,) instants that were expected, from its begin; errors: view -> (N,)."""

    name: str
    stamps_ns: np.ndarray
    errors: dict[str, np.ndarray]


def episode_errors(network: WorldAgen, conventions: PolicyConventions, episode: Episode) -> EpisodeErrors:
    """Errors of the pictures expected one chunk ahead, with the actions that were recorded.

    Raises BadEpisode for an episode shorter than a chunk, and CheckpointError or PredictionUnavailable for a network that
    cannot be measured on it.
    """
    require_match(conventions, episode.convention, conventions.cameras, f"episode {episode.name}")
    units = cut_units(episode, network.config.rows)
    painted = paint_ahead(network, conventions, units, horizons=1)[0]  # (N, 2, S, S, 3)
    errors = {}
    for place, view in enumerate(VIEWS):
        # Through uint8 and back, as a picture comes over the wire.
        expected = [restore_image(conventions.image, picture) for picture in painted[:, place]]
        seen = getattr(units, view)[1:]
        pairs = zip(expected, seen, strict=True)
        errors[view] = np.array([picture_error(conventions.image, one, other) for one, other in pairs])
    chunk_ns = episode.convention.period_s * network.config.rows * 1e9
    return EpisodeErrors(episode.name, (np.arange(1, len(units) + 1) * chunk_ns).round().astype(np.int64), errors)


def measure(folder: Path, source: Source, most: int, threads: int = 1) -> Iterator[EpisodeErrors | BadEpisode]:
    """The errors of at most so many episodes, spread evenly over a source; why one was left out in its place.

    threads: CPU threads of torch, for the whole process. Raises CheckpointError and DataError.
    """
    torch.set_num_threads(threads)
    network, conventions = load_checkpoint(folder)
    for name in spread(source.episodes(), most):
        try:
            yield episode_errors(network, conventions, source.read(name))
        except BadEpisode as error:
            yield error


def spread(names: Sequence[str], most: int) -> list[str]:
    """At most so many names, evenly from the first to the last. Raises CalibrationError for less than one."""
    if most < 1:
        raise CalibrationError(f"{most} episodes; expected at least one")
    chosen = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    return [names[int(index)] for index in chosen]


def is_surprised(calibration: Calibration, config: SurpriseConfig, episode: EpisodeErrors) -> bool:
    """Whether the monitor would tell of a sustained surprise anywhere in an episode."""
    monitor = SurpriseMonitor(calibration, config)
    instants = zip(episode.stamps_ns.tolist(), *(episode.errors[view].tolist() for view in VIEWS), strict=True)
    return any(monitor.update(stamp_ns, dict(zip(VIEWS, errors, strict=True))).sustained for stamp_ns, *errors in instants)
