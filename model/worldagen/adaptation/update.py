"""The update: the world model's loss on windows, some optimiser steps. Exact, and without work that nobody reads.

Equal to running the whole network on each window, as published, because
- what the frozen encoder makes of a frame is computed once (windows.py);
- action-prediction tokens are left out: neither another token nor the image loss reads them; the others keep their positions;
- windows are computed together: the gradient of a mean is the mean of gradients;
- while B is zero the gradient of A is exactly zero, so only B's is computed in the first step; not where an adaptation starts
  from factors that are not zero.

Legend: B windows of a batch, K units, D width, P patches, C numbers of a patch.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from worldagen.adaptation.recipe import AdaptationRecipe, OptimiserSection
from worldagen.adaptation.trained import Trained
from worldagen.adaptation.windows import WindowTensors
from worldagen.errors import AdaptationError
from worldagen.network.layout import CONTEXT_GROUPS, Group
from worldagen.network.worldagen import WorldAgen

Progress = Callable[[int, int, float], None]  # windows done, of all, newest loss; may raise to stop


@dataclass(frozen=True)
class Curve:
    """How a training went. losses: mean of each step before it was taken; rates, norms: of each step; seconds: of all."""

    losses: tuple[float, ...]
    rates: tuple[float, ...]
    norms: tuple[float, ...]
    seconds: float


class _Reading:
    """The backbone on whole windows, with the prediction tokens of one group only; the kept tokens keep their positions."""

    def __init__(self, network: WorldAgen, group: Group) -> None:
        self._network, self._group = network, group
        layout, units, device = network.layout, range(network.config.units), network.position.device
        read = np.concatenate([layout.indices(unit, [*CONTEXT_GROUPS, group]) for unit in units])
        answers = np.concatenate([layout.indices(unit, [group]) for unit in units])
        self._indices = torch.from_numpy(read).to(device)
        self._answers = torch.from_numpy(np.flatnonzero(np.isin(read, answers))).to(device)
        self._order = [each for each in Group if each in (*CONTEXT_GROUPS, group)]

    def of(self, tensors: WindowTensors, windows: np.ndarray, words: str | None = None) -> torch.Tensor:
        """(B, K * count, D) outputs of the group's tokens. words: as in WindowTensors.text."""
        network = self._network
        context = network.encode_summaries(*tensors.inputs(windows), tensors.text(windows, words))
        prompts = network.prediction_tokens()[self._group].expand(len(windows), network.config.units, -1, -1)
        tokens = torch.cat([{**context, self._group: prompts}[group] for group in self._order], dim=2).flatten(1, 2)
        return network.attend(network.settle(tokens), self._indices)[:, self._answers]


class WorldLoss:
    """The world model's loss of windows: (MSE static + MSE wrist) / 2 over all K units, in normalised pixels."""

    def __init__(self, network: WorldAgen) -> None:
        self._network, self._reading = network, _Reading(network, Group.IMAGE_PREDICTION)

    def each(self, tensors: WindowTensors, windows: np.ndarray) -> torch.Tensor:
        """(B,) losses of some windows."""
        return (self.pictures(tensors, windows) - _wide(tensors.targets(windows))).pow(2).mean(dim=(1, 2, 3, 4))

    def pictures(self, tensors: WindowTensors, windows: np.ndarray) -> torch.Tensor:
        """(B, K, 2, P, C) of what is expected after each unit of some windows, normalised, static view first."""
        hidden = self._reading.of(tensors, windows).unflatten(1, (self._network.config.units, -1))
        return _wide(self._network.paint(hidden, tensors.canvas(windows))[:, :, 0])

    @torch.no_grad()
    def all(self, tensors: WindowTensors, batch: int, progress: Progress = lambda done, of, loss: None) -> np.ndarray:
        """(W,) losses of all windows."""
        parts = []
        for start in range(0, len(tensors), batch):
            parts.append(self.each(tensors, np.arange(start, min(start + batch, len(tensors)))).cpu().numpy())
            progress(min(start + batch, len(tensors)), len(tensors), float(parts[-1].mean()))
        return np.concatenate(parts)


