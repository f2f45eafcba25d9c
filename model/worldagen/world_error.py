"""How far the world model's pictures are from what was seen next, beside the simplest guess: that nothing changes.

An episode is cut into units as in training ("aligned"): unit i has the frame of instant i m and the m actions from there on,
and its target is the frame of instant (i + 1) m. Horizon 1 is one unit ahead, with the states and actions that were recorded.
For horizon 2 the picture painted at horizon 1 takes the place of the next unit's frame, brought to the size of the inputs, again
with the recorded states and actions; and so on.

"Copied" is the last real frame, whatever the horizon. Errors are mean squares over a picture, in the network's normalised
numbers and on pixels from 0 to 1; a PSNR is that of the mean of these over all pictures.

Legend: N units of an episode, m action rows of a unit, K units of the window, H horizons, S side of a painted picture.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from worldagen.conventions import Convention, encode_actions
from worldagen.data.episodes import Episode
from worldagen.errors import BadEpisode, CheckpointError, PredictionUnavailable
from worldagen.network.config import VIEWS
from worldagen.network.heads import join_patches
from worldagen.network.worldagen import Windows, WorldAgen
from worldagen.policy_conventions import PolicyConventions, state_numbers
from worldagen.preprocess import restore_image, scale_image

HORIZONS = 3


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
    frames = [pair for instant, pair in enumerate(episode.pictures()) if instant % rows == 0][: count + 1]
    static, wrist = (np.stack(pictures) for pictures in zip(*frames, strict=True))
    used = count * rows
    return Units(episode.name, episode.instruction, static, wrist, episode.states[:used], episode.actions[:used])


@torch.inference_mode()
def paint_ahead(network: WorldAgen, conventions: PolicyConventions, units: Units, horizons: int = HORIZONS) -> list[np.ndarray]:
    """What the network expects from each unit on: for each horizon h, (N - h + 1, 2, S, S, 3) normalised, static view first.

    Entry i of horizon h is the expectation of frame i + h after frame i. Raises PredictionUnavailable, CheckpointError for a
    network with several frames in a unit, and BadEpisode for units of another length.
    """
    config = network.config
    if not config.image_prediction:
        raise PredictionUnavailable("this network was built without image prediction")
    if config.frames != 1:
        raise CheckpointError(f"this network looks at {config.frames} frames per unit; errors are measured for one")
    if len(units.actions) != len(units) * config.rows:
        raise BadEpisode(
            f"{units.name}: {len(units.actions)} rows in {len(units)} units; this network has {config.rows} rows per unit"
        )
    inputs = _Inputs(network, conventions, units)
    painted: list[np.ndarray] = []
    for horizon in range(1, min(horizons, len(units)) + 1):
        windows, places = inputs.windows(horizon, painted)
        images = network(windows).images
        assert images is not None
        newest = images[torch.arange(len(places)), torch.as_tensor(places), 0]  # (starts, 2, P, C)
        painted.append(join_patches(newest.float(), config.image_head.patch).cpu().numpy())
    return painted


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


class _Inputs:
    """The numbers of an episode, from which windows are put together."""

    def __init__(self, network: WorldAgen, conventions: PolicyConventions, units: Units) -> None:
        self._config, self._conventions, self._position = network.config, conventions, network.position
        self._count = len(units)
        rows, sizes = self._config.rows, self._config.vision
        self._sides = {"static": sizes.static_size, "wrist": sizes.wrist_size}
        self._frames = {
            view: np.stack([scale_image(conventions.image, frame, side) for frame in getattr(units, view)])
            for view, side in self._sides.items()
        }
        self._states = np.stack([state_numbers(conventions, state) for state in units.states[::rows]])  # (N, 7)
        self._actions = _encode_each(conventions.actions, units).reshape(self._count, rows, 7)
        self._text = network.text([units.instruction])

    def windows(self, horizon: int, painted: Sequence[np.ndarray]) -> tuple[Windows, list[int]]:
        """The windows that end with unit start + horizon - 1, for every start, and the place of that unit in each.

        painted: the pictures of the horizons before. A short past is padded on the right, where nothing is read.
        """
        units, starts = self._config.units, range(self._count - horizon + 1)
        shown: list[list[int]] = []  # units of each window
        places = []
        for newest in (start + horizon - 1 for start in starts):
            first = max(0, newest - units + 1)
            places.append(newest - first)
            shown.append([first + min(place, newest - first) for place in range(units)])
        frames = {
            view: np.stack(
                [
                    [self._frame(view, unit, start, painted) for unit in window]
                    for start, window in zip(starts, shown, strict=True)
                ]
            )
            for view in VIEWS
        }
        windows = Windows(
            static=self._tensor(frames["static"]),
            wrist=self._tensor(frames["wrist"]),
            states=self._tensor(self._states[shown]),
            actions=self._tensor(self._actions[shown].reshape(len(starts), -1, 7)),
            text=self._text.expand(len(starts), -1),
        )
        return windows, places

    def _frame(self, view: str, unit: int, start: int, painted: Sequence[np.ndarray]) -> np.ndarray:
        """(3, H, H): the real frame of a unit up to `start`, the painted one after it, through the eyes of a camera."""
        if unit <= start:
            return self._frames[view][unit]
        picture = restore_image(self._conventions.image, painted[unit - start - 1][start, VIEWS.index(view)])
        return scale_image(self._conventions.image, picture, self._sides[view])

    def _tensor(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(numbers.astype(np.float32)).to(self._position.device, self._position.dtype)


def _encode_each(convention: Convention, units: Units) -> np.ndarray:
    """(N m, 7) SI rows -> the network's numbers, each from the orientation that was measured when it began."""
    pairs = zip(np.array(units.actions), np.array(units.states), strict=True)  # scipy wants arrays it could write to
    return np.concatenate([encode_actions(convention, row[None], state[3:6]) for row, state in pairs])


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
