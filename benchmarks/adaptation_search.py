"""Which recipe foresees a new place best, and at what price: many of them, on the same explorations, without a robot.

    python benchmarks/adaptation_search.py --places D/0,D/1,D/2 --recipes rank_16,rank_64,full,image_head
    python benchmarks/adaptation_search.py --places A+camera:1/0,A+light:1/0 --recipes default,paper

A place is a scene and the seed of an exploration. Told are, for each: the world model's loss on rollouts that were not learned
from, its loss in the places that the checkpoint was trained in, and how far the actions moved, as the gate measures them. Stop
it at any time, and run it again to go on: each line of --out/results.jsonl is one of these. Writes
benchmarks/results/adaptation_search.json, with all lines.
"""

import argparse
import json
import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import write_result

from worldagen.adaptation.gate import judge_drift, measure_drift, measure_reduction
from worldagen.adaptation.recipe import AdaptationRecipe, WindowSection, load_adaptation_recipe
from worldagen.adaptation.trained import training_of
from worldagen.adaptation.update import ActionNumbers, WorldLoss, train_adapter
from worldagen.adaptation.windows import NO_WORDS, WindowPlan, WindowTensors, plan_windows, split_windows
from worldagen.checkpoint import find_checkpoint, load_checkpoint
from worldagen.data.cache import open_cache, picture_sizes
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import PolicyConventions
from worldagen.training.samples import network_numbers
from worldagen_ros.adapting import StoryRequest, explore
from worldagen_ros.stack import stack_environment

RESULT = Path(__file__).parent / "results" / "adaptation_search.json"
ROLLOUTS = 66
KNOWN_SCENES, KNOWN_SEED = "A,B,C", 1000  # the expert's episodes there, on seeds that are not in the training set
KNOWN_WINDOWS = 96
LARGE_STEPS = {"optimiser.windows_per_step": "0", "optimiser.passes": "10"}  # on all 300 windows: the same work
WHOLE = {"optimiser.clip": "1.0", "optimiser.keep_actions": "0.0"}
RECIPES: dict[str, tuple[str, dict[str, str]]] = {  # name -> shipped recipe and what differs
    "default": ("default", {}),
    "paper": ("paper", {}),
    "paper, rate 0.0005": ("paper", {"optimiser.learning_rate": "0.0005"}),
    **{f"paper, rank {rank}": ("paper", {"trained.rank": str(rank)}) for rank in (16, 32, 64, 256)},
    **{
        f"full, {steps} steps at {rate}": (
            "paper",
            {"trained.what": "full", "optimiser.learning_rate": rate, "optimiser.passes": steps, "optimiser.clip": "1.0"},
        )
        for steps, rate in (("1", "0.0005"), ("10", "0.0005"))
    },
    "image head, 10 steps": ("image_head", {}),
    "large steps": ("default", LARGE_STEPS),
    "large steps, free": ("default", {**LARGE_STEPS, "optimiser.keep_actions": "0"}),
    "k and v": ("default", {"trained.projections": "k,v"}),
    "late layers": ("default", {"trained.layers": "LATE"}),
    "rank 4": ("default", {"trained.rank": "4", "trained.alpha": "4"}),
    "rank 64": ("default", {"trained.rank": "64", "trained.alpha": "64"}),
    "rate 0.002": ("default", {"optimiser.learning_rate": "0.002"}),
    "150 steps at 0.002": ("default", {"optimiser.passes": "30", "optimiser.learning_rate": "0.002"}),
    "kept more": ("default", {"optimiser.keep_actions": "0.4"}),
    "free": ("default", {"optimiser.keep_actions": "0"}),
    "rehearsal": ("default", {"optimiser.rehearsal": "0.5"}),
    "decayed, more windows": (
        "default", {"optimiser.learning_rate": "0.01", "optimiser.decay": "true", "windows.per_rollout": "24"},
    ),
    "full": ("default", {**WHOLE, "trained.what": "full", "optimiser.learning_rate": "0.0002"}),
    "image head, 50 steps": ("image_head", {"optimiser.windows_per_step": "60"}),
    **{f"default, {rollouts} rollouts": ("default", {}) for rollouts in (6, 12, 25)},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="playtable")
    parser.add_argument("--places", default="D/0", help="SCENE/SEED, with commas between them (default: D/0)")
    parser.add_argument("--recipes", default="default,paper", help=f"with ; or , between them, of: {'; '.join(RECIPES)}")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="places at the same time, a core each")
    parser.add_argument("--out", type=Path, default=Path("out/adaptation_search"))
    args = parser.parse_args()
    os.environ.update(stack_environment(os.environ))
    places, recipes = args.places.split(","), args.recipes.split(";" if ";" in args.recipes else ",")
    for name in recipes:
        if name not in RECIPES:
            parser.error(f"--recipes: {name!r} is none of: {'; '.join(RECIPES)}")
    args.out.mkdir(parents=True, exist_ok=True)
    known = args.out / "known"
    if not (known / "episodes").is_dir():
        words = f"--scenes {KNOWN_SCENES} --episodes-per-task 1 --seed {KNOWN_SEED} --direct --out".split()
        subprocess.run(["worldagen", "record", *words, known], check=True)
    with ProcessPoolExecutor(min(args.processes, len(places)), get_context("spawn")) as workers:
        list(workers.map(partial(_search, args.checkpoint, recipes, args.out), places))
    lines = [json.loads(line) for file in sorted(args.out.glob("*.jsonl")) for line in file.read_text("utf-8").splitlines()]
    write_result(RESULT, {"rollouts": ROLLOUTS, "lines": lines})


