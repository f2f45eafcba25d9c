"""The authors' checkpoints -> ours. Files are read by torch's weights-only loader: code in them is refused, never run.

Two kinds are known. A training checkpoint has no frozen parts, so the vision encoder (MAE) and the text encoder (CLIP) come
from files of their own. A saved adapted checkpoint has everything, with LoRA beside the adapted layers; it is folded in.

What the network is made of is read off the tensors' shapes; n, m and K off the stored attention mask, by finding the layout
whose mask it is.
"""

import hashlib
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from worldagen.checkpoint import describe_differences, refuse
from worldagen.errors import CheckpointError, ConfigError
from worldagen.network.config import BackboneConfig, ImageHeadConfig, NetworkConfig, ResamplerConfig, TextConfig, VisionConfig
from worldagen.network.layout import Layout
from worldagen.network.masks import build_mask
from worldagen.network.published_names import our_name, unused_reason
from worldagen.network.worldagen import WorldAgen

Tensors = dict[str, torch.Tensor]

# OpenAI published CLIP ViT-B/32 as a TorchScript program under its own digest; only that very file is opened as a program.
OPENAI_CLIP_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
QWEN3_HEAD_WIDTH, RESAMPLER_HEAD_WIDTH, GPT2_HEADS = 128, 64, 12


@dataclass(frozen=True)
class ImportReport:
    """What became of a published file. unused: name -> why. lora_layers: how many adapted layers were folded in."""

    network: NetworkConfig
    unused: Mapping[str, str]
    lora_layers: int


@dataclass(frozen=True)
class WindowShape:
    """What the file cannot tell when its attention mask is missing. units K, frames n, rows m."""

    units: int
    frames: int
    rows: int
    goal_attention: bool = False


def import_published(
    path: Path, mae: Path | None = None, clip: Path | None = None, window: WindowShape | None = None
) -> tuple[WorldAgen, ImportReport]:
    """Build our network from a published file.

    mae, clip: weights of the frozen encoders, needed when the file lacks them. window: needed when it lacks the mask.
    Raises CheckpointError naming every tensor that is missing, unexpected or of another shape.
    """
    tensors, alpha = read_published(path)
    tensors, lora_layers = fold_lora(tensors, alpha)
    tensors |= _frozen_part(tensors, "vision_encoder", mae, read_mae, "--mae")
    tensors |= _frozen_part(tensors, "clip_model", clip, read_clip, "--clip")
    config = infer_config(tensors, window)
    unused = {name: reason for name in tensors if (reason := unused_reason(name))}
    with torch.random.fork_rng(devices=[]):
        network = WorldAgen(config).eval()
    _fill(network, {name: tensor for name, tensor in tensors.items() if name not in unused}, path)
    return network, ImportReport(config, unused, lora_layers)


def read_published(path: Path) -> tuple[Tensors, float | None]:
    """Tensors under the authors' names, without wrappers' prefixes, and LoRA's alpha if the file has one."""
    content = read_weights_only(path)
    state = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise CheckpointError(
            f"{path}: has no tensors under 'model_state_dict'; expected a WorldAgen checkpoint of the authors"
        )
    tensors = {name.removeprefix("module.").replace(".base_model.model.", "."): tensor for name, tensor in state.items()}
    settings = content.get("model_config")
    alpha = settings.get("lora_alpha") if isinstance(settings, dict) else None
    return tensors, None if alpha is None else float(alpha)


def read_weights_only(path: Path) -> Any:
    """What a .pth, .pt, .bin or .safetensors file holds. Raises CheckpointError; never runs code from the file."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors and plain values, so it was not opened ({_first_line(error)})"
        ) from None
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: cannot be read as weights ({_first_line(error)})") from None


def read_mae(path: Path) -> Tensors:
    """MAE ViT-B/16 weights, in the authors' form ({"model": ...}) or timm's -> names under vision_encoder."""
    content = read_weights_only(path)
    tensors = content.get("model", content) if isinstance(content, dict) else {}
    return {f"vision_encoder.{name}": tensor for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}


def read_clip(path: Path) -> Tensors:
    """CLIP ViT-B/32 weights, in OpenAI's form or open_clip's -> names under clip_model, in fp32."""
    content = _read_openai_program(path) if _is_program(path) else read_weights_only(path)
    tensors: Any = content.get("state_dict", content) if isinstance(content, dict) else {}
    named = {re.sub(r"^(module\.)?(text\.)?", "", name): tensor for name, tensor in tensors.items()}
    constants = ("input_resolution", "context_length", "vocab_size", "attn_mask")
    return {
        f"clip_model.{name}": tensor.float()
        for name, tensor in named.items()
        if isinstance(tensor, torch.Tensor) and name not in constants
    }


def fold_lora(tensors: Tensors, alpha: float | None) -> tuple[Tensors, int]:
    """Adapted layers -> plain ones, W + (alpha / rank) B A, and how many there were. GPT-2's layers store W transposed."""
    adapted = [name.removesuffix(".base_layer.weight") for name in tensors if name.endswith(".base_layer.weight")]
    folded = {name: tensor for name, tensor in tensors.items() if ".lora_" not in name and ".base_layer." not in name}
    folded |= {name.replace(".base_layer.", "."): tensor for name, tensor in tensors.items() if ".base_layer." in name}
    for layer in adapted:
        down, up = tensors.get(f"{layer}.lora_A.default.weight"), tensors.get(f"{layer}.lora_B.default.weight")
        if down is None or up is None or alpha is None:
            raise CheckpointError(f"{layer} is adapted, but lora_A, lora_B or model_config's lora_alpha is missing")
        delta = alpha / len(down) * (up @ down)  # (out, in)
        weight = tensors[f"{layer}.base_layer.weight"]
        folded[f"{layer}.weight"] = weight + (delta.T if ".h." in layer else delta)
    return folded, len(adapted)


