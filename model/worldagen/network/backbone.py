"""The transformer over the tokens of the window: Qwen3 or GPT-2 from transformers, with our mask as the only mask.

Tokens come in as embeddings with their own positions, so that dropping some renumbers nobody. The mask is handed over as a
4-D additive tensor: transformers returns such a mask untouched and adds no causal triangle of its own.

Legend: B windows, T tokens of this call, S tokens remembered from earlier calls, D token width.
"""

from typing import TypeAlias

import torch
from torch import nn
from transformers import DynamicCache, GPT2Config, GPT2Model, Qwen3Config, Qwen3Model

from worldagen.network.config import BackboneConfig

Memory: TypeAlias = DynamicCache  # keys and values of the tokens seen so far, one pair per layer


class Backbone(nn.Module):
    """One transformer. `model` is the transformers module itself, so that peft finds the layers it knows."""

    model: nn.Module

    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, memory: Memory | None = None
    ) -> torch.Tensor:
        """(B, T, D) -> (B, T, D).

        mask: (T, S + T) bool, True where the row may attend; every row needs at least one. positions: (T,) window indices.
        memory: when given, its S tokens are read as well, and these T tokens are appended to it.
        """
        blocked = torch.zeros(mask.shape, dtype=tokens.dtype, device=tokens.device).masked_fill(~mask, float("-inf"))
        return self.model(
            inputs_embeds=tokens,
            attention_mask=blocked.expand(len(tokens), 1, *mask.shape),
            position_ids=self._rotary_positions(positions)[None],
            past_key_values=memory,
            use_cache=memory is not None,
        ).last_hidden_state

    def _rotary_positions(self, positions: torch.Tensor) -> torch.Tensor:
        return positions


class Qwen3Backbone(Backbone):
    """Qwen3 layers: RMSNorm, rotary positions over whole heads, SwiGLU, no biases. The one-row embedding is never read."""

    def __init__(self, config: BackboneConfig, hidden: int) -> None:
        super().__init__()
        self.model = Qwen3Model(
            Qwen3Config(
                vocab_size=1,
                hidden_size=hidden,
                intermediate_size=4 * hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.heads,
                head_dim=config.head_width,
                rms_norm_eps=1e-6,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
                attention_dropout=0.0,
                attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
            )
        )


class Gpt2Backbone(Backbone):
    """GPT-2 blocks without token or position embeddings: nothing tells one place in the window from another but the mask."""

    def __init__(self, config: BackboneConfig, hidden: int) -> None:
        super().__init__()
        self.model = GPT2Model(
            GPT2Config(
                vocab_size=1,
                bos_token_id=0,
                eos_token_id=0,
                n_positions=1,
                n_embd=hidden,
                n_layer=config.layers,
                n_head=config.heads,
                resid_pdrop=config.dropout,
                embd_pdrop=config.dropout,
                attn_pdrop=config.dropout,
                attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
            )
        )
        self.model.wte, self.model.wpe = nn.Identity(), NoPosition()  # pyright: ignore[reportAttributeAccessIssue]

    def _rotary_positions(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(positions)


class NoPosition(nn.Module):
    """Stands where GPT-2 looks up a learned position: adds nothing."""

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.zeros((*positions.shape, 1), device=positions.device)


def build_backbone(config: BackboneConfig, hidden: int) -> Backbone:
    """The backbone of that kind, with fresh weights."""
    return {"qwen3": Qwen3Backbone, "gpt2": Gpt2Backbone}[config.kind](config, hidden)
