"""Stage 2: what the encoder makes of every frame, kept on disk, so that each step of the next stage need not see again.

    FOLDER/copy_0.npy ...    (P, 2 q + 2, V) float16; copy 0 of the frames as they are, the others augmented

The encoder is frozen from here on, as in the paper, whose encoder is frozen from the beginning.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from worldagen.data.cache import FrameCache, Pictured
from worldagen.errors import DataError
from worldagen.network.worldagen import WorldAgen
from worldagen.preprocess import ImageScaling
from worldagen.training.recipe import FeatureStage
from worldagen.training.samples import Draws, augmented_frames, draw_augmentation, normalise, step_random

FRAMES_AT_ONCE = 128


def keep_features(
    folder: Path,
    network: WorldAgen,
    cache: FrameCache,
    scaling: ImageScaling,
    stage: FeatureStage,
    seed: int,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> list[Pictured]:
    """The kept copies, each mapped and read by instant, (2 q + 2, V) of each; those that are not there are made.

    Raises DataError on a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = network.config
    static = cache.stored("static", config.vision.static_size)
    wrist = cache.stored("wrist", config.vision.wrist_size)
    shape = (len(cache.shown), 2 * config.resampler.queries + 2, config.vision.width)
    starts = range(0, len(cache.shown), FRAMES_AT_ONCE)
    missing = [copy for copy in range(stage.copies) if not (folder / f"copy_{copy}.npy").is_file()]
    for left in folder.glob(".copy_*") if missing else ():  # by a run that was killed
        left.unlink(missing_ok=True)
    for copy in missing:
        place = folder / f"copy_{copy}.npy"
        draws = None if copy == 0 else _draw_episodes(cache, stage, seed, copy)
        aside = folder / f".copy_{copy}.{os.getpid()}.npy"
        try:
            with aside.open("wb") as file:  # not mapped: a full disk would kill the process instead of raising an error
                np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
                for start in progress(starts, len(starts)):
                    part = slice(start, start + FRAMES_AT_ONCE)
                    kept = _summaries(network, static[part], wrist[part], scaling, _part(draws, part))
                    file.write(kept.astype("<f2").tobytes())
            aside.rename(place)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise DataError(f"{place}: features cannot be written: {error}") from None
    try:
        copies = [np.load(folder / f"copy_{copy}.npy", mmap_mode="r", allow_pickle=False) for copy in range(stage.copies)]
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: damaged ({error}); remove this folder, the features are made again") from None
    if any(copy.shape != shape for copy in copies):
        raise DataError(f"{folder}: features of other data ({copies[0].shape}; expected {shape}); remove this folder")
    return [cache.by_instant(copy) for copy in copies]


@torch.inference_mode()
def _summaries(
    network: WorldAgen, static: np.ndarray, wrist: np.ndarray, scaling: ImageScaling, draws: Draws | None
) -> np.ndarray:
    device = network.position.device
    if draws is None:
        shown = (normalise(static, scaling), normalise(wrist, scaling))
    else:
        shown = augmented_frames(static, wrist, scaling, draws)
    return network.summarise(*(pictures.to(device) for pictures in shown)).half().cpu().numpy()


def _draw_episodes(cache: FrameCache, stage: FeatureStage, seed: int, copy: int) -> Draws:
    """One draw an episode, for each of its frames (P, ...)."""
    drawn = draw_augmentation(stage.augmentation, step_random(seed, copy, stream=1), len(cache.episodes))
    lengths = [len(episode.shown) for episode in cache.episodes]
    return Draws(*(np.repeat(part, lengths, axis=0) for part in vars(drawn).values()))


def _part(draws: Draws | None, part: slice) -> Draws | None:
    return None if draws is None else Draws(*(array[part] for array in vars(draws).values()))
