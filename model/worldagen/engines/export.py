"""The encoder of a network as an ONNX model: pictures of both views -> latents, cls and the pooled outputs.

    inputs   static (B, 3, H, H), wrist (B, 3, H, H), normalised, fp32; B from 1 to MAX_FRAMES
    outputs  latents (B, 2 q, D), cls (B, 2, D), static view first, and each of parts.pooled_modules (B, 2, V); fp32

Where both views have the same size they are one batch of N = 2 B pictures, the two of a frame side by side.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import nn

from worldagen.engines.config import Precision
from worldagen.engines.graph import Graph
from worldagen.engines.parts import encoder_digest, picture_sides, pooled_modules
from worldagen.errors import EngineError
from worldagen.network.config import VIEWS
from worldagen.network.vision import ConvolutionEncoder, VitEncoder
from worldagen.network.worldagen import WorldAgen

FORMAT = "worldagen-encoder-1"
MAX_FRAMES = 16
ROUND_LAST = False  # the last layers before the backbone cost next to nothing, and what they lose nothing averages out again
Seen = tuple[str, str, dict[str, str]]  # patches (N, P, V), cls (N, V), pooled: name -> (N, V)


def export_encoder(network: WorldAgen, precision: Precision = "fp32", ranges: Mapping[str, float] | None = None) -> bytes:
    """An ONNX file, checked by onnx's own checker. ranges: of calibration.measure_ranges, for the Q/DQ forms of int8 and fp8.

    Raises EngineError for an encoder that is built otherwise than this knows, and for fp8 without ranges.
    """
    if precision == "fp8" and ranges is None:
        raise EngineError("fp8 needs calibration frames; give a bag: --frames BAG, or engine.frames in a deployment")
    graph, config = Graph(precision, ranges), network.config
    static, wrist = picture_sides(config)
    patches, cls, pooled = _see(graph, network, one_batch=static == wrist)
    queries, hidden = config.resampler.queries, config.hidden
    latents = [
        graph.linear(part, f"latent_projectors.{view}", _linear(network.latent_projectors[view]), ROUND_LAST)
        for view, part in zip(VIEWS, patches, strict=True)
    ]
    tokens = [
        graph.reshape(
            graph.linear(part, f"cls_projectors.{view}", _linear(network.cls_projectors[view]), ROUND_LAST), 0, 1, hidden
        )
        for view, part in zip(VIEWS, cls, strict=True)
    ]
    graph.called(graph.leave(graph.op("Concat", *latents, axis=1)), "latents")
    graph.called(graph.leave(graph.op("Concat", *tokens, axis=1)), "cls")
    widths = {}
    for name, value in pooled.items():
        graph.called(value, name)
        widths[name] = _pooled_width(network, name)
    return graph.model(
        {"static": ["frames", 3, static, static], "wrist": ["frames", 3, wrist, wrist]},
        {
            "latents": ["frames", 2 * queries, hidden],
            "cls": ["frames", 2, hidden],
            **{name: ["frames", 2, width] for name, width in widths.items()},
        },
        {"format": FORMAT, "encoder": encoder_digest(network), "precision": precision},
    )


def _see(graph: Graph, network: WorldAgen, one_batch: bool) -> tuple[list[str], list[str], dict[str, str]]:
    """Resampled latents (B, q, V) and cls (B, V) of each view, and pooled outputs (B, 2, V)."""
    resampler: Any = network.resampler
    if one_batch:
        # Stacked on an axis of their own, so that no size of an axis has to be computed to part them again.
        static, wrist = (graph.op("Unsqueeze", view, graph.constant([1])) for view in VIEWS)
        side = network.config.vision.static_size
        pictures = graph.reshape(graph.op("Concat", static, wrist, axis=1), -1, 3, side, side)
        patches, cls, pooled = _vision(graph, network, pictures, side)
        queries, width = network.config.resampler.queries, network.config.vision.width
        latents = graph.reshape(_resample(graph, resampler, patches), -1, 2, queries, width)
        cls = graph.reshape(cls, -1, 2, width)
        split = {name: graph.reshape(value, -1, 2, _pooled_width(network, name)) for name, value in pooled.items()}
        return [graph.pick(latents, place, 1) for place in (0, 1)], [graph.pick(cls, place, 1) for place in (0, 1)], split
    seen = [_vision(graph, network, view, side) for view, side in zip(VIEWS, picture_sides(network.config), strict=True)]
    both = {
        name: graph.op("Concat", *(graph.reshape(pooled[name], 0, 1, -1) for _, _, pooled in seen), axis=1)
        for name in seen[0][2]
    }
    return [_resample(graph, resampler, patches) for patches, _, _ in seen], [cls for _, cls, _ in seen], both


def _vision(graph: Graph, network: WorldAgen, pictures: str, side: int) -> Seen:
    kinds: dict[type, Callable[..., Seen]] = {VitEncoder: _vit, ConvolutionEncoder: _convolutions}
    write = kinds.get(type(network.vision))
    if write is None:
        raise EngineError(f"there is no export of a {type(network.vision).__name__}; known are: ViT, convolutions")
    return write(graph, network, graph.enter(pictures), side)


def _vit(graph: Graph, network: WorldAgen, pictures: str, side: int) -> Seen:
    model: Any = network.vision.model
    _require_plain_vit(model)
    width, depths = model.embed_dim, {module: name for name, module in pooled_modules(network).items()}
    grid = graph.convolve(pictures, "vision.model.patch_embed.proj", model.patch_embed.proj)
    patches = graph.transpose(graph.reshape(grid, 0, width, -1), 0, 2, 1)
    first = graph.repeated(graph.constant(model.cls_token, "vision.model.cls_token"), patches)
    tokens = graph.op(
        "Add", graph.op("Concat", first, patches, axis=1), graph.constant(model.pos_embed, "vision.model.pos_embed")
    )
    count = model.pos_embed.shape[1] - 1
    mean = np.full((1, 1 + count), 1 / count, np.float32)
    mean[0, 0] = 0  # the cls token is no patch
    pooled = {}
    for place, block in enumerate(model.blocks):
        name = f"vision.model.blocks.{place}"
        normed = graph.layer_norm(tokens, f"{name}.norm1", block.norm1)
        parts = graph.split(graph.linear(normed, f"{name}.attn.qkv", block.attn.qkv), 3, width)
        read = graph.attention(*parts, heads=block.attn.num_heads, width=block.attn.head_dim)
        tokens = graph.op("Add", tokens, graph.linear(read, f"{name}.attn.proj", block.attn.proj))
        normed = graph.layer_norm(tokens, f"{name}.norm2", block.norm2)
        wide = graph.gelu(graph.linear(normed, f"{name}.mlp.fc1", block.mlp.fc1))
        tokens = graph.op("Add", tokens, graph.linear(wide, f"{name}.mlp.fc2", block.mlp.fc2))
        if block in depths:
            average = graph.op("MatMul", graph.constant(mean, "mean_of_patches"), tokens)
            pooled[depths[block]] = graph.leave(graph.reshape(average, 0, width))
    tokens = graph.layer_norm(tokens, "vision.model.norm", model.norm)
    ends = (graph.constant([1]), graph.constant([1 + count]), graph.constant([1]))
    return graph.op("Slice", tokens, *ends), graph.pick(tokens, 0, 1), pooled


def _convolutions(graph: Graph, network: WorldAgen, pictures: str, side: int) -> Seen:
    encoder: Any = network.vision
    stem = graph.op("Relu", graph.convolve(pictures, "vision.stem.0", encoder.stem[0]))
    quarter = _stage(graph, stem, "vision.middle", encoder.middle, side // 4)
    eighth = _stage(graph, quarter, "vision.deep.0", encoder.deep[0], side // 8)
    eighth = _stage(graph, eighth, "vision.deep.1", encoder.deep[1], side // 8)
    places = [
        _expected_place(graph, graph.convolve(maps, f"vision.{name}", getattr(encoder, name)), encoder.MAPS, grid)
        for name, maps, grid in (("fine_maps", quarter, side // 4), ("coarse_maps", eighth, side // 8))
    ]
    cls = graph.linear(graph.op("Concat", *places, axis=1), "vision.cls", encoder.cls, ROUND_LAST)
    width = encoder.cls.out_features
    patches = graph.transpose(graph.reshape(eighth, 0, width, -1), 0, 2, 1)
    positions = graph.constant(getattr(encoder, f"positions_{side // 8}"), f"vision.positions_{side // 8}")
    pooled = {
        "pooled_middle": graph.average(quarter),
        "pooled_deep": graph.average(eighth),
    }
    return graph.op("Add", patches, positions), cls, pooled


def _stage(graph: Graph, maps: str, name: str, module: Any, side: int) -> str:
    """Convolution, GroupNorm, ReLU. A group is normalised as one long row; the factors are of each channel."""
    convolution, norm, _ = module
    channels, groups = norm.num_channels, norm.num_groups
    length = channels // groups * side * side
    rows = graph.reshape(graph.convolve(maps, f"{name}.0", convolution), 0, groups, length)
    ones, zeros = np.ones(length, np.float32), np.zeros(length, np.float32)
    rows = graph.normalise(rows, f"ones_{length}", ones, f"zeros_{length}", zeros, norm.eps)
    normed = graph.reshape(rows, 0, channels, side, side)
    weight, bias = (graph.constant(getattr(norm, word).reshape(1, -1, 1, 1), f"{name}.1.{word}") for word in ("weight", "bias"))
    return graph.op("Relu", graph.op("Add", graph.op("Mul", normed, weight), bias))


def _expected_place(graph: Graph, heat: str, maps: int, side: int) -> str:
    """(N, maps, side, side) -> (N, 2 maps): expected x of every map, then y, from -1 to 1."""
    steps = np.linspace(-1, 1, side, dtype=np.float32)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    grid = graph.constant(np.stack([x.ravel(), y.ravel()], axis=1), f"places_{side}")  # (side side, 2)
    found = graph.op("MatMul", graph.softmax(graph.reshape(heat, 0, maps, -1)), grid)
    return graph.reshape(graph.transpose(found, 0, 2, 1), 0, 2 * maps)


def _resample(graph: Graph, resampler: Any, patches: str) -> str:
    latents = graph.repeated(graph.constant(resampler.latents[None], "resampler.latents"), patches)
    for place, layer in enumerate(resampler.layers):
        name = f"resampler.layers.{place}"
        seen = graph.layer_norm(patches, f"{name}.norm_patches", layer.norm_patches)
        own = graph.layer_norm(latents, f"{name}.norm_latents", layer.norm_latents)
        inner = layer.query.out_features
        key, value = graph.split(
            graph.linear(graph.op("Concat", seen, own, axis=1), f"{name}.key_value", layer.key_value), 2, inner
        )
        query = graph.linear(own, f"{name}.query", layer.query)
        read = graph.attention(query, key, value, heads=layer.heads, width=inner // layer.heads)
        latents = graph.op("Add", latents, graph.linear(read, f"{name}.out", layer.out))
        norm, wide, _, narrow = layer.feed_forward
        hidden = graph.linear(graph.layer_norm(latents, f"{name}.feed_forward.0", norm), f"{name}.feed_forward.1", wide)
        latents = graph.op("Add", latents, graph.linear(graph.gelu(hidden), f"{name}.feed_forward.3", narrow))
    return graph.layer_norm(latents, "resampler.norm", resampler.norm)


def _pooled_width(network: WorldAgen, name: str) -> int:
    vision = network.config.vision
    encoder: Any = network.vision
    return encoder.middle[0].out_channels if name == "pooled_middle" else vision.width


def _linear(module: nn.Module) -> nn.Linear:
    assert isinstance(module, nn.Linear)
    return module


def _require_plain_vit(model: Any) -> None:
    """Refuse a ViT of timm's many that has more in it than this writes."""
    block = model.blocks[0]
    extras = {
        "norm_pre": model.norm_pre,
        "attn.q_norm": block.attn.q_norm,
        "attn.k_norm": block.attn.k_norm,
        "ls1": block.ls1,
        "ls2": block.ls2,
    }
    found = [name for name, module in extras.items() if not isinstance(module, nn.Identity)]
    if found or model.no_embed_class or model.num_prefix_tokens != 1:
        raise EngineError(f"this ViT has parts that are not exported ({', '.join(found) or 'its prefix tokens'}); use torch")
