"""`worldagen export`: a checkpoint's encoder written, or built, and tried."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from worldagen.checkpoint import find_checkpoint, load_checkpoint
from worldagen.engines.choosing import CALIBRATED, prepare_pictures
from worldagen.engines.config import EngineLimits, Precision
from worldagen.engines.encoder import EncoderEngine
from worldagen.engines.exported import export
from worldagen.engines.files import StoredFile, engine_folder, private_folder
from worldagen.engines.gate import Gate
from worldagen.engines.onnx_runtime import PRECISIONS, OnnxruntimeEngine
from worldagen.engines.parts import encoder_digest
from worldagen.engines.probe import make_probe
from worldagen.engines.tensorrt_build import Say, find_or_build, import_tensorrt, look_at_gpu, require_precision
from worldagen.engines.tensorrt_engine import TensorrtEngine
from worldagen.errors import EngineError

WORKSPACE_MIB = 1024


@dataclass(frozen=True)
class ExportRequest:
    """What was asked on the command line. engine: onnx or tensorrt. frames: bags. out: root folder, "" for the cache."""

    checkpoint: str
    engine: str
    precision: Precision
    frames: tuple[Path, ...] = ()
    out: str = ""
    threads: int = 1


def export_checkpoint(asked: ExportRequest, say: Say) -> Iterator[str]:
    """Do it; yields what there is to tell. say: hears of progress while it builds. Raises EngineError, CheckpointError."""
    torch.set_num_threads(asked.threads)
    if asked.engine == "tensorrt":  # what is missing is told before minutes are spent
        trt, gpu = import_tensorrt(), look_at_gpu()
        require_precision(trt, gpu, asked.precision)
    calibrated = asked.precision in CALIBRATED and bool(asked.frames)
    if asked.precision in CALIBRATED and not asked.frames and (asked.engine == "tensorrt" or asked.precision == "fp8"):
        raise EngineError(f"{asked.precision} for TensorRT needs calibration frames; give bags: --frames BAG")
    network, conventions = load_checkpoint(find_checkpoint(asked.checkpoint))
    probe = make_probe(asked.frames, network.config.rows)
    pictures = prepare_pictures(network, conventions, probe)
    folder = private_folder(private_folder(engine_folder(asked.out)) / encoder_digest(network)[:16])
    yield f"exporting the encoder of {asked.checkpoint} in {asked.precision}" + (f", on {probe.source}" if calibrated else "")
    exported = export(folder, network, asked.precision, pictures if calibrated else None)
    yield _written(exported)
    engine: EncoderEngine
    if asked.engine == "tensorrt":
        trt, gpu = import_tensorrt(), look_at_gpu()
        plan = find_or_build(trt, gpu, folder, exported, WORKSPACE_MIB, say)
        yield _written(plan)
        engine = TensorrtEngine(trt, plan, torch.device("cuda"))
    elif calibrated or asked.precision not in PRECISIONS["CPU"]:
        yield "it is tried where it runs: this form is for a GPU"
        return
    else:
        engine = OnnxruntimeEngine(exported, asked.threads)
    gate = Gate(network, conventions, probe, EngineLimits())
    parity = gate.judge(engine)
    refusals = parity.refusals(gate.limits)
    yield f"{engine.name}: {parity.told()}"
    yield f"{parity.encode_s * 1e3:.1f} ms a frame, torch {gate.torch_encode_s * 1e3:.1f} ms"
    yield "within the default limits" if not refusals else f"beyond the default limits: {'; '.join(refusals)}"


def _written(stored: StoredFile) -> str:
    return f"{stored.path}: {stored.told['bytes'] / 1e6:.1f} MB"
