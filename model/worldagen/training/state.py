"""The state of a training loop on disk: weights, their moving average, the optimiser's moments, the step. No pickle.

    FOLDER/step_000500/state.safetensors, state.json

A state is written aside, synced and renamed; the newest whole one is what a run goes on from, whatever happened since.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from worldagen.errors import TrainingError

TENSORS, NOTES, PREFIX = "state.safetensors", "state.json", "step_"


class MovingAverage:
    """An exponential moving average of trained weights, by name; decay 0 follows them exactly."""

    def __init__(self, weights: Mapping[str, torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, weights: Mapping[str, torch.Tensor], step: int) -> None:
        """After a step; young averages forget faster, or they would remember the random weights."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        mine = list(self.weights.values())
        torch._foreach_lerp_(mine, [weights[name].detach() for name in self.weights], 1.0 - decay)


def trained_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters that receive gradients, by name."""
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def save_state(
    folder: Path, step: int, module: nn.Module, average: MovingAverage, optimiser: torch.optim.Optimizer, keep: int
) -> Path:
    """Write the state after `step` steps and remove all but the newest `keep`. Raises TrainingError; older ones stay then."""
    weights = trained_weights(module)
    broken = [name for name, weight in weights.items() if not torch.isfinite(weight).all()]
    if broken:
        raise TrainingError(f"step {step}: weights that are not finite: {', '.join(broken[:3])}; lower the learning rate")
    tensors = {f"model/{name}": weight for name, weight in weights.items()}
    tensors |= {f"average/{name}": weight for name, weight in average.weights.items()}
    for name, weight in weights.items():
        tensors |= {f"optimiser/{name}/{key}": value for key, value in optimiser.state.get(weight, {}).items()}
    place = folder / f"{PREFIX}{step:06d}"
    aside = folder / f".{place.name}.{os.getpid()}"
    try:
        for left in folder.glob(f".{PREFIX}*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        aside.mkdir(parents=True)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, aside / TENSORS)
        (aside / NOTES).write_text(json.dumps({"step": step}), "utf-8")
        for file in aside.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise TrainingError(f"{place}: the state cannot be saved: {error}; the one before it is whole") from None
    for old in saved_states(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def saved_states(folder: Path) -> list[Path]:
    """Whole states, oldest first."""
    return sorted((place for place in folder.glob(f"{PREFIX}*") if (place / NOTES).is_file()), key=_step_in)


def restore_state(place: Path, module: nn.Module, average: MovingAverage, optimiser: torch.optim.Optimizer) -> int:
    """Put a saved state back; returns its step. Raises TrainingError, changing nothing, when it is of another network."""
    tensors, step = _read(place), _step_of(place)
    weights = trained_weights(module)
    for kind, named in (("model", weights), ("average", average.weights)):
        stored = {name.removeprefix(f"{kind}/"): value.shape for name, value in tensors.items() if name.startswith(f"{kind}/")}
        if stored != {name: value.shape for name, value in named.items()}:
            raise TrainingError(f"{place}: a state of another network or recipe; give another folder for this run")
    fused = all(group.get("fused") for group in optimiser.param_groups)  # keeps its count of steps beside the weights
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[f"model/{name}"])
            average.weights[name].copy_(tensors[f"average/{name}"])
            prefix = f"optimiser/{name}/"
            moments = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            if moments:
                optimiser.state[weight] = {
                    key: value.to(weight.device) if value.ndim or fused else value for key, value in moments.items()
                }
    return step


def averaged_weights(place: Path) -> dict[str, torch.Tensor]:
    """The moving average of a saved state, by parameter name."""
    return {name.removeprefix("average/"): value for name, value in _read(place).items() if name.startswith("average/")}


def _step_in(place: Path) -> tuple[int, str]:
    number = place.name.removeprefix(PREFIX)
    return (int(number) if number.isdecimal() else -1, number)


def _step_of(place: Path) -> int:
    try:
        return int(json.loads((place / NOTES).read_text("utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{place / NOTES}: {error}; remove this folder to go on from the one before") from None


def _read(place: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(place / TENSORS)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{place}: cannot be read ({error}); remove this folder to go on from the one before") from None
