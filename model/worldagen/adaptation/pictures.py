"""What a base and its adapter expect to see in a place, beside what came: on windows that nothing was learned from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from worldagen.adaptation.adapter import read_manifest, read_section
from worldagen.adaptation.bank import AdapterBank
from worldagen.adaptation.recipe import WindowSection
from worldagen.adaptation.update import WorldLoss
from worldagen.adaptation.windows import WindowTensors, plan_windows, split_windows
from worldagen.checkpoint import find_checkpoint, load_checkpoint
from worldagen.data.cache import open_cache, picture_sizes
from worldagen.network.config import VIEWS
from worldagen.network.heads import join_patches
from worldagen.preprocess import restore_image
from worldagen.training.samples import network_numbers

SIDE, GAP, MARGIN, HEAD, LABEL = 118, 6, 18, 58, 24  # pixels
INK, FAINT, PAINTED = "#1d2433", "#6b7489", "#2456c6"
COLUMNS = ("last seen", "base expects", "adapter expects", "what came")


def draw_before_and_after(checkpoint: str, adapter: Path, bag: str, cache: Path, count: int = 5) -> Image.Image:
    """A page: the held-out windows in which most changes, one of a rollout. Raises what reading any of these raises."""
    network, conventions = load_checkpoint(find_checkpoint(checkpoint))
    section = read_section(read_manifest(adapter), adapter, "windows", WindowSection())
    frames = open_cache(cache, [f"bag:{bag}"], picture_sizes(network.config), conventions.image)
    _, judged = split_windows(plan_windows(frames.episodes, network.config, section), section.held_out_every)
    tensors = WindowTensors(judged, frames, network_numbers(frames, conventions), network, conventions.image, section.words)
    side = network.config.image_head.size
    shown = {view: frames.pictures(view, side) for view in VIEWS}
    last, came = judged.frames[:, -1], judged.targets[:, -1]
    change = sum(np.abs(shown[view][last].astype(np.float32) - shown[view][came]).mean(axis=(1, 2, 3)) for view in VIEWS)
    chosen: list[int] = []
    for window in np.argsort(-np.asarray(change)).tolist():
        if judged.rollouts[window] not in judged.rollouts[chosen]:
            chosen.append(window)
        if len(chosen) == count:
            break
    loss, bank = WorldLoss(network), AdapterBank(network)
    bank.keep(bank.load(adapter))
    windows = np.array(chosen)
    with torch.no_grad():
        base = join_patches(loss.pictures(tensors, windows)[:, -1], network.config.image_head.patch).numpy()
        with bank.compared(read_manifest(adapter)["id"]):
            adapted = join_patches(loss.pictures(tensors, windows)[:, -1], network.config.image_head.patch).numpy()
    rows = []
    for place, window in enumerate(chosen):
        columns = [
            [
                shown[view][last[window]], restore_image(conventions.image, base[place, number]),
                restore_image(conventions.image, adapted[place, number]), shown[view][came[window]],
            ]
            for number, view in enumerate(VIEWS)
        ]  # fmt: skip
        rows.append((judged.words[window], columns))
    return _draw(rows)


def _draw(rows: Sequence[tuple[str, list[list[np.ndarray]]]]) -> Image.Image:
    block = len(COLUMNS) * (SIDE + GAP) - GAP
    between = 26
    page = Image.new("RGB", (2 * MARGIN + 2 * block + between, 2 * MARGIN + HEAD + len(rows) * (LABEL + SIDE + 10)), "#ffffff")
    draw = ImageDraw.Draw(page)
    for view, name in enumerate(VIEWS):
        left = MARGIN + view * (block + between)
        draw.text((left, MARGIN), f"{name} camera", fill=INK, font=ImageFont.load_default(17))
        for column, label in enumerate(COLUMNS):
            middle = left + column * (SIDE + GAP) + SIDE / 2
            colour = PAINTED if column in (1, 2) else INK
            draw.text((middle, MARGIN + HEAD - 8), label, fill=colour, font=ImageFont.load_default(13), anchor="ms")
    for number, (words, columns) in enumerate(rows):
        top = MARGIN + HEAD + number * (LABEL + SIDE + 10)
        draw.text((MARGIN, top + 3), f"“{words}”", fill=FAINT, font=ImageFont.load_default(14))
        for view, pictures in enumerate(columns):
            for column, picture in enumerate(pictures):
                x, y = MARGIN + view * (block + between) + column * (SIDE + GAP), top + LABEL
                page.paste(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (x, y))
                if column in (1, 2):
                    draw.rectangle((x - 2, y - 2, x + SIDE + 1, y + SIDE + 1), outline=PAINTED, width=2)
    return page
