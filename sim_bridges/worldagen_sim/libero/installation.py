"""What is in LIBERO's environment, checked and arranged before its first import. Runs over there.

LIBERO asks questions on standard input where its configuration file is missing, and fetches its assets over the network where
they are. Neither happens here: the file is written to a folder of this process, and assets are found or refused.
"""

import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from worldagen.errors import SimulatorError

ASSETS = "WORLDAGEN_LIBERO_ASSETS"
ASSET_FOLDERS = ("articulated_objects", "stable_scanned_objects", "turbosquid_objects", "stable_hope_objects", "scenes")
# One of each kind of place, as a sign that a copy of the assets is whole.
SAMPLES = tuple(f"scenes/libero_{kind}_base_style.xml" for kind in ("floor", "living_room_tabletop", "study", "tabletop"))
PACKAGES = ("hf-libero", "robosuite", "mujoco")


def read_versions() -> dict[str, str]:
    """Package -> its version here. Raises SimulatorError for one that LIBERO cannot run with."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            raise SimulatorError(
                f"{sys.executable} has no {package}, which LIBERO needs; run scripts/setup --with libero"
            ) from None
    check_versions(found)
    return found


def check_versions(found: dict[str, str]) -> None:
    """Raises SimulatorError for a robosuite or MuJoCo that LIBERO cannot run with."""
    robosuite, mujoco = found["robosuite"], tuple(int(part) for part in found["mujoco"].split(".")[:2])
    wrong = []
    if not robosuite.startswith("1.4."):
        wrong.append(f"robosuite {robosuite}, LIBERO needs 1.4")
    if not (3, 0) <= mujoco < (3, 9):
        wrong.append(f"mujoco {found['mujoco']}, robosuite 1.4 needs one from 3.0 to 3.8")
    if wrong:
        raise SimulatorError(f"{sys.executable} has {'; '.join(wrong)}; run scripts/setup --with libero")


def find_package() -> Path:
    """The folder of libero.libero, found without importing it. Raises SimulatorError."""
    spec = importlib.util.find_spec("libero")
    for place in (spec.submodule_search_locations if spec else None) or ():
        if (Path(place) / "libero" / "bddl_files").is_dir():
            return Path(place) / "libero"
    raise SimulatorError(f"{sys.executable} has no package libero; run scripts/setup --with libero")


def prepare_import(package: Path, gl_platform: str) -> tempfile.TemporaryDirectory:
    """Set what LIBERO, robosuite and MuJoCo read at their import. The folder returned must outlive them."""
    folder = tempfile.TemporaryDirectory(prefix="worldagen_libero_")
    places = {"bddl_files": package / "bddl_files", "init_states": package / "init_files", "assets": package / "assets"}
    places |= {"benchmark_root": package, "datasets": Path(folder.name) / "datasets"}
    Path(folder.name, "config.yaml").write_text(yaml.safe_dump({key: str(place) for key, place in places.items()}), "utf-8")
    os.environ["LIBERO_CONFIG_PATH"] = os.environ["MPLCONFIGDIR"] = folder.name
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Without OpenGL: the one word with which robosuite's import looks for no driver.
    os.environ["MUJOCO_GL"] = gl_platform or "glx"
    os.environ["PYOPENGL_PLATFORM"] = gl_platform or "glx"
    if not os.access(sys.prefix, os.W_OK):
        os.environ["NUMBA_CACHE_DIR"] = folder.name  # else beside the modules, which saves half a minute the next time
    return folder


def find_assets(package: Path) -> Path:
    """The folder of LIBERO's assets: the one that is named, else where LIBERO itself looks. Raises SimulatorError."""
    named = os.environ.get(ASSETS, "")
    places = [Path(named)] if named else [package / "assets", Path.home() / ".cache" / "libero" / "assets"]
    for place in places:
        if all((place / folder).is_dir() for folder in ASSET_FOLDERS):
            return place
    lacking = "; ".join(f"{place} lacks {_first_missing(place, ASSET_FOLDERS)}" for place in places)
    raise SimulatorError(
        f"LIBERO's assets are missing: {lacking}. Nothing is fetched; name the folder libero/libero/assets of a copy of "
        f"LIBERO's repository in {ASSETS}: docs/simulators.md"
    )


def caveat_of(package: Path) -> str:
    """Why no benchmark's results can be had with the assets that are here; "" when they are complete."""
    try:
        place = find_assets(package)
    except SimulatorError as error:
        return str(error)
    missing = _first_missing(place, SAMPLES)
    return f"LIBERO's assets are not complete, {missing} is missing; what is there may be stand-ins" if missing else ""


def load_environments(assets: Path) -> Any:
    """Import LIBERO with these assets: a module with TASK_MAPPING and ControlEnv."""
    package = importlib.import_module("libero.libero")
    package._assets_path_cache = str(assets)  # where it looks first
    importlib.import_module("libero.libero.envs")
    return importlib.import_module("libero.libero.envs.env_wrapper")


def _first_missing(place: Path, names: Sequence[str]) -> str:
    return next((name for name in names if not (place / name).exists()), "")
