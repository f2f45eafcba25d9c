"""How far from the truth the encoder of a training run says things are, in worlds it was trained on and in others.

    python benchmarks/encoder_error.py out/playtable --threads 2

A thing counts where it lies on the table, hidden by the arm or not; errors are distances along the table, cm.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from record import write_result

from worldagen.data.cache import CachedEpisode, FrameCache, shown_instants
from worldagen.errors import DataError
from worldagen.network.config import find_preset
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import find_preset_conventions
from worldagen.training.encoder import EncoderLoss, numbers_to_regress
from worldagen.training.recipe import load_recipe
from worldagen.training.samples import network_numbers, normalise, split_episodes
from worldagen.training.state import averaged_weights

THINGS = ("red_block", "blue_block", "pink_block")
ON_TABLE_M = (0.0, 0.1)  # a block's middle above the table top
AT_ONCE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of `worldagen train playtable`")
    parser.add_argument("--frames", type=int, default=1200, help="spread evenly over the episodes of each side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "encoder_error.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe, training = load_recipe("playtable"), args.run / "training"
    caches = [folder for folder in (training / "cache").iterdir() if (folder / "index.json").is_file()]
    if len(caches) != 1:
        raise DataError(f"{training / 'cache'}: {len(caches)} caches; expected the one of a finished run")
    cache, conventions = FrameCache(caches[0]), find_preset_conventions(recipe.preset)
    names, table = numbers_to_regress(recipe.encoder, cache, network_numbers(cache, conventions))
    network = WorldAgen(find_preset(recipe.preset))
    module = EncoderLoss(network, len(names), recipe.encoder.picture_weight)
    state = sorted((training / "encoder").glob("step_*"))[-1]
    module.load_state_dict(averaged_weights(state), strict=False)
    module.eval()
    sides = dict(zip(("trained on", "held out"), split_episodes(cache, recipe.data.held_out_every), strict=True))
    report = {side: errors_cm(network, module, cache, episodes, names, table, args.frames) for side, episodes in sides.items()}
    print(json.dumps(report, indent=1))
    write_result(args.out, {"state": state.name, "frames": args.frames, "median_and_80th_percentile_cm": report})


@torch.inference_mode()
def errors_cm(
    network: WorldAgen,
    module: EncoderLoss,
    cache: FrameCache,
    episodes: list[CachedEpisode],
    names: tuple[str, ...],
    table: np.ndarray,
    most: int,
) -> dict[str, list[float]]:
    """Thing -> median and 80th percentile of its errors in some frames of these episodes."""
    images = find_preset_conventions("playtable").image
    frames = shown_instants(episodes)
    frames = frames[np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)]
    sizes = network.config.vision
    shown = [cache.pictures("static", sizes.static_size)[frames], cache.pictures("wrist", sizes.wrist_size)[frames]]
    said = torch.cat([
        module.numbers(network.summarise(*(normalise(view[i : i + AT_ONCE], images) for view in shown)).flatten(1))
        for i in range(0, len(frames), AT_ONCE)
    ]).numpy()  # fmt: skip
    known = {name: cache.values[:, cache.value_names.index(name)] for name in cache.value_names}
    found = {}
    for thing in THINGS:
        places = [names.index(f"{thing}_{axis}") for axis in "xy"]
        spreads = [known[f"{thing}_{axis}"].std() for axis in "xy"]
        apart = np.linalg.norm((said[:, places] - table[frames][:, places]) * spreads, axis=1) * 100.0
        height = (known[f"{thing}_z"] - known["table_top"])[frames]
        apart = apart[(height > ON_TABLE_M[0]) & (height < ON_TABLE_M[1])]
        found[thing] = [round(float(np.percentile(apart, share)), 2) for share in (50, 80)]
    return found


if __name__ == "__main__":
    main()
