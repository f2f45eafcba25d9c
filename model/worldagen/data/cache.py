"""All frames of some sources, decoded once, as a network sees them, in files that are mapped into memory.

A cache is a folder named by what it holds: the fingerprints of its sources and the sizes of its pictures.

    index.json               episodes in order, episodes that were skipped and why
    VIEW_SIDE.u8             (P, S, S, 3) pictures, uint8 RGB
    states.npy, ...          (N, 7) in SI units, as in Episode
    values.npy               (N, V) further named numbers; those that all episodes have

Numbers, and with `FrameCache.pictures` pictures too, are read by instant. Not every instant need have a picture.

It is made aside and renamed, so it is there complete or not at all. Of several processes one makes it and the others wait.

Legend: N instants of all episodes, P of them with pictures, S side of a picture.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from worldagen.conventions import Convention
from worldagen.data.episodes import Episode, Source, open_source
from worldagen.errors import BadEpisode, BadObservation, BagError, DataError
from worldagen.network.config import VIEWS, NetworkConfig
from worldagen.preprocess import ImageScaling, square_image

INDEX, FORMAT, LOCK = "index.json", 1, ".lock"
NUMBERS = ("states", "actions", "targets")
Sizes = tuple[tuple[str, int], ...]  # view and side of each kind of picture that is kept
Progress = Callable[[Iterable, int], Iterable]  # wraps an iteration of so many


@dataclass(frozen=True)
class CachedEpisode:
    """Instants first .. first + length - 1 of the cache; the first has a picture, and every so-many-th after it."""

    name: str
    instruction: str
    first: int
    length: int
    every: int = 1

    @property
    def shown(self) -> range:
        """The instants that have pictures."""
        return range(self.first, self.first + self.length, self.every)


def shown_instants(episodes: Sequence[CachedEpisode]) -> np.ndarray:
    """Those of some episodes that have pictures (P,), in their order."""
    return np.concatenate([np.array(episode.shown) for episode in episodes])


class ByInstant:
    """What is kept of pictures only, (P, ...), read by instant."""

    def __init__(self, kept: np.ndarray, rows: np.ndarray) -> None:
        """rows: (N,) where in `kept` an instant is; -1 for one without a picture."""
        self._kept, self._rows = kept, rows

    def __getitem__(self, instants: int | np.ndarray) -> np.ndarray:
        """Of one instant, or of an array of them. Raises DataError for one without a picture."""
        rows = self._rows[instants]
        if np.any(rows < 0):
            raise DataError(f"instant {np.ravel(instants)[np.argmax(np.ravel(rows) < 0)]} of the data has no picture")
        return self._kept[rows]


Pictured = np.ndarray | ByInstant  # what an index of instants reads


@dataclass(frozen=True)
class Skipped:
    """An episode that is not in the cache, and why."""

    name: str
    reason: str


class FrameCache:
    """An open cache. Arrays are mapped, not read. Raises DataError for one that was damaged after it was made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / INDEX).read_text("utf-8"))
            self.episodes = tuple(CachedEpisode(**episode) for episode in index["episodes"])
            self.skipped = tuple(Skipped(**skipped) for skipped in index["skipped"])
            self.convention = Convention(**index["convention"])
            self.frames = sum(episode.length for episode in self.episodes)
            self.shown = shown_instants(self.episodes)  # (P,)
            self.states, self.actions, self.targets = (_load(folder / f"{name}.npy") for name in NUMBERS)
            self.value_names: tuple[str, ...] = tuple(index["values"])
            self.values = _load(folder / "values.npy")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder}: damaged ({error}); remove this folder, it is made again") from None
        self._rows = np.full(self.frames, -1)  # where among the pictures an instant is
        self._rows[self.shown] = np.arange(len(self.shown))
        if any(len(table) != self.frames for table in (self.states, self.actions, self.targets, self.values)):
            raise DataError(f"{folder}: damaged (not {self.frames} rows everywhere); remove this folder, it is made again")

    def pictures(self, view: str, side: int) -> Pictured:
        """(N, S, S, 3) uint8 RGB, to be read by instants that have pictures. Raises DataError for a size that is not kept."""
        return self.by_instant(self.stored(view, side))

    def by_instant(self, kept: np.ndarray) -> Pictured:
        """What was made of all pictures, (P, ...), to be read by instant."""
        return kept if len(self.shown) == self.frames else ByInstant(kept, self._rows)

    def stored(self, view: str, side: int) -> np.ndarray:
        """(P, S, S, 3) uint8 RGB: all there are, in their order. Raises DataError for a size that is not kept."""
        path = folder_file(self.folder, view, side)
        if not path.is_file():
            kept = ", ".join(sorted(file.stem for file in self.folder.glob("*.u8")))
            raise DataError(f"{self.folder}: no pictures {view}_{side}; it has {kept}")
        count = len(self.shown)
        found, expected = path.stat().st_size, count * side * side * 3
        if found != expected:
            raise DataError(f"{path}: {found} bytes; expected {expected}. Remove its folder, it is made again")
        return np.memmap(path, np.uint8, "r").reshape(count, side, side, 3)


def picture_sizes(config: NetworkConfig) -> Sizes:
    """What a network needs of each frame: its inputs, and what its image head is held against."""
    sizes = {("static", config.vision.static_size), ("wrist", config.vision.wrist_size)}
    if config.image_prediction:
        sizes |= {("static", config.image_head.size), ("wrist", config.image_head.size)}
    return tuple(sorted(sizes))


def folder_file(folder: Path, view: str, side: int) -> Path:
    """Where pictures of a view and a side are."""
    return folder / f"{view}_{side}.u8"


