"""How far the picture that came is from the one the world model expected, and whether that is more than usual. No torch here.

Expected and seen pictures -> an error per view -> a level (1: the calibrated bound) -> smoothed over time -> sustained or not.
What is usual is measured, never guessed: `worldagen calibrate` plays held-out episodes and writes `surprise.json`.

Errors are mean squares in the network's normalised pixels, as in picture_errors.py. Stamps are nanoseconds of the clock that
stamps the pictures. Legend: H x W pixels of a camera picture, S side of an expected picture, N errors.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from worldagen.checkpoint_files import WEIGHTS
from worldagen.config import setting
from worldagen.errors import BadObservation, CalibrationError
from worldagen.preprocess import ImageScaling, square_image
from worldagen.provenance import sha256_of
from worldagen.whole_files import write_whole

NAME = "surprise.json"  # in a checkpoint folder
FORMAT = "worldagen-surprise-1"
QUANTILE = 0.99


@dataclass(frozen=True)
class Usual:
    """What is usual of one view. bound: the error below which a share `quantile` of the pictures stays; count: of pictures."""

    bound: float
    median: float
    count: int

    def __post_init__(self) -> None:
        """Raises CalibrationError for numbers that no measurement gives."""
        if not (math.isfinite(self.bound) and math.isfinite(self.median) and 0 <= self.median <= self.bound and self.bound > 0):
            raise CalibrationError(
                f"bound {self.bound}, median {self.median}; expected finite numbers, 0 <= median <= bound > 0"
            )
        if self.count < 1:
            raise CalibrationError(f"{self.count} pictures; expected at least one")


@dataclass(frozen=True)
class Calibration:
    """What is usual of each view of one network. made: where from (command, date, data, weights), for people and for checks."""

    quantile: float
    views: Mapping[str, Usual]
    made: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises CalibrationError without a view, or with a quantile that is no share."""
        if not self.views:
            raise CalibrationError("no view; expected at least one")
        if not 0 < self.quantile <= 1:
            raise CalibrationError(f"quantile {self.quantile}; expected a share from 0 to 1")


@dataclass(frozen=True)
class SurpriseConfig:
    """When errors above the bound become a proposal."""

    time_constant_s: float = setting(0.5, "of the smoothing of the level, s; 0: none", low=0.0, high=60.0)
    sustain_s: float = setting(1.0, "the smoothed level must be above 1 for so long, s", low=0.0, high=600.0)
    calm_level: float = setting(0.8, "smoothed level below which a sustained surprise is over", low=0.0, high=1.0)
    max_gap_s: float = setting(
        1.0, "a longer time between two comparisons starts the smoothing afresh, s", low=0.01, high=600.0
    )


@dataclass(frozen=True)
class Reading:
    """One comparison. levels and level are 0 without a calibration; level: the worst view, smoothed; compared: since the start.

    since_s: how long the smoothed level has been above 1, s; 0 when it is not.
    """

    stamp_ns: int
    errors: Mapping[str, float]
    levels: Mapping[str, float]
    level: float
    sustained: bool
    since_s: float
    compared: int


class SurpriseMonitor:
    """Follows the errors of one stack. calibration: None tells errors only, because what is usual is not known."""

    def __init__(self, calibration: Calibration | None, config: SurpriseConfig) -> None:
        self.calibration = calibration
        self._config = config
        self._compared = 0
        self.reset()

    def reset(self) -> None:
        """Start afresh, for a new instruction or another adapter; the count of comparisons goes on."""
        self._last_ns: int | None = None
        self._level = 0.0
        self._above_since_ns: int | None = None
        self._sustained = False

    def update(self, stamp_ns: int, errors: Mapping[str, float]) -> Reading:
        """Take in the errors of one instant. A gap, or a stamp before the last one, starts afresh.

        Raises BadObservation, changing nothing, for an error that is no number, or a view the calibration does not know.
        """
        levels = self._levels(errors)
        if self._last_ns is not None and not 0 <= stamp_ns - self._last_ns <= self._config.max_gap_s * 1e9:
            self.reset()
        self._level = self._smoothed(stamp_ns, max(levels.values()))
        self._last_ns = stamp_ns
        self._compared += 1
        since_s = self._above_for_s(stamp_ns)
        if self._level > 1 and since_s >= self._config.sustain_s:
            self._sustained = True
        elif self._level < self._config.calm_level:
            self._sustained = False
        return Reading(stamp_ns, dict(errors), levels, self._level, self._sustained, since_s, self._compared)

    def _levels(self, errors: Mapping[str, float]) -> dict[str, float]:
        wrong = {view: error for view, error in errors.items() if not (math.isfinite(error) and error >= 0)}
        if wrong or not errors:
            raise BadObservation(f"errors {wrong or dict(errors)}; expected a finite number of at least 0 for each view")
        if self.calibration is None:
            return dict.fromkeys(errors, 0.0)
        if unknown := set(errors) - set(self.calibration.views):
            known = ", ".join(self.calibration.views)
            raise BadObservation(f"the calibration does not know the view {', '.join(sorted(unknown))}; it has: {known}")
        return {view: error / self.calibration.views[view].bound for view, error in errors.items()}

    def _smoothed(self, stamp_ns: int, level: float) -> float:
        if self._last_ns is None or self._config.time_constant_s == 0:
            return level
        passed_s = (stamp_ns - self._last_ns) * 1e-9
        return level + (self._level - level) * math.exp(-passed_s / self._config.time_constant_s)

    def _above_for_s(self, stamp_ns: int) -> float:
        if self._level <= 1:
            self._above_since_ns = None
            return 0.0
        if self._above_since_ns is None:
            self._above_since_ns = stamp_ns
        return (stamp_ns - self._above_since_ns) * 1e-9


