"""Which windows of an exploration are learned from, and what the network's frozen part makes of them, once for each frame.

The encoder sees one picture at a time and is not trained here, so what it makes of a frame serves every window with that frame.

Legend: W windows, K units (n = 1 frame each), m rows, F distinct input frames, N frames of the cache, P patches of C numbers.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from worldagen.adaptation.recipe import WindowSection
from worldagen.data.cache import CachedEpisode, FrameCache
from worldagen.errors import AdaptationError
from worldagen.network.config import VIEWS, NetworkConfig
from worldagen.network.heads import cut_patches
from worldagen.network.worldagen import WorldAgen
from worldagen.preprocess import ImageScaling
from worldagen.training.samples import NetworkNumbers, normalise
from worldagen.windows import require_pictures, unit_indices

NO_WORDS = "no lang"
FRAMES_AT_ONCE = 32
Tick = Callable[[int, int], None]  # done, of all; may raise to stop


@dataclass(frozen=True, eq=False)
class WindowPlan:
    """Where windows lie in a cache. frames, targets: (W, K) and rows: (W, K m), frame numbers; rollouts: (W,) which rollout."""

    frames: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    rollouts: np.ndarray
    words: tuple[str, ...]  # (W,) what the rollout of each window followed

    def __len__(self) -> int:
        """W."""
        return len(self.frames)

    def only(self, chosen: np.ndarray) -> "WindowPlan":
        """Some of the windows, by a mask or by numbers (V,)."""
        places = np.arange(len(self))[chosen]
        return WindowPlan(
            self.frames[places], self.rows[places], self.targets[places], self.rollouts[places],
            tuple(self.words[place] for place in places),
        )  # fmt: skip

    @property
    def digest(self) -> str:
        """Of everything that says which windows these are."""
        parts = [part.astype("<i8").tobytes() for part in (self.frames, self.rows, self.targets, self.rollouts)]
        return hashlib.sha256(b"".join([*parts, "\n".join(self.words).encode()])).hexdigest()


def require_world_model(config: NetworkConfig) -> None:
    """Raise AdaptationError for a network that predicts no pictures."""
    if not config.image_prediction:
        raise AdaptationError("this network was built without image prediction; there is no world model to adapt")


def plan_windows(episodes: Sequence[CachedEpisode], config: NetworkConfig, section: WindowSection) -> WindowPlan:
    """Windows of each rollout: of W frames, `per_rollout` of them, frames // per_rollout apart from frame n on, as published.

    The last ones lie closer where the rollout ends. Raises AdaptationError where no rollout is long enough, or for a network
    with several frames in a unit.
    """
    if config.frames != 1:
        raise AdaptationError(f"this network has {config.frames} frames in a unit; adaptation is for networks with one")
    units = unit_indices(config.units, 1, config.rows, "aligned")
    frames = np.array([unit.frames[0] for unit in units])
    targets = np.array([unit.targets[0] for unit in units])
    rows = np.array([unit.actions for unit in units]).reshape(-1)
    for every in {episode.every for episode in episodes}:
        require_pictures(every, (*frames, *targets), config.rows, "rollouts", AdaptationError)
    starts: list[tuple[int, int, str]] = []
    for rollout, episode in enumerate(episodes):
        length = min(episode.length, section.frames)
        last = length - config.window_frames - 2  # as published: two frames before the last that would fit
        apart = max(1, section.frames // section.per_rollout)
        # With rarer pictures a window begins at the one before.
        firsts = sorted({min(1 + apart * place, last) // episode.every * episode.every for place in range(section.per_rollout)})
        starts += [(episode.first + first, rollout, episode.instruction) for first in firsts if first >= 0]
    if not starts:
        longest = max((episode.length for episode in episodes), default=0)
        raise AdaptationError(
            f"no window fits: it spans {config.window_frames + 2} frames, the longest of {len(episodes)} rollouts has {longest}"
        )
    first = np.array([one[0] for one in starts])[:, None]
    return WindowPlan(
        first + frames, first + rows, first + targets, np.array([one[1] for one in starts]), tuple(one[2] for one in starts)
    )


def split_windows(plan: WindowPlan, held_out_every: int) -> tuple[WindowPlan, WindowPlan]:
    """Windows to learn from and to judge with, by rollout. Raises AdaptationError unless both have some of two rollouts."""
    order = {rollout: place for place, rollout in enumerate(dict.fromkeys(plan.rollouts.tolist()))}
    judged = np.array([order[rollout] % held_out_every == held_out_every - 1 for rollout in plan.rollouts.tolist()])
    parts = plan.only(~judged), plan.only(judged)
    counts = [len(set(part.rollouts.tolist())) for part in parts]
    if min(counts) < 2:
        raise AdaptationError(
            f"{len(order)} rollouts leave {counts[0]} to learn from and {counts[1]} to judge with (every {held_out_every}th); "
            f"expected at least 2 of each: explore {2 * held_out_every} rollouts or more"
        )
    return parts


class WindowTensors:
    """The windows of a plan as tensors, drawn batch by batch: kept summaries, numbers, targets and what they are painted on."""

    def __init__(
        self,
        plan: WindowPlan,
        cache: FrameCache,
        numbers: NetworkNumbers,
        network: WorldAgen,
        images: ImageScaling,
        words: str,
        tick: Tick = lambda done, of: None,
    ) -> None:
        """words: as in WindowSection. tick: called as frames are encoded."""
        require_world_model(network.config)
        self.plan, self._numbers, self._network, self._images = plan, numbers, network, images
        self._painted = {view: cache.pictures(view, network.config.image_head.size) for view in VIEWS}
        sizes = network.config.vision
        self._seen = {
            view: cache.pictures(view, size) for view, size in zip(VIEWS, (sizes.static_size, sizes.wrist_size), strict=True)
        }
        distinct = np.unique(plan.frames)
        self._place = {int(frame): place for place, frame in enumerate(distinct)}
        self._summaries = self._summarise(distinct, tick)
        said = tuple(dict.fromkeys([NO_WORDS, *plan.words]))
        self._said = {text: place for place, text in enumerate(said)}
        with torch.no_grad():
            self._texts = network.text(list(said)).to(network.position)  # (texts, T)
        self._words = words

    def __len__(self) -> int:
        """W."""
        return len(self.plan)

    @property
    def distinct_frames(self) -> int:
        """F: how many frames were encoded."""
        return len(self._place)

    def text(self, windows: np.ndarray, words: str | None = None) -> torch.Tensor:
        """(B, T) features of the words of some windows; words: "no lang", "own" or None for the recipe's."""
        own = (words or self._words) == "own"
        return self._texts[[self._said[self.plan.words[window] if own else NO_WORDS] for window in windows.tolist()]]

    def inputs(self, windows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Summaries (B K, 2 q + 2, V), states (B, K, 7), actions (B, K m, 7) of some windows."""
        places = [self._place[int(frame)] for frame in self.plan.frames[windows].reshape(-1)]
        states, actions = self._numbers.states[self.plan.frames[windows]], self._numbers.actions[self.plan.rows[windows]]
        return self._summaries[places], self._tensor(states), self._tensor(actions)

    def targets(self, windows: np.ndarray) -> torch.Tensor:
        """(B, K, 2, P, C): the patches of the pictures that came after each unit, normalised, static view first."""
        return self._patches(
            {view: kept[self.plan.targets[windows].reshape(-1)] for view, kept in self._painted.items()}, windows
        )

    def canvas(self, windows: np.ndarray) -> torch.Tensor | None:
        """(B, K, 1, 2, P, C) that pictures are painted on, or None for a blank one."""
        units = (len(windows), self._network.config.units, 1)
        views = [self._normal(kept[self.plan.frames[windows].reshape(-1)]).unflatten(0, units) for kept in self._seen.values()]
        return self._network.canvas(*views)

    def _patches(self, pictures: dict[str, np.ndarray], windows: np.ndarray) -> torch.Tensor:
        patch, units = self._network.config.image_head.patch, (len(windows), self._network.config.units)
        return torch.stack([cut_patches(self._normal(shown), patch).unflatten(0, units) for shown in pictures.values()], dim=2)

    @torch.no_grad()
    def _summarise(self, frames: np.ndarray, tick: Tick) -> torch.Tensor:
        parts = []
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            some = frames[start : start + FRAMES_AT_ONCE]
            parts.append(self._network.summarise(*(self._normal(self._seen[view][some]) for view in VIEWS)))
            tick(min(start + FRAMES_AT_ONCE, len(frames)), len(frames))
        return torch.cat(parts)

    def _normal(self, pictures: np.ndarray) -> torch.Tensor:
        position = self._network.position
        return normalise(pictures, self._images).to(position.device, position.dtype)

    def _tensor(self, numbers: np.ndarray) -> torch.Tensor:
        position = self._network.position
        return torch.from_numpy(numbers).to(position.device, position.dtype)
