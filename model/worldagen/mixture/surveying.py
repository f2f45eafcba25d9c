"""A recording -> how its place looks: embeddings of its frames, prototypes of them, and what a bank is calibrated on.

Looked at are the first frames of every episode, because by those it is routed, and some more evenly from the whole of it.

Legend: B frames, P pictures of a recording, S side of a picture.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldagen.adaptation.frame_checks import require_usable_frames
from worldagen.adaptation.windows import require_world_model
from worldagen.calibrating import spread
from worldagen.checkpoint import find_checkpoint, load_checkpoint
from worldagen.data.cache import FrameCache, open_cache, picture_sizes
from worldagen.engines.encoder import TorchEngine
from worldagen.errors import BankError
from worldagen.mixture.embedding import FIRST_FRAMES, LEVELS, Embedding, RunningEmbedding, chunks, embed
from worldagen.mixture.graph import GraphEmbedder
from worldagen.mixture.places import Calibration, SeenPlace, base_of
from worldagen.mixture.prototypes import prototype_of
from worldagen.mixture.routing import SCENE, Places, Routing, RoutingConfig, route
from worldagen.mixture.whitening import fit_whitening
from worldagen.network.config import VIEWS
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import PolicyConventions
from worldagen.training.samples import normalise

FRAMES_AT_ONCE = 16
MORE_FRAMES = 16  # of an episode, besides the first ones
QUANTILE = 0.01  # of what is within a place, below which nothing is taken for it
Tick = Callable[[int, int], None]  # done, of all; may raise to stop
Embedder = Callable[[WorldAgen, PolicyConventions, np.ndarray, np.ndarray], list[Embedding]]  # as embed_pictures


@dataclass(frozen=True, eq=False)
class SeenEpisode:
    """One episode. first: its first frames, at most FIRST_FRAMES; more: others of it."""

    name: str
    first: tuple[Embedding, ...]
    more: tuple[Embedding, ...]

    @property
    def beginning(self) -> Embedding:
        """What it is routed by when it begins."""
        running = RunningEmbedding()
        return [running.add(frame) for frame in self.first][-1]


@dataclass(frozen=True, eq=False)
class Recording:
    """What was seen of a source. digest: of the very pictures; skipped: why episodes were left out."""

    source: str
    episodes: tuple[SeenEpisode, ...]
    skipped: tuple[str, ...]
    digest: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return Path(self.source.partition(":")[2] or self.source).name

    @property
    def frames(self) -> list[Embedding]:
        """All that was looked at."""
        return [frame for episode in self.episodes for frame in (*episode.first, *episode.more)]

    @property
    def told(self) -> dict[str, Any]:
        """JSON-ready, without the place where it lies."""
        return {"digest": self.digest, "count": len(self.frames), "from": self.name}


class Surveyor:
    """Looks at recordings with one checkpoint. base: what a bank made with it belongs to."""

    def __init__(self, checkpoint: str, cache: Path, threads: int = 1) -> None:
        """cache: where decoded frames are kept. threads: of torch on the CPU, for the whole process. Raises CheckpointError."""
        torch.set_num_threads(threads)
        self.network, self._conventions = load_checkpoint(find_checkpoint(checkpoint))
        require_world_model(self.network.config)
        self.base = base_of(self.network)
        self._cache = cache
        if torch.accelerator.is_available():
            self.network = self.network.to(torch.accelerator.current_accelerator())  # type: ignore[arg-type]

    def look(self, source: str, most_episodes: int, tick: Tick = lambda done, of: None) -> Recording:
        """At a source such as "bag:FOLDER", or a folder of bags. most_episodes: so many, spread evenly.

        Raises DataError for what cannot be read, AdaptationError for pictures that show nothing, stand still or are swapped.
        """
        source = source if ":" in source else f"bag:{source}"
        config = self.network.config
        cache = open_cache(self._cache, [source], picture_sizes(config), self._conventions.image)
        require_usable_frames(cache, config)
        return look(source, cache, self.network, self._conventions, most_episodes, tick)

    def seen(self, recordings: Sequence[Recording]) -> SeenPlace:
        """One place of some recordings. Raises BankError for the same frames twice."""
        told = tuple(recording.told for recording in recordings)
        if len({item["digest"] for item in told}) < len(told):
            raise BankError(f"the same frames come twice in: {', '.join(recording.source for recording in recordings)}")
        frames = [frame for recording in recordings for frame in recording.frames]
        return SeenPlace(prototype_of(frames), self.base.encoder, told)


def look(
    source: str,
    cache: FrameCache,
    network: WorldAgen,
    conventions: PolicyConventions,
    most_episodes: int,
    tick: Tick = lambda done, of: None,
    embedder: Embedder | None = None,
) -> Recording:
    """At the frames of an open cache. tick: called as they are encoded. embedder: None for that of banks."""
    embedder = embedder or embed_pictures
    by_name = {episode.name: episode for episode in cache.episodes}
    chosen = [by_name[name] for name in spread(list(by_name), most_episodes)]
    places = []  # of each episode: its first frames, and others
    for episode in chosen:
        shown = np.array(episode.shown)
        more = shown[np.unique(np.linspace(0, len(shown) - 1, MORE_FRAMES).round().astype(int))]
        places.append((shown[:FIRST_FRAMES], np.setdiff1d(more, shown[:FIRST_FRAMES])))
    instants = np.concatenate([part for pair in places for part in pair])
    sizes = dict(zip(VIEWS, (network.config.vision.static_size, network.config.vision.wrist_size), strict=True))
    kept = {view: cache.pictures(view, side) for view, side in sizes.items()}
    digest = hashlib.sha256(f"{sizes['static']}".encode())
    frames: list[Embedding] = []
    for part in chunks(len(instants), FRAMES_AT_ONCE):
        pictures = {view: np.asarray(shown[instants[part]]) for view, shown in kept.items()}  # (B, S, S, 3)
        digest.update(np.ascontiguousarray(pictures["static"]).tobytes())
        frames += embedder(network, conventions, *(pictures[view] for view in VIEWS))
        tick(len(frames), len(instants))
    episodes, taken = [], 0
    for episode, (first, more) in zip(chosen, places, strict=True):
        middle, end = taken + len(first), taken + len(first) + len(more)
        episodes.append(SeenEpisode(episode.name, tuple(frames[taken:middle]), tuple(frames[middle:end])))
        taken = end
    return Recording(source, tuple(episodes), tuple(item.reason for item in cache.skipped), digest.hexdigest())


@torch.no_grad()
def embed_pictures(
    network: WorldAgen, conventions: PolicyConventions, static: np.ndarray, wrist: np.ndarray
) -> list[Embedding]:
    """Pictures of both views (B, S, S, 3) uint8, in the network's sizes -> an embedding each."""
    like = network.position
    views = [normalise(shown, conventions.image).to(like.device, like.dtype) for shown in (static, wrist)]
    return embed(TorchEngine(network).encode_all(*views))


