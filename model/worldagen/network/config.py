"""What a WorldAgen network is made of: every number that changes the computation, and the presets. Imports no torch.

Legend: K units in the window, n frames and m action rows in a unit, D width of a backbone token.
Source of the presets: the authors' CALVIN and LIBERO scripts; `playtable` is ours, sized to train on a CPU.
"""

from dataclasses import dataclass, replace
from typing import Literal

from worldagen.config import setting
from worldagen.errors import ConfigError, UnknownName

VIEWS = ("static", "wrist")


@dataclass(frozen=True)
class VisionConfig:
    """The encoder of one picture.

    kind: "vit" is a ViT-B/16 (timm), "convolution" is our small convolutional encoder with a spatial softmax.
    width: length of a patch token and of the cls token.
    static_size, wrist_size: side of the square input in pixels.
    trained: whether its weights receive gradients; a frozen encoder always runs without a graph.
    """

    kind: Literal["vit", "convolution"] = setting("vit", "encoder of pictures", choices=("vit", "convolution"))
    width: int = 768
    static_size: int = 224
    wrist_size: int = 224
    trained: bool = False


@dataclass(frozen=True)
class TextConfig:
    """The encoder of an instruction. kind: "clip" is the ViT-B/32 text tower, "hashed" needs no weights (see text.py)."""

    kind: Literal["clip", "hashed"] = setting("clip", "encoder of instructions", choices=("clip", "hashed"))
    width: int = 512


@dataclass(frozen=True)
class ResamplerConfig:
    """The module that reads one picture's patch tokens into a few latents, shared by both views."""

    queries: int = 6
    layers: int = 3
    heads: int = 8
    head_width: int = 64


@dataclass(frozen=True)
class BackboneConfig:
    """The transformer over all tokens of the window.

    head_width: width of one Qwen3 attention head; not D / heads (the published network uses 128 where D / heads is 32).
        GPT-2 always uses D / heads.
    dropout: GPT-2 only, in training mode.
    """

    kind: Literal["qwen3", "gpt2"] = setting("qwen3", "transformer", choices=("qwen3", "gpt2"))
    layers: int = 24
    heads: int = 12
    head_width: int = 128
    rope_base: float = 10_000.0
    dropout: float = 0.1


@dataclass(frozen=True)
class ImageHeadConfig:
    """The head that paints the next picture of one view from `tokens` observation-prediction tokens.

    size, patch: side of the painted picture and of one patch, pixels.
    canvas: what it paints on. "blank": one learned token for every patch, as published. "last": the patches of the picture
        that was seen last; what is painted is added to them. A few tokens can tell how a picture changes long before they
        can carry all of it.
    """

    tokens: int = 9
    blocks: int = 2
    heads: int = 16
    size: int = 224
    patch: int = 16
    canvas: Literal["blank", "last"] = setting("blank", "what pictures are painted on", choices=("blank", "last"))


@dataclass(frozen=True)
class NetworkConfig:
    """The whole network.

    hidden: D. units: K. frames: n, per unit and view. rows: m, action rows per unit.
    action_steps: predictions per action row; the session executes the first of each row.
    image_prediction, state_prediction: whether the unit has tokens that predict the next pictures, the next states.
    goal_attention: the published "atten_goal" switch: predictions of observations see their own unit only, and action
        predictions no longer see the text.
    shared_action_token: one learned vector for all m rows (published) instead of one per row.
    """

    hidden: int = 384
    units: int = 3
    frames: int = 1
    rows: int = 5
    action_steps: int = 1
    image_prediction: bool = True
    state_prediction: bool = False
    goal_attention: bool = False
    shared_action_token: bool = True
    backbone: BackboneConfig = BackboneConfig()
    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    resampler: ResamplerConfig = ResamplerConfig()
    image_head: ImageHeadConfig = ImageHeadConfig()

    def __post_init__(self) -> None:
        for name in ("hidden", "units", "frames", "rows", "action_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"network {name} is {getattr(self, name)}; expected at least 1")
        if self.hidden % 4:
            raise ConfigError(f"network hidden is {self.hidden}; the position table needs a multiple of 4")
        if self.hidden % self.image_head.heads:
            raise ConfigError(
                f"network hidden {self.hidden} cannot be shared out over {self.image_head.heads} image-head heads"
            )
        if self.backbone.kind == "gpt2" and self.hidden % self.backbone.heads:
            raise ConfigError(f"network hidden {self.hidden} cannot be shared out over {self.backbone.heads} GPT-2 heads")
        if round(self.image_head.tokens**0.5) ** 2 != self.image_head.tokens:
            raise ConfigError(f"image head tokens is {self.image_head.tokens}; expected a square such as 9")
        if self.image_head.size % self.image_head.patch:
            raise ConfigError(
                f"pictures of {self.image_head.size} pixels cannot be cut into patches of {self.image_head.patch}"
            )

    @property
    def window_frames(self) -> int:
        """W, the frames a training window spans: n + K m."""
        return self.frames + self.units * self.rows


_CALVIN = NetworkConfig()

PRESETS = {
    "calvin": _CALVIN,
    "libero": replace(_CALVIN, units=2, rows=3),
    "playtable": NetworkConfig(
        hidden=128,
        shared_action_token=False,
        backbone=BackboneConfig(layers=4, heads=4, head_width=32),
        vision=VisionConfig("convolution", width=128, static_size=96, wrist_size=64, trained=True),
        text=TextConfig("hashed", width=512),
        resampler=ResamplerConfig(layers=2, heads=4, head_width=32),
        image_head=ImageHeadConfig(heads=4, size=64, patch=8, canvas="last"),
    ),
}


def find_preset(name: str) -> NetworkConfig:
    """The preset of that name; raises UnknownName with the list of those that exist."""
    if name not in PRESETS:
        raise UnknownName("network preset", name, PRESETS)
    return PRESETS[name]
