"""Step 2: the Python environment itself, made anew when its interpreter is gone or is another one now."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setup_steps import failures
from setup_steps.command import run
from setup_steps.layout import Layout
from setup_steps.problem import Problem
from setup_steps.progress import Progress


class MakeEnvironment:
    name = "environment"
    stamp: Path | None = None  # the environment describes itself in pyvenv.cfg

    def __init__(self, layout: Layout, environ: Mapping[str, str]) -> None:
        self.layout, self.environ = layout, environ
        self.log = layout.logs / "2-environment.log"

    def fingerprint(self) -> str:
        return ""

    def faults(self, record: dict[str, Any]) -> list[str]:
        config = read_config(self.layout.venv / "pyvenv.cfg")
        if not config:
            return [f"there is no environment in {self.layout.venv} yet"]
        version = "{}.{}".format(*self.layout.python_version)
        if not self.layout.python.exists():
            return ["the interpreter of the environment has vanished, so it is made anew"]
        if not config.get("version", "").startswith(f"{version}.") or not self.layout.site_packages.is_dir():
            return [f"the environment was made for another Python than {version}, so it is made anew"]
        wanted = "true" if self.layout.distribution else "false"
        if config.get("include-system-site-packages") != wanted:
            return ["the environment was made for another kind of ROS, so it is made anew"]
        if not (self.layout.venv / "bin" / "activate").is_file():
            return ["the environment was left half made, so it is made anew"]
        return []

    def work(self, progress: Progress) -> None:
        clear(self.layout.venv, spare=self.layout.state)
        options = ["--system-site-packages"] if self.layout.distribution else []
        # Without pip, which comes with the packages: `venv` writes pip last, and a half-written one is hard to tell.
        command = [self.layout.base_python, "-m", "venv", "--without-pip", *options, str(self.layout.venv)]
        if run(command, self.log, self.environ, on_line=progress.note):
            raise Problem(failures.environment_failed(self.log, self.layout.base_python))

    def record(self) -> dict[str, Any]:
        return {}

    def summary(self) -> str:
        return str(self.layout.venv)


def read_config(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def clear(venv: Path, spare: Path) -> None:
    """Remove everything but the state folder, whose presence says that the folder is ours to clear.

    The stamps in it go first, except the machine's: from then on nothing is taken for finished.
    """
    if not venv.exists():
        return
    for stamp in spare.glob("*.json"):
        if stamp.name != "machine.json":
            stamp.unlink()
    spare.mkdir(exist_ok=True)
    for entry in os.scandir(venv):
        if entry.path == str(spare):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
