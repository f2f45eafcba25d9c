"""Frames for people: both cameras side by side under a line of text, what was expected beside what came, and an MP4 of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 480  # pixels of one camera in the frame
BAR = 56  # height of the text line
STRIP = SIDE // 2  # side of the pictures below: of each view what was expected, and what came
BACKGROUND, INK, FAINT = (24, 26, 31), (240, 240, 240), (150, 155, 165)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; unpacked once, because that takes longer than drawing a frame."""
    return ImageFont.load_default(size)


@dataclass(frozen=True, eq=False)
class Compared:
    """What a world model expected of one instant and what came, by view: (H, W, 3) uint8 of any size."""

    expected: Mapping[str, np.ndarray]
    came: Mapping[str, np.ndarray]


def draw_frame(static: np.ndarray, wrist: np.ndarray, instruction: str, note: str) -> np.ndarray:
    """(H, W, 3) uint8 pictures of any size -> one (BAR + SIDE, 2 * SIDE, 3) uint8 frame."""
    frame = Image.new("RGB", (2 * SIDE, BAR + SIDE), BACKGROUND)
    for index, picture in enumerate((static, wrist)):
        frame.paste(_sized(picture, SIDE), (index * SIDE, BAR))
    draw = ImageDraw.Draw(frame)
    draw.text((14, 16), f"“{instruction}”", fill=INK, font=_font(22))
    draw.text((2 * SIDE - 14, 20), note, fill=FAINT, font=_font(17), anchor="ra")
    for index, name in enumerate(("static camera", "wrist camera")):
        _caption(draw, name, index * SIDE, BAR + SIDE)
    return np.asarray(frame)


def draw_comparison(compared: Compared | None) -> np.ndarray:
    """The strip that goes below a frame: (STRIP, 2 * SIDE, 3) uint8. None: nothing has been expected yet."""
    strip = Image.new("RGB", (2 * SIDE, STRIP), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    if compared is None:
        draw.text((SIDE, STRIP // 2), "nothing was expected yet", fill=FAINT, font=_font(17), anchor="mm")
        return np.asarray(strip)
    for index, (view, what) in enumerate((view, what) for view in ("static", "wrist") for what in ("expected", "came")):
        picture = (compared.expected if what == "expected" else compared.came)[view]
        strip.paste(_sized(picture, STRIP), (index * STRIP, 0))
        _caption(draw, what, index * STRIP, STRIP)
    return np.asarray(strip)


def _sized(picture: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture)).resize((side, side), Image.Resampling.BICUBIC)


def _caption(draw: ImageDraw.ImageDraw, text: str, left: int, bottom: int) -> None:
    """A word in the lower left corner of a picture."""
    place = (left + 10, bottom - 10)
    draw.text(place, text, fill=INK, font=_font(15), anchor="ld", stroke_width=2, stroke_fill=BACKGROUND)


def draw_poster(frames: list[np.ndarray]) -> Image.Image:
    """Frames in rows of three, at half their size."""
    height, width = (length // 2 for length in frames[0].shape[:2])
    poster = Image.new("RGB", (3 * width, (len(frames) + 2) // 3 * height), BACKGROUND)
    for index, frame in enumerate(frames):
        picture = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
        poster.paste(picture, (index % 3 * width, index // 3 * height))
    return poster


class VideoWriter:
    """An H.264 MP4 that any player and browser shows, of frames of one size. The file is complete after `close`."""

    def __init__(self, path: Path, frames_per_second: float, height: int = BAR + SIDE) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.frames = 0
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=Fraction(frames_per_second).limit_denominator(1000))
        self._stream.width, self._stream.height, self._stream.pix_fmt = 2 * SIDE, height, "yuv420p"
        self._stream.options = {"preset": "veryfast", "crf": "20", "threads": "1"}

    def add(self, frame: np.ndarray) -> None:
        """Append one frame, (height, 2 * SIDE, 3) uint8."""
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
            self._container.mux(packet)
        self.frames += 1

    def close(self) -> None:
        """Write what is still buffered and the index."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
