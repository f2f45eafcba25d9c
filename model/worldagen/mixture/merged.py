"""A mixture folded into the weights: for backbones that LeanBackbone does not compute, and where it stays for long.

Always made anew from the base, never by adding and taking away: the base comes back as the very tensors it was.
"""

from collections.abc import Mapping

import torch

from worldagen.adaptation.adapter import Weights, with_delta
from worldagen.mixture.factors import LevelWeights, LoraFactors, level_of, projection_widths, require_fitting, settle_weights
from worldagen.network.config import NetworkConfig


def merge_mixture(
    config: NetworkConfig, base: Weights, factors: Mapping[str, LoraFactors], weights: LevelWeights
) -> dict[str, torch.Tensor]:
    """W + sum of w_j (alpha_j / r_j) B_j A_j, name -> weight, of the projections that anything is added to.

    base: the base's own weights by name, which are not changed; weights: of each adapter at each level. Raises BankError.
    """
    settled = settle_weights(factors, weights)
    require_fitting(factors, projection_widths(config, base))
    merged = {}
    for place in dict.fromkeys(place for name in settled for place in factors[name].pairs):
        level = level_of(place, config.backbone.layers)
        parts = [
            (shares[level] * factors[name].scale, *factors[name].pairs[place])
            for name, shares in settled.items()
            if shares[level] and place in factors[name].pairs
        ]
        if parts:
            left = torch.cat([gain * b for gain, _, b in parts], dim=1)
            delta = left @ torch.cat([a for _, a, _ in parts])
            merged[place] = with_delta(config, base[place], delta).to(base[place].device)
    return merged
