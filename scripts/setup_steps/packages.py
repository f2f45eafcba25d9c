"""Step 3: every third-party package in its pinned version, and our own two as they lie in the checkout."""

import importlib.util
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from setup_steps import disk, failures, records
from setup_steps.command import run
from setup_steps.layout import Layout
from setup_steps.pip_output import PipOutput
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.stamps import file_digest, fingerprint

OURS = "worldagen"
TOOLS = ("pip", "setuptools")  # what installs the rest, so it comes first
# Wheels only: building a package would run code that no pin covers. empy 3 and 4 exist as (pure Python) sources only.
FROM_SOURCE = ("empy",)


def extras(layout: Layout) -> list[str]:
    """Which optional groups of pyproject.toml this machine needs."""
    common = ["sim", "video", "data", "view"]
    if not layout.jetson:  # a robot is no place to develop on, and shellcheck has no wheel for Arm
        common.append("dev")
    if not layout.distribution:
        return [*common, "ros-wheels", "build"]
    return common if distribution_builds() else [*common, "build"]


def distribution_builds() -> bool:
    """Whether the sourced distribution brings colcon and CMake itself."""
    modules = ("colcon_core", "colcon_cmake", "colcon_ros")
    return shutil.which("cmake") is not None and all(importlib.util.find_spec(module) for module in modules)


def packaging_part(pyproject: str) -> str:
    """pyproject.toml without the settings of tools such as ruff, which change nothing that is installed."""
    sections = re.split(r"(?m)^(?=\[)", pyproject)
    return "".join(s for s in sections if not s.startswith("[tool.") or s.startswith("[tool.setuptools"))


class InstallPackages:
    name = "packages"

    def __init__(self, layout: Layout, environ: Mapping[str, str]) -> None:
        self.layout = layout
        self.environ = {**environ, "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1", "TMPDIR": str(layout.downloads)}
        self.stamp = layout.state / "packages.json"
        self.log = layout.logs / "3-packages.log"
        self.downloaded_bytes = 0
        self.count = 0

    def fingerprint(self) -> str:
        layout = self.layout
        pyproject = packaging_part((layout.root / "pyproject.toml").read_text())
        return fingerprint([layout.root, layout.venv, extras(layout), file_digest(layout.constraints), pyproject])

    def faults(self, record: dict[str, Any]) -> list[str]:
        there = records.installed(self.layout.site_packages)
        self.count = len(there)
        if not there:
            return []  # nothing is broken, there is just nothing yet
        wrong = [
            f"{name} {version} is recorded, {there.get(name, 'none')} is installed"
            for name, version in record.get("packages", {}).items()
            if there.get(name) != version
        ]
        broken = records.damaged(self.layout.site_packages)
        return wrong + [f"{folder.name.removesuffix('.dist-info')}: {reason}" for folder, reason in broken.items()]

    def work(self, progress: Progress) -> None:
        self._tidy()
        try:
            self._install_tools(progress)
            project = f"{self.layout.root}[{','.join(extras(self.layout))}]"
            self._pip(["--editable", project, *TOOLS], progress)
        finally:
            shutil.rmtree(self.layout.downloads, ignore_errors=True)

    def record(self) -> dict[str, Any]:
        pins = records.read_pins(self.layout.constraints)
        there = records.installed(self.layout.site_packages)
        return {"packages": {name: version for name, version in there.items() if name in pins or name == OURS}}

    def summary(self) -> str:
        text = f"{self.count} packages"
        return f"{text}, {self.downloaded_bytes / 1e9:.2f} GB downloaded" if self.downloaded_bytes else text

    def _tidy(self) -> None:
        """Make pip see what is broken as absent: it trusts every metadata folder, however little lies behind it."""
        site_packages = self.layout.site_packages
        shutil.rmtree(self.layout.downloads, ignore_errors=True)
        self.layout.downloads.mkdir(parents=True)
        for remains in site_packages.glob("~*"):  # where pip moves what it is about to replace
            shutil.rmtree(remains, ignore_errors=True)
        for folder in records.damaged(site_packages):
            if folder.name.startswith("pip-"):
                shutil.rmtree(site_packages / "pip", ignore_errors=True)
            shutil.rmtree(folder)

    def _install_tools(self, progress: Progress) -> None:
        pins = records.read_pins(self.layout.constraints)
        there = records.installed(self.layout.site_packages)
        if all(there.get(tool) == pins[tool] for tool in TOOLS):
            return
        if "pip" not in there:
            shutil.rmtree(self.layout.site_packages / "pip", ignore_errors=True)
            self._run([str(self.layout.python), "-m", "ensurepip", "--default-pip"], progress)
        self._pip([f"{tool}=={pins[tool]}" for tool in TOOLS], progress, options=())

    def constraints(self) -> Sequence[str]:
        """pip's options that hold every version."""
        return ("--constraint", str(self.layout.constraints))

    def sources(self) -> Sequence[str]:
        """The packages that may be built."""
        return FROM_SOURCE

    def _pip(self, arguments: Sequence[str], progress: Progress, options: Sequence[str] = ("--progress-bar", "raw")) -> None:
        common = ["--disable-pip-version-check", "--no-input", "--retries", "3"]
        if not disk.room_for_cache(self.layout, self.environ):
            common.append("--no-cache-dir")
        wheels_only = ("--only-binary", ":all:", "--no-binary", ",".join(self.sources()))
        build = ["--no-build-isolation", "--no-compile", *wheels_only]
        pip = [str(self.layout.python), "-m", "pip", *common, "install", *build, *options]
        self._run([*pip, *self.constraints(), *arguments], progress)

    def _run(self, command: Sequence[str], progress: Progress) -> None:
        output = PipOutput(count_installed=lambda: len(records.installed(self.layout.site_packages)))
        status = run(
            command,
            self.log,
            self.environ,
            cwd=self.layout.root,
            on_line=output.take,
            on_tick=lambda: progress.note(output.note()),
        )
        self.downloaded_bytes += output.downloaded_bytes
        if status:
            raise Problem(failures.pip_failed(self.log, self.layout.venv))
