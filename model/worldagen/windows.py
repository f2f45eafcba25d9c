"""Which frames and actions of a recorded episode become which unit of a training window: pure index rules.

Frame t of a dataset precedes action t. Three rule sets: the paper's text and the published code disagree, and neither pairs a
frame with the actions that a policy executes right after it. Networks by the authors were trained with `published`; ours are
trained with `aligned`, which is what the running policy does.

Legend: W = n + K m frames in a window; K units of n frames and m action rows; a block is the m frames that follow unit i's own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from worldagen.errors import ConfigError, UnknownName, WorldAgenError
from worldagen.history import sampled_frames

SamplingRule = Literal["published", "paper", "aligned"]
SAMPLING_RULES = ("published", "paper", "aligned")


@dataclass(frozen=True)
class UnitIndices:
    """Indices into a window. frames: n inputs. actions: m rows; under `paper` the first unit has n. targets: n frames."""

    frames: tuple[int, ...]
    actions: tuple[int, ...]
    targets: tuple[int, ...]


def unit_indices(units: int, frames: int, rows: int, rule: SamplingRule = "published") -> list[UnitIndices]:
    """The K units of a window of n + K m frames, oldest first. Raises UnknownName for another rule.

    published: unit i has the actions n + i m ... n + (i + 1) m - 1; the actions before index n are never used.
    paper: one block earlier, so that the first unit has the actions 0 ... n - 1 only.
    aligned: unit i has the m actions that follow its newest frame, n - 1 + i m ...; the target is seen right after them.
    """
    if rule not in SAMPLING_RULES:
        raise UnknownName("sampling rule", rule, SAMPLING_RULES)
    first = tuple(range(frames))
    samples = [first, *(_sample_block(block, frames, rows, rule) for block in range(units))]
    if rule == "published":
        actions = [_block(unit, frames, rows) for unit in range(units)]
    elif rule == "aligned":
        actions = [tuple(index - 1 for index in _block(unit, frames, rows)) for unit in range(units)]
    else:
        actions = [first, *(_block(unit, frames, rows) for unit in range(units - 1))]
    return [UnitIndices(samples[unit], actions[unit], samples[unit + 1]) for unit in range(units)]


def window_starts(first: int, last: int, window: int) -> range:
    """First frames of all windows in a segment of frames first..last: up to and with last - window, one apart.

    As published, so a segment's last frame is in no window. Raises ConfigError for a window that holds nothing.
    """
    if window < 1:
        raise ConfigError(f"a window of {window} frames; expected at least 1")
    return range(first, last - window + 1)


def require_pictures(every: int, places: Iterable[int], rows: int, who: str, refusal: type[WorldAgenError]) -> None:
    """Raise the refusal where some of the places have no picture, because only every so-many-th control step has one.

    places: counted from one with a picture. rows: a network looks at every so-many-th step. who: has these pictures.
    """
    if any(place % every for place in places):
        raise refusal(f"{who} with pictures of every {every}th control step; this network looks at every {rows}th")


def _block(block: int, frames: int, rows: int) -> tuple[int, ...]:
    start = frames + block * rows
    return tuple(range(start, start + rows))


def _sample_block(block: int, frames: int, rows: int, rule: SamplingRule) -> tuple[int, ...]:
    indices = _block(block, frames, rows)
    places = sampled_frames(frames, rows) if rule != "paper" else [j * rows // frames for j in range(frames)]
    return tuple(indices[place] for place in places)
