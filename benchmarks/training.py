"""How fast the playtable recipe decodes, draws batches and trains, and how long it waits for data.

    python benchmarks/training.py --threads 2

Records a few episodes into a temporary folder, decodes them with one process, draws batches without training, then runs both
training stages of the recipe for some steps. Writes the figures, with machine, date and command, to
benchmarks/results/training.json. `waiting_share` is the share of a stage's time in which training waits for a batch.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from record import write_result

from worldagen.data.cache import open_cache, picture_sizes
from worldagen.network.config import find_preset
from worldagen.policy_conventions import find_preset_conventions
from worldagen.training.encoder import EncoderLoss, encoder_batches, numbers_to_regress
from worldagen.training.features import keep_features
from worldagen.training.loop import Fitted, fit, make_accelerator
from worldagen.training.policy import PolicyLoss, policy_batches
from worldagen.training.recipe import Loop, Recipe, load_recipe
from worldagen.training.run import Prepared, make_network, prepare
from worldagen.training.samples import WindowPlaces
from worldagen_ros.commands.train import record_demonstrations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40, help="of each stage")
    parser.add_argument("--episodes", type=int, default=6)
    parser.add_argument("--precision", default="no", help="no (fp32) or bf16")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "training.json")
    args = parser.parse_args()
    recipe = load_recipe(
        "playtable",
        {"machine.threads": str(args.threads), "machine.precision": args.precision, "machine.trackers": "''"},
    )
    recipe = replace(recipe, record=replace(recipe.record, tasks="open_drawer", scenes="A", episodes_per_task=args.episodes))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        record_demonstrations(recipe, folder / "bags", "auto")
        numbers = {"threads": args.threads, "steps": args.steps, **measure(recipe, folder, args.steps)}
    print(json.dumps(numbers, indent=1))
    write_result(args.out, numbers)
    return 0


def measure(recipe: Recipe, folder: Path, steps: int) -> dict[str, float]:
    """All figures: frames, pairs of pictures and windows a second."""
    spec = f"bag:{folder / 'bags'}"
    sizes, images = picture_sizes(find_preset(recipe.preset)), find_preset_conventions(recipe.preset).image
    begun = time.perf_counter()
    cache = open_cache(folder / "once", [spec], sizes, images)
    decoded = cache.frames / (time.perf_counter() - begun)
    prepared = prepare(recipe, [spec], folder / "run")
    encoder, drawn_frames = train_encoder(prepared, folder, steps)
    kept, policy, drawn_windows = train_policy(prepared, folder, steps)
    return {
        "frames": cache.frames,
        "decoded_frames_per_s_one_process": round(decoded, 1),
        "encoder_batches_drawn_frames_per_s": round(drawn_frames, 1),
        "encoder_trained_frames_per_s": round(encoder.samples_per_s, 1),
        "encoder_waiting_share": round(encoder.waiting_share, 4),
        "features_frames_per_s": round(kept, 1),
        "policy_batches_drawn_windows_per_s": round(drawn_windows, 1),
        "policy_trained_windows_per_s": round(policy.samples_per_s, 1),
        "policy_waiting_share": round(policy.waiting_share, 4),
    }


def train_encoder(prepared: Prepared, folder: Path, steps: int) -> tuple[Fitted, float]:
    """The encoder stage for some steps, and frames a second of drawing alone."""
    recipe, images = prepared.recipe, prepared.conventions.image
    network = make_network(prepared)
    names, table = numbers_to_regress(recipe.encoder, prepared.cache, prepared.numbers)
    draw = encoder_batches(recipe.encoder, prepared.cache, prepared.training, network.config, images, table, 0)
    module = EncoderLoss(network, len(names), recipe.encoder.picture_weight)
    loop = Loop(steps, recipe.encoder.loop.batch, steps, steps)
    fitted = fit(
        "encoder", module, draw, loop, recipe.encoder.optimiser, make_accelerator(recipe.machine, folder), folder / "e"
    )
    return fitted, rate_of(draw, loop.batch)


def train_policy(prepared: Prepared, folder: Path, steps: int) -> tuple[float, Fitted, float]:
    """Frames a second of keeping features, the policy stage for some steps, and windows a second of drawing alone."""
    recipe, conventions = prepared.recipe, prepared.conventions
    network = make_network(prepared)
    begun = time.perf_counter()
    features = keep_features(
        folder / "features", network, prepared.cache, conventions.image, replace(recipe.features, copies=1), 0
    )
    kept = prepared.cache.frames / (time.perf_counter() - begun)
    places = WindowPlaces(prepared.training, network.config, recipe.data)
    text = network.text(list(places.words)).float()
    draw = policy_batches(
        recipe.policy,
        places,
        prepared.cache,
        prepared.numbers,
        features,
        text,
        network,
        conventions.image,
        conventions.state,
        0,
    )
    loop = Loop(steps, recipe.policy.loop.batch, steps, steps)
    accelerator = make_accelerator(recipe.machine, folder)
    fitted = fit(
        "policy", PolicyLoss(network, recipe.policy.loss), draw, loop, recipe.policy.optimiser, accelerator, folder / "p"
    )
    return kept, fitted, rate_of(draw, loop.batch)


def rate_of(draw: Callable, batch: int, tries: int = 15) -> float:
    """Samples a second of drawing batches, median."""
    times = []
    for step in range(tries):
        begun = time.perf_counter()
        draw(step, 0, 1)
        times.append(time.perf_counter() - begun)
    return batch / median(times)


if __name__ == "__main__":
    raise SystemExit(main())
