"""Stage 1: the picture encoder and the resampler learn, frame by frame, to say where things are and to paint the picture again.

What is regressed is the robot's state and, from a simulator, named numbers such as the places of blocks; those of things
that are grasped also as seen from the hand. The heads that say it are thrown away. Without this stage a small network spends
its budget on learning where to look.

Legend: B frames, N frames of the data, V numbers to regress, F numbers of a frame's summary.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from worldagen.data.cache import CachedEpisode, FrameCache, shown_instants
from worldagen.errors import DataError
from worldagen.network.config import VIEWS, NetworkConfig
from worldagen.network.worldagen import WorldAgen
from worldagen.preprocess import ImageScaling
from worldagen.training.loop import Batch
from worldagen.training.recipe import EncoderStage
from worldagen.training.samples import (
    NetworkNumbers,
    augmented_frames,
    draw_augmentation,
    normalise,
    share_of,
    step_random,
)

PAINTED_SIDE = 16
HIDDEN = 256


class EncoderLoss(nn.Module):
    """Frames in, losses out: SmoothL1 on standardised numbers, mean square error on small pictures."""

    def __init__(self, network: WorldAgen, numbers: int, picture_weight: float) -> None:
        super().__init__()
        config = network.config
        width = (2 * config.resampler.queries + 2) * config.vision.width
        self.vision, self.resampler = network.vision, network.resampler
        self._summarise = [network.summarise]  # a list, so that the whole network is no part of this module
        self.numbers = nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, numbers))
        self.picture = nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, len(VIEWS) * 3 * PAINTED_SIDE**2))
        self.picture_weight = picture_weight

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        summary = self._summarise[0](batch["static"], batch["wrist"]).flatten(1)
        numbers = F.smooth_l1_loss(self.numbers(summary), batch["numbers"], beta=0.5)
        total, told = numbers, {"numbers": numbers}
        if self.picture_weight:
            told["picture"] = F.mse_loss(self.picture(summary).view_as(batch["small"]), batch["small"])
            total = total + self.picture_weight * told["picture"]
        return {"total": total, **told}


def numbers_to_regress(stage: EncoderStage, cache: FrameCache, numbers: NetworkNumbers) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and standardised numbers (N, V): the state, and what the stage names. Raises DataError for what is not there.

    An angle that looks alike every quarter turn becomes the sine and cosine of four times itself; it, and points near the hand,
    are told as seen from the hand as well.
    """
    names, columns = [f"state_{place}" for place in range(6)], [numbers.states[:, :6]]
    read = _Reader(cache)
    plain = read.matching(stage.values)
    names += plain
    columns += [read(name) for name in plain]
    angles = read.matching(stage.quarter_turns)
    for name in angles:
        names += [f"sin {name}", f"cos {name}"]
        columns += _quarter_turn(read(name))
        if stage.near:
            names += [f"sin {name} from {stage.hand}", f"cos {name} from {stage.hand}"]
            columns += _quarter_turn(read(name) - read(f"{stage.hand}_yaw"))
    points = [name.removesuffix("_x") for name in read.matching(",".join(f"{name}_x" for name in _patterns(stage.near)))]
    for point in points:
        names += [f"{point}_{axis} from {stage.hand}" for axis in "xyz"]
        columns.append(as_seen_from_hand(read.place(point), read.place(stage.hand), read(f"{stage.hand}_yaw"), stage.near_m))
    table = np.concatenate(columns, axis=1)
    broken = [name for name, column in zip(names, table.T, strict=True) if not np.isfinite(column).all()]
    if broken:
        raise DataError(f"the encoder cannot learn numbers that are not finite in every frame: {', '.join(broken[:5])}")
    spread = table.std(axis=0)
    return tuple(names), ((table - table.mean(axis=0)) / np.where(spread > 1e-6, spread, 1.0)).astype(np.float32)


def encoder_batches(
    stage: EncoderStage,
    cache: FrameCache,
    episodes: list[CachedEpisode],
    config: NetworkConfig,
    scaling: ImageScaling,
    table: np.ndarray,
    seed: int,
) -> Callable[[int, int, int], Batch]:
    """draw(step, process, processes): random frames of these episodes, augmented."""
    static = cache.pictures("static", config.vision.static_size)
    wrist = cache.pictures("wrist", config.vision.wrist_size)
    frames = shown_instants(episodes)
    counts = [len(episode.shown) for episode in episodes]
    weights = np.concatenate([np.full(count, count ** (stage.balance - 1.0)) for count in counts])
    reached = np.cumsum(weights)

    def draw(step: int, process: int, processes: int) -> Batch:
        random = step_random(seed, step)
        chosen = frames[np.searchsorted(reached, random.random(stage.loop.batch) * reached[-1], side="right")]
        draws = draw_augmentation(stage.augmentation, random, stage.loop.batch)
        mine = share_of(np.arange(stage.loop.batch), process, processes)
        chosen = np.sort(chosen)[mine]  # pages of the files in their order; the draws are independent of the frames
        draws = type(draws)(*(part[mine] for part in vars(draws).values()))
        return _frames(static[chosen], wrist[chosen], table[chosen], scaling, draws)

    return draw


