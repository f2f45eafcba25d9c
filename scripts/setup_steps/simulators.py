"""Step 7 and on, only where asked for: an environment of its own for a simulator whose packages cannot stand beside ours.

    scripts/setup --with libero --with calvin

Each is installed from a complete list of versions, requirements/NAME.txt: what it lists and nothing besides.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from setup_steps import disk, records
from setup_steps.command import run
from setup_steps.environment import MakeEnvironment
from setup_steps.layout import Layout
from setup_steps.packages import InstallPackages
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.smoke import last_line
from setup_steps.stamps import file_digest, fingerprint


@dataclass(frozen=True)
class Simulator:
    """What is special about the environment of one.

    needed_gb: with the downloads beside it. from_source: pure Python packages that have no wheel. imports: what must work in
    the end, in so far as it can be imported without the simulator's own data. newest_python: with a reason to give.
    """

    name: str
    needed_gb: float
    from_source: tuple[str, ...]
    imports: tuple[str, ...]
    newest_python: tuple[int, int] = (3, 12)
    reason: str = ""


SIMULATORS = {
    simulator.name: simulator
    for simulator in (
        Simulator("libero", 2.2, ("bddl",), ("numpy", "scipy.spatial", "yaml", "mujoco", "robosuite", "bddl", "matplotlib.cm")),
        Simulator(
            "calvin",
            1.4,
            ("antlr4-python3-runtime", "gym"),
            ("numpy", "scipy.spatial", "yaml", "pybullet", "hydra", "quaternion", "cv2"),
            (3, 11),
            "its PyBullet has no wheels for a newer one",
        ),
    )
}


def folder_of(venv: Path, name: str) -> Path:
    """Where the environment of a simulator is; worldagen_sim looks for it there."""
    return venv / "simulators" / name


def refusal(simulator: Simulator, python: tuple[int, int]) -> str | None:
    """Why this Python cannot do it."""
    if python <= simulator.newest_python:
        return None
    newest = "{}.{}".format(*simulator.newest_python)
    return (
        f"this is Python {'{}.{}'.format(*python)}, {simulator.name} needs {newest} or older: {simulator.reason}; "
        f"set up anew with WORLDAGEN_PYTHON=python{newest}"
    )


class InstallSimulator(InstallPackages):
    """Environment and packages in one step, by the means of the two steps that make ours."""

    name = "simulator"

    def __init__(self, layout: Layout, environ: Mapping[str, str], simulator: Simulator) -> None:
        theirs = replace(layout, venv=folder_of(layout.venv, simulator.name), distribution="", jetson=False)
        alone = {key: value for key, value in environ.items() if key != "PYTHONPATH"}  # a distribution's modules are not its
        super().__init__(theirs, alone)
        self.name, self.simulator = simulator.name, simulator
        self.versions = layout.root / "requirements" / f"{simulator.name}.txt"
        self.log = layout.logs / f"7-{simulator.name}.log"
        self.environment = MakeEnvironment(theirs, alone)
        self.environment.log = self.log

    def fingerprint(self) -> str:
        return fingerprint([self.layout.venv, file_digest(self.versions), self.simulator])

    def faults(self, record: dict[str, Any]) -> list[str]:
        if reason := refusal(self.simulator, self.layout.python_version):
            raise Problem(reason)
        if not self.layout.venv.exists():
            return []
        return self.environment.faults({}) or super().faults(record)

    def work(self, progress: Progress) -> None:
        needed_gb = self.simulator.needed_gb - disk.size_gb(self.layout.venv)
        if shortage := disk.not_enough(self.layout.venv, needed_gb, disk.free_gb(self.layout.venv)):
            raise Problem(shortage)
        if self.environment.faults({}):
            progress.note("making the environment")
            self.environment.work(progress)
        self._tidy()
        try:
            self._install_tools(progress)
            self._pip(["--no-deps", "--requirement", str(self.versions)], progress)
        finally:
            shutil.rmtree(self.layout.downloads, ignore_errors=True)
        self._prove(progress)

    def record(self) -> dict[str, Any]:
        wanted, there = records.read_pins(self.versions), records.installed(self.layout.site_packages)
        return {"packages": {name: there.get(name, "none") for name in wanted}}

    def constraints(self) -> Sequence[str]:
        return ()  # the list is complete

    def sources(self) -> Sequence[str]:
        return self.simulator.from_source

    def _prove(self, progress: Progress) -> None:
        program = "; ".join(f"import {module}" for module in self.simulator.imports)
        outside = self.layout.venv  # not the checkout, where our own folders would be found
        if run([str(self.layout.python), "-c", program], self.log, self.environ, cwd=outside, on_line=progress.note):
            raise Problem(f"the environment of {self.name} does not work: {last_line(self.log)} (all of it: {self.log})")
