"""WorldAgen: a window of units in, predicted actions, pictures and states out.

The encoders make tokens of each input alone, the backbone lets tokens read each other by the mask, the heads read the
prediction tokens. `forward` is the plain computation on whole windows, as in training; the inference session calls the same
steps one by one and leaves out what is not read.

Legend: B windows, K units, n frames and m action rows per unit, s prediction steps per row, D token width, T text width,
P patches of a picture, C numbers of a patch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from worldagen.errors import BadObservation
from worldagen.network.backbone import Memory, build_backbone
from worldagen.network.config import VIEWS, NetworkConfig
from worldagen.network.heads import ArmAndGripperHead, ImageHead, cut_patches
from worldagen.network.layout import PREDICTION_GROUPS, Group, Layout
from worldagen.network.masks import build_mask
from worldagen.network.proprioception import PoseAndGripperEncoder
from worldagen.network.resampler import Resampler
from worldagen.network.text import build_text
from worldagen.network.vision import build_vision


@dataclass(frozen=True, eq=False)
class Windows:
    """A batch of whole windows in the checkpoint's own numbers.

    static, wrist: (B, K n, 3, H, H) normalised pictures. states: (B, K n, 7). actions: (B, K m, 7).
    text: (B, T) features of each window's instruction, from WorldAgen.text.
    """

    static: torch.Tensor
    wrist: torch.Tensor
    states: torch.Tensor
    actions: torch.Tensor
    text: torch.Tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the network expects of every unit of a batch of windows.

    arm: (B, K, m s, 6) in (-1, 1). gripper_logit: (B, K, m s); its sigmoid is the chance of class 1.
    images: (B, K, n, 2, P, C) normalised pixels, static view first, or None without image prediction.
    arm_state, gripper_state_logit: (B, K, n, 6), (B, K, n), or None without state prediction.
    """

    arm: torch.Tensor
    gripper_logit: torch.Tensor
    images: torch.Tensor | None
    arm_state: torch.Tensor | None
    gripper_state_logit: torch.Tensor | None


class WindowMemory:
    """Tokens of one window that the backbone has seen: their window indices (S,), their keys and values."""

    def __init__(self) -> None:
        self.indices = torch.empty(0, dtype=torch.long)
        self.cache = Memory()


class Stored(NamedTuple):
    """What the weights of a network were before it was cast. Adapters are made for these.

    digest: adaptation.adapter.digest_of; weights: by name, with shapes and types only (device meta).
    """

    digest: str
    weights: Mapping[str, torch.Tensor]


