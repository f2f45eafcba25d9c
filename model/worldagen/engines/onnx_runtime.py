"""ONNX Runtime as an encoder engine: on the CPU in fp32 or int8, and on a GPU by its CUDA or TensorRT provider."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldagen.engines.config import Precision
from worldagen.engines.encoder import Encoded
from worldagen.engines.export import MAX_FRAMES
from worldagen.engines.files import StoredFile
from worldagen.errors import EngineError

PROVIDERS = {"CPU": "CPUExecutionProvider", "CUDA": "CUDAExecutionProvider", "TensorRT": "TensorrtExecutionProvider"}
PRECISIONS: dict[str, tuple[Precision, ...]] = {  # the fastest first
    "CPU": ("int8", "fp32"),
    "CUDA": ("fp16", "fp32"),
    "TensorRT": ("fp16", "fp32"),
}


class OnnxruntimeEngine:
    """One session on an exported file."""

    def __init__(self, exported: StoredFile, threads: int, provider: str = "CPU") -> None:
        """threads: of the policy. Raises EngineError, also where the file says int8 or fp8 with Q/DQ: those are TensorRT's."""
        precision = exported.told["precision"]
        if precision not in PRECISIONS[provider] or exported.told.get("calibration"):
            form = f"calibrated {precision}" if exported.told.get("calibration") else precision
            raise EngineError(
                f"onnxruntime does not run {form} on {provider}; its choices there: {', '.join(PRECISIONS[provider])}"
            )
        self.name = f"onnxruntime {precision} on {provider}"
        self._sides = exported.told["static_size"], exported.told["wrist_size"]
        self._pooled = exported.told["outputs"][2:]
        self._session = _open(exported, threads, provider, self.name)

    def encode(self, static: torch.Tensor, wrist: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        latents, cls = self._run(["latents", "cls"], static, wrist)
        return latents, cls

    def encode_all(self, static: torch.Tensor, wrist: torch.Tensor) -> Encoded:
        latents, cls, *pooled = self._run(["latents", "cls", *self._pooled], static, wrist)
        return Encoded(latents, cls, dict(zip(self._pooled, pooled, strict=True)))

    def _run(self, outputs: list[str], static: torch.Tensor, wrist: torch.Tensor) -> list[torch.Tensor]:
        check_pictures(self.name, static, wrist, self._sides)
        pictures = {"static": _numbers(static), "wrist": _numbers(wrist)}
        try:
            found = self._session.run(outputs, pictures)
        except Exception as error:  # its exceptions have no common base of their own
            raise EngineError(f"{self.name}: {' '.join(str(error).split())[:300]}") from None
        return [torch.from_numpy(numbers).to(static.device, static.dtype) for numbers in found]


def available_providers() -> list[str]:
    """Our names of what this ONNX Runtime can run on, the CPU last. Raises EngineError where it is not installed."""
    known = _import().get_available_providers()
    return [name for name in ("TensorRT", "CUDA", "CPU") if PROVIDERS[name] in known]


def check_pictures(name: str, static: torch.Tensor, wrist: torch.Tensor, sides: tuple[int, int]) -> None:
    """Raise EngineError unless these are 1 to MAX_FRAMES frames of those sides."""
    count = len(static)
    expected = tuple((count, 3, side, side) for side in sides)
    if (tuple(static.shape), tuple(wrist.shape)) != expected or not 1 <= count <= MAX_FRAMES:
        raise EngineError(
            f"{name}: pictures are {list(static.shape)} and {list(wrist.shape)}; expected 1 to {MAX_FRAMES} frames of "
            f"3 x {sides[0]} x {sides[0]} and 3 x {sides[1]} x {sides[1]}"
        )


def _open(exported: StoredFile, threads: int, provider: str, name: str) -> Any:
    ort = _import()
    wanted = PROVIDERS[provider]
    if wanted not in ort.get_available_providers():
        raise EngineError(f"{name}: this onnxruntime has no {wanted}; install onnxruntime-gpu for your CUDA in its place")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait leave the cores to others
    options.log_severity_level = 4  # what goes wrong is raised
    chain = [(wanted, _provider_options(exported, provider)), *([PROVIDERS["CPU"]] if provider != "CPU" else [])]
    try:
        session = ort.InferenceSession(str(exported.path), options, providers=chain)
    except Exception as error:  # its exceptions have no common base of their own
        raise EngineError(f"{name}: {exported.path} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    if session.get_providers()[0] != wanted:
        raise EngineError(f"{name}: {wanted} is there but does not start (its libraries or the driver are missing)")
    return session


def _provider_options(exported: StoredFile, provider: str) -> dict[str, Any]:
    if provider != "TensorRT":
        return {}
    static, wrist = exported.told["static_size"], exported.told["wrist_size"]

    def shapes(count: int) -> str:
        return f"static:{count}x3x{static}x{static},wrist:{count}x3x{wrist}x{wrist}"

    cache = Path(exported.path).parent
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(cache),
        "trt_fp16_enable": exported.told["precision"] == "fp16",
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(1),
        "trt_profile_max_shapes": shapes(MAX_FRAMES),
    }


def _numbers(pictures: torch.Tensor) -> np.ndarray:
    return pictures.detach().to("cpu", torch.float32).contiguous().numpy()


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"onnxruntime is not installed or does not load ({error}); pip install onnxruntime") from None
    return onnxruntime
