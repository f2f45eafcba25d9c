"""The user's clone of CALVIN, and the Python environment that it runs in: where they are, or what is missing.

We ship nothing of CALVIN's. Names of tasks and sentences that ask for them are read from the clone when the simulator starts.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from worldagen.errors import SimulatorError
from worldagen_sim.environment import Task

HOW_TO_CLONE = "git clone --recurse-submodules https://github.com/mees/calvin, then say root=FOLDER or CALVIN_ROOT=FOLDER"
PACKAGE = Path("calvin_env/envs/play_table_env.py")  # in a clone of calvin_env
NEEDED = ("conf/config_data_collection.yaml", "conf/tasks/new_playtable_tasks.yaml", "data/franka_panda", "data/calvin_table_D")
ANNOTATIONS = Path("calvin_models/conf/annotations")  # in a clone of calvin


@dataclass(frozen=True)
class Clone:
    """root: as it was given; calvin_env: the repository of the simulator, in it or the same.

    annotations: folder with the sentences, which only calvin has; None in a clone of calvin_env alone.
    """

    root: Path
    calvin_env: Path
    annotations: Path | None


def find_clone(root: str = "") -> Clone:
    """The clone of calvin or calvin_env in a folder, else in CALVIN_ROOT. Raises SimulatorError for what is none."""
    given = root or os.environ.get("CALVIN_ROOT", "")
    if not given:
        raise SimulatorError(f"it was not said where CALVIN is; {HOW_TO_CLONE}")
    folder = Path(given).expanduser().absolute()
    calvin_env = next((place for place in (folder / "calvin_env", folder) if (place / PACKAGE).is_file()), None)
    if calvin_env is None:
        raise SimulatorError(f"{folder} {_fault_of(folder)}; {HOW_TO_CLONE}")
    missing = [name for name in NEEDED if not (calvin_env / name).exists()]
    if missing:
        raise SimulatorError(f"{calvin_env} lacks {', '.join(missing)}; expected a whole clone of calvin_env: {HOW_TO_CLONE}")
    if not any((place / ".git").exists() for place in (calvin_env, *calvin_env.parents)):
        raise SimulatorError(
            f"{calvin_env} is no git checkout, and calvin_env does not run without one; clone it, or make one of it: "
            "git init, git add --all, git commit"
        )
    annotations = next((place / ANNOTATIONS for place in (folder, calvin_env.parent) if (place / ANNOTATIONS).is_dir()), None)
    return Clone(folder, calvin_env, annotations)


def find_python(python: str = "") -> str:
    """The interpreter of CALVIN's environment: as given, else WORLDAGEN_CALVIN_PYTHON, else what setup has built."""
    built = Path(sys.prefix) / "simulators" / "calvin" / "bin" / "python"
    given = Path(python or os.environ.get("WORLDAGEN_CALVIN_PYTHON", "") or built).expanduser()
    if not given.is_file():
        raise SimulatorError(
            f"CALVIN's Python {given} does not exist; build it with scripts/setup --with calvin, or name an interpreter "
            "that has PyBullet (3.11 or older) with python=FILE or WORLDAGEN_CALVIN_PYTHON=FILE"
        )
    return str(given)


def read_tasks(clone: Clone) -> tuple[Task, ...]:
    """The tasks of the oracle in its order; the sentence of the validation comes first, then those of the training.

    A clone of calvin_env alone has no sentences: there a task is asked for by the words of its name.
    """
    names = _read(clone.calvin_env / "conf/tasks/new_playtable_tasks.yaml")["tasks"]
    files = ("new_playtable_validation.yaml", "new_playtable.yaml") if clone.annotations else ()
    sentences = [_read(clone.annotations / file) for file in files if clone.annotations]
    return tuple(
        Task(name, tuple(dict.fromkeys(sentence for some in sentences for sentence in some[name])) or (name.replace("_", " "),))
        for name in names
    )


def _fault_of(folder: Path) -> str:
    if not folder.is_dir():
        return "is no folder"
    if (folder / "calvin_env").is_dir():
        return (
            "holds a calvin_env that is empty or broken: its submodules are missing (git submodule update --init --recursive)"
        )
    return "holds neither calvin nor calvin_env"


def _read(path: Path) -> dict:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SimulatorError(f"{path} of the clone of CALVIN cannot be read: {error}") from None
