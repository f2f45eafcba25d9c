"""From a recipe to a checkpoint: record, train, choose in closed loop. Each part goes on where it was interrupted.

OUT/demonstrations/        what was recorded, if the recipe records
OUT/training/              worldagen.training.run
OUT/candidates/SEED_STEP/  checkpoints of saved states, and evaluation/ of each
OUT/checkpoint/            the best of them
OUT/training.json          every candidate's score, times, where it all comes from
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from worldagen.errors import TrainingError
from worldagen.provenance import describe_run, sha256_of
from worldagen.training.launch import train_in_processes
from worldagen.training.loop import told_pace
from worldagen.training.recipe import Recipe
from worldagen.training.run import POLICY, Prepared, build_checkpoint, prepare, train
from worldagen_ros.evaluating import evaluate_tasks
from worldagen_sim.claimed_folder import write_json
from worldagen_sim.evaluation import EvaluationRequest

DEMONSTRATIONS, TRAINING, CANDIDATES, CHECKPOINT, REPORT = (
    "demonstrations", "training", "candidates", "checkpoint", "training.json",
)  # fmt: skip
FIRST_SEED = 400_000  # of the episodes that choose; neither recorded nor evaluated on


@dataclass(frozen=True)
class Candidate:
    """A saved state of a policy's training; success: share of its closed-loop episodes, None where there is no simulator."""

    seed: int
    step: int
    folder: Path
    success: float | None


def train_recipe(
    recipe: Recipe,
    data: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    record: Callable[[Path], None],
    command: str,
) -> dict[str, Any]:
    """Everything; returns the report. record: makes the recipe's demonstrations in a folder.

    Raises TrainingError, DataError, RecordingError or EvaluationError; the same call goes on where it was.
    """
    specs = list(data)
    if not specs:
        if not recipe.record.scenes:
            raise TrainingError("no data: give --data KIND:PATH, or a recipe with record.scenes")
        record(out / DEMONSTRATIONS)
        specs = [f"bag:{out / DEMONSTRATIONS}"]
    candidates, paces = [], {}
    for seed in seeds:
        prepared = prepare(replace(recipe, seed=seed), specs, out / TRAINING)
        if recipe.machine.processes > 1:
            train_in_processes(prepared.recipe, specs, out)
        fitted = train(prepared)  # finds done what the processes did
        paces[seed] = told_pace(out / TRAINING / f"{POLICY}{seed}")
        states = fitted.states[-recipe.choice.candidates :] if recipe.record.scenes else fitted.states[-1:]
        candidates += [score_candidate(prepared, state, out / CANDIDATES, recipe, command) for state in states]
    best = max(candidates, key=lambda one: (one.success or 0.0, one.step))
    install(best.folder, out / CHECKPOINT)
    report = {
        **describe_run(command),
        "recipe": asdict(recipe),
        "data": specs,
        "paces": paces,
        "candidates": [{**asdict(one), "folder": one.folder.name} for one in candidates],
        "chosen": best.folder.name,
        "weights_sha256": sha256_of(out / CHECKPOINT / "model.safetensors"),
    }
    write_json(out / REPORT, report)
    return report


def score_candidate(prepared: Prepared, state: Path, folder: Path, recipe: Recipe, command: str) -> Candidate:
    """Make a checkpoint of a saved state and, where the recipe records, play its tasks."""
    seed, step = prepared.recipe.seed, int(state.name.rpartition("_")[2])
    place = folder / f"{seed}_{step:06d}"
    if not place.is_dir():
        build_checkpoint(prepared, state, place, f"recipe with preset {recipe.preset}, seed {seed}, step {step}")
    if not recipe.record.scenes:
        return Candidate(seed, step, place, None)
    request = EvaluationRequest(
        environment=recipe.record.environment,
        scenes=tuple(recipe.choice.scenes.split(",")),
        tasks=tuple(recipe.record.tasks.split(",")) if recipe.record.tasks else (),
        episodes=recipe.choice.episodes,
        seed=FIRST_SEED,
        held_out_episodes=0,
        chains=0,
        expert_episodes=0,
    )
    report = evaluate_tasks(place, request, folder / f"{place.name}_evaluation", command=command)
    return Candidate(seed, step, place, report["tasks"]["training"]["all"]["rate"])


def install(folder: Path, place: Path) -> None:
    """Copy a checkpoint into its place, whole; one that was there before goes."""
    aside = place.with_name(f".{place.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(folder, aside)
    shutil.rmtree(place, ignore_errors=True)
    aside.rename(place)
