"""Whether what was recorded can be learned from at all: pictures that are black, that stand still, or of the wrong camera.

A world model would learn any of these perfectly well, and the gate would see its loss fall.

Legend: N frames of a rollout, S side of a picture.
"""

import numpy as np

from worldagen.data.cache import FrameCache
from worldagen.errors import AdaptationError
from worldagen.network.config import VIEWS, NetworkConfig

DARK, FLAT = 8.0, 2.0  # mean and deviation of pixels (0 to 255) below which a picture shows nothing
LOOKED_AT = 32  # frames of a rollout
MOVED_M = 0.005  # the tool has moved: then no camera may show the very same picture
FROZEN_SHARE = 0.5  # of the moments at which the tool had moved


def require_usable_frames(cache: FrameCache, config: NetworkConfig) -> None:
    """Raise AdaptationError, naming rollout and camera, for pictures that show nothing, stand still or are swapped."""
    side = config.image_head.size
    moving = {view: [] for view in VIEWS}
    for episode in cache.episodes:
        shown = np.array(episode.shown)
        frames = shown[np.unique(np.linspace(0, len(shown) - 1, LOOKED_AT).round().astype(int))]
        moved = np.linalg.norm(np.diff(cache.states[frames, :3], axis=0), axis=1) > MOVED_M
        for view in VIEWS:
            pictures = cache.pictures(view, side)[frames].astype(np.float32)  # (N, S, S, 3)
            dark = (pictures.mean(axis=(1, 2, 3)) < DARK) | (pictures.std(axis=(1, 2, 3)) < FLAT)
            if dark.mean() > FROZEN_SHARE:
                raise AdaptationError(
                    f"{episode.name}: {int(dark.sum())} of {len(frames)} {view} pictures show nothing (black, or one colour); "
                    "look at the camera and explore again"
                )
            change = np.abs(np.diff(pictures, axis=0)).mean(axis=3)  # (N - 1, S, S)
            still = change.max(axis=(1, 2)) == 0
            if moved.any() and still[moved].mean() > FROZEN_SHARE:
                raise AdaptationError(
                    f"{episode.name}: the {view} picture stood still at {int(still[moved].sum())} of {int(moved.sum())} "
                    "moments at which the tool had moved; look at the camera's driver and explore again"
                )
            if moved.any():
                moving[view].append(np.median(change[moved]))
    if moving["static"] and np.median(moving["static"]) > np.median(moving["wrist"]):
        raise AdaptationError(
            "most of the picture called static changes as the arm moves, and more than the wrist camera's: the two cameras are "
            "swapped, or the static one is not fixed. Look at the topics and explore again"
        )
