"""What the world model expected beside what came: a picture of some held-out windows, for the eye."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from worldagen.data.cache import FrameCache, Pictured
from worldagen.network.config import VIEWS
from worldagen.network.heads import join_patches
from worldagen.network.worldagen import WorldAgen
from worldagen.preprocess import ImageScaling, restore_image
from worldagen.training.samples import NetworkNumbers, WindowPlaces, normalise

SHOWN, ZOOM, GAP, TITLE = 8, 2, 4, 16


def save_pictures(
    path: Path,
    places: WindowPlaces,
    cache: FrameCache,
    numbers: NetworkNumbers,
    clean: Pictured,
    text: torch.Tensor,
    network: WorldAgen,
    images: ImageScaling,
) -> None:
    """A column a window: the last frame, what was expected of the next, what came; static view above, wrist below."""
    firsts, words = places.spread(SHOWN)
    frames, rows = firsts[:, None] + places.frames, firsts[:, None] + places.rows
    device = network.position.device
    with torch.no_grad():
        context = network.encode_summaries(
            torch.from_numpy(np.stack([clean[chosen] for chosen in frames])).float().flatten(0, 1).to(device),
            torch.from_numpy(numbers.states[frames]).to(device),
            torch.from_numpy(numbers.actions[rows]).to(device),
            text[torch.from_numpy(words)].to(device),
        )
        seen = [
            normalise(cache.pictures(view, size)[frames.ravel()], images).unflatten(0, (len(frames), -1, 1)).to(device)
            for view, size in zip(VIEWS, (network.config.vision.static_size, network.config.vision.wrist_size), strict=True)
        ]  # (W, K, 1, 3, H, H)
        painted = network.predict_from(context, network.canvas(*seen)).images
    assert painted is not None
    expected = join_patches(painted[:, -1, -1].float().cpu(), network.config.image_head.patch).numpy()  # (W, 2, S, S, 3)
    side = network.config.image_head.size
    columns = [
        [
            picture
            for place, view in enumerate(VIEWS)
            for picture in (
                cache.pictures(view, side)[frames[index, -1]],
                restore_image(images, expected[index, place]),
                cache.pictures(view, side)[firsts[index] + places.targets[-1]],
            )
        ]
        for index in range(len(firsts))
    ]
    _sheet(columns, [f"{view}: {what}" for view in VIEWS for what in ("last seen", "expected", "came")]).save(path)


def _sheet(columns: Sequence[Sequence[np.ndarray]], titles: Sequence[str]) -> Image.Image:
    side = columns[0][0].shape[0] * ZOOM
    left = 110
    sheet = Image.new("RGB", (left + len(columns) * (side + GAP), len(titles) * (side + GAP) + TITLE), "white")
    pen = ImageDraw.Draw(sheet)
    for row, title in enumerate(titles):
        pen.text((4, row * (side + GAP) + side // 2 - 6), title, fill="black")
        for column, pictures in enumerate(columns):
            shown = Image.fromarray(np.ascontiguousarray(pictures[row])).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(shown, (left + column * (side + GAP), row * (side + GAP)))
    return sheet
