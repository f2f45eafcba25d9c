"""Exported encoders and built engines on disk, each beside a manifest that says what it belongs to; checked before it runs.

    FOLDER/encoder_int8.onnx  FOLDER/encoder_int8.onnx.json     for any machine
    FOLDER/KEY.plan           FOLDER/KEY.plan.json              for one GPU, driver and TensorRT version
    FOLDER/timing_KEY.cache                                     what TensorRT measured while building

A built engine is machine code: it is read only from a folder that nobody else can write.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldagen.errors import EngineError
from worldagen.provenance import sha256_of
from worldagen.whole_files import write_whole


@dataclass(frozen=True)
class StoredFile:
    """A file whose bytes are those of its manifest. told: the manifest."""

    path: Path
    told: Mapping[str, Any]


def engine_folder(asked: str = "") -> Path:
    """Where engines are kept: as asked for, else worldagen/engines in the user's cache (XDG_CACHE_HOME)."""
    if asked:
        return Path(asked).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "worldagen" / "engines"


def private_folder(folder: Path) -> Path:
    """Make a folder that is only ours (0700). Raises EngineError where it is, or could be, somebody else's."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise EngineError(f"{folder}: cannot be made ({error}); choose another with engine.folder") from None
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise EngineError(
            f"{folder}: others can write there (mode {status.st_mode & 0o777:o}), and an engine is machine code; "
            f"run chmod 700 {folder}, or choose a folder of your own with engine.folder"
        )
    return folder


def store(path: Path, data: bytes, told: Mapping[str, Any]) -> StoredFile:
    """Write a file and its manifest: complete, or not at all. Raises EngineError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.write_bytes(data)
        manifest = {**told, "bytes": len(data), "sha256": sha256_of(aside)}
        _manifest_of(path).unlink(missing_ok=True)  # whoever dies in between leaves a file that is refused, not a wrong one
        os.replace(aside, path)
        write_whole(_manifest_of(path), json.dumps(manifest, indent=2) + "\n")
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise EngineError(f"{path}: cannot be written ({error})") from None
    return StoredFile(path, manifest)


def find(path: Path, expected: Mapping[str, Any]) -> StoredFile:
    """A stored file that is whole and of what is expected: manifest keys and their values. Raises EngineError."""
    told = _read_manifest(path)
    differing = [
        f"{name}: found {told.get(name)!r}, expected {value!r}" for name, value in expected.items() if told.get(name) != value
    ]
    if differing:
        raise EngineError(f"{path} belongs to something else; export again:\n  " + "\n  ".join(differing))
    try:
        size = path.stat().st_size
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error}); export again") from None
    if size != told.get("bytes") or sha256_of(path) != told.get("sha256"):
        raise EngineError(f"{path} has {size} bytes that are not those of its manifest ({told.get('bytes')}); export again")
    return StoredFile(path, told)


def _manifest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest = _manifest_of(path)
    try:
        told = json.loads(manifest.read_text("utf-8"))
    except FileNotFoundError:
        raise EngineError(f"{manifest}: no such file; an engine file without its manifest is not used, export again") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise EngineError(f"{manifest}: cannot be read as JSON ({error}); export again") from None
    if not isinstance(told, dict):
        raise EngineError(f"{manifest}: holds a {type(told).__name__}; expected an object; export again")
    return told
