"""Step 5: our ROS packages, built by colcon. Python files are linked, not copied, so editing them needs no rebuild."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from setup_steps import failures, records
from setup_steps.command import run
from setup_steps.layout import Layout
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.stamps import file_digest, fingerprint

# Files whose content decides what is built. Of all others only the presence matters: they are linked.
BUILD_FILES = ("package.xml", "CMakeLists.txt", "setup.py", "setup.cfg")
BUILD_SUFFIXES = (".msg", ".srv", ".action", ".idl")
# In the environment's Python, so that the scripts it writes start that Python, also when colcon is the system's.
COLCON = "import sys; from colcon_core.command import main; sys.exit(main())"
LINK = -1  # recorded instead of a size


class BuildWorkspace:
    name = "workspace"

    def __init__(self, layout: Layout, environ: Mapping[str, str], keep: Sequence[int] = ()) -> None:
        self.layout, self.environ, self.keep = layout, environ, keep
        self.install = layout.workspace / "install"
        self.stamp = self.install / ".worldagen-setup.json"
        self.log = layout.logs / "5-workspace.log"
        self.previous: dict[str, Any] = {}

    def fingerprint(self) -> str:
        return fingerprint([self._ground(), sources(self.layout.workspace / "src")])

    def faults(self, record: dict[str, Any]) -> list[str]:
        self.previous = record
        if not record and not self.install.exists():
            return []
        if not record:
            return ["an earlier build was not finished, so it is made anew"]
        return [f"{path} is missing or cut short" for path in changed(self.install, record["files"])]

    def work(self, progress: Progress) -> None:
        src = self.layout.workspace / "src"
        # Ninja and colcon trust what lies there, so whatever may be stale or half-written goes first.
        for folder in stale(self.previous, self._ground(), sources(src), changed(self.install, self.previous.get("files", {}))):
            shutil.rmtree(self.layout.workspace / folder, ignore_errors=True)
        self.layout.workspace.joinpath("install").mkdir(parents=True, exist_ok=True)
        status = run(
            self._command(src),
            self.log,
            {**self.environ, "WORLDAGEN_SKIP_WORKSPACE": "1"},
            cwd=self.layout.root,
            on_line=lambda line: progress.note(line.strip()[:70]) if line.strip() else None,
            keep=self.keep,
            dies_with_us=False,
        )
        if status:
            raise Problem(failures.build_failed(self.log))

    def record(self) -> dict[str, Any]:
        files = dict(listing(self.install))
        return {"files": files, "sources": sorted(sources(self.layout.workspace / "src")), "ground": self._ground()}

    def summary(self) -> str:
        return ", ".join(packages(self.layout.workspace / "src")) or "no packages"

    def _ground(self) -> list[str]:
        """What every built file depends on."""
        pins = records.read_pins(self.layout.constraints)
        ros = [f"{name}=={version}" for name, version in pins.items() if name.startswith("ros-") or name == "numpy"]
        version = "{}.{}".format(*self.layout.python_version)
        return [str(self.layout.root), str(self.layout.venv), version, self.layout.distribution, fingerprint(ros)]

    def _command(self, src: Path) -> list[str]:
        workspace = self.layout.workspace
        generator = ["-GNinja"] if self._has_ninja() else []
        build = [
            *("--log-base", str(workspace / "log"), "build", "--symlink-install"),
            *("--build-base", str(workspace / "build"), "--install-base", str(workspace / "install")),
            *("--paths", *(str(src / package) for package in packages(src))),
            *("--event-handlers", "console_direct+", "desktop_notification-"),
            *("--cmake-args", "-DBUILD_TESTING=OFF", *generator),
        ]
        activate = f'. "{self.layout.root}/scripts/activate" && exec python "$@"'
        return ["bash", "-c", activate, "colcon", "-c", COLCON, *build]

    def _has_ninja(self) -> bool:
        return (self.layout.venv / "bin" / "ninja").exists() or shutil.which("ninja") is not None


def packages(src: Path) -> list[str]:
    return sorted(manifest.parent.name for manifest in src.glob("*/package.xml"))


def sources(src: Path) -> dict[str, str]:
    """Relative path -> digest of what decides the build; Python modules are absent, for they are linked as a folder."""
    found = {}
    for path in _files(src):
        if path.name in BUILD_FILES or path.suffix in BUILD_SUFFIXES:
            found[str(path.relative_to(src))] = file_digest(path)
        elif not (path.suffix == ".py" and (path.parent / "__init__.py").exists()):
            found[str(path.relative_to(src))] = "linked"
    return found


def listing(install: Path) -> Iterator[tuple[str, int]]:
    for path in _files(install):
        if path.suffix != ".pyc" and path.name != ".worldagen-setup.json":
            yield str(path.relative_to(install)), LINK if path.is_symlink() else path.lstat().st_size


def changed(install: Path, files: Mapping[str, int]) -> list[str]:
    """Recorded files that are gone or have another size; links whose target is gone."""
    return [name for name, size in files.items() if _size(install / name) != size]


def stale(previous: Mapping[str, Any], ground: list[str], now: Mapping[str, str], damaged: Sequence[str]) -> list[str]:
    """Folders of the workspace that must go before the next build: all of them, or those of the packages concerned."""
    if not previous or previous["ground"] != ground:
        return ["build", "install", "log"]
    removed = set(previous["sources"]) - set(now)  # nobody would take them out of the installed package
    concerned = sorted({path.partition("/")[0] for path in [*removed, *damaged] if "/" in path})
    return [f"{base}/{package}" for package in concerned for base in ("build", "install")]


def _size(path: Path) -> int | None:
    if not path.exists():
        return None
    return LINK if path.is_symlink() else path.lstat().st_size


def _files(folder: Path) -> Iterator[Path]:
    # The launch folder of worldagen_ros is a link to the one at the top, so links to folders are followed.
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.endswith(".egg-info"))
        for name in sorted(names):
            yield Path(where, name)
