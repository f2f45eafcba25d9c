"""Step 1: can this machine do it at all, and are the system's own packages there?

Required: a C++ compiler, the Python headers, ensurepip. Wanted: the OpenGL libraries of Mesa, without which the
simulator casts rays on the processor instead. CMake, ninja and everything else come later, from wheels.
"""

import ctypes
import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setup_steps import disk, failures
from setup_steps.command import run
from setup_steps.layout import Layout
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.stamps import fingerprint

OLDEST_GLIBC = (2, 28)  # what the ROS wheels and torch are built for
GL_LIBRARIES = {"libEGL.so.1": "libegl1", "libOpenGL.so.0": "libopengl0", "libEGL_mesa.so.0": "libegl-mesa0"}
GL_DRIVERS = "libgl1-mesa-dri"


@dataclass(frozen=True)
class Machine:
    """What matters of a machine."""

    system: str = "Linux"
    cpu: str = "x86_64"
    glibc: tuple[int, int] | None = (2, 36)
    python: tuple[int, int] = (3, 11)
    python_prefix: str = "/usr"
    has_compiler: bool = True
    has_headers: bool = True
    has_ensurepip: bool = True
    has_rclpy: bool = True  # matters only beside a distribution
    missing_gl: tuple[str, ...] = ()  # system packages


def read_machine(layout: Layout) -> Machine:
    importlib.invalidate_caches()  # apt may have just brought ensurepip
    libc, version = platform.libc_ver()
    return Machine(
        system=platform.system(),
        cpu=platform.machine(),
        glibc=_two_numbers(version) if libc == "glibc" else None,
        python=sys.version_info[:2],
        python_prefix=sys.base_prefix,
        has_compiler=any(map(shutil.which, ("c++", "g++"))),
        has_headers=Path(sysconfig.get_paths()["include"], "Python.h").is_file(),
        has_ensurepip=importlib.util.find_spec("ensurepip") is not None,
        has_rclpy=not layout.distribution or _imports(layout.base_python, "rclpy"),
        missing_gl=tuple(package for library, package in GL_LIBRARIES.items() if not _loads(library)),
    )


def refusal(machine: Machine, layout: Layout) -> str | None:
    """Why this machine cannot do it, whoever installs whatever."""
    if machine.system != "Linux":
        return f"this is {machine.system}, worldagen_ros needs Linux; use a Linux machine or container"
    if not (3, 10) <= machine.python <= (3, 12):
        return "this is Python {}.{}, Python 3.10 to 3.12 is needed; name one in WORLDAGEN_PYTHON".format(*machine.python)
    for folder in (layout.root, layout.venv):
        if any(c.isspace() or c in ":;" for c in str(folder)):
            return f"the path {folder} has a blank, colon or semicolon in it, which ROS cannot handle; move it"
    if layout.distribution:
        if machine.has_rclpy:
            return None
        python = "Python {}.{}".format(*machine.python)
        return (
            f"ROS_DISTRO is {layout.distribution}, but {python} cannot import its rclpy; source the distribution's setup file, "
            "name its Python in WORLDAGEN_PYTHON, or unset ROS_DISTRO to use the ROS wheels"
        )
    if machine.cpu != "x86_64":
        return f"this is {machine.cpu}, ROS wheels exist for x86_64 only; on a Jetson source your ROS distribution first"
    if machine.glibc is None or machine.glibc < OLDEST_GLIBC:
        return "ROS wheels need glibc 2.28 or newer; use Debian 12, Ubuntu 22.04 or 24.04, or source a ROS distribution first"
    return None


def foreign_folder(venv: Path) -> str | None:
    """A set-up may throw its environment away, so it takes no folder that it did not make."""
    if not venv.exists() or (venv / "pyvenv.cfg").exists() or (venv / ".worldagen").exists():
        return None
    if venv.is_dir() and not any(venv.iterdir()):
        return None
    return f"{venv} holds something that is not a Python environment; name another folder in WORLDAGEN_VENV"


