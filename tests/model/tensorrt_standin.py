"""A stand-in for TensorRT's Python interface, as strict as the real one is: wrong order, names, flags or shapes fail here.

It builds no kernels. Its "plan" remembers the ONNX file, and "running" one computes it with ONNX Runtime on the very memory
whose addresses were given, so that a copy or a wrong address shows in the numbers. `make(version)` gives a module with what
that version has: 8.6 has EXPLICIT_BATCH and precision flags, 10 has both ways, 11 only strongly typed networks.
"""

import ctypes
import enum
import json
import types
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class BuilderFlag(enum.Enum):
    FP16 = 0
    INT8 = 1


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.initialised = True


class IProgressMonitor:
    def __init__(self) -> None:
        self.initialised = True


class Parser:
    def __init__(self, network: Any, logger: Any) -> None:
        assert isinstance(logger, ILogger) and logger.initialised
        self._network, self._errors = network, []

    def parse(self, data: bytes) -> bool:
        try:
            model = onnx.load_model_from_string(data)
            if model.opset_import[0].version > 17 and not self._network.typed:
                raise ValueError("opset is not supported")
            onnx.checker.check_model(model)
        except Exception as error:
            self._errors.append(str(error))
            return False
        self._network.model, self._network.data = model, data
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, place: int) -> str:
        return self._errors[place]


class Network:
    def __init__(self, typed: bool) -> None:
        self.typed, self.model, self.data = typed, None, b""

    def kinds(self) -> set[str]:
        return {node.op_type for node in self.model.graph.node}  # type: ignore[union-attr]


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple] = {}

    def set_shape(self, name: str, least: tuple, best: tuple, most: tuple) -> None:
        assert all(low <= middle <= high for low, middle, high in zip(least, best, most, strict=True))
        self.shapes[name] = (least, best, most)


class Cache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data + b"timed"


class Config:
    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.flags: set[BuilderFlag] = set()
        self.workspace = self.cache = None
        self.monitor: Any = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE and size > 0
        self.workspace = size

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> Cache:
        return Cache(data)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> Cache:
        assert self.cache is not None, "no timing cache was set"
        return self.cache


class WeakConfig(Config):
    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)


class MonitoredConfig(Config):
    @property
    def progress_monitor(self) -> Any:
        return self.monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: Any) -> None:
        assert isinstance(monitor, IProgressMonitor) and monitor.initialised
        self.monitor = monitor


class MonitoredWeakConfig(WeakConfig, MonitoredConfig):
    pass


class Builder:
    version = (8, 6)
    fails = ""  # what the logger hears while building comes to nothing
    built: ClassVar[list[tuple[Network, Any]]] = []

    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, ILogger) and logger.initialised
        self._logger = logger

    def create_network(self, flags: int = 0) -> Network:
        typed = bool(flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        explicit = bool(flags & 1 << NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
        assert explicit or self.version >= (10,), "8.6: an ONNX network needs the flag EXPLICIT_BATCH"
        assert not typed or self.version >= (10,), "8.6 has no strongly typed networks"
        return Network(typed or self.version >= (11,))

    def create_builder_config(self) -> Any:
        kinds: list[type[Config]] = [MonitoredConfig, MonitoredWeakConfig, WeakConfig]
        return kinds[0 if self.version >= (11,) else 1 if self.version >= (10,) else 2]()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Any) -> bytes | None:
        assert network.model is not None, "nothing was parsed"
        if self.fails:
            self._logger.log(Severity.ERROR, self.fails)
            return None
        dynamic = {value.name for value in network.model.graph.input if value.type.tensor_type.shape.dim[0].dim_param}
        assert len(config.profiles) == 1, "inputs of varying size need an optimisation profile"
        assert set(config.profiles[0].shapes) == dynamic, "the profile must cover every varying input"
        assert config.workspace, "the memory was not limited"
        assert not (network.typed and config.flags), "strongly typed networks take no precision flags"
        if not network.typed:
            quantised = "QuantizeLinear" in network.kinds()
            assert quantised == (BuilderFlag.INT8 in config.flags), "Q/DQ pairs and the flag INT8 belong together"
            half = any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in network.model.graph.initializer)
            assert not half or BuilderFlag.FP16 in config.flags, "half-precision weights need the flag FP16"
        if config.monitor is not None:
            config.monitor.phase_start("Building", None, 2)
            config.monitor.phase_start("inner", "Building", 9)
            assert all(config.monitor.step_complete(name, 0) for name in ("inner", "Building"))
            config.monitor.phase_finish("inner")
            assert config.monitor.step_complete("Building", 1)
            config.monitor.phase_finish("Building")
        self.built.append((network, config))
        most = {name: shapes[2] for name, shapes in config.profiles[0].shapes.items()}
        return json.dumps(most).encode() + b"\0" + network.data


