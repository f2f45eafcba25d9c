"""A small writer of ONNX graphs in which one word, the precision, decides how linear layers and their numbers look.

Why not torch's exporters: one writes graphs for the batch size it was shown, the other needs two more packages, and what
TensorRT 11 builds has its types and its quantisation written into the graph, which a writer that knows the layers simply does.

Precision "fp32": plain. "fp16", "bf16": products, sums and weights in that type; normalisations, softmax, inputs and outputs in
fp32. "int8", "fp8": Q/DQ pairs around every linear layer with calibrated ranges, for TensorRT. "int8" without ranges: they are
taken from each input while it runs (DynamicQuantizeLinear), for ONNX Runtime on a CPU.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from worldagen.engines.config import Precision

OPSETS = {"fp8": (19, 9)}  # opset and IR version where they are not the plain ones: fp8 types came with 19
PLAIN = (17, 8)  # LayerNormalization came with 17, and TensorRT 8.6 reads no more than that
TYPES = {"fp16": (TensorProto.FLOAT16, np.dtype(np.float16)), "bf16": (TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16))}
FLOAT = (TensorProto.FLOAT, np.dtype(np.float32))
WEIGHT_LEVELS = 63  # of 127: products of two pairs must fit in 16 bits on CPUs without VNNI
INT8_LEVELS, FP8_LARGEST = 127, 448.0


class Graph:
    """Nodes and weights as they come. Every method takes and returns names of values."""

    def __init__(self, precision: Precision, ranges: Mapping[str, float] | None = None) -> None:
        """ranges: largest size of the numbers that go into each linear layer, by its name in the network."""
        self.precision, self._ranges = precision, ranges
        self.opset, self.ir_version = OPSETS.get(precision, PLAIN)
        self._proto_type, self._type = TYPES.get(precision, FLOAT)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def model(
        self, inputs: Mapping[str, Sequence[Any]], outputs: Mapping[str, Sequence[Any]], notes: Mapping[str, str]
    ) -> bytes:
        """The whole file. inputs, outputs: name -> shape, strings for what varies; outputs are values of these names."""
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            list(self._weights.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], producer_name="worldagen")
        model.ir_version = self.ir_version
        helper.set_model_props(model, dict(notes))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """One node with several outputs."""
        self._count += 1
        names = [f"{kind}_{self._count}" + (f"_{place}" if outputs > 1 else "") for place in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, name=f"{kind}_{self._count}", **attributes))
        return names

    def called(self, value: str, name: str) -> None:
        """Give a value the name of an output."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"output_{name}"))

    def constant(self, array: Any, name: str = "") -> str:
        """A weight or constant; numbers with a fraction take the graph's type. A name stands for one array only."""
        array = array.detach().float().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
        return self._keep(array.astype(self._type) if array.dtype.kind == "f" else array.astype(np.int64), name)

    def enter(self, value: str) -> str:
        """An fp32 input in the graph's type."""
        return self._cast(value, self._proto_type)

    def leave(self, value: str) -> str:
        """A value in fp32."""
        return self._cast(value, TensorProto.FLOAT)

    def reshape(self, value: str, *shape: int) -> str:
        """0 keeps an axis, -1 takes what is left."""
        return self.op("Reshape", value, self.constant(shape))

    def transpose(self, value: str, *axes: int) -> str:
        return self.op("Transpose", value, perm=list(axes))

    def split(self, value: str, count: int, size: int) -> list[str]:
        """The last axis in equal parts."""
        return self.ops("Split", value, self.constant([size] * count), outputs=count, axis=-1)

    def pick(self, value: str, place: int, axis: int) -> str:
        """One slice of an axis, which goes away."""
        return self.op("Gather", value, self.constant(place), axis=axis)

    def repeated(self, constant: str, like: str) -> str:
        """A constant (1, T, V), once for every row of `like`'s first axis."""
        count = self.op("Slice", self.op("Shape", like), self.constant([0]), self.constant([1]), self.constant([0]))
        return self.op("Expand", constant, self.op("Concat", count, self.constant([1, 1]), axis=0))

    def linear(self, value: str, name: str, module: nn.Linear, rounded: bool = True) -> str:
        """A linear layer. name: of the module in the network; the same name shares its weights.

        rounded: whether int8 and fp8 apply to it.
        """
        weight = module.weight.detach().float().cpu().numpy().T  # (in, out)
        if rounded and self.precision == "int8" and self._ranges is None:
            product = self._dynamic_product(value, name, weight)
        elif rounded and self.precision in ("int8", "fp8"):
            product = self._static_product(value, name, weight)
        else:
            product = self.op("MatMul", value, self.constant(weight, f"{name}.weight"))
        if module.bias is None:
            return product
        return self.op("Add", product, self.constant(module.bias, f"{name}.bias"))

    def convolve(self, value: str, name: str, module: nn.Conv2d) -> str:
        """A convolution; in fp32 where the graph is bf16, which ONNX knows for convolutions only since opset 22."""
        value, plain = (self.leave(value), FLOAT) if self.precision == "bf16" else (value, (self._proto_type, self._type))
        parts = {"weight": module.weight, "bias": module.bias}
        weights = [
            self._keep(part.detach().float().cpu().numpy().astype(plain[1]), f"{name}.{word}")
            for word, part in parts.items()
            if part is not None
        ]
        assert isinstance(module.padding, tuple)
        pads = [int(pad) for pad in module.padding] * 2
        maps = self.op("Conv", value, *weights, kernel_shape=list(module.kernel_size), strides=list(module.stride), pads=pads)
        return self.enter(maps) if self.precision == "bf16" else maps

    def average(self, maps: str) -> str:
        """(N, V, H, W) -> (N, V), in fp32."""
        return self.reshape(self.op("GlobalAveragePool", self.leave(maps)), 0, -1)

    def layer_norm(self, value: str, name: str, module: nn.LayerNorm) -> str:
        """Over the last axis, in fp32."""
        return self.normalise(value, f"{name}.weight", module.weight, f"{name}.bias", module.bias, module.eps)

    def normalise(self, value: str, scale_name: str, scale: Any, bias_name: str, bias: Any, eps: float) -> str:
        """LayerNormalization over the last axis, in fp32, with these factors."""
        scale, bias = (
            part.detach().float().cpu().numpy() if isinstance(part, torch.Tensor) else part for part in (scale, bias)
        )
        factors = (self._keep(scale.astype(np.float32), scale_name), self._keep(bias.astype(np.float32), bias_name))
        return self.enter(self.op("LayerNormalization", self.leave(value), *factors, axis=-1, epsilon=eps))

    def softmax(self, value: str) -> str:
        """Over the last axis, in fp32."""
        return self.enter(self.op("Softmax", self.leave(value), axis=-1))

    def gelu(self, value: str) -> str:
        """The exact one; the pattern that ONNX Runtime and TensorRT know."""
        erf = self.op("Erf", self.op("Div", value, self.constant(np.float32(2**0.5))))
        return self.op(
            "Mul", self.op("Mul", value, self.op("Add", erf, self.constant(np.float32(1)))), self.constant(np.float32(0.5))
        )

    def attention(self, query: str, key: str, value: str, heads: int, width: int) -> str:
        """Scaled dot-product attention without a mask: (N, T, heads width), (N, S, ..), (N, S, ..) -> (N, T, heads width)."""
        query = self.op("Mul", query, self.constant(np.float32(width**-0.5)))
        query = self.transpose(self.reshape(query, 0, 0, heads, width), 0, 2, 1, 3)
        key = self.transpose(self.reshape(key, 0, 0, heads, width), 0, 2, 3, 1)
        value = self.transpose(self.reshape(value, 0, 0, heads, width), 0, 2, 1, 3)
        read = self.op("MatMul", self.softmax(self.op("MatMul", query, key)), value)
        return self.reshape(self.transpose(read, 0, 2, 1, 3), 0, 0, heads * width)

    def _dynamic_product(self, value: str, name: str, weight: np.ndarray) -> str:
        """An integer product; the input's range is found while it runs, the weights have one scale for each output."""
        scale = _scales(weight, WEIGHT_LEVELS)
        whole = np.clip(np.rint(weight / scale), -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8)
        quantised, step, zero = self.ops("DynamicQuantizeLinear", value, outputs=3)
        weights = (self._keep(whole, f"{name}.int8"), zero, self._keep(np.zeros((), np.int8), "int8_zero"))
        product = self.op("Cast", self.op("MatMulInteger", quantised, *weights), to=TensorProto.FLOAT)
        return self.op("Mul", product, self.op("Mul", step, self._keep(scale[0], f"{name}.scale")))

    def _static_product(self, value: str, name: str, weight: np.ndarray) -> str:
        """A product between Q/DQ pairs. The weights stay fp32 in the file: TensorRT 8.6, 10 and 11 all fold that form."""
        assert self._ranges is not None
        largest = max(self._ranges[name], 1e-6)
        if self.precision == "fp8":
            zero = self._keep(np.zeros((), ml_dtypes.float8_e4m3fn), "fp8_zero")
            scales = (largest / FP8_LARGEST, np.abs(weight).max().clip(1e-12) / FP8_LARGEST)
            value_scale, weight_scale = (np.float32(scale) for scale in scales)
            zeros, axis = (zero, zero), {}
        else:
            value_scale, weight_scale = np.float32(largest / INT8_LEVELS), _scales(weight, INT8_LEVELS)[0]
            columns = self._keep(np.zeros(weight.shape[1], np.int8), f"int8_zeros_{weight.shape[1]}")
            zeros, axis = (self._keep(np.zeros((), np.int8), "int8_zero"), columns), {"axis": 1}
        value = self._rounded(value, self._keep(np.asarray(value_scale), f"{name}.input_scale"), zeros[0], {})
        weights = self.constant(weight, f"{name}.weight")
        return self.op(
            "MatMul", value, self._rounded(weights, self._keep(np.asarray(weight_scale), f"{name}.scale"), zeros[1], axis)
        )

    def _rounded(self, value: str, scale: str, zero: str, axis: Mapping[str, int]) -> str:
        return self.op("DequantizeLinear", self.op("QuantizeLinear", value, scale, zero, **axis), scale, zero, **axis)

    def _cast(self, value: str, kind: int) -> str:
        return value if self._proto_type == TensorProto.FLOAT else self.op("Cast", value, to=kind)

    def _keep(self, array: np.ndarray, name: str) -> str:
        if not name:
            self._count += 1
            name = f"constant_{self._count}"
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name


def _scales(weight: np.ndarray, levels: int) -> np.ndarray:
    """(in, out) -> (1, out): what one step of each output's weights is worth."""
    return (np.abs(weight).max(axis=0, keepdims=True).clip(1e-12) / levels).astype(np.float32)
