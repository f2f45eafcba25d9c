"""Text encoders behind one small protocol: instructions in, one feature vector each out. Always frozen.

Legend: B instructions, T feature width.
"""

import hashlib
import logging
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import nn

from worldagen.network.config import TextConfig

CLIP_CONTEXT = 77  # tokens, start and end included
logger = logging.getLogger(__name__)


class TextEncoder(Protocol):
    """B instructions -> (B, T)."""

    def __call__(self, instructions: Sequence[str]) -> torch.Tensor: ...


def build_text(config: TextConfig) -> nn.Module:
    """The TextEncoder of that kind."""
    return {"clip": ClipTextEncoder, "hashed": HashedTextEncoder}[config.kind](config).requires_grad_(False)


class ClipTextEncoder(nn.Module):
    """The text tower of CLIP ViT-B/32: the feature at the end-of-text token, projected, not normalised."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        # open_clip reads its vocabulary on import; networks with other text encoders need not wait for that
        from open_clip.tokenizer import SimpleTokenizer
        from open_clip.transformer import QuickGELU, TextTransformer

        self.tokenizer = SimpleTokenizer(context_length=CLIP_CONTEXT)
        width = config.width
        self.tower = TextTransformer(CLIP_CONTEXT, width=width, heads=width // 64, output_dim=width, act_layer=QuickGELU)

    def forward(self, instructions: Sequence[str]) -> torch.Tensor:
        for instruction in instructions:
            self._warn_if_cut(instruction)
        tokens = self.tokenizer(list(instructions)).to(self.tower.positional_embedding.device)
        with torch.no_grad():
            return self.tower(tokens)

    def _warn_if_cut(self, instruction: str) -> None:
        tokens = self.tokenizer.encode(instruction)
        room = CLIP_CONTEXT - 2
        if len(tokens) > room:
            lost = self.tokenizer.decode(tokens[room:]).strip()
            logger.warning("instruction of %d tokens is longer than %d; this part is not read: %r", len(tokens), room, lost)


class HashedTextEncoder(nn.Module):
    """Words and pairs of words, each hashed to a vector of signs, summed. Needs no weights and never changes.

    The signs of a word are the bits of its BLAKE2b digests, so they are the same on every machine and in every version;
    instructions that share words have similar features. Feature = sum of the sign vectors / sqrt(how many).
    """

    _place: torch.Tensor

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.width = config.width
        # Follows the module from device to device and from type to type; holds nothing.
        self.register_buffer("_place", torch.zeros(0), persistent=False)

    def forward(self, instructions: Sequence[str]) -> torch.Tensor:
        return torch.stack([self._feature(instruction) for instruction in instructions]).to(self._place)

    def _feature(self, instruction: str) -> torch.Tensor:
        words = re.findall(r"\w+", instruction.lower())
        grams = [*words, *(f"{first} {second}" for first, second in pairwise(words))] or [""]
        return torch.tensor([_signs(gram, self.width) for gram in grams]).sum(dim=0) / len(grams) ** 0.5


def _signs(gram: str, width: int) -> list[float]:
    """`width` numbers, each -1 or +1, that depend on nothing but the gram."""
    digests = b"".join(
        hashlib.blake2b(gram.encode(), salt=block.to_bytes(16, "little")).digest() for block in range(-(-width // 512))
    )
    bits = int.from_bytes(digests, "little")
    return [1.0 if bits >> place & 1 else -1.0 for place in range(width)]
