"""One training in several processes of this machine, by torchrun: each takes its share of every batch.

A small network's steps are many small operations, which threads of one process hardly share: two processes of one thread train
it almost twice as fast as one process of two.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from worldagen.errors import TrainingError
from worldagen.training.recipe import Recipe
from worldagen.whole_files import write_whole

ASKED = "recipe_{seed}.yaml"  # what the processes are told: the whole recipe
_TORCHRUN = (
    "from worldagen.child_processes import end_with_parent; end_with_parent(); from torch.distributed.run import main; main()"
)


def train_in_processes(recipe: Recipe, specs: Sequence[str], folder: Path) -> None:
    """All stages, in `recipe.machine.processes` processes; what they leave is in FOLDER/training. They end with this one.

    The data are best decoded before. Raises TrainingError when a process fails; the same call goes on where it was.
    """
    asked = folder / ASKED.format(seed=recipe.seed)
    try:
        write_whole(asked, json.dumps(asdict(recipe), indent=1))  # which is YAML too
    except OSError as error:
        raise TrainingError(f"{asked}: cannot be written: {error}") from None
    count = recipe.machine.processes
    command = [sys.executable, "-c", _TORCHRUN, "--standalone", f"--nproc-per-node={count}", "-m", "worldagen.training"]
    command += [str(asked), *(part for spec in specs for part in ("--data", spec)), "--out", str(folder), "--states-only"]
    ended = subprocess.run(command, check=False)
    if ended.returncode:
        raise TrainingError(
            f"training in {count} processes ended with exit status {ended.returncode}; what they said is above. Run the same "
            "command again to go on, or with --set machine.processes=1"
        )
