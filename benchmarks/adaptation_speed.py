"""How long a test-time training takes: window by window through the whole network, and as we do it, in the same run.

    worldagen explore --direct --scene D --rollouts 10 --out out/exploration
    python benchmarks/adaptation_speed.py --bag out/exploration --preset playtable --windows 60
    python benchmarks/adaptation_speed.py --bag out/exploration --preset calvin --windows 12 --threads 2

One step by the recipe `paper` on the same windows, by both in turn; the plain update is the tests' oracle. Their results are
compared in the same run. Random weights, but for --checkpoint. Writes benchmarks/results/adaptation_speed_PRESET.json.
"""

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from record import write_result

from worldagen.adaptation.recipe import load_adaptation_recipe
from worldagen.adaptation.trained import remove_lora, training_of
from worldagen.adaptation.update import train_adapter
from worldagen.adaptation.windows import WindowTensors, plan_windows
from worldagen.checkpoint import find_checkpoint, load_checkpoint
from worldagen.data.cache import open_cache, picture_sizes
from worldagen.network.config import find_preset
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import find_preset_conventions
from worldagen.training.samples import network_numbers

# The oracle belongs to the tests; the benchmark times the very same code.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "model"))
from adaptation_making import plain_training

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bag", required=True)
    parser.add_argument("--preset", default="playtable")
    parser.add_argument("--checkpoint", default="", help="its weights instead of random ones")
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.checkpoint:
        network, conventions = load_checkpoint(find_checkpoint(args.checkpoint))
    else:
        network, conventions = WorldAgen(find_preset(args.preset)).eval(), find_preset_conventions(args.preset)
    recipe = replace(load_adaptation_recipe("paper"), batch=args.batch, threads=args.threads)
    recipe = replace(recipe, optimiser=replace(recipe.optimiser, clip=0.0))  # both clip the same; here it would hide the rest
    with tempfile.TemporaryDirectory() as folder:
        cache = open_cache(Path(folder), [f"bag:{args.bag}"], picture_sizes(network.config), conventions.image, 1)
        numbers = network_numbers(cache, conventions)
        plan = plan_windows(cache.episodes, network.config, recipe.windows)
        plan = plan.only(np.arange(min(args.windows, len(plan))))
        seconds: dict[str, list[float]] = {"plain": [], "ours": [], "encoding": []}
        for _ in range(args.rounds):
            began_s = time.perf_counter()
            tensors = WindowTensors(plan, cache, numbers, network, conventions.image, recipe.windows.words)
            seconds["encoding"].append(time.perf_counter() - began_s)
            with training_of(network, recipe.trained, recipe.seed) as trained:
                train_adapter(network, trained, tensors, recipe)
                seconds["ours"].append(time.perf_counter() - began_s)
                ours = [parameter.detach().clone() for parameter in trained.parameters]
            began_s = time.perf_counter()
            with plain_training(network, cache, numbers, plan, recipe, conventions.image) as plain:
                seconds["plain"].append(time.perf_counter() - began_s)
                theirs = [parameter.detach().clone() for parameter in plain]
            remove_lora(network)
    signs = [((mine != 0) == (other != 0)).float().mean() for mine, other in zip(ours, theirs, strict=True)]
    apart = torch.cat([(mine - other).abs().flatten() for mine, other in zip(ours, theirs, strict=True)])
    medians = {name: median(some) for name, some in seconds.items()}
    result = {
        "preset": args.preset,
        "windows": len(plan),
        "distinct_frames": tensors.distinct_frames,
        "frames_in_windows": int(plan.frames.size),
        "threads": args.threads,
        "batch": args.batch,
        "seconds": seconds,
        "median_s": medians,
        "times_faster": medians["plain"] / medians["ours"],
        "for_204_windows_s": {name: one * 204 / len(plan) for name, one in medians.items()},
        # One step of AdamW from zero is the sign of the gradient: where that is next to nothing, rounding decides.
        "weights_apart": {"median": float(apart.median()), "share_above_1e-6": float((apart > 1e-6).float().mean())},
        "same_weights_moved": float(torch.stack(signs).mean()),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(f"{len(plan)} windows: plain {medians['plain']:.1f} s, ours {medians['ours']:.1f} s")
    write_result(RESULTS / f"adaptation_speed_{args.preset}.json", result)


if __name__ == "__main__":
    main()
