"""What the tests of engines share: small encoders of both kinds, pictures for them, and engines that misbehave."""

from dataclasses import replace

import torch
from small_networks import TINY

from worldagen.engines.encoder import Encoded
from worldagen.errors import EngineError
from worldagen.network.config import PRESETS, NetworkConfig, VisionConfig

# The encoder of `calvin` in small: a ViT of twelve blocks, both views of one size.
SMALL_VIT = replace(TINY, vision=VisionConfig("vit", width=96, static_size=32, wrist_size=32))
ENCODERS = {"playtable": PRESETS["playtable"], "small ViT": SMALL_VIT}


def pictures(config: NetworkConfig, count: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Static and wrist pictures of noise, (count, 3, H, H)."""
    generator, sizes = torch.Generator().manual_seed(seed), config.vision
    return (
        torch.randn(count, 3, sizes.static_size, sizes.static_size, generator=generator),
        torch.randn(count, 3, sizes.wrist_size, sizes.wrist_size, generator=generator),
    )


class ScaledEngine:
    """A network's encoder whose tokens are off by a factor."""

    def __init__(self, network, factor: float) -> None:
        self._network, self._factor, self.name = network, factor, f"times {factor:g}"

    def encode(self, static, wrist):
        latents, cls = self._network.encode_frames(static, wrist)
        return latents * self._factor, cls * self._factor

    def encode_all(self, static, wrist) -> Encoded:
        raise NotImplementedError


class FailingEngine:
    """Works a few times, then fails as an engine does."""

    name = "failing"

    def __init__(self, network, works: int) -> None:
        self._network, self.left, self.calls = network, works, 0

    def encode(self, static, wrist):
        self.calls += 1
        if self.left == 0:
            raise EngineError("failing: out of GPU memory")
        self.left -= 1
        return self._network.encode_frames(static, wrist)

    def encode_all(self, static, wrist) -> Encoded:
        raise NotImplementedError