class WorldAgen(nn.Module):
    """The network of one configuration, with fresh random weights from torch's global generator.

    stored: where it was cast to run in another type, what it was; None where it is as it was stored.
    """

    mask: torch.Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.stored: Stored | None = None
        self.layout = Layout.of(config)
        hidden, width = config.hidden, config.vision.width
        self.text = build_text(config.text)
        self.vision = build_vision(config.vision)
        self.resampler = Resampler(config.resampler, width)
        self.text_projector = nn.Linear(config.text.width, hidden)
        self.state_encoder = PoseAndGripperEncoder(hidden)
        self.action_encoder = PoseAndGripperEncoder(hidden)
        self.latent_projectors = nn.ModuleDict({view: nn.Linear(width, hidden) for view in VIEWS})
        self.cls_projectors = nn.ModuleDict({view: nn.Linear(width, hidden) for view in VIEWS})
        self.position = nn.Parameter(torch.empty(hidden))  # one vector for every token of every unit
        self.input_norm = nn.LayerNorm(hidden)
        self.backbone = build_backbone(config.backbone, hidden)
        self.action_tokens = nn.Parameter(
            torch.empty(config.action_steps * (1 if config.shared_action_token else config.rows), hidden)
        )
        self.action_head = ArmAndGripperHead(hidden)
        self.state_head = ArmAndGripperHead(hidden)  # as published, there even when states are not predicted
        if config.state_prediction:
            self.state_token = nn.Parameter(torch.empty(hidden))
        if config.image_prediction:
            self.image_tokens = nn.Parameter(torch.empty(len(VIEWS) * config.image_head.tokens, hidden))
            self.image_head = ImageHead(config.image_head, hidden)
        self.register_buffer("mask", torch.from_numpy(build_mask(self.layout, config.goal_attention)), persistent=False)
        self._initialise()

    def forward(self, windows: Windows) -> Predictions:
        """The whole network on whole windows, every token computed."""
        context = self.encode(windows)
        units = (self.config.units, self.config.frames)
        return self.predict_from(context, self.canvas(windows.static.unflatten(1, units), windows.wrist.unflatten(1, units)))

    def encode(self, windows: Windows) -> dict[Group, torch.Tensor]:
        """Tokens of the context groups, before the position vector: group -> (B, K, count, D). Raises BadObservation."""
        _check_shapes(self.config, windows)
        summaries = self.summarise(windows.static.flatten(0, 1), windows.wrist.flatten(0, 1))
        return self.encode_summaries(summaries, windows.states, windows.actions, windows.text)

    def encode_summaries(
        self, summaries: torch.Tensor, states: torch.Tensor, actions: torch.Tensor, text: torch.Tensor
    ) -> dict[Group, torch.Tensor]:
        """As `encode`, from (B K n, 2 q + 2, V) summaries of the frames; the others as in Windows."""
        units, batch = self.config.units, len(states)
        latents, cls = self.project(summaries)
        return {
            Group.TEXT: self.text_projector(text)[:, None, None].expand(-1, units, -1, -1),
            Group.STATE: self.state_encoder(states).unflatten(1, (units, -1)),
            Group.ACTION: self.action_encoder(actions).unflatten(1, (units, -1)),
            Group.LATENT: latents.reshape(batch, units, -1, self.config.hidden),
            Group.CLS: cls.reshape(batch, units, -1, self.config.hidden),
        }

    def predict_from(self, context: Mapping[Group, torch.Tensor], canvas: torch.Tensor | None = None) -> Predictions:
        """Predictions from the context tokens of `encode`, for callers that keep encoded frames; canvas of (B, K, n) frames."""
        batch = len(context[Group.TEXT])
        prompts = {group: tokens.expand(batch, self.config.units, -1, -1) for group, tokens in self.prediction_tokens().items()}
        tokens = torch.cat([{**context, **prompts}[group] for group in Group], dim=2).flatten(1, 2)  # (B, L, D)
        positions = torch.arange(self.layout.length, device=tokens.device)
        hidden = self.backbone(self.settle(tokens), self.mask, positions).unflatten(1, (self.config.units, -1))
        return self._read(hidden, canvas)

    def encode_text(self, instructions: Sequence[str]) -> torch.Tensor:
        """B instructions -> (B, D) tokens."""
        return self.text_projector(self.text(instructions))

    def encode_frames(self, static: torch.Tensor, wrist: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """B pictures of each view, (B, 3, H, H) -> latents (B, 2 q, D) and cls (B, 2, D), static view first."""
        return self.project(self.summarise(static, wrist))

    def summarise(self, static: torch.Tensor, wrist: torch.Tensor) -> torch.Tensor:
        """B pictures of each view -> (B, 2 q + 2, V): latents of both views, then their cls tokens, at the encoder's width.

        All that the network knows of a frame; it can be kept while the encoder and the resampler do not change.
        """
        views = self._see(static, wrist)
        return torch.cat([*(self.resampler(patches) for patches, _ in views), *(cls[:, None] for _, cls in views)], dim=1)

    def project(self, summary: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 2 q + 2, V) -> latents (B, 2 q, D) and cls (B, 2, D)."""
        count = len(VIEWS)
        latents = summary[:, :-count].chunk(count, dim=1)
        return (
            torch.cat([self.latent_projectors[view](part) for view, part in zip(VIEWS, latents, strict=True)], dim=1),
            torch.stack([self.cls_projectors[view](summary[:, place - count]) for place, view in enumerate(VIEWS)], dim=1),
        )

    def prediction_tokens(self) -> dict[Group, torch.Tensor]:
        """The learned tokens of one unit, before the position vector: group -> (count, D)."""
        config = self.config
        empty = self.position.new_empty(0, config.hidden)
        return {
            Group.IMAGE_PREDICTION: self.image_tokens.repeat(config.frames, 1) if config.image_prediction else empty,
            Group.STATE_PREDICTION: self.state_token.expand(config.frames, -1) if config.state_prediction else empty,
            Group.ACTION_PREDICTION: self.action_tokens.repeat(config.rows if config.shared_action_token else 1, 1),
        }

    def settle(self, tokens: torch.Tensor) -> torch.Tensor:
        """The last step before the backbone, the same for every token: add the position vector, normalise."""
        return self.input_norm(tokens + self.position)

    def memory(self) -> "WindowMemory":
        """Of a window of which nothing has been seen."""
        return WindowMemory()

    def attend(
        self,
        tokens: torch.Tensor,
        indices: torch.Tensor | np.ndarray,
        memory: "WindowMemory | None" = None,
    ) -> torch.Tensor:
        """Run the backbone on some settled tokens of the window, the others left out: (B, T, D) -> (B, T, D).

        indices: (T,) window indices of the tokens. memory: tokens of earlier calls, read as well; these are added to it.
        """
        places = torch.as_tensor(indices, device=self.mask.device)
        if memory is None:
            return self.backbone(tokens, self.mask[places][:, places], places)
        memory.indices = torch.cat([memory.indices.to(places), places])
        return self.backbone(tokens, self.mask[places][:, memory.indices], places, memory.cache)

    def _see(self, static: torch.Tensor, wrist: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Patch tokens and cls of both views; one batch where the views have the same size.

        The vision encoder may be of a smaller type than the rest, as in the published evaluation (bfloat16).
        """
        own, rest = next(self.vision.parameters()).dtype, self.position.dtype
        static, wrist = static.to(own), wrist.to(own)
        with torch.set_grad_enabled(self.config.vision.trained and torch.is_grad_enabled()):
            if static.shape != wrist.shape:
                views = [self.vision(static), self.vision(wrist)]
            else:
                patches, cls = self.vision(torch.cat([static, wrist]))
                views = list(zip(patches.chunk(2), cls.chunk(2), strict=True))
            return [(patches.to(rest), cls.to(rest)) for patches, cls in views]

    def _read(self, hidden: torch.Tensor, canvas: torch.Tensor | None) -> Predictions:
        """(B, K, unit length, D) backbone outputs -> predictions."""
        spans = {group: hidden[:, :, self.layout.span(group)] for group in PREDICTION_GROUPS}
        arm, gripper_logit = self.action_head(spans[Group.ACTION_PREDICTION])
        images = arm_state = gripper_state_logit = None
        if self.config.image_prediction:
            images = self.paint(spans[Group.IMAGE_PREDICTION], canvas)
        if self.config.state_prediction:
            arm_state, gripper_state_logit = self.state_head(spans[Group.STATE_PREDICTION])
        return Predictions(arm, gripper_logit, images, arm_state, gripper_state_logit)

    def paint(self, hidden: torch.Tensor, canvas: torch.Tensor | None) -> torch.Tensor:
        """(..., n 2 tokens, D) outputs of image-prediction tokens, and `canvas` of their frames -> (..., n, 2, P, C)."""
        return self.image_head(hidden.unflatten(-2, (self.config.frames, len(VIEWS), -1)), canvas)

    def canvas(self, static: torch.Tensor, wrist: torch.Tensor) -> torch.Tensor | None:
        """What pictures are painted on: frames seen last, (..., 3, H, H) each -> (..., 2, P, C); None where it is blank.

        Shrunk in single precision at least: no CPU does it in less.
        """
        head = self.config.image_head
        if not self.config.image_prediction or head.canvas == "blank":
            return None
        wide = torch.promote_types(self.position.dtype, torch.float32)
        views = [
            cut_patches(
                F.interpolate(view.to(wide).flatten(0, -4), size=head.size, mode="bilinear", antialias=True), head.patch
            ).unflatten(0, view.shape[:-3])
            for view in (static, wrist)
        ]
        return torch.stack(views, dim=-3).to(self.position.dtype)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Linear layers Xavier-uniform without bias, LayerNorms plain, learned vectors as published."""
        for name, module in self.named_modules():
            if name.startswith("text."):
                continue
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.position, std=0.02)
        nn.init.zeros_(self.action_tokens)
        if not self.config.shared_action_token:
            nn.init.normal_(self.action_tokens, std=0.02)
        if self.config.state_prediction:
            nn.init.zeros_(self.state_token)
        if self.config.image_prediction:
            nn.init.zeros_(self.image_tokens)
            nn.init.normal_(self.image_head.mask_token, std=0.02)
            if self.config.image_head.canvas == "last":
                nn.init.zeros_(self.image_head.paint.weight)  # training begins with a copy


def _check_shapes(config: NetworkConfig, windows: Windows) -> None:
    """Refuse windows that are not of this network, saying every shape that was found and expected."""
    batch, frames, rows = len(windows.text), config.units * config.frames, config.units * config.rows
    static, wrist = config.vision.static_size, config.vision.wrist_size
    expected = {
        "static": (batch, frames, 3, static, static),
        "wrist": (batch, frames, 3, wrist, wrist),
        "states": (batch, frames, 7),
        "actions": (batch, rows, 7),
        "text": (batch, config.text.width),
    }
    found = {name: tuple(getattr(windows, name).shape) for name in expected}
    wrong = [f"{name}: found {found[name]}, expected {expected[name]}" for name in expected if found[name] != expected[name]]
    if wrong:
        raise BadObservation("these windows are not of this network:\n  " + "\n  ".join(wrong))
