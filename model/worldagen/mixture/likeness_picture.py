"""How alike the places of a bank are, as a picture: one table of whitened cosines for each level.

Legend: L levels, N places, the base among them.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS
from worldagen.mixture.places import LIKENESS, PlaceBank
from worldagen.mixture.prototypes import BASE

MARGIN, GAP, TITLE, HEADING = 26, 40, 64, 34  # pixels
LARGEST, SMALLEST = 64, 18  # side of a cell
NUMBERS_FROM = 36  # side of a cell from which on its number is written into it
WIDEST = 560  # of a table, for many places
SHOWN = 22  # letters of a name
SUBTITLE = "whitened cosines of prototypes; base: the most similar of the places it was trained in"
BACKGROUND, INK, FAINT = (255, 255, 255), (29, 36, 51), (107, 116, 137)
APART, NEUTRAL, ALIKE, SAME = (178, 84, 60), (246, 246, 246), (36, 86, 198), (24, 120, 72)


def draw_bank(bank: PlaceBank, likeness: float = LIKENESS) -> Image.Image:
    """The places of a bank, the base before them. Raises BankError for a bank without any."""
    places = bank.places()
    if not places:
        raise BankError(f"{bank.folder} has no place yet; add one (worldagen bank add)")
    names = [BASE, *(place.name for place in places)]
    return draw_likeness(bank.likeness(places), names, likeness, f"The places of {bank.folder.name}")


def draw_likeness(cosines: np.ndarray, names: Sequence[str], likeness: float, title: str) -> Image.Image:
    """cosines: (L, N, N). Pairs above `likeness` at all levels, which would be one place, are framed."""
    count = len(names)
    cell = int(np.clip(WIDEST // count, SMALLEST, LARGEST))
    labels = [name if len(name) <= SHOWN else f"{name[: SHOWN - 1]}…" for name in names]
    size = 15 if cell >= NUMBERS_FROM else max(11, cell - 6)
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    wide = max(round(measure.textlength(label, font=_font(size))) for label in labels) + 10
    side = count * cell
    width = 2 * MARGIN + wide + len(LEVELS) * side + (len(LEVELS) - 1) * GAP
    note = f"framed: alike at all levels (above {likeness:g}), one place rather than two"
    width = max(width, 2 * MARGIN + round(measure.textlength(title, font=_font(19))), 2 * MARGIN + 560)
    page = Image.new("RGB", (width, MARGIN + TITLE + HEADING + side + wide + 44 + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=_font(19))
    draw.text((MARGIN, MARGIN + 28), SUBTITLE, fill=FAINT, font=_font(14))
    same = np.asarray((cosines > likeness).all(axis=0))
    top = MARGIN + TITLE + HEADING
    for level, name in enumerate(LEVELS):
        left = MARGIN + wide + level * (side + GAP)
        draw.text((left + side / 2, top - 12), name, fill=INK, font=_font(16), anchor="ms")
        _table(draw, cosines[level], same, (left, top), cell)
        for place, label in enumerate(labels):
            if level == 0:
                draw.text((left - 8, top + (place + 0.5) * cell), label, fill=INK, font=_font(size), anchor="rm")
            _upright(page, label, (round(left + (place + 0.5) * cell), top + side + 6), size)
    _scale(draw, (MARGIN + wide, top + side + wide + 16), note if (same & ~np.eye(count, dtype=bool)).any() else "")
    return page


def _table(draw: ImageDraw.ImageDraw, cosines: np.ndarray, same: np.ndarray, corner: tuple[int, int], cell: int) -> None:
    for row, column in np.ndindex(cosines.shape):
        x, y = corner[0] + column * cell, corner[1] + row * cell
        value = float(cosines[row, column])
        colour = _colour(value)
        draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=colour)
        if cell >= NUMBERS_FROM:
            ink = (255, 255, 255) if sum(colour) < 430 else INK
            draw.text((x + cell / 2 - 1, y + cell / 2 - 1), f"{value:.2f}", fill=ink, font=_font(cell // 4 + 2), anchor="mm")
        if same[row, column] and row != column:
            draw.rectangle((x - 1, y - 1, x + cell - 1, y + cell - 1), outline=SAME, width=3)


def _upright(page: Image.Image, label: str, at: tuple[int, int], size: int) -> None:
    """A name below its column, read from below; at: the middle of its end."""
    font = _font(size)
    left, top, right, bottom = font.getbbox(label)
    strip = Image.new("RGB", (round(right - left) + 2, round(bottom - top) + 4), BACKGROUND)
    ImageDraw.Draw(strip).text((-left, 2 - top), label, fill=INK, font=font)
    turned = strip.rotate(90, expand=True)
    page.paste(turned, (at[0] - turned.width // 2, at[1]))


def _scale(draw: ImageDraw.ImageDraw, corner: tuple[int, int], note: str) -> None:
    """What colours mean, from -1 to 1."""
    x, y = corner
    draw.text((x, y), "-1", fill=FAINT, font=_font(13))
    for step in range(101):
        draw.rectangle((x + 22 + step * 2, y + 2, x + 23 + step * 2, y + 14), fill=_colour(step / 50 - 1))
    draw.text((x + 232, y), "1", fill=FAINT, font=_font(13))
    if note:
        draw.text((x, y + 22), note, fill=SAME, font=_font(13))


def _colour(cosine: float) -> tuple[int, int, int]:
    towards = ALIKE if cosine > 0 else APART
    share = min(abs(cosine), 1.0)
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(NEUTRAL, towards, strict=True))
    return red, green, blue


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
