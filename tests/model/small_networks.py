"""Small networks and random observations that the model tests share."""

import numpy as np
import torch

from worldagen.network.config import BackboneConfig, ImageHeadConfig, NetworkConfig, ResamplerConfig, TextConfig, VisionConfig
from worldagen.network.worldagen import WorldAgen
from worldagen.types import Observation

TINY = NetworkConfig(
    hidden=32,
    units=3,
    frames=1,
    rows=5,
    backbone=BackboneConfig(layers=2, heads=2, head_width=32),
    vision=VisionConfig("convolution", width=32, static_size=32, wrist_size=16),
    text=TextConfig("hashed", width=64),
    resampler=ResamplerConfig(queries=6, layers=1, heads=2, head_width=16),
    image_head=ImageHeadConfig(tokens=9, blocks=1, heads=4, size=16, patch=4),
)


def build(config: NetworkConfig, seed: int = 0) -> WorldAgen:
    """A network whose learned tokens, and painted changes, are random too, so that nothing is alike by accident."""
    torch.manual_seed(seed)
    network = WorldAgen(config).eval()
    with torch.no_grad():
        for name in ("action_tokens", "image_tokens", "state_token"):
            if hasattr(network, name):
                getattr(network, name).normal_()
        if config.image_prediction and config.image_head.canvas == "last":
            network.image_head.paint.weight.normal_(std=0.1)
    return network


def random_observations(count: int, seed: int = 0, size: int = 24) -> list[Observation]:
    """Pictures of noise and states near a gripper that points down; each differs from the last."""
    rng = np.random.default_rng(seed)
    return [
        Observation(
            stamp_ns=1_000_000 * step,
            static_image=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
            wrist_image=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
            state=np.array([*rng.normal(0, 0.3, 3), *rng.normal(0, 0.5, 3), float(rng.integers(0, 2))]),
        )
        for step in range(count)
    ]
