"""The perceiver resampler: many patch tokens of one picture in, a few latents out. One instance serves both views.

No position is added here, so the result does not depend on the order of the patches.
Legend: B pictures, P patches, q latents, V width of a patch token and of a latent.
"""

import torch
from torch import nn
from torch.nn import functional as F

from worldagen.network.config import ResamplerConfig


class Resampler(nn.Module):
    """(B, P, V) -> (B, q, V)."""

    def __init__(self, config: ResamplerConfig, width: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(config.queries, width))
        self.layers = nn.ModuleList(ResamplerLayer(config, width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        latents = self.latents.expand(len(patches), -1, -1)
        for layer in self.layers:
            latents = layer(patches, latents)
        return self.norm(latents)


class ResamplerLayer(nn.Module):
    """Latents read the patches and themselves, then pass through a feed-forward; both with a residual."""

    def __init__(self, config: ResamplerConfig, width: int) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.norm_patches = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
        )

    def forward(self, patches: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        latents = latents + self._attend(self.norm_patches(patches), self.norm_latents(latents))
        return latents + self.feed_forward(latents)

    def _attend(self, patches: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        read = torch.cat([patches, latents], dim=1)  # (B, P + q, V)
        key, value = self.key_value(read).chunk(2, dim=-1)
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.query(latents), key, value))
        attended = F.scaled_dot_product_attention(query, key, value)  # scale 1 / sqrt(head width)
        return self.out(attended.transpose(1, 2).flatten(2))