def infer_config(tensors: Tensors, window: WindowShape | None = None) -> NetworkConfig:
    """The configuration of a network with these tensors, in the authors' names. Raises CheckpointError if they cannot tell."""
    try:
        config = _config_from_shapes(tensors)
    except (KeyError, IndexError, ConfigError) as error:
        raise CheckpointError(f"cannot tell what network this is: {error} is missing or impossible") from None
    if window is not None:
        return replace(config, units=window.units, frames=window.frames, rows=window.rows, goal_attention=window.goal_attention)
    if "attention_mask" not in tensors:
        raise CheckpointError("the file has no attention_mask to tell K, n and m; give --units, --frames and --rows")
    return _config_from_mask(config, (tensors["attention_mask"] == 0).numpy())


def _config_from_shapes(tensors: Tensors) -> NetworkConfig:
    """Everything but K, n, m and goal attention."""
    hidden = len(tensors["text_projector.weight"])
    has_images = "obs_tokens" in tensors
    image_head = ImageHeadConfig()
    if has_images:
        patch = round((len(tensors["image_decoder_pred.weight"]) / 3) ** 0.5)
        blocks = _count(tensors, r"image_decoder\.(\d+)\.")
        image_head = ImageHeadConfig(tokens=tensors["obs_tokens"].shape[2] // 2, blocks=blocks, patch=patch)
    return NetworkConfig(
        hidden=hidden,
        action_steps=tensors["action_pred_token"].shape[2],
        image_prediction=has_images,
        state_prediction="state_pred_token" in tensors,
        backbone=_backbone_from_shapes(tensors),
        vision=VisionConfig(width=tensors["image_primary_projector.weight"].shape[1]),
        text=TextConfig(width=tensors["text_projector.weight"].shape[1]),
        resampler=ResamplerConfig(
            queries=len(tensors["perceiver_resampler.latents"]),
            layers=_count(tensors, r"perceiver_resampler\.layers\.(\d+)\."),
            heads=len(tensors["perceiver_resampler.layers.0.0.to_q.weight"]) // RESAMPLER_HEAD_WIDTH,
        ),
        image_head=image_head,
    )


def _backbone_from_shapes(tensors: Tensors) -> BackboneConfig:
    gpt2_layers = _count(tensors, r"transformer_backbone\.h\.(\d+)\.")
    if gpt2_layers:
        return BackboneConfig("gpt2", layers=gpt2_layers, heads=GPT2_HEADS)  # no tensor depends on the number of heads
    width = len(tensors["transformer_backbone.layers.0.self_attn.q_norm.weight"])
    return BackboneConfig(
        layers=_count(tensors, r"transformer_backbone\.layers\.(\d+)\."),
        heads=len(tensors["transformer_backbone.layers.0.self_attn.q_proj.weight"]) // width,
        head_width=width,
    )


def _config_from_mask(config: NetworkConfig, mask: np.ndarray) -> NetworkConfig:
    """Try every n, m and goal switch whose window is as long as the mask, until one has this very mask."""
    for frames in range(1, 9):
        for rows in range(1, 65):
            unit_length = Layout.of(replace(config, units=1, frames=frames, rows=rows)).unit_length
            if len(mask) % unit_length:
                continue
            for goal_attention in (False, True):
                candidate = replace(
                    config, units=len(mask) // unit_length, frames=frames, rows=rows, goal_attention=goal_attention
                )
                if np.array_equal(build_mask(Layout.of(candidate), goal_attention), mask):
                    return candidate
    raise CheckpointError(f"the file's attention_mask {mask.shape} is of no layout we know; give --units, --frames and --rows")


def _frozen_part(tensors: Tensors, prefix: str, path: Path | None, read: Any, option: str) -> Tensors:
    if path is not None:
        return read(path)
    if not any(name.startswith(f"{prefix}.") for name in tensors):
        raise CheckpointError(f"the file has no {prefix}, as training checkpoints do not; give its weights with {option}")
    return {}


@torch.no_grad()
def _fill(network: WorldAgen, tensors: Tensors, path: Path) -> None:
    """Copy tensors under their names into our network, after comparing all of them."""
    ours = network.state_dict()
    unknown = [f"unexpected: {name} {list(tensor.shape)}" for name, tensor in tensors.items() if our_name(name) is None]
    named = {our_name(name) or name: tensor for name, tensor in tensors.items() if our_name(name)}
    # Their learned vectors carry leading axes of one, for broadcasting over windows and units.
    found = {
        name: tensor.reshape(ours[name].shape)
        if name in ours and tensor.squeeze().shape == ours[name].squeeze().shape
        else tensor
        for name, tensor in named.items()
    }
    lines = describe_differences(_shapes(ours), _shapes(found))
    refuse(path, unknown + lines)
    for name, tensor in ours.items():
        tensor.copy_(found[name])


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes for comparing; types may differ in a published file and are converted."""
    return {name: (tuple(tensor.shape), "") for name, tensor in tensors.items()}


def _count(tensors: Tensors, pattern: str) -> int:
    """One more than the largest number that the pattern finds in the names; 0 if none."""
    return max((int(found[1]) + 1 for name in tensors if (found := re.match(pattern, name))), default=0)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _is_program(path: Path) -> bool:
    """Whether a file is a TorchScript archive: those hold a code folder."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _read_openai_program(path: Path) -> Tensors:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != OPENAI_CLIP_SHA256:
        raise CheckpointError(
            f"{path}: is a TorchScript program, and not OpenAI's own ViT-B/32 (SHA-256 {digest}); give weights without code"
        )
    return torch.jit.load(path, map_location="cpu").state_dict()