@torch.no_grad()
def embed_by_graph(
    network: WorldAgen, conventions: PolicyConventions, static: np.ndarray, wrist: np.ndarray
) -> list[Embedding]:
    """The same by messages among patches; see graph.py."""
    like = network.position
    return GraphEmbedder(network).embed(normalise(static, conventions.image).to(like.device, like.dtype))


def calibrate(
    known: Sequence[Recording],
    others: Sequence[Recording] = (),
    held_out_every: int = 4,
    quantile: float = QUANTILE,
) -> Calibration:
    """What a bank compares by, from recordings of one place each.

    known: of the places the base was trained in; others: of further ones, which only help to tell places apart. Every
    so-many-th episode is held out. least: the quantile of the whitened scene cosines of the beginnings of held-out episodes
    with their own place, whose prototype, like the whitening, is of the other episodes.

    Raises BankError for a single place, which cannot be told from others, or one with too few episodes to hold out any.
    """
    recordings = [*known, *others]
    if not known or len(recordings) < 2:
        raise BankError(
            f"{len(recordings)} places to calibrate by; give recordings of at least two, one --data each, so that there is "
            "something to tell apart"
        )
    if len({recording.digest for recording in recordings}) < len(recordings):
        given = ", ".join(recording.source for recording in recordings)
        raise BankError(f"the same frames come twice in: {given}; each recording is to be of another place")
    kept, held_out = zip(*(split_recording(recording, held_out_every) for recording in recordings), strict=True)
    frames = [frame for place in kept for frame in place]
    whitening = fit_whitening(frames, [number for number, place in enumerate(kept) for _ in place])
    prototypes = [prototype_of(place) for place in kept]
    cosines = []
    for prototype, beginnings in zip(prototypes, held_out, strict=True):
        anchor = whitening(prototype.mean)[SCENE]
        cosines += [float(whitening(beginning)[SCENE] @ anchor) for beginning in beginnings]
    base = prototypes[0]
    for prototype in prototypes[1 : len(known)]:
        base = base.joined(prototype)
    least = float(np.quantile(cosines, quantile))
    told = {
        "quantile": quantile, "held_out_every": held_out_every, "held_out_episodes": len(cosines),
        "trained_in": [_told(recording) for recording in known], "others": [_told(recording) for recording in others],
    }  # fmt: skip
    names = [f"{recording.name}#{number + 1}" for number, recording in enumerate(known)]
    return Calibration(whitening, base, list(zip(names, prototypes, strict=False)), least, told)


def route_episodes(recording: Recording, places: Places, config: RoutingConfig) -> list[tuple[SeenEpisode, Routing]]:
    """What the router says of the beginning of each episode. Raises BankError for places of another encoder."""
    return [(episode, route(episode.beginning, places, config)) for episode in recording.episodes]


def routing_values(episode: SeenEpisode, routing: Routing) -> dict[str, Any]:
    """One episode's routing, JSON-ready."""

    def by_place(table: np.ndarray) -> Mapping[str, Any]:
        rows = zip(LEVELS, table.tolist(), strict=True)
        return {level: dict(zip(routing.names, row, strict=True)) for level, row in rows}

    return {
        "episode": episode.name, "frames": len(episode.first), "nearest": routing.nearest, "abstains": routing.abstains,
        "best": routing.best, "entropy": dict(zip(LEVELS, routing.entropy.tolist(), strict=True)),
        "weights": by_place(routing.weights), "cosines": by_place(routing.cosines),
    }  # fmt: skip


def _told(recording: Recording) -> dict[str, Any]:
    return {**recording.told, "episodes": len(recording.episodes), "skipped": list(recording.skipped)}


def split_recording(recording: Recording, held_out_every: int) -> tuple[list[Embedding], list[Embedding]]:
    """Frames to calibrate on, and the beginnings of the episodes that are held out. Raises BankError for too few."""
    if held_out_every < 2:
        raise BankError(f"every {held_out_every} episodes one is to be held out; expected at least 2")
    episodes = recording.episodes
    held_out = [episode for place, episode in enumerate(episodes) if place % held_out_every == held_out_every - 1]
    if not held_out:
        raise BankError(
            f"{recording.source}: {len(episodes)} episodes, of which every {held_out_every}th is held out; give at least "
            f"{held_out_every}, or a smaller --held-out-every"
        )
    kept = [frame for episode in episodes if episode not in held_out for frame in (*episode.first, *episode.more)]
    return kept, [episode.beginning for episode in held_out]
