"""The Qwen3 backbone as a running network computes it: the same layers, with less around them.

transformers is what the network is trained and adapted with. For the few tokens of one decision much time goes into its calls
instead of products. Here queries, keys and values are one product, and so are gate and up; keys and values go into buffers that
are made once; rotary angles are looked up. Measured by benchmarks/decision.py.

The network's own weights become views of the joined ones, so nothing is held twice. Weights that are exchanged later, as an
adapter bank does, are joined when they are first met. What a mixture of adapters adds stays beside the weights, low in rank.

Legend: T tokens of this call, S tokens remembered, L tokens of a window, D token width, H heads, W width of a head,
P products that are joined, I and O widths of the input and of each output, R inner width of what is added.
"""

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from worldagen.network.backbone import Qwen3Backbone
from worldagen.network.worldagen import WorldAgen

PLACES_KEPT = 128  # sets of places; a window that fills and is then full has three for each of its units
JOINED_KEPT = 2  # sets of a layer's weights besides the base's: an active adapter's, and one that is compared with it
PRODUCTS = {  # of a layer, by the projections that are joined in each
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gates": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


class Attender(Protocol):
    """What runs the backbone of a session: the network itself, or a LeanBackbone of it."""

    def memory(self) -> Any:
        """Of a window of which nothing has been seen; for `attend` of the same object."""
        ...

    def attend(self, tokens: torch.Tensor, indices: np.ndarray, memory: Any = None) -> torch.Tensor:
        """As WorldAgen.attend, of one window: (1, T, D) -> (1, T, D)."""
        ...


class LeanMemory:
    """Tokens of one window that the backbone has seen: their window indices (S,), their keys and values."""

    def __init__(self, buffer: torch.Tensor) -> None:
        self.buffer, self.indices = buffer, np.empty(0, dtype=np.int64)  # (layers, 2, H, L, W); its first S are filled


@dataclass(frozen=True, eq=False)
class LowRank:
    """What is added to P joined products of one input: B_p (g * (A_p x)). a: (I, P R), gains: (R,), b: (P, R, O).

    A is kept as the transpose of what it is called elsewhere: so narrow a product takes half the time on a CPU.
    """

    a: torch.Tensor
    gains: torch.Tensor
    b: torch.Tensor

    def add_to(self, y: torch.Tensor, x: torch.Tensor) -> None:
        """(T, P O) in place, from (T, I)."""
        count, inner, _ = self.b.shape
        inside = (x @ self.a).view(-1, count, inner) * self.gains
        y.view(len(x), count, -1).transpose(0, 1).baddbmm_(inside.transpose(0, 1), self.b)


class Added(NamedTuple):
    """What is added to the products of one layer; None where nothing is."""

    qkv: LowRank | None = None
    out: LowRank | None = None
    gates: LowRank | None = None
    down: LowRank | None = None


class LayerWeights(NamedTuple):
    """What one layer multiplies with. Joined: queries, keys and values (3 H W, D); gate and up."""

    norm_before: torch.Tensor
    qkv: torch.Tensor
    norm_queries: torch.Tensor
    norm_keys: torch.Tensor
    out: torch.Tensor
    norm_after: torch.Tensor
    gates: torch.Tensor
    down: torch.Tensor


class Places(NamedTuple):
    """Where the tokens of a call stand: S + T in memory after it, of which T are its own.

    key: S, and the bytes of all window indices; equal for equal places. mask: (T, S + T) bool, True where one may be read. cos,
    sin: (T, W) of its own.
    """

    key: tuple[int, bytes]
    mask: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor


class LeanBackbone:
    """Belongs to the thread that owns the network. Weights may be exchanged between two calls, not changed in place."""

    def __init__(self, network: WorldAgen) -> None:
        """Takes over the backbone's weights: its parameters become views. The network must have a backbone that `fits`."""
        model: Any = network.backbone.model
        config = model.config
        self._network, self._heads, self._width, self._eps = (
            network,
            config.num_attention_heads,
            config.head_dim,
            config.rms_norm_eps,
        )
        self._rotary, self._norm = model.rotary_emb, model.norm.weight
        self._layers = [_Layer(layer) for layer in model.layers]
        self.mix(None)
        self._spare: list[torch.Tensor] = []
        self._angles: tuple[torch.Tensor, torch.Tensor] | None = None
        self._places: OrderedDict[tuple[int, bytes], Places] = OrderedDict()

    def mix(self, added: Sequence[Added] | None) -> None:
        """What every layer adds from the next call on; None for nothing, which is the base to the last bit.

        A call that has begun goes on with what it began with.
        """
        self._added = tuple(added) if added is not None else (Added(),) * len(self._layers)

    def memory(self) -> LeanMemory:
        """Of a window of which nothing has been seen. Its buffer is used again once nobody holds the memory any more."""
        position = self._network.position
        shape = (len(self._layers), 2, self._heads, self._network.layout.length, self._width)
        while self._spare and (self._spare[-1].device, self._spare[-1].dtype) != (position.device, position.dtype):
            self._spare.pop()  # the network has moved
        buffer = self._spare.pop() if self._spare else torch.empty(shape, dtype=position.dtype, device=position.device)
        memory = LeanMemory(buffer)
        weakref.finalize(memory, self._spare.append, buffer)
        return memory

    def attend(self, tokens: torch.Tensor, indices: np.ndarray, memory: LeanMemory | None = None) -> torch.Tensor:
        """As WorldAgen.attend, of one window: (1, T, D) -> (1, T, D)."""
        memory = memory or self.memory()
        return self.run(tokens[0], memory.buffer, self._remember(memory, indices))[None]

    def run(self, x: torch.Tensor, buffer: torch.Tensor, places: Places) -> torch.Tensor:
        """(T, D) -> (T, D), with the weights that the network has now."""
        return self.compute(x, buffer, places, [layer.weights() for layer in self._layers], self._norm)

    def _remember(self, memory: LeanMemory, indices: np.ndarray) -> Places:
        """Note that tokens of these window indices come next."""
        first = len(memory.indices)
        memory.indices = np.concatenate([memory.indices, indices])
        cos, sin = self._tables()
        key = first, memory.indices.tobytes()
        if key not in self._places:
            everything = torch.from_numpy(memory.indices).to(cos.device)
            own = everything[first:]
            self._places[key] = Places(key, self._network.mask[own][:, everything], cos[own], sin[own])
            if len(self._places) > PLACES_KEPT:
                self._places.popitem(last=False)
        self._places.move_to_end(key)
        return self._places[key]

    def compute(
        self, x: torch.Tensor, buffer: torch.Tensor, places: Places, weights: Sequence[LayerWeights], norm: torch.Tensor
    ) -> torch.Tensor:
        """(T, D) -> (T, D), adding keys and values to the buffer; nothing but products of these tensors."""
        first, last, heads, width = places.key[0], places.mask.shape[1], self._heads, self._width
        for layer, added, kept in zip(weights, self._added, buffer, strict=True):
            projected = _product(self._normalised(x, layer.norm_before), layer.qkv, added.qkv)
            projected = projected.view(-1, 3, heads, width).permute(1, 2, 0, 3)
            queries = _turned(self._normalised(projected[0], layer.norm_queries), places.cos, places.sin)
            kept[0, :, first:last] = _turned(self._normalised(projected[1], layer.norm_keys), places.cos, places.sin)
            kept[1, :, first:last] = projected[2]
            read = F.scaled_dot_product_attention(
                queries[None], kept[None, 0, :, :last], kept[None, 1, :, :last], attn_mask=places.mask
            )
            x = x + _product(read[0].transpose(0, 1).flatten(1), layer.out, added.out)
            gate, up = _product(self._normalised(x, layer.norm_after), layer.gates, added.gates).chunk(2, dim=-1)
            x = x + _product(F.silu(gate) * up, layer.down, added.down)
        return self._normalised(x, norm)

    def _normalised(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, weight.shape, weight, self._eps)

    def _tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of every place in a window, (L, W) each, by the backbone's own module."""
        position = self._network.position
        if self._angles is None or (self._angles[0].device, self._angles[0].dtype) != (position.device, position.dtype):
            places = torch.arange(self._network.layout.length, device=position.device)
            cos, sin = self._rotary(position[None, None], places[None])
            self._angles = cos[0], sin[0]
            self._places.clear()
        return self._angles


class _Layer:
    """The weights of one layer, joined."""

    def __init__(self, layer: Any) -> None:
        attention = layer.self_attn
        self.norm_before, self.norm_after = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        self.norm_queries, self.norm_keys = attention.q_norm.weight, attention.k_norm.weight
        self.out, self.down = attention.o_proj.weight, layer.mlp.down_proj.weight
        self._parts = tuple([layer.get_submodule(name).weight for name in PRODUCTS[product]] for product in ("qkv", "gates"))
        self._kept: OrderedDict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]] = OrderedDict()
        with torch.inference_mode(False), torch.no_grad():
            whole = [_whole(parts) for parts in self._parts]
        self._base = self._key(), (whole[0], whole[1])

    def weights(self) -> LayerWeights:
        """As the network has them now."""
        qkv, gates = self.joined()
        return LayerWeights(
            *(self.norm_before, qkv, self.norm_queries, self.norm_keys, self.out),
            *(self.norm_after, gates, self.down),
        )

    @property
    def parts(self) -> list[nn.Parameter]:
        """The network's parameters in the order of LayerWeights, those that are joined one by one."""
        qkv, gates = self._parts
        return [self.norm_before, *qkv, self.norm_queries, self.norm_keys, self.out, self.norm_after, *gates, self.down]

    def joined(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(3 H W, D) of queries, keys and values, and of gate and up, as the network has them now."""
        key = self._key()
        if key == self._base[0]:  # never given up: to join it again would be to hold it twice
            return self._base[1]
        if key not in self._kept:
            # The parts are kept, too: while they live, no other weights can have their addresses.
            parts = [part.data for parts in self._parts for part in parts]
            self._kept[key] = torch.cat(parts[:3]), torch.cat(parts[3:]), parts
            if len(self._kept) > JOINED_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key][:2]

    def _key(self) -> tuple[int, ...]:
        return tuple(part.data_ptr() for parts in self._parts for part in parts)


def _product(x: torch.Tensor, weight: torch.Tensor, added: LowRank | None) -> torch.Tensor:
    """(T, I) -> (T, P O)."""
    y = F.linear(x, weight)
    if added is not None:
        added.add_to(y, x)
    return y


def fits(network: WorldAgen) -> bool:
    """Whether a network has a backbone that is computed here: Qwen3, of plain linear layers without biases of one type."""
    if not isinstance(network.backbone, Qwen3Backbone):
        return False
    model: Any = network.backbone.model
    linears = [
        linear
        for layer in model.layers
        for linear in (
            *(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj, layer.self_attn.o_proj),
            *(layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj),
        )
    ]
    plain = all(type(linear) is nn.Linear and linear.bias is None for linear in linears)
    alone = model.config.num_key_value_heads == model.config.num_attention_heads
    return plain and alone and len({linear.weight.dtype for linear in linears}) == 1


def _whole(parts: list[nn.Parameter]) -> torch.Tensor:
    """The parts, one below the other, as views of one tensor; which they may be already, by another session on the network."""
    joined = torch.cat([part.data for part in parts])
    row = parts[0].stride(0) * parts[0].element_size()
    begins = [part.data_ptr() for part in parts]
    follow = [begin + len(part) * row for begin, part in zip(begins, parts, strict=True)]
    if begins[1:] == follow[:-1] and len({part.untyped_storage().data_ptr() for part in parts}) == 1:
        return parts[0].data.as_strided(joined.shape, joined.stride())
    for part, view in zip(parts, joined.split([len(part) for part in parts]), strict=True):
        part.data = view
    return joined


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """(H, T, W) turned by the angles of its places, (T, W) each."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin
