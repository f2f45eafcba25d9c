"""What reads the backbone's output: action, state and image heads.

Legend: D token width, P patches of a painted picture, C numbers of a patch (patch x patch x 3, row, column, channel).
"""

import torch
from timm.models.vision_transformer import Block
from torch import nn

from worldagen.network.config import ImageHeadConfig
from worldagen.network.positions import grid_positions


class ArmAndGripperHead(nn.Module):
    """(..., D) -> arm (..., 6) in (-1, 1) and gripper logit (...). Actions and states have one each."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        half = hidden // 2
        self.trunk = nn.Sequential(nn.Linear(hidden, half), nn.ReLU(), nn.Linear(half, half), nn.ReLU())
        self.arm = nn.Linear(half, 6)
        self.gripper = nn.Linear(half, 1)

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.trunk(hidden)
        return self.arm(features).tanh(), self.gripper(features).squeeze(-1)


class ImageHead(nn.Module):
    """(..., tokens, D) outputs of one view's image-prediction tokens -> (..., P, C) patches in normalised pixels.

    Each picture is painted alone: the tokens and one mask token per patch pass through a few ViT blocks. With the canvas
    "last", each mask token is joined by the patch (of (..., P, C)) that was seen there, and what comes out is the change.
    """

    positions: torch.Tensor

    def __init__(self, config: ImageHeadConfig, hidden: int) -> None:
        super().__init__()
        grid, side = round(config.tokens**0.5), config.size // config.patch
        self.config = config
        self.project = nn.Linear(hidden, hidden)
        self.mask_token = nn.Parameter(torch.empty(hidden))
        table = torch.cat([grid_positions(grid, grid, hidden), grid_positions(side, side, hidden)])
        self.register_buffer("positions", table, persistent=False)  # (tokens + P, D)
        # torch's LayerNorm (eps 1e-5), as published; timm's own default is 1e-6.
        blocks = [Block(hidden, config.heads, qkv_bias=True, norm_layer=nn.LayerNorm) for _ in range(config.blocks)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(hidden)
        self.paint = nn.Linear(hidden, config.patch**2 * 3)
        if config.canvas == "last":
            self.look = nn.Linear(config.patch**2 * 3, hidden)

    def forward(self, hidden: torch.Tensor, last: torch.Tensor | None = None) -> torch.Tensor:
        prompts = self.config.tokens
        tokens = self.project(hidden).reshape(-1, prompts, hidden.shape[-1])  # (pictures, tokens, D)
        canvas = self.mask_token.expand(len(tokens), len(self.positions) - prompts, -1)
        if self.config.canvas == "last":
            assert last is not None, "this head paints on the picture seen last; WorldAgen.canvas makes its patches"
            canvas = canvas + self.look(last).reshape(canvas.shape)
        painted = self.blocks(torch.cat([tokens, canvas], dim=1) + self.positions)[:, prompts:]
        patches = self.paint(self.norm(painted)).reshape(*hidden.shape[:-2], *painted.shape[1:-1], -1)
        return patches if last is None else last + patches


def join_patches(patches: torch.Tensor, patch: int) -> torch.Tensor:
    """(..., P, patch * patch * 3) in raster order -> (..., H, H, 3) pictures, channel last."""
    side = round(patches.shape[-2] ** 0.5)
    grid = patches.unflatten(-1, (patch, patch, 3)).unflatten(-4, (side, side))  # (..., row, column, y, x, 3)
    return grid.transpose(-4, -3).reshape(*patches.shape[:-2], side * patch, side * patch, 3)


def cut_patches(images: torch.Tensor, patch: int) -> torch.Tensor:
    """The inverse, from channel-first pictures: (..., 3, H, H) -> (..., P, patch * patch * 3)."""
    side = images.shape[-1] // patch
    grid = images.unflatten(-1, (side, patch)).unflatten(-3, (side, patch))  # (..., 3, row, y, column, x)
    return grid.movedim(-5, -1).transpose(-4, -3).flatten(-5, -4).flatten(-3)