def open_cache(
    root: Path,
    specs: Sequence[str],
    sizes: Sizes,
    scaling: ImageScaling,
    processes: int = 1,
    progress: Progress = lambda items, total: items,
) -> FrameCache:
    """The cache of these sources, made first if it is not there.

    Raises DataError when no episode can be used, when episodes have different conventions, or when the disk is full; an
    unusable episode is skipped by name (`FrameCache.skipped`).
    """
    sources = [open_source(spec) for spec in specs]
    contents = [[spec, source.fingerprint()] for spec, source in zip(specs, sources, strict=True)]
    told = json.dumps([FORMAT, contents, sizes, scaling.flip_rows])
    folder = root / hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
    if not (folder / INDEX).is_file():
        with _alone(root):
            if not (folder / INDEX).is_file():  # nobody made it while we waited
                _make(folder, sources, sizes, scaling, processes, progress)
    return FrameCache(folder)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time; the others wait here. A process that is killed lets go by itself."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / LOCK).open("w")
    except OSError as error:
        raise DataError(f"{root}: caches cannot be made here: {error}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, eq=False)
class _Decoded:
    """One episode without its generator: arrays only, so that it can come from another process."""

    name: str
    instruction: str
    convention: Convention
    every: int
    numbers: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    pictures: dict[tuple[str, int], np.ndarray]


def decode_episode(episode: Episode, sizes: Sizes, scaling: ImageScaling) -> _Decoded:
    """Draw all pictures of an episode and bring them to size. Raises BadEpisode for fewer pictures than there should be."""
    kept: dict[tuple[str, int], list[np.ndarray]] = {size: [] for size in sizes}
    for _, *pair in episode.frames():
        shown: dict[str, np.ndarray] = dict(zip(VIEWS, pair, strict=True))
        for view, side in sizes:
            kept[view, side].append(square_image(scaling, shown[view], side))
    return _Decoded(
        episode.name,
        episode.instruction,
        episode.convention,
        episode.every,
        {name: getattr(episode, name) for name in NUMBERS},
        dict(episode.values),
        {size: np.stack(pictures) for size, pictures in kept.items()},
    )


def _make(
    folder: Path, sources: Sequence[Source], sizes: Sizes, scaling: ImageScaling, processes: int, progress: Progress
) -> None:
    names = [(number, name) for number, source in enumerate(sources) for name in source.episodes()]
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        decoded = _decode_all([source.spec for source in sources], names, sizes, scaling, processes)
        _write(aside, progress(decoded, len(names)), sizes)
        aside.rename(folder)
    except OSError as error:
        raise DataError(f"{folder}: the cache cannot be written: {error}; nothing of it was kept") from None
    except BrokenExecutor:
        raise DataError(
            f"{folder}: a process that decodes was killed, for lack of memory perhaps; use fewer processes"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(aside: Path, decoded: Iterable[_Decoded | Skipped], sizes: Sizes) -> None:
    episodes: list[CachedEpisode] = []
    skipped: list[Skipped] = []
    numbers: dict[str, list[np.ndarray]] = {name: [] for name in NUMBERS}
    values: list[dict[str, np.ndarray]] = []
    convention: Convention | None = None
    files = {size: folder_file(aside, *size).open("wb") for size in sizes}
    try:
        for item in decoded:
            if isinstance(item, Skipped):
                skipped.append(item)
                continue
            if convention is not None and item.convention != convention:
                raise DataError(
                    f"{item.name} has the convention {item.convention}, the episodes before it {convention}; "
                    "train on one convention at a time"
                )
            convention = item.convention
            first = episodes[-1].first + episodes[-1].length if episodes else 0
            episodes.append(CachedEpisode(item.name, item.instruction, first, len(item.numbers["states"]), item.every))
            for name in NUMBERS:
                numbers[name].append(item.numbers[name])
            values.append(item.values)
            for size in sizes:
                files[size].write(item.pictures[size].tobytes())
    finally:
        for file in files.values():
            file.close()
    if convention is None:
        reasons = "\n  ".join(f"{item.name}: {item.reason}" for item in skipped[:5])
        raise DataError(f"none of {len(skipped)} episodes can be used; the first reasons:\n  {reasons}")
    for name in NUMBERS:
        np.save(aside / f"{name}.npy", np.concatenate(numbers[name]), allow_pickle=False)
    common = [name for name in values[0] if all(name in item for item in values)]
    table = [np.concatenate([item[name] for item in values]) for name in common]
    frames = episodes[-1].first + episodes[-1].length
    np.save(aside / "values.npy", np.stack(table, axis=1) if common else np.empty((frames, 0)), allow_pickle=False)
    index = {
        "episodes": [asdict(episode) for episode in episodes],
        "skipped": [asdict(item) for item in skipped],
        "convention": asdict(convention),
        "values": common,
    }
    (aside / INDEX).write_text(json.dumps(index), "utf-8")


def _load(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _decode_all(
    specs: list[str], names: list[tuple[int, str]], sizes: Sizes, scaling: ImageScaling, processes: int
) -> Iterator[_Decoded | Skipped]:
    if processes <= 1:
        _begin_worker(specs, sizes, scaling)
        yield from map(_decode, names)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin_worker, (specs, sizes, scaling))
    try:
        yield from pool.map(_decode, names, chunksize=4)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: tuple[list[Source], Sizes, ImageScaling] | None = None


def _begin_worker(specs: list[str], sizes: Sizes, scaling: ImageScaling) -> None:
    global _worker
    _worker = ([open_source(spec) for spec in specs], sizes, scaling)


def _decode(place: tuple[int, str]) -> _Decoded | Skipped:
    assert _worker is not None
    sources, sizes, scaling = _worker
    number, name = place
    try:
        return decode_episode(sources[number].read(name), sizes, scaling)
    except (BadEpisode, BagError, BadObservation) as error:
        return Skipped(name, str(error))