def encoder_report(
    cache: FrameCache,
    episodes: list[CachedEpisode],
    config: NetworkConfig,
    scaling: ImageScaling,
    table: np.ndarray,
    names: tuple[str, ...],
    most: int = 512,
) -> Callable[[nn.Module, int], dict[str, float]]:
    """validate(module, step): root mean square errors on held-out frames, as shares of each number's spread."""
    frames = shown_instants(episodes)
    frames = frames[np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)]
    static = cache.pictures("static", config.vision.static_size)[frames]
    wrist = cache.pictures("wrist", config.vision.wrist_size)[frames]

    def validate(module: nn.Module, step: int) -> dict[str, float]:
        assert isinstance(module, EncoderLoss)
        batch = _frames(static, wrist, table[frames], scaling, None)
        device = next(module.parameters()).device
        with torch.no_grad():
            parts = [module._summarise[0](batch["static"][i : i + 64].to(device), batch["wrist"][i : i + 64].to(device))
                     for i in range(0, len(frames), 64)]  # fmt: skip
            said = module.numbers(torch.cat(parts).flatten(1)).cpu()
        errors = (said - batch["numbers"]).pow(2).mean(0).sqrt()
        return {"rms": float(errors.mean()), **{name: float(error) for name, error in zip(names, errors, strict=True)}}

    return validate


def _frames(static: np.ndarray, wrist: np.ndarray, numbers: np.ndarray, scaling: ImageScaling, draws) -> Batch:
    plain = [normalise(pictures, scaling) for pictures in (static, wrist)]
    shown = tuple(plain) if draws is None else augmented_frames(static, wrist, scaling, draws)
    small = [F.interpolate(pictures, size=PAINTED_SIDE, mode="area") for pictures in plain]
    return {
        "static": shown[0],
        "wrist": shown[1],
        "numbers": torch.from_numpy(numbers),
        "small": torch.stack(small, dim=1),  # (B, 2, 3, 16, 16)
    }


def as_seen_from_hand(points_m: np.ndarray, hand_m: np.ndarray, yaw_rad: np.ndarray, near_m: float) -> np.ndarray:
    """Places (N, 3) and a hand (N, 3) with its yaw (N, 1) -> (N, 3) from -1 to 1: tanh of the distance along the hand's axes.

    In standardised places of the whole table a centimetre is a tenth and hardly counts; a grasp needs it. Far away, where the
    tanh is flat, only the direction counts.
    """
    x, y, z = (points_m - hand_m).T
    cosine, sine = np.cos(yaw_rad[:, 0]), np.sin(yaw_rad[:, 0])
    return np.tanh(np.stack([cosine * x + sine * y, cosine * y - sine * x, z], axis=1) / near_m)


def _quarter_turn(angles_rad: np.ndarray) -> list[np.ndarray]:
    return [np.sin(4.0 * angles_rad), np.cos(4.0 * angles_rad)]


class _Reader:
    """Named numbers of all frames of a cache."""

    def __init__(self, cache: FrameCache) -> None:
        self._cache = cache

    def __call__(self, name: str) -> np.ndarray:
        """(N, 1); raises DataError for a name that the data do not have."""
        self._require(name in self._cache.value_names, name)
        return np.array(self._cache.values[:, [self._cache.value_names.index(name)]])

    def place(self, name: str) -> np.ndarray:
        """(N, 3), m."""
        return np.hstack([self(f"{name}_{axis}") for axis in "xyz"])

    def matching(self, patterns: str) -> list[str]:
        """Names for patterns with commas between them, in their order; raises DataError for a pattern without any."""
        names = []
        for pattern in _patterns(patterns):
            found = [name for name in self._cache.value_names if fnmatchcase(name, pattern)]
            self._require(bool(found), pattern)
            names += found
        return names

    def _require(self, is_there: bool, pattern: str) -> None:
        if not is_there:
            there = ", ".join(self._cache.value_names) or "none: these data come from no simulator"
            raise DataError(f"the recipe's encoder section names {pattern!r}; the data have {there}")


def _patterns(text: str) -> list[str]:
    return [pattern.strip() for pattern in text.split(",") if pattern.strip()]
