"""Stage 3: everything but the encoder, on kept features: what to do next, and what will be seen.

Prediction tokens are never read by others, so those that a step does not need are left out: pictures are painted for a share of
the batch only, of one random unit each step, which leaves the loss unbiased and saves two thirds of its cost.

Legend: B windows, P painted ones among them (the first), K units, m rows.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from worldagen.data.cache import FrameCache, Pictured
from worldagen.network.config import VIEWS
from worldagen.network.heads import cut_patches
from worldagen.network.layout import CONTEXT_GROUPS, Group
from worldagen.network.worldagen import WorldAgen
from worldagen.preprocess import ImageScaling, StateScaling
from worldagen.training.loop import Batch
from worldagen.training.recipe import LossSection, PolicyStage
from worldagen.training.samples import NetworkNumbers, WindowPlaces, normalise, share_of, step_random


class PolicyLoss(nn.Module):
    """Windows in, losses out; trains all of the network but its encoders."""

    def __init__(self, network: WorldAgen, weights: LossSection) -> None:
        super().__init__()
        self.network, self.weights = network, weights
        for part in (network.vision, network.resampler, network.state_head):
            part.requires_grad_(False)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        network, weights = self.network, self.weights
        config, layout = network.config, network.layout
        context = network.encode_summaries(
            batch["summaries"].float().flatten(0, 1), batch["states"], batch["actions"], batch["text"]
        )
        painted, unit = len(batch["static"]), int(batch["unit"])
        prompts = {
            group: tokens.expand(len(batch["states"]), config.units, -1, -1)
            for group, tokens in network.prediction_tokens().items()
        }
        tokens = torch.cat([{**context, **prompts}[group] for group in Group], dim=2).flatten(1, 2)  # (B, L, D)
        acting = np.concatenate(
            [layout.indices(one, [*CONTEXT_GROUPS, Group.ACTION_PREDICTION]) for one in range(config.units)]
        )
        painting = layout.indices(unit, [Group.IMAGE_PREDICTION])
        acted = [_attend(network, tokens[painted:], acting)] if painted < len(tokens) else []
        losses = {}
        if painted:
            both = np.sort(np.concatenate([acting, painting]))
            seen = _attend(network, tokens[:painted], both)
            acted.insert(0, seen[:, torch.from_numpy(np.isin(both, acting))])
            canvas = network.canvas(batch["last_static"], batch["last_wrist"]) if "last_static" in batch else None
            prompts_seen = seen[:, torch.from_numpy(np.isin(both, painting))]
            pictures = network.paint(prompts_seen, canvas)[:, 0]  # (P, 2, patches, numbers)
            errors = [
                F.mse_loss(pictures[:, place].float(), cut_patches(batch[view], config.image_head.patch))
                for place, view in enumerate(VIEWS)
            ]
            losses["image"] = (errors[0] + errors[1]) / 2
        answers = np.isin(acting, np.concatenate(
            [layout.indices(one, [Group.ACTION_PREDICTION]) for one in range(config.units)]
        ))  # fmt: skip
        arm, gripper = network.action_head(torch.cat(acted)[:, torch.from_numpy(answers)])  # (B, K m, 6), (B, K m)
        steps = config.action_steps
        wanted = batch["targets"]
        losses["arm"] = F.smooth_l1_loss(arm[:, ::steps].float(), wanted[..., :6], beta=weights.arm_beta)
        losses["gripper"] = F.binary_cross_entropy_with_logits(
            gripper[:, ::steps].float(), (wanted[..., 6] > 0).to(torch.float32)
        )
        total = weights.arm * losses["arm"] + weights.gripper * losses["gripper"]
        if "image" in losses:
            total = total + weights.image * losses["image"]
        return {"total": total, **losses}


def _attend(network: WorldAgen, tokens: torch.Tensor, places: np.ndarray) -> torch.Tensor:
    """The backbone on some tokens of windows (B, L, D) -> (B, T, D)."""
    indices = torch.from_numpy(places).to(tokens.device)
    return network.attend(network.settle(tokens[:, indices]), indices)


class _Pictures:
    """The pictures that a step paints, from the cache, and those they are painted on."""

    def __init__(self, cache: FrameCache, network: WorldAgen, images: ImageScaling) -> None:
        config = network.config
        side, sizes = config.image_head.size, (config.vision.static_size, config.vision.wrist_size)
        self._images = images
        self._kept: dict[str, Pictured] = {}
        self._kept_last: dict[str, Pictured] = {}
        if config.image_prediction:
            self._kept = {view: cache.pictures(view, side) for view in VIEWS}
            if config.image_head.canvas == "last":
                self._kept_last = {f"last_{view}": cache.pictures(view, size) for view, size in zip(VIEWS, sizes, strict=True)}

    def read(self, last: np.ndarray, following: np.ndarray) -> Batch:
        """Frames seen last and those to be painted, (P,) each -> "static", "wrist" and, if needed, "last_..." with n = 1."""
        batch = {view: normalise(kept[following], self._images) for view, kept in self._kept.items()}
        if not batch:
            return {view: torch.empty(0) for view in VIEWS}
        return batch | {name: normalise(kept[last], self._images)[:, None] for name, kept in self._kept_last.items()}


def policy_batches(
    stage: PolicyStage,
    places: WindowPlaces,
    cache: FrameCache,
    numbers: NetworkNumbers,
    features: Sequence[Pictured],
    text: torch.Tensor,
    network: WorldAgen,
    images: ImageScaling,
    states: StateScaling,
    seed: int,
) -> Callable[[int, int, int], Batch]:
    """draw(step, process, processes): random windows with disturbed histories. text: (words, T) of `places.words`."""
    config = network.config
    pictures = _Pictures(cache, network, images)
    position_noise = stage.state_noise_m / np.asarray(states.scale[:3])
    count = stage.loop.batch

    def draw(step: int, process: int, processes: int) -> Batch:
        random = step_random(seed, step)
        firsts, words = places.draw(random, count)
        copies = random.integers(len(features), size=count)
        unit = int(random.integers(config.units))
        frames = firsts[:, None] + places.frames  # (B, K)
        rows = firsts[:, None] + places.rows  # (B, K m)
        history = numbers.actions[rows].copy()
        history[..., :6] += random.normal(scale=stage.action_noise or 1e-9, size=history[..., :6].shape)
        history[random.random(count) < stage.history_dropout] = 0.0
        known = numbers.states[frames].copy()
        known[..., :3] += random.normal(size=known[..., :3].shape) * position_noise
        known[random.random(count) < stage.state_dropout] = 0.0
        # The world model is told what was really done: its windows come first, undisturbed.
        painted = round(count * stage.painted_share) if config.image_prediction else 0
        history[:painted], known[:painted] = numbers.actions[rows[:painted]], numbers.states[frames[:painted]]
        mine = share_of(np.arange(count), process, processes)
        shown = share_of(np.arange(painted), process, processes)
        summaries = np.stack([features[int(copies[index])][frames[index]] for index in mine])
        return {
            "summaries": torch.from_numpy(summaries),
            "states": torch.from_numpy(known[mine].astype(np.float32)),
            "actions": torch.from_numpy(history[mine].astype(np.float32)),
            "targets": torch.from_numpy(numbers.targets[rows[mine]]),
            "text": text[torch.from_numpy(words[mine])],
            "unit": torch.tensor(unit),
            **pictures.read(frames[shown, unit], firsts[shown] + places.targets[unit]),
        }

    return draw


def policy_report(
    places: WindowPlaces,
    cache: FrameCache,
    numbers: NetworkNumbers,
    clean: Pictured,
    text: torch.Tensor,
    network: WorldAgen,
    images: ImageScaling,
    most: int = 384,
) -> Callable[[nn.Module, int], dict[str, float]]:
    """validate(module, step): losses on held-out windows, undisturbed; and what copying the last frame would score."""
    firsts, words = places.spread(most)
    config, side = network.config, network.config.image_head.size
    pictures = _Pictures(cache, network, images)
    frames, rows = firsts[:, None] + places.frames, firsts[:, None] + places.rows

    def batch_of(part: slice, unit: int) -> Batch:
        return {
            "summaries": torch.from_numpy(np.stack([clean[chosen] for chosen in frames[part]])),
            "states": torch.from_numpy(numbers.states[frames[part]]),
            "actions": torch.from_numpy(numbers.actions[rows[part]]),
            "targets": torch.from_numpy(numbers.targets[rows[part]]),
            "text": text[torch.from_numpy(words[part])],
            "unit": torch.tensor(unit),
            **pictures.read(frames[part, unit], firsts[part] + places.targets[unit]),
        }

    def validate(module: nn.Module, step: int) -> dict[str, float]:
        sums: dict[str, float] = {}
        parts = [slice(start, start + 64) for start in range(0, len(firsts), 64)]
        device = next(module.parameters()).device
        with torch.no_grad():
            for number, part in enumerate(parts):
                unit = number % config.units
                batch = batch_of(part, unit)
                for key, value in module({name: value.to(device) for name, value in batch.items()}).items():
                    sums[key] = sums.get(key, 0.0) + float(value) / len(parts)
                if config.image_prediction:
                    for view in VIEWS:
                        last = normalise(cache.pictures(view, side)[frames[part, unit]], images)
                        sums["copying"] = sums.get("copying", 0.0) + float(F.mse_loss(last, batch[view])) / len(parts) / 2
        return sums

    return validate