def _search(checkpoint: str, recipes: list[str], out: Path, place: str) -> None:
    """All recipes in one place; a line for each, as it ends."""
    torch.set_num_threads(1)
    folder = find_checkpoint(checkpoint)
    scene, seed = place.rsplit("/", 1)
    plain = f"{scene.replace(':', '-')}_{seed}"
    bag = out / "explorations" / plain
    bag.parent.mkdir(exist_ok=True)
    explore(folder, StoryRequest(scene=scene, rollouts=ROLLOUTS, seed=int(seed)), bag)
    file = out / f"{plain}.jsonl"
    done = {json.loads(line)["recipe"] for line in file.read_text("utf-8").splitlines()} if file.exists() else set()
    bench = None
    for name in recipes:
        if name not in done:
            bench = bench or _Bench(folder, bag, out)
            line = {"place": place, "recipe": name, **bench.tried(name)}
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
            told = line["reduction"]
            print(
                f"{place} {name}: {100 * told['share']:.2f} % ({100 * told['low']:.2f} to {100 * told['high']:.2f})", flush=True
            )


class _Source:
    """A cache of frames, and the windows in it."""

    def __init__(self, network: WorldAgen, conventions: PolicyConventions, folder: Path, specs: list[str]) -> None:
        self._network, self._images = network, conventions.image
        self._cache = open_cache(folder, specs, picture_sizes(network.config), conventions.image, 1)
        self._numbers = network_numbers(self._cache, conventions)

    def planned(self, section: WindowSection) -> WindowPlan:
        """All windows by a recipe's section."""
        return plan_windows(self._cache.episodes, self._network.config, section)

    def tensors(self, plan: WindowPlan) -> WindowTensors:
        """Some of the windows, encoded."""
        return WindowTensors(plan, self._cache, self._numbers, self._network, self._images, NO_WORDS)


class _Bench:
    """A network and the windows of a place, encoded once; every recipe begins with the same."""

    def __init__(self, checkpoint: Path, bag: Path, out: Path) -> None:
        self._network, self._conventions = load_checkpoint(checkpoint)
        recipe = load_adaptation_recipe("default")
        self._here = _Source(self._network, self._conventions, out / "frames", [f"bag:{bag}"])
        _, judged = split_windows(self._here.planned(recipe.windows), recipe.windows.held_out_every)
        self._judged, self._learned = self._here.tensors(judged), dict[tuple[int, int], WindowTensors]()
        known = [f"bag:{out / 'known' / 'episodes' / scene}" for scene in KNOWN_SCENES.split(",")]
        there = _Source(self._network, self._conventions, out / "frames", known)
        plan = there.planned(recipe.windows)
        order = np.random.default_rng(0).permutation(len(plan))
        even = plan.rollouts[order] % 2 == 0
        self._known = there.tensors(plan.only(np.sort(order[even][:KNOWN_WINDOWS])))
        self._rehearsed = there.tensors(plan.only(np.sort(order[~even][: 2 * KNOWN_WINDOWS])))
        self._before = self._numbers(recipe)

    def tried(self, name: str) -> dict[str, Any]:
        """What came of one recipe."""
        recipe = load_adaptation_recipe(*self._chosen(name))
        tensors = self._windows(recipe, int(name.split()[1]) if name.endswith("rollouts") else 0)
        rehearsed = self._rehearsed if recipe.optimiser.rehearsal else None
        with training_of(self._network, recipe.trained, recipe.seed) as trained:
            curve = train_adapter(self._network, trained, tensors, recipe, rehearsed=rehearsed)
            size = sum(parameter.numel() for parameter in trained.parameters)
            after = self._numbers(recipe)
        judged, known = (
            measure_reduction(self._before[part], after[part], tensors_of.plan.rollouts, recipe.gate, recipe.seed)
            for part, tensors_of in (("judged", self._judged), ("known", self._known))
        )
        drift = measure_drift(self._before["answers"], after["answers"], self._conventions.actions)
        return {
            "reduction": asdict(judged),
            "known": asdict(known),
            "drift": asdict(drift),
            "kept_still": all(check.passed for check in judge_drift(drift, recipe.gate)),
            "windows": len(tensors),
            "trained_numbers": size,
            "losses": curve.losses,
            "training_s": curve.seconds,
        }

    def _chosen(self, name: str) -> tuple[str, dict[str, str]]:
        shipped, overrides = RECIPES[name]
        layers = self._network.config.backbone.layers
        late = ",".join(str(layer) for layer in range(layers // 2, layers))
        return shipped, {key: late if value == "LATE" else value for key, value in overrides.items()}

    def _windows(self, recipe: AdaptationRecipe, rollouts: int) -> WindowTensors:
        """To learn from: of the first so many rollouts; 0: of all."""
        key = (recipe.windows.per_rollout, rollouts)
        if key not in self._learned:
            plan, _ = split_windows(self._here.planned(recipe.windows), recipe.windows.held_out_every)
            first = np.unique(plan.rollouts)[: rollouts or None]
            self._learned[key] = self._here.tensors(plan.only(np.isin(plan.rollouts, first)))
        return self._learned[key]

    def _numbers(self, recipe: AdaptationRecipe) -> dict[str, np.ndarray]:
        loss, actions = WorldLoss(self._network), ActionNumbers(self._network)
        with torch.no_grad():
            starts = range(0, len(self._judged), recipe.batch)
            parts = [actions.of(self._judged, np.arange(s, min(s + recipe.batch, len(self._judged)))) for s in starts]
        return {
            "judged": loss.all(self._judged, recipe.batch),
            "known": loss.all(self._known, recipe.batch),
            "answers": torch.cat([torch.cat([arm, grip[..., None]], dim=-1) for arm, grip in parts]).numpy(),
        }


if __name__ == "__main__":
    main()
