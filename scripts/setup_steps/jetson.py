"""On a Jetson, before everything else: what must come from JetPack and from the ROS distribution, is it there?

    scripts/setup --jetson

No package index has a torch for the GPU of an Orin, a TensorRT for JetPack or ROS for Arm. All three are built for the system's
Python, so the environment is one that sees the system's packages, which it is beside any distribution; pip is held to the very
torch that lies there, and everything else comes in the versions of constraints-distribution.txt.
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from setup_steps.layout import Layout
from setup_steps.machine import foreign_folder
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.records import normalise

SYSTEM = Path("/")
RELEASE = Path("etc/nv_tegra_release")
JETPACK_6 = "36"  # its Jetson Linux: R36.x
DISTRIBUTION, PYTHON = "humble", (3, 10)  # of Ubuntu 22.04, on which JetPack 6 stands
CUDA_MAJOR = "12"
TENSORRT = "python3-libnvinfer"  # the Debian package with TensorRT's Python module
FROM_SYSTEM = ("torch", "torchvision")  # what pip must not bring
ONLY_WITH_TORCH = ("triton", "nvidia-", "cuda-")  # pinned for the index's torch; another torch may want others
PAGE = "docs/jetson.md says where NVIDIA has it"

# Run by the system's Python. Only files are read: importing torch takes a Jetson many seconds, and this runs every time.
PROBE = """
import importlib.metadata, importlib.util, json, re, site, sys
from pathlib import Path

def version(name, path):
    found = next(iter(importlib.metadata.distributions(name=name, path=path)), None)
    return found.version if found else ""

told = {"versions": {}, "at_home": {}}
for name in sys.argv[1:]:
    told["versions"][name] = version(name, sys.path)
    told["at_home"][name] = version(name, [site.getusersitepackages()])
spec = importlib.util.find_spec("torch")
text = Path(spec.origin).with_name("version.py").read_text() if spec and spec.origin else ""
built = re.search(r"(?m)^cuda\\b[^=]*= *'([^']*)'", text)
told["cuda"] = built[1] if built else ""
told["tensorrt"] = importlib.util.find_spec("tensorrt") is not None
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Jetson:
    """What matters of one.

    release: of Jetson Linux, as "36.4.3"; "" on a machine that is none. ros: distributions under /opt/ros.
    versions, at_home: of torch and torchvision, as the system's Python finds them and as they lie at home; "" for none.
    cuda: what torch is built for, "" for the CPU.
    tensorrt: version of the Debian package, "" for none; importable: whether this Python finds the module.
    """

    release: str = "36.4.3"
    cpu: str = "aarch64"
    python: tuple[int, int] = PYTHON
    python_prefix: str = "/usr"
    ros: tuple[str, ...] = (DISTRIBUTION,)
    versions: Mapping[str, str] = field(default_factory=lambda: {"torch": "2.8.0", "torchvision": "0.23.0"})
    at_home: Mapping[str, str] = field(default_factory=dict)
    cuda: str = "12.6"
    tensorrt: str = "10.3.0.30-1+cuda12.5"
    importable: bool = True


def ask_dpkg(package: str) -> str:
    """The installed version of a Debian package, "" for none."""
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    status, _, version = done.stdout.partition(" ")
    return version.strip() if status == "installed" else ""


def read_release(system: Path = SYSTEM) -> str:
    """Of Jetson Linux, as "36.4.3"; "" on a machine that is no Jetson."""
    try:
        text = (system / RELEASE).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else ""


def read_jetson(layout: Layout, system: Path = SYSTEM, dpkg: Callable[[str], str] = ask_dpkg) -> Jetson:
    """Look at the machine; `system` is the root of its files. Raises Problem where its Python does not answer."""
    quiet = {**os.environ, "PYTHONNOUSERSITE": "1"}  # as the environment will be made: without what lies in the home folder
    command = [layout.base_python, "-c", PROBE, *FROM_SYSTEM]
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise Problem(f"{layout.base_python} cannot say which packages it has ({said}); name another in WORLDAGEN_PYTHON")
    told = json.loads(done.stdout)
    return Jetson(
        release=read_release(system),
        cpu=platform.machine(),
        python=layout.python_version,
        python_prefix=sys.base_prefix,
        ros=tuple(sorted(path.parent.name for path in system.glob("opt/ros/*/setup.bash"))),
        versions=told["versions"],
        at_home=told["at_home"],
        cuda=told["cuda"],
        tensorrt=dpkg(TENSORRT),
        importable=told["tensorrt"],
    )


