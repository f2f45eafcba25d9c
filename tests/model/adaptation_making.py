"""A small exploration, a small network and its plain test-time training, that the adaptation tests share."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from demonstration_making import Demonstration, demonstrate, write_demonstration
from peft import inject_adapter_in_model
from small_networks import TINY, build
from torch import nn

from worldagen.adaptation.adapter import digest_of, name_adapter, save_adapter, weights_of
from worldagen.adaptation.recipe import AdaptationRecipe, GateSection, OptimiserSection, TrainedSection, WindowSection
from worldagen.adaptation.trained import lora_config, training_of
from worldagen.adaptation.windows import NO_WORDS, WindowPlan, WindowTensors, plan_windows
from worldagen.checkpoint import save_checkpoint
from worldagen.data.cache import FrameCache, open_cache, picture_sizes
from worldagen.network.config import VIEWS, NetworkConfig
from worldagen.network.heads import cut_patches
from worldagen.network.worldagen import Windows, WorldAgen
from worldagen.policy_conventions import find_preset_conventions
from worldagen.preprocess import ImageScaling
from worldagen.session import load_policy
from worldagen.training.samples import NetworkNumbers, network_numbers, normalise

CONVENTIONS = find_preset_conventions("playtable")
CANVAS = replace(TINY, image_head=replace(TINY.image_head, canvas="last"), shared_action_token=False)
WINDOWS = WindowSection(frames=30, per_rollout=3, held_out_every=2)
RECIPE = AdaptationRecipe(
    windows=WINDOWS,
    trained=TrainedSection(rank=4, alpha=8.0),
    optimiser=OptimiserSection(passes=2, learning_rate=1e-2, clip=0.0),
    gate=GateSection(resamples=200),
    batch=4,
)


def explored(seed: int, steps: int = 30) -> Demonstration:
    """One rollout whose wrist picture changes more than its static one, as that of a fixed and of a moving camera do."""
    shown = demonstrate(f"push block {seed}", steps, seed)
    still = np.repeat(shown.static[:1], steps, axis=0)
    still[:, :3, :3] = shown.static[:, :3, :3]
    return replace(shown, static=still)


def write_exploration(folder: Path, rollouts: int = 4, make: Callable[[int], Demonstration] = explored) -> Path:
    """A bag for each rollout."""
    for seed in range(rollouts):
        write_demonstration(folder / str(seed), make(seed))
    return folder


def open_exploration(bags: Path, cache: Path, config: NetworkConfig = CANVAS) -> tuple[FrameCache, NetworkNumbers]:
    """Its frames and numbers."""
    frames = open_cache(cache, [f"bag:{bags}"], picture_sizes(config), CONVENTIONS.image)
    return frames, network_numbers(frames, CONVENTIONS)


def window_tensors(
    network: WorldAgen, cache: FrameCache, numbers: NetworkNumbers, plan: WindowPlan | None = None, words: str = "no lang"
) -> WindowTensors:
    """All windows of an exploration, or those of a plan."""
    plan = plan or plan_windows(cache.episodes, network.config, WINDOWS)
    return WindowTensors(plan, cache, numbers, network, CONVENTIONS.image, words)


def small_checkpoint(folder: Path, config: NetworkConfig = CANVAS, seed: int = 0) -> Path:
    """Random weights, as a checkpoint."""
    save_checkpoint(folder, build(config, seed), CONVENTIONS)
    return folder


def make_adapter(
    checkpoint: Path, root: Path, what: str = "lora", verdict: str = "accepted", size: float = 0.3, rank: int = 4
) -> Path:
    """An adapter of random weights."""
    network = load_policy(checkpoint).network
    base = digest_of(weights_of(network))
    section = TrainedSection(what=what, rank=rank, alpha=8.0)
    with training_of(network, section, 0) as trained:
        with torch.no_grad():
            for parameter in trained.parameters:
                parameter.add_(size * torch.randn_like(parameter))
        tensors = trained.tensors()
    recipe = replace(RECIPE, trained=section)
    name = name_adapter(what, tensors, datetime.now(timezone.utc))
    gate = {"verdict": verdict, "checks": [], "reasons": []}
    return save_adapter(root, name, tensors, network.config.backbone, base, recipe, {"gate": gate})


@contextmanager
def plain_training(
    network: WorldAgen,
    cache: FrameCache,
    numbers: NetworkNumbers,
    plan: WindowPlan,
    recipe: AdaptationRecipe,
    images: ImageScaling = CONVENTIONS.image,
    start: Mapping[str, torch.Tensor] | None = None,
) -> Iterator[list[nn.Parameter]]:
    """The update as it is told: every window alone, through the whole network, from its pictures; yields LoRA's weights.

    start: what LoRA begins with, by peft's names.
    """
    network.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        inject_adapter_in_model(lora_config(recipe.trained, network.config.backbone), network)
    for name, parameter in network.named_parameters():
        if start is not None and "lora_" in name:
            parameter.data.copy_(start["base_model.model." + name.replace(".default", "")])
    lora = [parameter for name, parameter in network.named_parameters() if "lora_" in name]
    for parameter in lora:
        parameter.requires_grad_(True)
    section = recipe.optimiser
    adam = torch.optim.AdamW(
        lora, lr=section.learning_rate, betas=(section.beta1, section.beta2), weight_decay=section.weight_decay
    )
    order, random = np.arange(len(plan)), np.random.default_rng(recipe.seed)
    size = section.windows_per_step or len(plan)
    a_pass = len(plan) // size
    for step in range(section.passes * a_pass):
        if step % a_pass == 0:
            random.shuffle(order)
        some = order[step % a_pass * size :][:size].tolist()
        for window in some:
            loss = section.loss_weight * plain_loss(network, cache, numbers, plan, window, images) / size
            loss.backward()
            if section.clip and section.clip_running_sum:
                torch.nn.utils.clip_grad_norm_(lora, section.clip)
        if section.clip:
            torch.nn.utils.clip_grad_norm_(lora, section.clip)
        if section.warm_up_rule == "published" and step == 0:
            adam.param_groups[0]["lr"] = 0.0
        adam.step()
        adam.zero_grad()
    yield lora


def plain_loss(
    network: WorldAgen,
    cache: FrameCache,
    numbers: NetworkNumbers,
    plan: WindowPlan,
    window: int,
    images: ImageScaling = CONVENTIONS.image,
) -> torch.Tensor:
    """(MSE static + MSE wrist) / 2 of one window, over all its units, by `WorldAgen.forward`."""
    frames, config, kind = plan.frames[window], network.config, network.position.dtype
    shown = {
        view: normalise(cache.pictures(view, side)[frames], images)[None].to(kind)
        for view, side in zip(VIEWS, (config.vision.static_size, config.vision.wrist_size), strict=True)
    }
    painted = network(
        Windows(
            **shown,
            states=torch.from_numpy(numbers.states[frames])[None].to(kind),
            actions=torch.from_numpy(numbers.actions[plan.rows[window]])[None].to(kind),
            text=network.text([NO_WORDS]).to(kind),
        )
    ).images
    assert painted is not None
    errors = []
    for place, view in enumerate(VIEWS):
        target = normalise(cache.pictures(view, config.image_head.size)[plan.targets[window]], images).to(kind)
        errors.append(torch.nn.functional.mse_loss(painted[0, :, 0, place], cut_patches(target, config.image_head.patch)))
    return (errors[0] + errors[1]) / 2
