"""Expected, seen and their difference, of each view, as one picture for people.

Legend: V views, S side of an expected picture.
"""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldagen.expectations import Pair
from worldagen.preprocess import ImageScaling
from worldagen.surprise import Reading, as_expected

SIDE = 240  # pixels of a picture in it
BAR = 40  # height of the line of text above
AMPLIFIED = 3  # differences are drawn so much brighter
COLUMNS = ("expected", "seen", f"difference x {AMPLIFIED}")
BACKGROUND, INK, CALM, LOUD = (24, 26, 31), (240, 240, 240), (120, 200, 140), (240, 110, 90)


def draw_surprise(scaling: ImageScaling, pair: Pair, reading: Reading) -> np.ndarray:
    """(BAR + V SIDE, 3 SIDE, 3) uint8: a row for each view, under a line that tells the level."""
    page = Image.new("RGB", (len(COLUMNS) * SIDE, BAR + len(pair.expected) * SIDE), BACKGROUND)
    draw = ImageDraw.Draw(page)
    for row, (view, expected) in enumerate(pair.expected.items()):
        seen = as_expected(scaling, pair.seen[view], len(expected))
        apart = np.abs(expected.astype(np.int16) - seen) * AMPLIFIED
        top = BAR + row * SIDE
        for column, picture in enumerate((expected, seen, apart.clip(0, 255).astype(np.uint8))):
            large = Image.fromarray(np.ascontiguousarray(picture)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            page.paste(large, (column * SIDE, top))
            _write(draw, (column * SIDE + 8, top + 6), f"{view}: {COLUMNS[column]}" if column < 2 else COLUMNS[column])
        told = f"error {reading.errors[view]:.3f}" + (f", level {reading.levels[view]:.2f}" if reading.levels[view] else "")
        _write(draw, (2 * SIDE + 8, top + SIDE - 24), told)
    state = "SUSTAINED" if reading.sustained else "surprising" if reading.level > 1 else "as usual"
    text = f"level {reading.level:.2f}: {state}" if any(reading.levels.values()) else "no calibration"
    draw.text((12, 10), text, fill=LOUD if reading.level > 1 else CALM, font=_font(18))
    return np.asarray(page)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str) -> None:
    draw.text(place, text, fill=INK, font=_font(14), stroke_width=2, stroke_fill=BACKGROUND)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own; unpacked once, because that takes longer than drawing."""
    return ImageFont.load_default(size)
