"""How far pictures that were expected are from those that came, beside the simplest guess: that nothing changes. No torch here.

An episode is cut into units as in training ("aligned"): unit i has the frame of instant i m and the m actions from there on,
and the frame of instant (i + 1) m is what should be expected of it. "Copied" is the last frame that was seen, whatever the
horizon.

Errors are mean squares over a picture, in the network's normalised numbers and on pixels from 0 to 1; a PSNR is that of the
mean of these over all pictures.

Legend: N units of an episode, m action rows of a unit, S side of a painted picture.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldagen.data.episodes import Episode
from worldagen.errors import BadEpisode
from worldagen.network.config import VIEWS
from worldagen.policy_conventions import PolicyConventions
from worldagen.preprocess import scale_image
from worldagen.windows import require_pictures


@dataclass(frozen=True, eq=False)
class Units:
    """An episode cut into N units.

    static, wrist: (N + 1, H, W, 3) uint8 upright RGB; frame i is what was seen just before the rows of unit i, the last one is
    what was seen after all rows. states: (N m, 7) at every row. actions: (N m, 7) SI rows as they were executed.
    """

    name: str
    instruction: str
    static: np.ndarray
    wrist: np.ndarray
    states: np.ndarray
    actions: np.ndarray

    def __post_init__(self) -> None:
        count, rows = len(self.static) - 1, len(self.actions)
        if count < 1 or len(self.wrist) != count + 1 or rows % count or self.states.shape != self.actions.shape:
            raise BadEpisode(
                f"{self.name}: {len(self.static)} static and {len(self.wrist)} wrist frames, {self.states.shape} states and "
                f"{self.actions.shape} actions; expected one frame more than units, and a whole number of rows in each"
            )

    def __len__(self) -> int:
        """N."""
        return len(self.static) - 1


@dataclass(frozen=True)
class ErrorSum:
    """Sums of the mean square errors of so many pictures of one view at one horizon. pixels: on a scale from 0 to 1."""

    view: str
    horizon: int
    pictures: int
    painted: float
    copied: float
    painted_pixels: float
    copied_pixels: float


def cut_units(episode: Episode, rows: int) -> Units:
    """A recorded episode in units of so many rows; what is left at its end is dropped. Raises BadEpisode for less than one."""
    count = (len(episode) - 1) // rows
    if count < 1:
        raise BadEpisode(
            f"{episode.name}: {len(episode)} instants; a unit of {rows} rows and the frame after it need {rows + 1}"
        )
    require_pictures(episode.every, (rows,), rows, episode.name, BadEpisode)
    frames = [pair for instant, *pair in episode.frames() if instant % rows == 0][: count + 1]
    static, wrist = (np.stack(pictures) for pictures in zip(*frames, strict=True))
    used = count * rows
    return Units(episode.name, episode.instruction, static, wrist, episode.states[:used], episode.actions[:used])


def sum_errors(conventions: PolicyConventions, units: Units, painted: Sequence[np.ndarray]) -> list[ErrorSum]:
    """The errors of what `paint_ahead` gave, for each view and horizon."""
    sums = []
    for place, view in enumerate(VIEWS):
        real = real_pictures(conventions, units, view, painted[0].shape[2])  # (N + 1, S, S, 3)
        for horizon, pictures in enumerate(painted, start=1):
            target, last = real[horizon:], real[: len(pictures)]
            guess = pictures[:, place]
            pixels = [_pixels(conventions, some) for some in (guess, last, target)]
            sums.append(
                ErrorSum(
                    view,
                    horizon,
                    len(pictures),
                    _sum_of_squares(guess, target),
                    _sum_of_squares(last, target),
                    _sum_of_squares(pixels[0], pixels[2]),
                    _sum_of_squares(pixels[1], pixels[2]),
                )
            )
    return sums


def real_pictures(conventions: PolicyConventions, units: Units, view: str, side: int) -> np.ndarray:
    """All frames of a view as the network should paint them: (N + 1, S, S, 3) normalised."""
    return np.stack([scale_image(conventions.image, frame, side) for frame in getattr(units, view)]).transpose(0, 2, 3, 1)


def report_errors(sums: Iterable[ErrorSum]) -> dict[str, Any]:
    """Sums of many episodes -> {view: {horizon: numbers}}, JSON-ready.

    gain: the share of copying's error that painting saves, 1 for a perfect picture, 0 for one as good as copying, less than 0
    for a worse one; None where nothing ever changes. psnr: dB; None for no error at all.
    """
    report: dict[str, Any] = {}
    everything = list(sums)
    for view, horizon in dict.fromkeys((one.view, one.horizon) for one in everything):
        some = [one for one in everything if (one.view, one.horizon) == (view, horizon)]
        count = sum(one.pictures for one in some)
        mse = {
            name: sum(getattr(one, name) for one in some) / count
            for name in ("painted", "copied", "painted_pixels", "copied_pixels")
        }
        report.setdefault(view, {})[str(horizon)] = {
            "pictures": count,
            "mse": mse["painted"],
            "mse_copied": mse["copied"],
            "gain": _gain(mse["painted"], mse["copied"]),
            "mse_pixels": mse["painted_pixels"],
            "mse_pixels_copied": mse["copied_pixels"],
            "gain_pixels": _gain(mse["painted_pixels"], mse["copied_pixels"]),
            "psnr": _psnr(mse["painted_pixels"]),
            "psnr_copied": _psnr(mse["copied_pixels"]),
        }
    return report


def _pixels(conventions: PolicyConventions, pictures: np.ndarray) -> np.ndarray:
    """(..., 3) normalised -> pixels from 0 to 1."""
    scaling = conventions.image
    return (pictures * np.asarray(scaling.std, np.float32) + np.asarray(scaling.mean, np.float32)).clip(0.0, 1.0)


def _sum_of_squares(guess: np.ndarray, target: np.ndarray) -> float:
    """The mean square error of each picture, added up."""
    return float(((guess.astype(np.float64) - target) ** 2).mean(axis=(1, 2, 3)).sum())


def _gain(painted: float, copied: float) -> float | None:
    return None if copied == 0 else 1 - painted / copied


def _psnr(mse: float) -> float | None:
    return None if mse == 0 else -10 * math.log10(mse)
