"""The set-up's own modules, and copies of the checkout that a real run may fail in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from checkout import BASE_PYTHON, ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from setup_steps.layout import Layout


@pytest.fixture
def layout(tmp_path) -> Layout:
    """An empty checkout with an empty place for its environment, made from the Python that runs this test."""
    root = tmp_path / "checkout"
    root.mkdir()
    return Layout(root, root / ".venv", base_python=BASE_PYTHON)


@pytest.fixture
def copy_checkout() -> Callable[[Path], Path]:
    """Copies what the set-up itself consists of, so that a run that must fail cannot disturb this checkout."""

    def copy(folder: Path) -> Path:
        for name in ("scripts", "requirements"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("constraints.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / name)
        return folder

    return copy


@pytest.fixture
def run_setup() -> Callable[..., subprocess.CompletedProcess]:
    """Runs scripts/setup of a checkout as from a clean terminal: no environment is active, no distribution is sourced."""

    def run(checkout: Path, environ: Mapping[str, str] = {}, **options) -> subprocess.CompletedProcess:
        clean = {"PATH": os.defpath, "HOME": str(checkout), "LC_ALL": "C.UTF-8", **environ}
        clean.setdefault("WORLDAGEN_PYTHON", BASE_PYTHON)
        command = [str(checkout / "scripts" / "setup")]
        return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=100, check=False, **options)

    return run
