"""What a network expects to see one, two, three units ahead in an episode; picture_errors.py says how far off that is.

Horizon 1 is one unit ahead, with the states and actions that were recorded. For horizon 2 the picture painted at horizon 1
takes the place of the next unit's frame, brought to the size of the inputs, again with the recorded states and actions; and so
on.

Legend: N units of an episode, m action rows of a unit, K units of the window, H horizons, S side of a painted picture.
"""

from collections.abc import Sequence

import numpy as np
import torch

from worldagen.conventions import encode_rows
from worldagen.errors import BadEpisode, CheckpointError, PredictionUnavailable
from worldagen.network.config import VIEWS
from worldagen.network.heads import join_patches
from worldagen.network.worldagen import Windows, WorldAgen
from worldagen.picture_errors import Units
from worldagen.policy_conventions import PolicyConventions, state_numbers
from worldagen.preprocess import restore_image, scale_image

HORIZONS = 3


@torch.inference_mode()
def paint_ahead(network: WorldAgen, conventions: PolicyConventions, units: Units, horizons: int = HORIZONS) -> list[np.ndarray]:
    """What the network expects from each unit on: for each horizon h, (N - h + 1, 2, S, S, 3) normalised, static view first.

    Entry i of horizon h is the expectation of frame i + h after frame i. Raises PredictionUnavailable, CheckpointError for a
    network with several frames in a unit, and BadEpisode for units of another length.
    """
    config = network.config
    if not config.image_prediction:
        raise PredictionUnavailable("this network was built without image prediction")
    if config.frames != 1:
        raise CheckpointError(f"this network looks at {config.frames} frames per unit; errors are measured for one")
    if len(units.actions) != len(units) * config.rows:
        raise BadEpisode(
            f"{units.name}: {len(units.actions)} rows in {len(units)} units; this network has {config.rows} rows per unit"
        )
    inputs = _Inputs(network, conventions, units)
    painted: list[np.ndarray] = []
    for horizon in range(1, min(horizons, len(units)) + 1):
        windows, places = inputs.windows(horizon, painted)
        images = network(windows).images
        assert images is not None
        newest = images[torch.arange(len(places)), torch.as_tensor(places), 0]  # (starts, 2, P, C)
        painted.append(join_patches(newest.float(), config.image_head.patch).cpu().numpy())
    return painted


class _Inputs:
    """The numbers of an episode, from which windows are put together."""

    def __init__(self, network: WorldAgen, conventions: PolicyConventions, units: Units) -> None:
        self._config, self._conventions, self._position = network.config, conventions, network.position
        self._count = len(units)
        rows, sizes = self._config.rows, self._config.vision
        self._sides = {"static": sizes.static_size, "wrist": sizes.wrist_size}
        self._frames = {
            view: np.stack([scale_image(conventions.image, frame, side) for frame in getattr(units, view)])
            for view, side in self._sides.items()
        }
        self._states = np.stack([state_numbers(conventions, state) for state in units.states[::rows]])  # (N, 7)
        actions, states = np.array(units.actions), np.array(units.states)  # scipy wants arrays it could write to
        self._actions = encode_rows(conventions.actions, actions, states[:, 3:6]).reshape(self._count, rows, 7)
        self._text = network.text([units.instruction])

    def windows(self, horizon: int, painted: Sequence[np.ndarray]) -> tuple[Windows, list[int]]:
        """The windows that end with unit start + horizon - 1, for every start, and the place of that unit in each.

        painted: the pictures of the horizons before. A short past is padded on the right, where nothing is read.
        """
        units, starts = self._config.units, range(self._count - horizon + 1)
        shown: list[list[int]] = []  # units of each window
        places = []
        for newest in (start + horizon - 1 for start in starts):
            first = max(0, newest - units + 1)
            places.append(newest - first)
            shown.append([first + min(place, newest - first) for place in range(units)])
        frames = {
            view: np.stack(
                [
                    [self._frame(view, unit, start, painted) for unit in window]
                    for start, window in zip(starts, shown, strict=True)
                ]
            )
            for view in VIEWS
        }
        windows = Windows(
            static=self._tensor(frames["static"]),
            wrist=self._tensor(frames["wrist"]),
            states=self._tensor(self._states[shown]),
            actions=self._tensor(self._actions[shown].reshape(len(starts), -1, 7)),
            text=self._text.expand(len(starts), -1),
        )
        return windows, places

    def _frame(self, view: str, unit: int, start: int, painted: Sequence[np.ndarray]) -> np.ndarray:
        """(3, H, H): the real frame of a unit up to `start`, the painted one after it, through the eyes of a camera."""
        if unit <= start:
            return self._frames[view][unit]
        picture = restore_image(self._conventions.image, painted[unit - start - 1][start, VIEWS.index(view)])
        return scale_image(self._conventions.image, picture, self._sides[view])

    def _tensor(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(numbers.astype(np.float32)).to(self._position.device, self._position.dtype)
