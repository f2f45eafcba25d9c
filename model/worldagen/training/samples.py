"""Windows and frames of a cache as batches. A batch is a function of seed and step, so that a run can be taken up anywhere.

Legend: N frames of the cache; B windows, K units of n = 1 frame and m rows; S side of a picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from worldagen.conventions import encode_rows
from worldagen.data.cache import CachedEpisode, FrameCache
from worldagen.errors import DataError, TrainingError
from worldagen.network.config import NetworkConfig
from worldagen.policy_conventions import PolicyConventions
from worldagen.preprocess import ImageScaling, scale_poses
from worldagen.training.recipe import Augmentation, DataSection
from worldagen.windows import SamplingRule, require_pictures, unit_indices


@dataclass(frozen=True, eq=False)
class NetworkNumbers:
    """The cache's numbers as the network takes them, float32. states, actions, targets: (N, 7)."""

    states: np.ndarray
    actions: np.ndarray
    targets: np.ndarray


def network_numbers(cache: FrameCache, conventions: PolicyConventions) -> NetworkNumbers:
    """Scale all states and rows. Raises DataError when the data were made for other conventions."""
    if cache.convention != conventions.actions:
        raise DataError(f"the data have the convention {cache.convention}; the network is for {conventions.actions}")
    states = np.array(cache.states)
    gripper = (states[:, 6:] * 2.0 - 1.0) * conventions.actions.gripper_open
    scaled = np.concatenate([scale_poses(conventions.state, states[:, :6]), np.where(gripper > 0, 1.0, -1.0)], axis=1)
    rows = {
        name: np.clip(encode_rows(conventions.actions, np.array(getattr(cache, name)), states[:, 3:6]), -1.0, 1.0)
        for name in ("actions", "targets")
    }
    return NetworkNumbers(*(part.astype(np.float32) for part in (scaled, rows["actions"], rows["targets"])))


def split_episodes(cache: FrameCache, held_out_every: int) -> tuple[list[CachedEpisode], list[CachedEpisode]]:
    """Episodes to train on and those held out: every so-many-th, so that all tasks and scenes are among them."""
    kept: list[CachedEpisode] = []
    held_out: list[CachedEpisode] = []
    for place, episode in enumerate(cache.episodes):
        (held_out if held_out_every and place % held_out_every == 0 else kept).append(episode)
    return kept, held_out