class ActionNumbers:
    """What the policy answers in windows, told the words their rollouts followed: arm (B, K m, 6), gripper logits (B, K m)."""

    def __init__(self, network: WorldAgen) -> None:
        self._network, self._reading = network, _Reading(network, Group.ACTION_PREDICTION)

    def of(self, tensors: WindowTensors, windows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Of some windows; the first prediction step of each row."""
        arm, logits = self._network.action_head(self._reading.of(tensors, windows, "own"))
        steps = self._network.config.action_steps
        return _wide(arm[:, ::steps]), _wide(logits[:, ::steps])


def learning_rate(section: OptimiserSection, step: int, steps: int, windows: int) -> float:
    """Of the step-th of so many, from 0. Published: cosine, with a linear warm-up of as many steps as there are windows."""
    if section.warm_up_rule == "none":
        return section.learning_rate * (1.0 - step / steps if section.decay else 1.0)
    warm_up, total = windows, windows * section.passes  # one epoch of batches of one window; epochs are passes
    if step < warm_up:
        return section.learning_rate * step / warm_up
    return section.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))


def train_adapter(
    network: WorldAgen,
    trained: Trained,
    tensors: WindowTensors,
    recipe: AdaptationRecipe,
    progress: Progress = lambda done, of, loss: None,
    rehearsed: WindowTensors | None = None,
) -> Curve:
    """Train what `training_of` made ready; the network holds the result. progress is called after every batch.

    Raises AdaptationError when a loss is no number, and whatever `progress` raises.
    """
    section = recipe.optimiser
    loss, actions = WorldLoss(network), ActionNumbers(network)
    parameters = trained.parameters
    adam = torch.optim.AdamW(
        parameters, lr=section.learning_rate, betas=(section.beta1, section.beta2), weight_decay=section.weight_decay
    )
    answers = _answers_of_base(actions, trained, tensors, recipe) if section.keep_actions else None
    random = np.random.default_rng(recipe.seed)
    size = min(section.windows_per_step, len(tensors)) or len(tensors)
    steps = section.passes * (len(tensors) // size)
    losses, rates, norms = [], [], []
    began_s = time.perf_counter()
    for step, order in enumerate(_portions(len(tensors), size, section.passes, random)):
        adam.zero_grad(set_to_none=True)
        for pair in trained.pairs:  # exact: see above
            pair.a.requires_grad_(step > 0 or bool(pair.b.any()))
        summed, done = 0.0, 0
        for start in range(0, len(order), recipe.batch):
            windows = np.sort(order[start : start + recipe.batch])
            each = loss.each(tensors, windows)
            total = section.loss_weight * each.sum() / len(order)
            if answers is not None:
                moved = actions.of(tensors, windows)[0] - answers[windows]
                total = total + section.keep_actions * moved.pow(2).mean() * len(windows) / len(order)
            total.backward()
            summed, done = summed + float(each.detach().sum()), done + len(windows)
            if not math.isfinite(summed):
                raise AdaptationError(
                    f"the loss is {summed / done} in step {step + 1}; nothing was written. Lower the learning rate"
                )
            if section.clip and section.clip_running_sum:
                torch.nn.utils.clip_grad_norm_(parameters, section.clip)
            progress(done + step * len(order), steps * len(order), summed / done)
        if rehearsed is not None and section.rehearsal:
            some = np.sort(
                random.choice(len(rehearsed), min(len(rehearsed), round(section.rehearsal * len(order))), replace=False)
            )
            for start in range(0, len(some), recipe.batch):
                windows = some[start : start + recipe.batch]
                (section.loss_weight * loss.each(rehearsed, windows).sum() / len(order)).backward()
                progress(done + step * len(order), steps * len(order), summed / done)
        for pair in trained.pairs:
            pair.a.requires_grad_(True)
            if pair.a.grad is None:
                pair.a.grad = torch.zeros_like(pair.a)  # so that the optimiser decays it and counts its steps
        norm = torch.nn.utils.clip_grad_norm_(parameters, section.clip or math.inf)
        rate = learning_rate(section, step, steps, len(tensors))
        for group in adam.param_groups:
            group["lr"] = rate
        adam.step()
        losses.append(summed / done)
        rates.append(rate)
        norms.append(float(norm))
    adam.zero_grad(set_to_none=True)
    return Curve(tuple(losses), tuple(rates), tuple(norms), time.perf_counter() - began_s)


def _portions(windows: int, size: int, passes: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """The windows of each step, (size,): all of them once in every pass, in a random order; a rest that fills no step waits."""
    order = np.arange(windows)
    for _ in range(passes):
        random.shuffle(order)
        for start in range(0, windows - size + 1, size):
            yield order[start : start + size].copy()


@torch.no_grad()
def _answers_of_base(
    actions: ActionNumbers, trained: Trained, tensors: WindowTensors, recipe: AdaptationRecipe
) -> torch.Tensor:
    """(W, K m, 6) of the base, whatever LoRA starts from: with B at zero it adds nothing."""
    started = [pair.b.data for pair in trained.pairs]
    for pair in trained.pairs:
        pair.b.data = torch.zeros_like(pair.b)
    try:
        starts = range(0, len(tensors), recipe.batch)
        return torch.cat([actions.of(tensors, np.arange(s, min(s + recipe.batch, len(tensors))))[0] for s in starts])
    finally:
        for pair, b in zip(trained.pairs, started, strict=True):
            pair.b.data = b


def _wide(numbers: torch.Tensor) -> torch.Tensor:
    """At least single precision, for what is summed."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))