def missing_packages(machine: Machine) -> list[str]:
    """System packages without which the set-up cannot go on, by their Debian names."""
    python = "python{}.{}".format(*machine.python)
    wanted = {
        "g++": machine.has_compiler,
        f"{python}-dev": machine.has_headers,
        f"{python}-venv": machine.has_ensurepip,
    }
    return [package for package, there in wanted.items() if not there]


def not_for_apt(machine: Machine) -> str | None:
    """apt completes only the Python that apt installed."""
    if machine.python_prefix == "/usr" or (machine.has_headers and machine.has_ensurepip):
        return None
    lacking = "headers" if not machine.has_headers else "ensurepip"
    return f"the Python in {machine.python_prefix} has no {lacking}; name another one in WORLDAGEN_PYTHON"


def rights() -> list[str] | None:
    """What to put before apt-get; None when we may not install anything."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


class CheckMachine:
    name = "machine"

    def __init__(
        self,
        layout: Layout,
        environ: Mapping[str, str],
        look: Callable[[Layout], Machine] = read_machine,
        rights: Callable[[], list[str] | None] = rights,
    ) -> None:
        self.layout, self.environ, self.look, self.rights = layout, environ, look, rights
        self.stamp = layout.state / "machine.json"
        self.log = layout.logs / "1-machine.log"
        self.machine = look(layout)

    def fingerprint(self) -> str:
        return fingerprint(self.machine.python)

    def faults(self, record: dict[str, Any]) -> list[str]:
        reason = refusal(self.machine, self.layout) or foreign_folder(self.layout.venv) or disk.shortage(self.layout)
        if reason:
            raise Problem(reason)
        missing = missing_packages(self.machine)
        # Once is enough to try for what is only wanted: the second run must not need the network.
        if not record.get("tried_gl"):
            missing += self.machine.missing_gl
        return [f"system package {package} is missing" for package in missing]

    def work(self, progress: Progress) -> None:
        required, wanted = missing_packages(self.machine), list(self.machine.missing_gl)
        if wanted:
            wanted.append(GL_DRIVERS)
        rights = self.rights() if required or wanted else None
        if required and rights is None:
            raise Problem(failures.no_rights(required))
        other = not_for_apt(self.machine)
        if other:
            raise Problem(other)
        if rights is None:
            return
        self._apt(rights, ["update"], progress)
        if required:
            self._require(self._apt(rights, ["install", *required], progress), required)
        if wanted:
            self._apt(rights, ["install", *wanted], progress)
        self.machine = self.look(self.layout)

    def record(self) -> dict[str, Any]:
        return {"tried_gl": True}

    def summary(self) -> str:
        python = "Python {}.{}".format(*self.machine.python)
        ros = f"ROS 2 {self.layout.distribution}" if self.layout.distribution else "ROS 2 from wheels"
        text = f"{python}, {ros}"
        if self.machine.missing_gl:
            text += f"; no OpenGL ({', '.join(self.machine.missing_gl)} missing), so the simulator will ray-cast"
        return text

    def _apt(self, rights: Sequence[str], arguments: Sequence[str], progress: Progress) -> int:
        action, *packages = arguments
        options = ["-y", "--no-install-recommends"] if action == "install" else []
        command = [*rights, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]
        progress.say(f"apt-get {' '.join(arguments)}")
        return run([*command, action, *options, *packages], self.log, self.environ, on_line=progress.note, dies_with_us=False)

    def _require(self, status: int, packages: Sequence[str]) -> None:
        if status:
            raise Problem(failures.apt_failed(self.log, packages))


def _two_numbers(version: str) -> tuple[int, int]:
    major, minor, *_ = [int(part) for part in version.split(".")] + [0, 0]
    return major, minor


def _imports(python: str, module: str) -> bool:
    """In a process of its own: a distribution's module for another Python is found, and then fails in its C part."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
