"""Ranges of what goes into every linear layer of the encoder, measured on frames: what int8 and fp8 round by."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from worldagen.engines.config import Precision
from worldagen.engines.parts import PARTS
from worldagen.errors import EngineError
from worldagen.network.worldagen import WorldAgen

CUT = 0.9999  # int8 only: share of the numbers that must fit; the few beyond are clipped, so that all others keep their steps
LEAST_FRAMES = 4

Frames = Sequence[tuple[torch.Tensor, torch.Tensor]]  # static, wrist: each (1, 3, H, H)


def measure_ranges(network: WorldAgen, frames: Frames, precision: Precision) -> dict[str, float]:
    """Name of each linear layer -> the largest size that its inputs reach. Raises EngineError for too few frames."""
    if len(frames) < LEAST_FRAMES:
        raise EngineError(f"{precision} is calibrated on {len(frames)} frames; expected at least {LEAST_FRAMES}, from a bag")
    found: dict[str, list[float]] = defaultdict(list)

    def look(name: str, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        sizes = inputs[0].detach().float().abs().flatten()
        last = max(0, round(CUT * len(sizes)) - 1) if precision == "int8" else len(sizes) - 1
        found[name].append(float(sizes.kthvalue(last + 1).values))

    hooks = [
        module.register_forward_pre_hook(partial(look, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(PARTS)
    ]
    try:
        with torch.inference_mode():
            for static, wrist in frames:
                network.encode_frames(static, wrist)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: max(sizes) for name, sizes in found.items()}
