"""What every source of recorded episodes gives, and the table of the sources that exist.

Everything is on our side of the conventions: SI units, rotation vectors along the base axes, gripper opening 0..1, upright RGB.

Legend: T instants of an episode, one control period apart; r instants from picture to picture; H x W pixels.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from worldagen.conventions import Convention
from worldagen.errors import BadEpisode, DataError, UnknownName
from worldagen.types import ROW_LENGTH, STATE_LENGTH

Pictures = Iterator[tuple[np.ndarray, np.ndarray]]  # static, wrist: each (H, W, 3) uint8 RGB, upright
Frames = Iterator[tuple[int, np.ndarray, np.ndarray]]  # the instant as well


@dataclass(frozen=True, eq=False)
class Episode:
    """One task, from words to its end. Instant t shows what was seen just before action t was executed.

    instruction: the words; "no lang" where none were given on purpose.
    convention: what the numbers were made for; period and full scale of one action.
    states: (T, 7) TCP pose (m, rad) and last commanded gripper opening. actions: (T, 7) SI rows as they were executed.
    targets: (T, 7) what should have been done; the actions themselves where nobody says better.
    pictures: opens the pairs of pictures, in order; `frames` says which instants they are of. values: further named numbers
    (T,), for auxiliary losses. every: r; the first instant has a pair of pictures, and every r-th after it.
    """

    name: str
    instruction: str
    convention: Convention
    states: np.ndarray
    actions: np.ndarray
    targets: np.ndarray
    pictures: Callable[[], Pictures]
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    every: int = 1

    def __post_init__(self) -> None:
        """Raises BadEpisode, naming the episode, for anything that must not be trained on."""
        length = len(self.states)
        if length == 0:
            raise BadEpisode(f"{self.name}: no instant; expected at least one")
        if not self.instruction.strip():
            raise BadEpisode(f"{self.name}: no words; expected an instruction ('no lang' for none on purpose)")
        for name, width in (("states", STATE_LENGTH), ("actions", ROW_LENGTH), ("targets", ROW_LENGTH)):
            numbers = getattr(self, name)
            if numbers.shape != (length, width):
                raise BadEpisode(f"{self.name}: {name} have shape {numbers.shape}; expected ({length}, {width})")
            if not np.isfinite(numbers).all():
                row, column = np.argwhere(~np.isfinite(numbers))[0]
                raise BadEpisode(f"{self.name}: {name} hold {numbers[row, column]} at instant {row}, number {column}")
        if self.every < 1:
            raise BadEpisode(f"{self.name}: a picture every {self.every} instants; expected at least 1")
        for name, numbers in self.values.items():
            if numbers.shape != (length,):
                raise BadEpisode(f"{self.name}: {name} has shape {numbers.shape}; expected ({length},)")

    def __len__(self) -> int:
        """T."""
        return len(self.states)

    @property
    def shown(self) -> range:
        """The instants that have pictures."""
        return range(0, len(self), self.every)

    def frames(self) -> Frames:
        """The instants that have pictures, with them. Raises BadEpisode when there are fewer or more."""
        count = 0
        for static, wrist in self.pictures():
            if count < len(self.shown):
                yield self.shown[count], static, wrist
            count += 1
        if count != len(self.shown):
            raise BadEpisode(f"{self.name}: {count} pairs of pictures for {len(self.shown)} instants that are to have one")


class Source(Protocol):
    """A set of recorded episodes."""

    spec: str  # as it was asked for, e.g. "bag:out/demonstrations"

    def fingerprint(self) -> str:
        """Changes whenever what `read` gives may change; cheap: names, sizes and times of files, not their bytes."""
        ...

    def episodes(self) -> list[str]:
        """Names of all episodes, in a fixed order. Raises DataError when there is nothing to read."""
        ...

    def read(self, name: str) -> Episode:
        """One episode. Raises BadEpisode for one that is damaged or lacks something: it is skipped by name.

        Raises DataError for what makes the whole source unusable, such as cameras it does not have.
        """
        ...


# kind -> "module:class"; a class takes the path. Modules load on demand: h5py and pyarrow are not needed for bags.
SOURCES = {
    "bag": "worldagen.data.bags:BagSource",
    "calvin": "worldagen.data.calvin:CalvinSource",
    "libero": "worldagen.data.libero:LiberoSource",
    "lerobot": "worldagen.data.lerobot:LeRobotSource",
}


def open_source(spec: str) -> Source:
    """ "KIND:PATH" -> a source. Raises UnknownName for another kind, DataError for a path or a package that is not there."""
    kind, colon, path = spec.partition(":")
    if not colon or not path:
        raise DataError(f"data source {spec!r}; expected KIND:PATH, with KIND one of: {', '.join(SOURCES)}")
    if kind not in SOURCES:
        raise UnknownName("data source", kind, SOURCES)
    if not Path(path).exists():
        raise DataError(f"{spec}: {path} does not exist")
    module, name = SOURCES[kind].split(":")
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{spec}: needs the package {error.name}; install the extra for it: pip install 'worldagen[data]'"
        ) from None
    source: Source = getattr(loaded, name)(Path(path))
    return source
