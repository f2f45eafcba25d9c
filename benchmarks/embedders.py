"""How well two ways to embed a place tell places apart: pooled outputs of the encoder, and messages among its patches.

    python benchmarks/embedders.py --data out/places/explorations/A_40 --data out/places/explorations/B_40 ...

One recording of each place. Every fourth episode is held out: whitening and prototypes are of the others, and each is told by
its first frames. Two figures for each level: the share that is told as its own place, and the gap, the mean cosine with its own
place less that with the nearest other. Writes benchmarks/results/embedders.json.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import write_result

from worldagen.checkpoint import find_checkpoint, load_checkpoint
from worldagen.data.cache import open_cache, picture_sizes
from worldagen.mixture.embedding import LEVELS
from worldagen.mixture.prototypes import prototype_of
from worldagen.mixture.surveying import Embedder, Recording, embed_by_graph, embed_pictures, look, split_recording
from worldagen.mixture.whitening import fit_whitening

WAYS: dict[str, Embedder] = {"pooled outputs": embed_pictures, "messages among patches": embed_by_graph}
HELD_OUT_EVERY = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, type=Path, help="folder of a recording; again for each place")
    parser.add_argument("--checkpoint", default="playtable")
    parser.add_argument("--episodes", type=int, default=40, help="of each at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "embedders.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network, conventions = load_checkpoint(find_checkpoint(args.checkpoint))
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as frames:
        caches = [
            open_cache(Path(frames), [f"bag:{folder}"], picture_sizes(network.config), conventions.image)
            for folder in args.data
        ]
        for name, embedder in WAYS.items():
            began_s = time.perf_counter()
            recordings = [
                look(folder.name, cache, network, conventions, args.episodes, embedder=embedder)
                for folder, cache in zip(args.data, caches, strict=True)
            ]
            count = sum(len(recording.frames) for recording in recordings)
            told[name] = {**compare(recordings), "ms_a_frame": 1e3 * (time.perf_counter() - began_s) / count}
    print(json.dumps(told, indent=1))
    write_result(args.out, {"places": [folder.name for folder in args.data], "ways": told})


def compare(recordings: Sequence[Recording]) -> dict[str, Any]:
    """Both figures of each level, and of all together, where the mean cosine over the levels decides."""
    kept, asked = zip(*(split_recording(recording, HELD_OUT_EVERY) for recording in recordings), strict=True)
    whitening = fit_whitening([f for frames in kept for f in frames], [n for n, frames in enumerate(kept) for _ in frames])
    anchors = [whitening(prototype_of(frames).mean) for frames in kept]
    own = np.array([place for place, episodes in enumerate(asked) for _ in episodes])
    seen = [whitening(episode) for episodes in asked for episode in episodes]
    cosines = np.array(
        [[[float(at[level] @ one[level]) for at in anchors] for one in seen] for level in range(len(LEVELS))]
    )  # (L, episodes, places)
    tables = {**dict(zip(LEVELS, cosines, strict=True)), "all levels": cosines.mean(axis=0)}
    return {"episodes": len(own), **{level: figures(table, own) for level, table in tables.items()}}


def figures(cosines: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """cosines: (episodes, places); own: (episodes,) which of them each is of."""
    rows = np.arange(len(own))
    others = cosines.copy()
    others[rows, own] = -np.inf
    return {
        "told_right": float((cosines.argmax(axis=1) == own).mean()),
        "cosine_with_own": float(cosines[rows, own].mean()),
        "gap": float((cosines[rows, own] - others.max(axis=1)).mean()),
    }


if __name__ == "__main__":
    main()