def refusal(jetson: Jetson, layout: Layout) -> str | None:
    """Why it cannot be set up as a Jetson: what was found, what was expected, what to do."""
    if jetson.cpu != "aarch64" or not jetson.release:
        found = f"an {jetson.cpu} machine" + ("" if jetson.release else f" without a readable /{RELEASE}")
        return f"--jetson is for a Jetson Orin with JetPack 6, this is {found}; on any other machine leave --jetson out"
    if jetson.release.partition(".")[0] != JETPACK_6:
        return (
            f"this is Jetson Linux R{jetson.release}, expected R36 (JetPack 6); flash JetPack 6, "
            "or leave --jetson out, source your ROS distribution and see docs/jetson.md for what is then missing"
        )
    if jetson.python != PYTHON or jetson.python_prefix != "/usr":
        found = "Python {}.{} of {}".format(*jetson.python, jetson.python_prefix)
        return (
            f"this is {found}; ROS, torch and TensorRT of JetPack 6 are for Ubuntu's own Python 3.10, "
            "so run: WORLDAGEN_PYTHON=/usr/bin/python3 scripts/setup --jetson"
        )
    return _ros_refusal(jetson, layout) or _torch_refusal(jetson, layout) or _tensorrt_refusal(jetson)


def _ros_refusal(jetson: Jetson, layout: Layout) -> str | None:
    if layout.distribution == DISTRIBUTION:
        return None
    if layout.distribution:
        return (
            f"ROS_DISTRO is {layout.distribution}, on JetPack 6 it must be {DISTRIBUTION}; "
            f"use a terminal in which only /opt/ros/{DISTRIBUTION}/setup.bash is sourced"
        )
    there = f"/opt/ros has {', '.join(jetson.ros)}" if jetson.ros else "/opt/ros has no distribution"
    return (
        f"{there}, and ROS 2 Humble is needed, for there are no ROS wheels for Arm; "
        "run: sudo apt-get install ros-humble-ros-base ros-dev-tools (docs.ros.org, Humble, Ubuntu packages, "
        "says how to add their repository)"
    )


def _torch_refusal(jetson: Jetson, layout: Layout) -> str | None:
    for name, least in least_versions(layout).items():
        found, at_home = jetson.versions.get(name, ""), jetson.at_home.get(name, "")
        wanted = f"{name} {least} or newer, built for JetPack 6,"
        if not found and at_home:
            return (
                f"{name} {at_home} lies in the home folder, where the environment does not look; "
                f"install {wanted} for all users (sudo -H python3 -m pip install ...): {PAGE}"
            )
        if not found:
            return f"{name} is missing; install {wanted} for all users (sudo -H python3 -m pip install ...): {PAGE}"
        if is_older(found, least):
            return f"{name} is {found}, too old; install {wanted} for all users: {PAGE}"
    if jetson.cuda.partition(".")[0] != CUDA_MAJOR:
        built = f"CUDA {jetson.cuda}" if jetson.cuda else "the CPU only"
        return (
            f"torch {jetson.versions['torch']} is built for {built}, JetPack 6 has CUDA {CUDA_MAJOR}; "
            f"it is not NVIDIA's for JetPack: {PAGE}"
        )
    return None


def _tensorrt_refusal(jetson: Jetson) -> str | None:
    if not jetson.tensorrt:
        return f"TensorRT's Python package is missing; run: sudo apt-get install {TENSORRT} (it belongs to nvidia-jetpack)"
    if not jetson.importable:
        return (
            f"{TENSORRT} {jetson.tensorrt} is installed, but this Python does not find tensorrt; "
            f"run: sudo apt-get install --reinstall {TENSORRT}"
        )
    return None