def as_expected(scaling: ImageScaling, seen: np.ndarray, side: int) -> np.ndarray:
    """A camera's picture, (H, W, 3) uint8 upright RGB, as the network would paint it: (S, S, 3) uint8 upright RGB."""
    square = square_image(scaling, seen, side)
    return square[::-1] if scaling.flip_rows else square


def picture_error(scaling: ImageScaling, expected: np.ndarray, seen: np.ndarray) -> float:
    """Mean square of the difference in normalised pixels.

    expected: (S, S, 3) uint8 upright RGB, as `NetworkPolicy.predict` gives it; seen: (H, W, 3) uint8 of any size. Raises
    BadObservation for pictures of another form.
    """
    for name, picture in (("expected", expected), ("seen", seen)):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
            raise BadObservation(f"the {name} picture is {picture.shape} {picture.dtype}; expected (H, W, 3) uint8")
    if expected.shape[0] != expected.shape[1]:
        raise BadObservation(f"the expected picture is {expected.shape}; expected a square")
    real = as_expected(scaling, seen, len(expected)).astype(np.float64)
    return float((((expected - real) / 255.0 / np.asarray(scaling.std)) ** 2).mean())


def calibrate(errors: Mapping[str, np.ndarray], quantile: float, made: Mapping[str, Any]) -> Calibration:
    """What is usual, from errors on data that no training saw: {view: (N,)}. Raises CalibrationError for none."""
    views = {}
    for view, numbers in errors.items():
        if len(numbers) == 0:
            raise CalibrationError(f"no picture of the {view} view was compared; expected at least one")
        views[view] = Usual(float(np.quantile(numbers, quantile)), float(np.median(numbers)), len(numbers))
    return Calibration(quantile, views, made)


def write_calibration(calibration: Calibration, path: Path) -> None:
    """As JSON, replacing what was there. Raises CalibrationError when it cannot be written."""
    tree = {"format": FORMAT, **asdict(calibration)}
    try:
        write_whole(path, json.dumps(tree, indent=2) + "\n")
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be written: {error}") from None


def read_calibration(path: Path) -> Calibration:
    """What `write_calibration` wrote. Raises CalibrationError naming the file for anything else: keys, types, numbers."""
    try:
        return _calibration_of(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise CalibrationError(f"{path}: no such file; `worldagen calibrate` makes one") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CalibrationError(f"{path}: cannot be read as JSON: {error}") from None
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from None


def find_calibration(path: Path | None, checkpoint: Path | None) -> Calibration | None:
    """The calibration at a path, else the one in the checkpoint folder; None where there is none.

    Raises CalibrationError for one that cannot be read, or was measured with other weights than the checkpoint's.
    """
    if path is None:
        if checkpoint is None or not (checkpoint / NAME).exists():
            return None
        path = checkpoint / NAME
    calibration = read_calibration(path)
    measured = calibration.made.get("weights")
    if checkpoint is not None and measured is not None and measured != sha256_of(checkpoint / WEIGHTS):
        raise CalibrationError(f"{path} was measured with other weights than {checkpoint / WEIGHTS}; run `worldagen calibrate`")
    return calibration


def _calibration_of(tree: Any) -> Calibration:
    _require_keys("the file", tree, {"format", "quantile", "views", "made"})
    if tree["format"] != FORMAT:
        raise CalibrationError(f"format is {tree['format']!r}; expected {FORMAT!r}")
    for key in ("views", "made"):
        if not isinstance(tree[key], dict):
            raise CalibrationError(f"{key} is {tree[key]!r}; expected an object")
    views = {view: _usual_of(view, numbers) for view, numbers in tree["views"].items()}
    return Calibration(_number("quantile", tree["quantile"]), views, tree["made"])


def _usual_of(view: str, tree: Any) -> Usual:
    _require_keys(view, tree, {"bound", "median", "count"})
    if not isinstance(tree["count"], int) or isinstance(tree["count"], bool):
        raise CalibrationError(f"{view}.count is {tree['count']!r}; expected a whole number")
    return Usual(_number(f"{view}.bound", tree["bound"]), _number(f"{view}.median", tree["median"]), tree["count"])


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CalibrationError(f"{key} is {value!r}; expected a number")
    return float(value)


def _require_keys(what: str, tree: Any, keys: set[str]) -> None:
    if not isinstance(tree, dict) or set(tree) != keys:
        found = ", ".join(sorted(tree)) if isinstance(tree, dict) else type(tree).__name__
        raise CalibrationError(f"{what} holds {found}; expected exactly: {', '.join(sorted(keys))}")
