"""LIBERO's tasks by suite, in its own order, so that a task's place here is its number there."""

import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldagen_sim.environment import Task

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")


@dataclass(frozen=True)
class Suites:
    """Where a task's files are. package: folder of the package libero.libero. tasks: suite -> its tasks' names."""

    package: Path
    tasks: dict[str, tuple[str, ...]]

    def problem(self, suite: str, task: str) -> Path:
        """What the task is, in LIBERO's BDDL."""
        return self.package / "bddl_files" / suite / f"{task}.bddl"

    def initial_states(self, suite: str, task: str) -> Path:
        """How it may begin: see initial_states.py."""
        return self.package / "init_files" / suite / f"{task}.pruned_init"


def read_suites(package: Path, names: Sequence[str]) -> Suites:
    """Read the package's own table. Not by importing it: its package would import torch."""
    table = runpy.run_path(str(package / "benchmark" / "libero_suite_task_map.py"))["libero_task_map"]
    return Suites(package, {name: tuple(table[name]) for name in names})


def language_of(task: str) -> str:
    """The words for a task, as LIBERO makes them of its name: "KITCHEN_SCENE3_turn_on_the_stove" -> "turn on the stove"."""
    words = task.split("_")
    scene = next((number for number, word in enumerate(words) if word.startswith("SCENE")), None)
    return " ".join(words if scene is None else words[scene + 1 :])


def tasks_of(suites: Suites) -> tuple[Task, ...]:
    """All of them; names do not repeat between suites."""
    return tuple(Task(name, (language_of(name),)) for names in suites.tasks.values() for name in names)