class WindowPlaces:
    """Where windows of a network lie in some episodes of a cache. Raises DataError when none is long enough."""

    def __init__(self, episodes: Sequence[CachedEpisode], config: NetworkConfig, section: DataSection) -> None:
        if config.frames != 1:
            raise DataError(f"this network has {config.frames} frames in a unit; training is for networks with one")
        rule: SamplingRule = section.rule  # type: ignore[assignment] - the recipe's choices are these
        units = unit_indices(config.units, 1, config.rows, rule)
        self.frames = np.array([unit.frames[0] for unit in units])  # (K,)
        self.targets = np.array([unit.targets[0] for unit in units])  # (K,)
        if len({len(unit.actions) for unit in units}) != 1:
            raise DataError(f"the sampling rule {rule!r} has units of unequal length, which the backbone does not take")
        self.rows = np.array([unit.actions for unit in units]).reshape(-1)  # (K m,)
        span = max(self.targets.max(), self.rows.max())  # the last frame a window touches, from its first
        for every in {episode.every for episode in episodes}:
            require_pictures(every, (*self.frames, *self.targets), config.rows, "episodes", DataError)
        long = [episode for episode in episodes if episode.length > span]
        if not long:
            longest = max((episode.length for episode in episodes), default=0)
            raise DataError(f"a window spans {span + 1} frames, the longest of {len(episodes)} episodes has {longest}")
        self.too_short = len(episodes) - len(long)
        self._every = np.array([episode.every for episode in long])  # a window begins with a picture
        counts = np.array([len(range(0, episode.length - span, episode.every)) for episode in long])
        self._firsts = np.array([episode.first for episode in long])
        self._counts = counts
        chances = counts.astype(float) ** section.balance
        self._chances = chances / chances.sum()
        self.words = tuple(dict.fromkeys(episode.instruction for episode in long))
        numbers = {words: number for number, words in enumerate(self.words)}
        self._words = np.array([numbers[episode.instruction] for episode in long])

    def __len__(self) -> int:
        """Different windows."""
        return int(self._counts.sum())

    def draw(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """First frames (B,) of random windows, and which of `words` each has (B,)."""
        episodes = random.choice(len(self._firsts), count, p=self._chances)
        places = random.integers(self._counts[episodes])
        return self._firsts[episodes] + self._every[episodes] * places, self._words[episodes]

    def spread(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The same for at most `count` windows that lie evenly over all: for validation, always the same ones."""
        each = zip(self._firsts, self._every, self._counts, strict=True)
        firsts = np.concatenate([first + every * np.arange(number) for first, every, number in each])
        words = np.repeat(self._words, self._counts)
        chosen = np.linspace(0, len(firsts) - 1, min(count, len(firsts))).round().astype(int)
        return firsts[chosen], words[chosen]


def step_random(seed: int, step: int, stream: int = 0) -> np.random.Generator:
    """The randomness of one step."""
    return np.random.default_rng([seed, step, stream])


def share_of(batch: np.ndarray, process: int, processes: int) -> np.ndarray:
    """The rows of a batch that one of several processes takes: as many as every other, so that means of means are means."""
    if len(batch) % processes:
        raise TrainingError(f"{len(batch)} samples of a step cannot be shared out evenly over {processes} processes")
    return batch[process::processes]


@dataclass(frozen=True, eq=False)
class Draws:
    """One augmentation a sample: shifts (B, 2) rows and columns; gain (B, 3), contrast (B,), brightness (B,)."""

    static_shift: np.ndarray
    wrist_shift: np.ndarray
    gain: np.ndarray
    contrast: np.ndarray
    brightness: np.ndarray


def draw_augmentation(section: Augmentation, random: np.random.Generator, count: int) -> Draws:
    """Independent draws for `count` samples."""
    return Draws(
        random.integers(-section.static_shift, section.static_shift + 1, (count, 2)),
        random.integers(-section.wrist_shift, section.wrist_shift + 1, (count, 2)),
        1.0 + random.uniform(-section.gain, section.gain, (count, 3)),
        1.0 + random.uniform(-section.contrast, section.contrast, count),
        random.uniform(-section.brightness, section.brightness, count),
    )


def shift_picture(picture: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(S, S, 3) moved by whole pixels, its edge repeated."""
    side = np.arange(len(picture))
    rows, columns = (np.clip(side + by, 0, len(picture) - 1) for by in shift)
    return picture[rows][:, columns]


def normalise(pictures: np.ndarray, scaling: ImageScaling) -> torch.Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 as the network takes them."""
    scaled = torch.from_numpy(np.array(pictures, order="C")).permute(0, 3, 1, 2).float() / 255.0
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (scaling.mean, scaling.std))
    return (scaled - mean) / std


def colour(pictures: torch.Tensor, draws: Draws) -> torch.Tensor:
    """(B, 3, S, S) normalised, with other colours: contrast about each picture's mean, gain of each channel, brightness."""
    gain, contrast, brightness = (torch.from_numpy(part).float() for part in (draws.gain, draws.contrast, draws.brightness))
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = (pictures - mean) * contrast.view(-1, 1, 1, 1) + mean
    return pictures * gain.view(-1, 3, 1, 1) + brightness.view(-1, 1, 1, 1)


def augmented_frames(
    static: np.ndarray, wrist: np.ndarray, scaling: ImageScaling, draws: Draws
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of both views (B, S, S, 3) uint8 -> normalised and augmented (B, 3, S, S)."""
    shifted = [
        np.stack([shift_picture(picture, shift) for picture, shift in zip(pictures, shifts, strict=True)])
        for pictures, shifts in ((static, draws.static_shift), (wrist, draws.wrist_shift))
    ]
    moved = [colour(normalise(pictures, scaling), draws) for pictures in shifted]
    return moved[0], moved[1]