class Runtime:
    memory_left = True

    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, ILogger) and logger.initialised
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> "Engine | None":
        shapes, mark, data = plan.partition(b"\0")
        if not mark:
            self._logger.log(Severity.ERROR, "Serialization assertion failed")
            return None
        return Engine(json.loads(shapes), data, self.memory_left)


class Engine:
    def __init__(self, most: dict[str, list[int]], data: bytes, memory_left: bool) -> None:
        self.most, self._memory_left = most, memory_left
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = {value.name: value.shape for value in self.session.get_outputs()}
        self.half: set[str] = set()

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, place: int) -> str:
        return [*self.inputs, *self.outputs][place]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.HALF if name in self.half else DataType.FLOAT

    def create_execution_context(self) -> "Context | None":
        return Context(self) if self._memory_left else None


class Context:
    """Remembers what was set; nothing of an earlier run counts for the next."""

    fails = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.streams: list[int] = []

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name in self._engine.inputs and type(shape) is tuple
        fits = shape[1:] == tuple(self._engine.most[name][1:]) and 1 <= shape[0] <= self._engine.most[name][0]
        if fits:
            self.shapes[name] = shape
        return fits

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert set(self.shapes) == set(self._engine.inputs), "shapes of outputs are known once all inputs have theirs"
        frames = self.shapes["static"][0]
        return tuple(frames if isinstance(size, str) else size for size in self._engine.outputs[name])

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert name in [*self._engine.inputs, *self._engine.outputs]
        self.addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert type(stream_handle) is int
        assert set(self.addresses) == {*self._engine.inputs, *self._engine.outputs}, "every tensor needs an address"
        assert stream_handle != 0, "the default stream makes everybody wait"
        self.streams.append(stream_handle)
        if self.fails:
            return False
        given = {name: _memory(self.addresses[name], self.shapes[name]) for name in self._engine.inputs}
        for name, numbers in zip(self._engine.outputs, self._engine.session.run(None, given), strict=True):
            _memory(self.addresses[name], self.get_tensor_shape(name))[:] = numbers
        self.shapes, self.addresses = {}, {}
        return True


def _memory(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """fp32 numbers that lie there, not copied."""
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)


def make(version: str) -> Any:
    """The module of that version. Its Builder, Runtime and Context are classes of its own, so that a test may break them."""
    number = tuple(int(part) for part in version.split(".")[:2])
    module = types.SimpleNamespace(
        __version__=version,
        NetworkDefinitionCreationFlag=NetworkDefinitionCreationFlag,
        MemoryPoolType=MemoryPoolType,
        TensorIOMode=TensorIOMode,
        DataType=DataType,
        ILogger=ILogger,
        OnnxParser=Parser,
        Builder=type("Builder", (Builder,), {"version": number, "built": []}),
        Runtime=type("Runtime", (Runtime,), {}),
    )
    if number >= (10,):
        module.IProgressMonitor = IProgressMonitor
    if number < (11,):
        module.BuilderFlag = BuilderFlag
    return module
