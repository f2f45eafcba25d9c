"""Vision encoders behind one small protocol: a batch of pictures in, patch tokens and one cls token each out.

Legend: B pictures of H x H pixels, P patches, V token width.
"""

from typing import Any, Protocol

import timm
import torch
from torch import nn

from worldagen.network.config import VisionConfig
from worldagen.network.positions import grid_positions


class VisionEncoder(Protocol):
    """(B, 3, H, H) normalised pictures -> patch tokens (B, P, V) and cls tokens (B, V). Pictures never see each other."""

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...


def build_vision(config: VisionConfig) -> nn.Module:
    """The VisionEncoder of that kind, with fresh weights; frozen unless config.trained."""
    encoder = {"vit": VitEncoder, "convolution": ConvolutionEncoder}[config.kind](config)
    return encoder.requires_grad_(config.trained)


class VitEncoder(nn.Module):
    """The encoder half of an MAE ViT-B/16: final LayerNorm applied, patches in raster order, no random shuffle."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        size = config.static_size
        self.model: Any = timm.create_model(
            "vit_base_patch16_224", pretrained=False, img_size=size, num_classes=0, global_pool="", embed_dim=config.width
        )
        side = size // 16
        table = torch.cat([torch.zeros(1, config.width), grid_positions(side, side, config.width)])  # the cls row is zero
        self.model.pos_embed = nn.Parameter(table[None], requires_grad=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.model.forward_features(images)
        return tokens[:, 1:], tokens[:, 0]


class ConvolutionEncoder(nn.Module):
    """Four convolutions; their grid, with positions added, is the patches; a spatial softmax at two scales is the cls token.

    The spatial softmax turns heat maps into the expected x and y of what they found, so that places reach the policy by a
    short path. That path decides how fast a small network trains: an attention-pooled encoder spends the same budget
    learning where to look.
    """

    MAPS = 32  # heat maps per scale

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.width
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 5, stride=2, padding=2), nn.ReLU())
        self.middle = _convolution(32, 64, stride=2)
        self.deep = nn.Sequential(_convolution(64, width, stride=2), _convolution(width, width, stride=1))
        self.fine_maps = nn.Conv2d(64, self.MAPS, 1)
        self.coarse_maps = nn.Conv2d(width, self.MAPS, 1)
        self.cls = nn.Linear(4 * self.MAPS, width)
        for size in {config.static_size, config.wrist_size}:
            side = size // 8
            self.register_buffer(f"positions_{side}", grid_positions(side, side, width), persistent=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        quarter = self.middle(self.stem(images))  # (B, 64, H / 4, H / 4)
        eighth = self.deep(quarter)  # (B, V, H / 8, H / 8)
        places = torch.cat([_expected_place(self.fine_maps(quarter)), _expected_place(self.coarse_maps(eighth))], dim=1)
        patches = eighth.flatten(2).transpose(1, 2) + getattr(self, f"positions_{eighth.shape[-1]}")
        return patches, self.cls(places)


def _convolution(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1), nn.GroupNorm(8, channels_out), nn.ReLU()
    )


def _expected_place(heat: torch.Tensor) -> torch.Tensor:
    """(B, maps, H, W) heat -> (B, 2 * maps): expected x then y of every map, both from -1 to 1."""
    _, _, height, width = heat.shape
    chance = heat.flatten(2).softmax(dim=-1).unflatten(-1, (height, width))
    x = torch.linspace(-1, 1, width, device=heat.device, dtype=heat.dtype)
    y = torch.linspace(-1, 1, height, device=heat.device, dtype=heat.dtype)
    return torch.cat([(chance.sum(2) * x).sum(-1), (chance.sum(3) * y).sum(-1)], dim=1)
