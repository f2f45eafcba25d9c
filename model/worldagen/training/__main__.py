"""Train without ROS and without a simulator, on many GPUs or machines.

    accelerate launch -m worldagen.training RECIPE --data bag:DIR --out DIR

Leaves OUT/training as `worldagen train` does, and the last state's checkpoint in OUT/checkpoint.
"""

import argparse
import os
import sys
from pathlib import Path

from accelerate import PartialState

from worldagen.child_processes import end_with_parent
from worldagen.errors import WorldAgenError
from worldagen.training.recipe import load_recipe
from worldagen.training.run import build_checkpoint, prepare, train


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m worldagen.training", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", action="append", required=True, metavar="KIND:PATH")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--states-only", action="store_true", help="leave OUT/training, make no checkpoint of it")
    args = parser.parse_args()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun, which may be killed
        end_with_parent()
    try:
        prepared = prepare(load_recipe(args.recipe), args.data, args.out / "training")
        fitted = train(prepared)
        checkpoint = args.out / "checkpoint"
        if not args.states_only and PartialState().is_main_process and not checkpoint.exists():
            build_checkpoint(prepared, fitted.states[-1], checkpoint, f"recipe {args.recipe}, seed {prepared.recipe.seed}")
    except WorldAgenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
