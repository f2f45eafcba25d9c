"""Where things are: the checkout, the environment, the ROS workspace, and which ROS is used."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PATH_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH")
# Left by an activated environment, or settings that would make pip install somewhere else.
STRAY_VARIABLES = ("VIRTUAL_ENV", "PYTHONHOME", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
STRAY_PIP_VARIABLES = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT", "PIP_REQUIREMENT")


@dataclass(frozen=True)
class Layout:
    root: Path  # the checkout
    venv: Path
    distribution: str = ""  # "jazzy", or empty when ROS comes from wheels
    jetson: bool = False  # torch and TensorRT are the system's too (jetson.py)
    base_python: str = sys.executable  # the interpreter that the environment is made from
    python_version: tuple[int, int] = sys.version_info[:2]

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return self.venv / "lib" / "python{}.{}".format(*self.python_version) / "site-packages"

    @property
    def state(self) -> Path:
        """Stamps of finished steps; they live in the environment so that they vanish with it."""
        return self.venv / ".worldagen"

    @property
    def downloads(self) -> Path:
        """pip's temporary folder: /tmp is a small memory disk on many machines, and torch needs gigabytes."""
        return self.venv / ".downloads"

    @property
    def workspace(self) -> Path:
        return self.root / "ros2_ws"

    @property
    def logs(self) -> Path:
        return self.root / "log" / "setup"

    @property
    def constraints(self) -> Path:
        if self.jetson:
            return self.state / "constraints-jetson.txt"  # written here, for this machine's torch
        return self.distribution_constraints if self.distribution else self.root / "constraints.txt"

    @property
    def distribution_constraints(self) -> Path:
        return self.root / "requirements" / "constraints-distribution.txt"


def read_layout(root: Path, environ: Mapping[str, str]) -> Layout:
    venv = Path(os.path.abspath(environ.get("WORLDAGEN_VENV") or root / ".venv"))
    return Layout(root, venv, environ.get("ROS_DISTRO", ""))


def child_environment(layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables without what an earlier `. scripts/activate` added to them."""
    ours = (f"{layout.venv}/", f"{layout.workspace}/install")
    child = {k: v for k, v in environ.items() if k not in STRAY_VARIABLES + STRAY_PIP_VARIABLES}
    for name in PATH_VARIABLES:
        if name in child:
            entries = [e for e in child[name].split(":") if e != str(layout.venv) and not e.startswith(ours)]
            child[name] = ":".join(entries)
            if not child[name]:
                del child[name]
    child["WORLDAGEN_VENV"] = str(layout.venv)
    child["PYTHONUNBUFFERED"] = "1"  # logs are followed while they are written
    child["PYTHONNOUSERSITE"] = "1"  # what lies in the home folder is pinned by nobody
    child["LC_ALL"] = "C.UTF-8"  # messages are matched in English
    return child