def least_versions(layout: Layout) -> dict[str, str]:
    """torch, torchvision -> the oldest that pyproject.toml allows."""
    text = (layout.root / "pyproject.toml").read_text("utf-8")
    return {name: found[1] for name in FROM_SYSTEM if (found := re.search(rf'"{name}>=([0-9.]+)"', text))}


def is_older(version: str, least: str) -> bool:
    """Whether a version comes before another one, as pip sees it: 2.6.0rc1 and 2.6.0a0+nv24 come before 2.6."""
    numbers = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    if numbers is None:
        return True
    early = re.match(r"[-_.]?(?:a|b|c|rc|alpha|beta|pre|dev)", version[numbers.end() :]) is not None
    found, wanted = (tuple(map(int, text.split("."))) for text in (numbers[0], least))
    length = max(len(found), len(wanted))
    found, wanted = (numbers + (0,) * (length - len(numbers)) for numbers in (found, wanted))
    return found < wanted or (found == wanted and early)


def held(constraints: str, versions: Mapping[str, str]) -> str:
    """The constraints of a distribution, with the system's torch and torchvision in the place of the index's."""

    def stays(line: str) -> bool:
        name = normalise(line.partition("==")[0].strip())
        return name not in versions and not name.startswith(ONLY_WITH_TORCH)

    kept = [line for line in constraints.splitlines() if stays(line)]
    return "\n".join([*kept, *(f"{name}=={version}" for name, version in sorted(versions.items()))]) + "\n"


class CheckJetson:
    """Refuses, or leaves the constraints that hold pip to the system's torch."""

    name = "jetson"
    stamp: Path | None = None  # cheap to judge, and the system's packages change without us

    def __init__(self, layout: Layout, look: Callable[[Layout], Jetson] = read_jetson) -> None:
        self.layout = layout
        self.jetson = look(layout)

    def fingerprint(self) -> str:
        return ""

    def faults(self, record: dict[str, Any]) -> list[str]:
        # A folder of somebody else's comes before the first file of ours in it.
        reason = refusal(self.jetson, self.layout) or foreign_folder(self.layout.venv)
        if reason:
            raise Problem(reason)
        if self._written() == self._wanted():
            return []
        return [f"pip will be held to {self._torch()} of the system"]

    def work(self, progress: Progress) -> None:
        self.layout.constraints.parent.mkdir(parents=True, exist_ok=True)
        self.layout.constraints.write_text(self._wanted(), "utf-8")

    def record(self) -> dict[str, Any]:
        return {}

    def summary(self) -> str:
        return (
            f"Jetson Linux R{self.jetson.release}, {self._torch()} for CUDA {self.jetson.cuda}, TensorRT {self.jetson.tensorrt}"
        )

    def _torch(self) -> str:
        return ", ".join(f"{name} {self.jetson.versions[name]}" for name in FROM_SYSTEM)

    def _wanted(self) -> str:
        return held(self.layout.distribution_constraints.read_text("utf-8"), self.jetson.versions)

    def _written(self) -> str:
        return self.layout.constraints.read_text("utf-8") if self.layout.constraints.exists() else ""


def as_jetson(
    layout: Layout, asked: bool, environ: Mapping[str, str], system: Path = SYSTEM, cpu: str = platform.machine()
) -> tuple[Layout, dict[str, str]]:
    """The layout for this machine, and the variables of Humble when it is there and nobody has sourced it.

    Also where nobody asked: on JetPack 6 the ordinary way would bring gigabytes of a torch that cannot use the GPU. On a Jetson
    with another JetPack only who asks is refused, for the ordinary way may do there.
    """
    by_itself = cpu == "aarch64" and read_release(system).partition(".")[0] == JETPACK_6
    if not asked and not by_itself:
        return layout, {}
    setup = system / "opt" / "ros" / DISTRIBUTION / "setup.bash"
    if layout.distribution or not setup.is_file():
        return replace(layout, jetson=True), {}
    variables = source(setup, environ)
    return replace(layout, jetson=True, distribution=variables.get("ROS_DISTRO", "")), variables


def source(setup: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """All variables after a distribution's setup file."""
    command = ["bash", "-c", '. "$1" >&2 && env -0', "source", str(setup)]
    done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"{setup} cannot be sourced; run: . {setup}, and see what it says")
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)
