"""Random adapters to mix, and the plain sum of what they add, that the tests of mixtures share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from adaptation_making import CANVAS

from worldagen.adaptation.adapter import digest_of, weights_of
from worldagen.mixture.embedding import level_of_layer
from worldagen.mixture.factors import LoraFactors, projection_widths
from worldagen.network.worldagen import WorldAgen

LAYERED = replace(CANVAS, backbone=replace(CANVAS.backbone, layers=4))  # the levels 0, 0, 1, 2
WEIGHTS = {"kitchen": (0.5, 0.1, 0.0), "garage": (0.2, 0.7, 0.4), "base": (0.3, 0.2, 0.6)}


def random_factors(
    network: WorldAgen, name: str, rank: int = 4, seed: int = 0, only: str = "", base: str = "", size: float = 0.5
) -> LoraFactors:
    """Of all projections, or of those that have `only` in their names. base: digest, "" for the network's own."""
    random = torch.Generator().manual_seed(seed)
    pairs = {
        place: (
            torch.randn(rank, inputs, generator=random) / inputs**0.5,
            size * torch.randn(outputs, rank, generator=random) / rank**0.5,
        )
        for place, (outputs, inputs) in projection_widths(network.config, weights_of(network)).items()
        if only in place
    }
    return LoraFactors(name, base or digest_of(weights_of(network)), rank, 0.5 + 0.25 * seed, pairs)


def two_adapters(network: WorldAgen) -> dict[str, LoraFactors]:
    """Of different ranks, scales and targets."""
    return {
        "kitchen": random_factors(network, "kitchen", rank=4, seed=1),
        "garage": random_factors(network, "garage", rank=2, seed=2, only="proj"),
    }


@contextmanager
def applied_separately(
    network: WorldAgen, factors: Mapping[str, LoraFactors], weights: Mapping[str, Sequence[float]]
) -> Iterator[None]:
    """Every adapter by itself beside every projection of a Qwen3 network, as it is told: w (alpha / r) B (A x) is added."""
    levels = level_of_layer(network.config.backbone.layers)

    def add(shares: Sequence[float], scale: float, a: torch.Tensor, b: torch.Tensor, level: int, module, inputs, output):
        (x,) = inputs
        return output + shares[level] * scale * (x @ a.to(x.dtype).T) @ b.to(x.dtype).T

    hooks = []
    for name, one in factors.items():
        for place, (a, b) in one.pairs.items():
            level = levels[int(place.split(".")[3])]
            module = network.get_submodule(place.removesuffix(".weight"))
            hooks.append(module.register_forward_hook(partial(add, weights[name], one.scale, a, b, level)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
