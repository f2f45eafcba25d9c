"""Which weights of a network make its encoder, and their digest: what an exported encoder belongs to."""

import hashlib
from dataclasses import asdict
from typing import Any

import torch

from worldagen.adaptation.adapter import digest_of
from worldagen.network.config import NetworkConfig
from worldagen.network.worldagen import WorldAgen

PARTS = ("vision.", "resampler.", "latent_projectors.", "cls_projectors.")
VIT_DEPTHS = (1 / 3, 2 / 3, 1.0)  # early, middle, last: shares of the blocks after which patch tokens are pooled


def encoder_digest(network: WorldAgen) -> str:
    """Of the encoder's weights and shape, as 64 hexadecimal digits. Networks that differ elsewhere share their encoder."""
    weights = {name: value.data for name, value in network.named_parameters() if name.startswith(PARTS)}
    shape = repr((asdict(network.config.vision), asdict(network.config.resampler), network.config.hidden))
    return hashlib.sha256((shape + digest_of(weights)).encode()).hexdigest()


def picture_sides(config: NetworkConfig) -> tuple[int, int]:
    """Sides of the square static and wrist pictures, pixels."""
    return config.vision.static_size, config.vision.wrist_size


def pooled_modules(network: WorldAgen) -> dict[str, torch.nn.Module]:
    """Name of each pooled output -> the module of the vision encoder whose output it is the mean of, shallow to deep.

    For a ViT three blocks (of 12: the 4th, 8th and 12th), for the convolutions their middle and their deep stage.
    """
    encoder: Any = network.vision
    if network.config.vision.kind == "convolution":
        return {"pooled_middle": encoder.middle, "pooled_deep": encoder.deep}
    blocks = encoder.model.blocks
    places = [max(1, round(share * len(blocks))) for share in VIT_DEPTHS]
    return {f"pooled_block_{place}": blocks[place - 1] for place in dict.fromkeys(places)}
