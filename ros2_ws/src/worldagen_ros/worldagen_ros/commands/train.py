"""Train a checkpoint from a recipe: record demonstrations (or take yours), train, choose the best in closed loop.

    worldagen train playtable --out out/playtable                       # everything, from nothing
    worldagen train my.yaml --data bag:out/bags --out out/mine          # on your own bags; no simulator, no choice
    worldagen train playtable --out out/playtable --seeds 0,1,2         # three policies on one encoder

Run the same command again to go on after an interruption, to the bit. Data: bag:, calvin:, libero:, lerobot: and a path.
On many GPUs: accelerate launch -m worldagen.training RECIPE --data KIND:PATH --out DIR.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from worldagen.errors import ConfigError
from worldagen.training.recipe import Recipe, load_recipe
from worldagen_ros.commands import record
from worldagen_ros.overrides import parse_overrides
from worldagen_ros.stack import stack_environment

HELP = "train a checkpoint from a recipe and recorded data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a shipped recipe (playtable) or a YAML file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: new, empty, or one to go on with")
    parser.add_argument("--data", action="append", default=[], metavar="KIND:PATH", help="recorded data, instead of recording")
    parser.add_argument("--seeds", default="", help="of the policies, with commas between them (default: the recipe's)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. policy.loop.steps=2000")
    parser.add_argument("--renderer", default="auto", help="of the recording: auto, egl, osmesa or raycast (default: auto)")


def run(args: argparse.Namespace) -> int:
    from worldagen_ros.training import CHECKPOINT, train_recipe

    recipe = load_recipe(args.recipe, parse_overrides(args.set))
    os.environ.update(stack_environment(os.environ))
    report = train_recipe(
        recipe,
        args.data,
        _seeds(args.seeds) or [recipe.seed],
        args.out,
        lambda folder: record_demonstrations(recipe, folder, args.renderer),
        shlex.join(["worldagen", *sys.argv[1:]]),
    )
    for one in report["candidates"]:
        told = "" if one["success"] is None else f": {100 * one['success']:.1f} % of its episodes"
        print(f"seed {one['seed']}, step {one['step']}{told}{'  <- chosen' if one['folder'] == report['chosen'] else ''}")
    print(f"written: {args.out / CHECKPOINT}; look at it with: worldagen inspect {args.out / CHECKPOINT}")
    return 0


def record_demonstrations(recipe: Recipe, folder: Path, renderer: str) -> None:
    """`worldagen record --direct`, as the recipe asks."""
    wanted = recipe.record
    parser = argparse.ArgumentParser()
    record.add_arguments(parser)
    asked = ["--out", str(folder), "--env", wanted.environment, "--scenes", wanted.scenes, "--tasks", wanted.tasks, "--direct"]
    asked += ["--episodes-per-task", str(wanted.episodes_per_task), "--picture-every", str(wanted.picture_every)]
    asked += ["--seed", str(wanted.seed), "--renderer", renderer]
    record.run(parser.parse_args(asked))


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"--seeds {text!r}; expected whole numbers with commas between them, such as 0,1,2") from None
