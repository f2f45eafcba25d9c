"""Build a TensorRT engine of an exported encoder on the machine that will run it, once, and keep it.

Written for the Python interfaces of TensorRT 8.6 (JetPack 6), 10 and 11. Up to 9 the builder is told by flags what precisions
it may use; from 10 on networks are strongly typed, so that the graph's own types and Q/DQ pairs are kept to, which is all that
11 knows. None of them gets a calibrator: int8 and fp8 come as Q/DQ pairs in the graph.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from worldagen.engines.config import Precision
from worldagen.engines.files import StoredFile, find, private_folder, store
from worldagen.errors import EngineError

FORMAT = "worldagen-tensorrt-1"
TYPED_SINCE = 10  # major version of TensorRT from which on networks are strongly typed here
# precision -> least compute capability, least major version of TensorRT
NEEDS: dict[Precision, tuple[tuple[int, int], int]] = {
    "fp32": ((5, 0), 8),
    "fp16": ((5, 3), 8),
    "int8": ((6, 1), 8),
    "bf16": ((8, 0), 10),
    "fp8": ((8, 9), 10),
}
TOLD = 5  # of TensorRT's own complaints that an error repeats
Say = Callable[[str], None]


@dataclass(frozen=True)
class Gpu:
    """What a built engine is bound to. capability: (8, 9) for an RTX 40."""

    name: str
    capability: tuple[int, int]
    driver: str


def import_tensorrt() -> Any:
    """The module. Raises EngineError where it is missing, broken, or too old."""
    try:
        import tensorrt
    except ImportError as error:
        raise EngineError(
            f"TensorRT is not installed or does not load ({error}); install the python3-libnvinfer of JetPack, or pip's "
            "tensorrt that fits the driver's CUDA"
        ) from None
    require_version(tensorrt)
    return tensorrt


def require_version(trt: Any) -> int:
    """The major version. Raises EngineError below 8.6."""
    major, minor = (int(part) for part in str(trt.__version__).split(".")[:2])
    if (major, minor) < (8, 6):
        raise EngineError(f"TensorRT {trt.__version__} is too old; expected 8.6 (JetPack 6), 10 or 11")
    return major


def look_at_gpu() -> Gpu:
    """The GPU that torch computes on. Raises EngineError where there is none."""
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU only"
        raise EngineError(
            f"there is no GPU for TensorRT: torch {torch.__version__} is {built} and finds none; see worldagen doctor"
        )
    return Gpu(torch.cuda.get_device_name(), torch.cuda.get_device_capability(), _driver())


def _driver() -> str:
    """The first line of what the driver tells of itself; a Jetson's is part of its system."""
    for place in (Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release")):
        try:
            return " ".join(place.read_text("utf-8").splitlines()[0].split())
        except (OSError, IndexError, UnicodeDecodeError):
            continue
    return "unknown"


def require_precision(trt: Any, gpu: Gpu, precision: Precision) -> None:
    """Raise EngineError for a precision that this GPU or this TensorRT does not have."""
    capability, version = NEEDS[precision]
    have = f"{gpu.name} has {gpu.capability[0]}.{gpu.capability[1]}, TensorRT is {trt.__version__}"
    if gpu.capability < capability or require_version(trt) < version:
        usable = [name for name, (least, since) in NEEDS.items() if gpu.capability >= least and require_version(trt) >= since]
        raise EngineError(
            f"{precision} needs compute capability {capability[0]}.{capability[1]} and TensorRT {version}: {have}; "
            f"choose one of: {', '.join(usable)}"
        )


def describe_plan(trt: Any, gpu: Gpu, exported: StoredFile) -> dict[str, Any]:
    """What a manifest must say for its plan to run here and to be of this encoder."""
    return {
        "format": FORMAT,
        "encoder": exported.told["encoder"],
        "precision": exported.told["precision"],
        "onnx": exported.told["sha256"],
        "gpu": gpu.name,
        "capability": list(gpu.capability),
        "driver": gpu.driver,
        "tensorrt": str(trt.__version__),
    }


def key_of(told: dict[str, Any]) -> str:
    """16 hexadecimal digits that change with anything a plan is bound to."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def find_or_build(trt: Any, gpu: Gpu, folder: Path, exported: StoredFile, workspace_mib: int, say: Say) -> StoredFile:
    """The plan of an exported encoder for this machine, from the folder or built now, which takes minutes.

    Raises EngineError. A plan that is cut, or of another machine under this one's name, is built again.
    """
    require_precision(trt, gpu, exported.told["precision"])
    private_folder(folder)
    expected = describe_plan(trt, gpu, exported)
    path = folder / f"{key_of(expected)}.plan"
    if path.exists():
        try:
            return find(path, expected)
        except EngineError as error:
            say(f"{error}; building it again")
    timing = folder / f"timing_{key_of({**asdict(gpu), 'tensorrt': str(trt.__version__)})}.cache"
    plan = build_plan(trt, exported, timing, workspace_mib, say)
    shapes = {name: exported.told[name] for name in ("static_size", "wrist_size", "max_frames", "outputs")}
    return store(path, plan, {**expected, **shapes})


def build_plan(trt: Any, exported: StoredFile, timing: Path, workspace_mib: int, say: Say) -> bytes:
    """TensorRT's serialised engine. timing: file of what was measured in earlier builds; kept up to date."""
    precision, typed = exported.told["precision"], require_version(trt) >= TYPED_SINCE
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    flag = trt.NetworkDefinitionCreationFlag
    network = builder.create_network(1 << int(flag.STRONGLY_TYPED if typed else flag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(exported.path.read_bytes()):
        told = [str(parser.get_error(place)) for place in range(min(TOLD, parser.num_errors))]
        raise EngineError(f"TensorRT {trt.__version__} does not read {exported.path}: {'; '.join(told) or 'no reason given'}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    if not typed and precision in ("fp16", "int8"):
        config.set_flag(trt.BuilderFlag.FP16)
    if not typed and precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    config.add_optimization_profile(_profile(builder, exported))
    cache = config.create_timing_cache(timing.read_bytes() if timing.exists() else b"")
    config.set_timing_cache(cache, False)
    if hasattr(trt, "IProgressMonitor"):  # 8.6 has none
        config.progress_monitor = _make_monitor(trt, say)
    say(f"TensorRT {trt.__version__} builds the encoder in {precision}; this takes minutes, once on this machine")
    try:
        plan = builder.build_serialized_network(network, config)
    except (RuntimeError, MemoryError) as error:
        raise EngineError(f"TensorRT cannot build the encoder in {precision}: {error}{_complaints(logger)}") from None
    if plan is None:
        raise EngineError(
            f"TensorRT cannot build the encoder in {precision}{_complaints(logger)}; if memory was short, free GPU memory or "
            f"lower engine.workspace_mib ({workspace_mib})"
        )
    _keep_timing(config.get_timing_cache(), timing)
    return bytes(plan)


def _profile_shapes(exported: StoredFile, name: str) -> tuple[tuple[int, ...], ...]:
    side = exported.told[f"{name}_size"]
    return tuple((count, 3, side, side) for count in (1, 1, exported.told["max_frames"]))


def _profile(builder: Any, exported: StoredFile) -> Any:
    """From one frame, which is what a decision encodes and what is tuned for, to the most."""
    profile = builder.create_optimization_profile()
    for name in ("static", "wrist"):
        profile.set_shape(name, *_profile_shapes(exported, name))
    return profile


def make_logger(trt: Any) -> Any:
    """A logger that keeps what TensorRT complains of, in `complaints`, instead of printing it."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.complaints: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.complaints.append(" ".join(msg.split()))

    return Logger()


def _make_monitor(trt: Any, say: Say) -> Any:
    """Tells the steps of the outermost phases only."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._steps:
                say(f"{phase_name}: {step + 1} of {self._steps[phase_name]}")
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def _complaints(logger: Any) -> str:
    return f" ({'; '.join(logger.complaints[-TOLD:])[:1000]})" if logger.complaints else ""


def _keep_timing(cache: Any, timing: Path) -> None:
    """Only saves time: a folder that is full of a sudden is no reason to lose the engine."""
    try:
        aside = timing.with_suffix(".new")
        aside.write_bytes(bytes(cache.serialize()))
        aside.replace(timing)
    except OSError:
        timing.with_suffix(".new").unlink(missing_ok=True)
