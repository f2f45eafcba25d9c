"""Draw what a world model expected beside what was seen: one row a task, both views, one and several units ahead."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, MARGIN = 118, 6, 18  # pixels: of a picture, between pictures, around the page
LABEL, HEAD = 30, 64  # height of a task's words, and of the head
BACKGROUND, INK, FAINT, PAINTED = "#ffffff", "#1d2433", "#6b7489", "#2456c6"
BETWEEN_VIEWS = 26
VIEWS = (("static", "static camera"), ("wrist", "wrist camera"))


@dataclass(frozen=True, eq=False)
class Foreseen:
    """What is shown of one task.

    title: its words. columns: view -> pictures (S, S, 3) uint8: the last one seen, then for each horizon painted and real.
    """

    title: str
    note: str
    columns: dict[str, list[np.ndarray]]


def draw_sheet(rows: Sequence[Foreseen], horizons: Sequence[str]) -> Image.Image:
    """A page. horizons: what each is called, e.g. "0.17 s"."""
    count = 1 + 2 * len(horizons)
    block = count * (SIDE + GAP) - GAP
    width = 2 * MARGIN + 2 * block + BETWEEN_VIEWS
    page = Image.new("RGB", (width, 2 * MARGIN + HEAD + len(rows) * (LABEL + SIDE + 10)), BACKGROUND)
    draw = ImageDraw.Draw(page)
    for place, (_, name) in enumerate(VIEWS):
        _draw_head(draw, MARGIN + place * (block + BETWEEN_VIEWS), name, horizons)
    for number, row in enumerate(rows):
        top = MARGIN + HEAD + number * (LABEL + SIDE + 10)
        draw.text((MARGIN, top + 8), f"“{row.title}”", fill=INK, font=ImageFont.load_default(15))
        draw.text((width - MARGIN, top + 10), row.note, fill=FAINT, font=ImageFont.load_default(13), anchor="ra")
        for place, (view, _) in enumerate(VIEWS):
            left = MARGIN + place * (block + BETWEEN_VIEWS)
            for column, picture in enumerate(row.columns[view]):
                x, y = left + column * (SIDE + GAP), top + LABEL
                page.paste(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (x, y))
                if column % 2 == 1:  # painted
                    draw.rectangle((x - 2, y - 2, x + SIDE + 1, y + SIDE + 1), outline=PAINTED, width=2)
    return page


def _draw_head(draw: ImageDraw.ImageDraw, left: int, name: str, horizons: Sequence[str]) -> None:
    draw.text((left, MARGIN), name, fill=INK, font=ImageFont.load_default(17))
    labels = [("last seen", INK)]
    for horizon in horizons:
        labels += [(f"predicted +{horizon}", PAINTED), (f"real +{horizon}", INK)]
    for column, (label, colour) in enumerate(labels):
        middle = left + column * (SIDE + GAP) + SIDE / 2
        draw.text((middle, MARGIN + HEAD - 12), label, fill=colour, font=ImageFont.load_default(13), anchor="ms")
