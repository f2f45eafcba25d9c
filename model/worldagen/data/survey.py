"""What a source holds, without decoding a picture: for the eye, before an hour of training is spent on it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from worldagen.data.alignment import Skew
from worldagen.data.episodes import Source
from worldagen.errors import BadEpisode


@dataclass(frozen=True)
class Survey:
    """lengths: shortest, median, longest, instants; () without a good episode. words: how many episodes have each instruction.

    skew: by stream, over all episodes, where the source tells it. skipped: why, episode by episode.
    """

    spec: str
    episodes: int
    instants: int
    convention: str
    lengths: tuple[int, ...]
    words: Mapping[str, int]
    skew: Mapping[str, Skew]
    skipped: tuple[str, ...]


def survey(source: Source) -> Survey:
    """Read all episodes' numbers. Raises DataError where the whole source is unusable."""
    lengths: list[int] = []
    words: dict[str, int] = {}
    conventions: dict[str, None] = {}
    skews: dict[str, list[Skew]] = {}
    skipped: list[str] = []
    for name in source.episodes():
        try:
            episode = source.read(name)
        except BadEpisode as error:
            skipped.append(str(error))
            continue
        lengths.append(len(episode))
        words[episode.instruction] = words.get(episode.instruction, 0) + 1
        conventions[episode.convention.name] = None
        for stream, skew in getattr(source, "skew", lambda _: {})(name).items():
            skews.setdefault(stream, []).append(skew)
    return Survey(
        spec=source.spec,
        episodes=len(lengths),
        instants=sum(lengths),
        convention=", ".join(conventions) or "unknown",
        lengths=(min(lengths), int(np.median(lengths)), max(lengths)) if lengths else (),
        words=words,
        skew={stream: _together(parts) for stream, parts in skews.items()},
        skipped=tuple(skipped),
    )


def _together(parts: list[Skew]) -> Skew:
    return Skew(
        count=sum(part.count for part in parts),
        median_s=float(np.median([part.median_s for part in parts])),
        largest_s=max(part.largest_s for part in parts),
        refused=sum(part.refused for part in parts),
    )
