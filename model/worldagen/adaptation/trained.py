"""What an adaptation trains: LoRA on projections of the backbone, through peft, or all weights of a part."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from worldagen.adaptation.recipe import TrainedSection, chosen_layers, chosen_projections
from worldagen.errors import AdaptationError
from worldagen.network.config import BackboneConfig
from worldagen.network.worldagen import WorldAgen

if TYPE_CHECKING:
    from peft import LoraConfig

# Our names of the projections -> those inside the backbone's layers, as regular expressions.
QWEN3 = {
    **{name: rf"self_attn\.{name}_proj" for name in ("q", "k", "v", "o")},
    **{name: rf"mlp\.{name}_proj" for name in ("gate", "up", "down")},
}
GPT2 = {"q": r"attn\.c_attn", "k": r"attn\.c_attn", "v": r"attn\.c_attn", "o": r"attn\.c_proj"} | {
    "gate": r"mlp\.c_fc", "up": r"mlp\.c_fc", "down": r"mlp\.c_proj",
}  # fmt: skip
LORA_PREFIX = "base_model.model."  # how peft begins the names of an adapter's tensors
LAYERS = {"qwen3": "layers", "gpt2": "h"}
PARTS = {  # prefixes of the weights that are trained whole; the encoders are frozen in all of them
    "backbone": ("backbone.",),
    "image_head": ("image_head.",),
    "full": (
        "backbone.", "image_head.", "image_tokens", "action_head.", "action_tokens", "state_head.", "state_token",
        "text_projector.", "state_encoder.", "action_encoder.", "latent_projectors.", "cls_projectors.", "position",
        "input_norm.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class LoraPair:
    """One projection's LoRA. name: of the weight it adds to, in the network. A: (rank, in), B: (out, rank)."""

    name: str
    a: nn.Parameter
    b: nn.Parameter


@dataclass(frozen=True)
class Trained:
    """What the optimiser may move. pairs: of LoRA; weights: of parts trained whole, by their names in the network."""

    pairs: tuple[LoraPair, ...]
    weights: dict[str, nn.Parameter]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All of them, in a fixed order."""
        return [part for pair in self.pairs for part in (pair.a, pair.b)] + list(self.weights.values())

    def tensors(self) -> dict[str, torch.Tensor]:
        """As they are kept in a file: peft's names for LoRA, the network's for whole weights; copies on the CPU."""
        kept = dict(self.weights)
        for pair in self.pairs:
            kept.update(zip(lora_names(pair.name), (pair.a, pair.b), strict=True))
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in kept.items()}


def lora_names(weight: str) -> tuple[str, str]:
    """What A and B of a projection are called in an adapter's file, from its weight's name in the network."""
    module = weight.removesuffix(".weight")
    return f"{LORA_PREFIX}{module}.lora_A.weight", f"{LORA_PREFIX}{module}.lora_B.weight"


def projection_pattern(section: TrainedSection, backbone: BackboneConfig) -> str:
    """A regular expression for the names of the chosen projections. Raises AdaptationError for a layer that is not there."""
    layers = chosen_layers(section)
    beyond = [layer for layer in layers if not 0 <= layer < backbone.layers]
    if beyond:
        raise AdaptationError(f"trained.layers is {section.layers!r}; this backbone has the layers 0 to {backbone.layers - 1}")
    names = dict.fromkeys({"qwen3": QWEN3, "gpt2": GPT2}[backbone.kind][name] for name in chosen_projections(section))
    numbers = "|".join(str(layer) for layer in layers) or r"\d+"
    return rf"backbone\.model\.{LAYERS[backbone.kind]}\.({numbers})\.({'|'.join(names)})"


def lora_config(section: TrainedSection, backbone: BackboneConfig) -> "LoraConfig":
    """The section in peft's words."""
    from peft import LoraConfig  # takes seconds, and a policy that only loads adapters does without

    return LoraConfig(
        r=section.rank, lora_alpha=section.alpha, lora_dropout=0.0, bias="none",  # pyright: ignore[reportArgumentType]
        target_modules=projection_pattern(section, backbone), fan_in_fan_out=backbone.kind == "gpt2",
    )  # fmt: skip


@contextmanager
def training_of(
    network: WorldAgen, section: TrainedSection, seed: int, start: Mapping[str, torch.Tensor] | None = None
) -> Iterator[Trained]:
    """The network made ready to be trained by a section; afterwards it is the base again, to the last bit.

    A's first weights are drawn from the seed and B's are zero, unless start gives all of them, by their names in an adapter's
    file. Whole weights are copies: the base's own tensors are put back.
    """
    needing = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    kept: dict[str, torch.Tensor] = {}
    network.requires_grad_(False)
    if section.what == "lora":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            from peft import inject_adapter_in_model

            inject_adapter_in_model(lora_config(section, network.config.backbone), network)
    try:
        if section.what == "lora":
            pairs = _pairs(network)
            if start is not None:
                _begin_with(pairs, start)
            yield Trained(pairs, {})
        else:
            chosen = {n: p for n, p in network.named_parameters() if n.startswith(PARTS[section.what])}
            for name, parameter in chosen.items():
                kept[name] = parameter.data
                parameter.data = parameter.data.clone()
                parameter.requires_grad_(True)
            yield Trained((), chosen)
    finally:
        remove_lora(network)
        for name, parameter in network.named_parameters():
            parameter.grad = None
            if name in kept:
                parameter.data = kept[name]
            parameter.requires_grad_(needing[name])


def _pairs(network: nn.Module) -> tuple[LoraPair, ...]:
    found = []
    for name, module in network.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "base_layer"):
            parts = [getattr(module, side)["default"].weight for side in ("lora_A", "lora_B")]
            for part in parts:
                part.requires_grad_(True)
            found.append(LoraPair(f"{name}.weight", *parts))
    return tuple(found)


@torch.no_grad()
def _begin_with(pairs: Sequence[LoraPair], start: Mapping[str, torch.Tensor]) -> None:
    for pair in pairs:
        for part, name in zip((pair.a, pair.b), lora_names(pair.name), strict=True):
            part.copy_(start[name])


def remove_lora(network: nn.Module) -> None:
    """Put the projections themselves back where peft's layers are."""
    wrapped = [(name, module) for name, module in network.named_modules() if hasattr(module, "base_layer")]
    for name, module in wrapped:
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, module.base_layer)
    if wrapped and hasattr(network, "peft_config"):
        del network.peft_config
