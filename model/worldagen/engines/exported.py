"""The ONNX file of a network's encoder in a folder: found there, or exported into it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from worldagen.engines.calibration import measure_ranges
from worldagen.engines.config import Precision
from worldagen.engines.export import FORMAT, MAX_FRAMES, export_encoder
from worldagen.engines.files import StoredFile, find, store
from worldagen.engines.parts import encoder_digest, picture_sides, pooled_modules
from worldagen.errors import EngineError
from worldagen.network.worldagen import WorldAgen

Frames = Sequence[tuple[torch.Tensor, torch.Tensor]]  # static, wrist: each (1, 3, H, H)


def name_export(precision: Precision, calibrated: bool) -> str:
    """Name of an exported file. Both forms of int8 may lie in one folder."""
    return f"encoder_{precision}{'_qdq' if calibrated and precision == 'int8' else ''}.onnx"


def find_or_export(folder: Path, network: WorldAgen, precision: Precision, frames: Frames | None = None) -> StoredFile:
    """The encoder in that precision. frames: calibrate on these, for what TensorRT takes as int8 and fp8.

    What lies there already is taken if it is whole and of this encoder, and of these frames; anything else is replaced.
    Raises EngineError.
    """
    name, expected = name_export(precision, frames is not None), describe_export(network, precision, frames)
    try:
        return find(folder / name, expected)
    except EngineError:
        return export(folder, network, precision, frames)


def export(folder: Path, network: WorldAgen, precision: Precision, frames: Frames | None = None) -> StoredFile:
    """Export anew. Raises EngineError, MemoryError aside: a ViT-B needs 1.2 GB for a moment."""
    ranges = None if frames is None else measure_ranges(network, frames, precision)
    data = export_encoder(network, precision, ranges)
    static, wrist = picture_sides(network.config)
    told = {
        **describe_export(network, precision, frames),
        "static_size": static,
        "wrist_size": wrist,
        "max_frames": MAX_FRAMES,
        "outputs": ["latents", "cls", *pooled_modules(network)],
        "calibration_frames": 0 if frames is None else len(frames),
    }
    return store(folder / name_export(precision, frames is not None), data, told)


def describe_export(network: WorldAgen, precision: Precision, frames: Frames | None = None) -> dict[str, object]:
    """What a manifest must say for its file to be the export of this network's encoder."""
    return {
        "format": FORMAT,
        "encoder": encoder_digest(network),
        "precision": precision,
        "calibration": "" if frames is None else _digest(frames),
    }


def _digest(frames: Frames) -> str:
    digest = hashlib.sha256()
    for pictures in frames:
        for picture in pictures:
            digest.update(picture.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
