"""A bag at a glance: a contact sheet with one row for each camera and one column for each of a few times."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldagen.bags.reader import Bag
from worldagen.bags.streams import IMAGE, PICTURES
from worldagen.bags.types import Message, Topic
from worldagen.errors import BadObservation, BagError
from worldagen.pictures import decode_file, decode_pixels

CELL = 200  # width of a picture, pixels
GAP, MARGIN = 8, 20
TITLE, LABEL, TIMES = 58, 30, 26  # heights of the title, of a camera's name, and of the line of times
MOST_COLUMNS = 50
BACKGROUND, CELL_GROUND, INK, FAINT = (24, 26, 31), (44, 47, 54), (240, 240, 240), (150, 155, 165)
SHOWN = {"instruction": "“{}”", "task": "{}", "scene": "scene {}", "seed": "seed {}"}  # metadata worth a place in the title


def decode_picture(bag: Bag, message: Message) -> np.ndarray:
    """A picture of a bag -> (H, W, 3) uint8 RGB, as the live nodes see it. Raises BagError when it is none or unreadable."""
    kind = bag.topics[message.topic].type
    if kind not in PICTURES:
        raise BagError(f"{bag.folder}: {message.topic} is {kind}, no picture")
    decoded = bag.decode(message)
    try:
        if kind == IMAGE:
            return decode_pixels(decoded.height, decoded.width, decoded.step, decoded.encoding, decoded.data)
        return decode_file(bytes(decoded.data), decoded.format)
    except BadObservation as error:
        raise BagError(f"{bag.folder}: a picture of {message.topic}: {error}") from None


def draw_contact_sheet(bag: Bag, columns: int = 8) -> Image.Image:
    """The whole sheet. columns: pictures of each camera, evenly over the bag's time; fewer when there are fewer.

    Raises BagError when the bag has no pictures or columns are too few or too many.
    """
    if not 1 <= columns <= MOST_COLUMNS:
        raise BagError(f"{columns} columns; expected 1 to {MOST_COLUMNS}")
    cameras = [topic for name, topic in bag.topics.items() if topic.type in PICTURES and bag.counts[name]]
    if not cameras:
        raise BagError(f"{bag.folder}: has no pictures; it has: {', '.join(bag.topics) or 'nothing'}")
    columns = min(columns, max(bag.counts[topic.name] for topic in cameras))
    times_ns = np.linspace(bag.start_ns, bag.end_ns, columns)
    rows = [_pick(bag, topic, times_ns) for topic in cameras]
    return _lay_out(bag, cameras, rows, (times_ns - bag.start_ns) * 1e-9)


def _pick(bag: Bag, topic: Topic, times_ns: np.ndarray) -> list[Image.Image | None]:
    """For each time the first picture from then on, or the last there is, at the sheet's size; None: it cannot be shown."""
    chosen: list[Message] = []
    last = None
    for last in bag.messages([topic.name]):
        while len(chosen) < len(times_ns) and last.log_time_ns >= times_ns[len(chosen)]:
            chosen.append(last)
        if len(chosen) == len(times_ns):
            break
    if last is not None:
        chosen += [last] * (len(times_ns) - len(chosen))
    return [_shrink(bag, message) for message in chosen]


def _shrink(bag: Bag, message: Message) -> Image.Image | None:
    try:
        picture = Image.fromarray(np.ascontiguousarray(decode_picture(bag, message)))
    except BagError:
        return None
    height = max(1, round(picture.height * CELL / picture.width))
    return picture.resize((CELL, height), Image.Resampling.LANCZOS)


def _lay_out(bag: Bag, cameras: list[Topic], rows: list[list[Image.Image | None]], times_s: np.ndarray) -> Image.Image:
    heights = [max((picture.height for picture in row if picture), default=CELL) for row in rows]
    width = 2 * MARGIN + len(times_s) * (CELL + GAP) - GAP
    height = TITLE + sum(LABEL + row for row in heights) + TIMES + MARGIN
    sheet = Image.new("RGB", (max(width, 3 * CELL), height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    said = {key: text for values in bag.metadata.values() for key, text in values.items() if key in SHOWN and text}
    note = "   ".join([f"{bag.duration_s:.1f} s", *(form.format(said[key]) for key, form in SHOWN.items() if key in said)])
    draw.text((MARGIN, 16), bag.folder.resolve().name, fill=INK, font=_font(21))
    draw.text((sheet.width - MARGIN, 21), _fit(draw, note, sheet.width // 2), fill=FAINT, font=_font(15), anchor="ra")
    top = TITLE
    for topic, row, row_height in zip(cameras, rows, heights, strict=True):
        bad = sum(picture is None for picture in row)
        label = f"{topic.name}   {bag.counts[topic.name]} pictures" + (f", {bad} shown cannot be decoded" if bad else "")
        draw.text((MARGIN, top + 6), label, fill=FAINT, font=_font(14))
        top += LABEL
        for index, picture in enumerate(row):
            left = MARGIN + index * (CELL + GAP)
            draw.rectangle((left, top, left + CELL - 1, top + row_height - 1), fill=CELL_GROUND)
            if picture:
                sheet.paste(picture, (left, top))
        top += row_height
    for index, time_s in enumerate(times_s):
        left = MARGIN + index * (CELL + GAP)
        draw.text((left + CELL // 2, top + 8), f"{time_s:.1f} s", fill=INK, font=_font(14), anchor="ma")
    return sheet


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """Shortened to a width in pixels."""
    if draw.textlength(text, font=_font(15)) <= width:
        return text
    while text and draw.textlength(f"{text}...", font=_font(15)) > width:
        text = text[:-1]
    return f"{text}..."


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font."""
    return ImageFont.load_default(size)
