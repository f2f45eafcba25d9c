"""A comparison as a picture: seven panels over time, what was recorded as a broad pale line and what is answered now on top."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldagen.replay.comparison import DIMENSIONS, UNITS, Comparison

WIDTH, PANEL, GRIPPER_PANEL, GAP = 1440, 104, 64, 14  # pixels
LEFT, RIGHT, TOP, BOTTOM = 92, 196, 96, 46  # around the panels
FINE = 2  # drawn so many times larger and then reduced, which smooths the lines
BACKGROUND, GROUND, GRID = (24, 26, 31), (33, 36, 42), (52, 56, 64)
INK, FAINT = (240, 240, 240), (150, 155, 165)
RECORDED, REPLAYED, APART = (112, 142, 176), (255, 168, 76), (142, 58, 62)
BREAK_ROWS = 1.5  # a line is not drawn over a longer silence
HEADROOM = 0.12  # share of a panel above and below its lines
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)  # s


def draw_chart(comparison: Comparison, title: str, replayed_by: str) -> Image.Image:
    """title: what was recorded. replayed_by: what answers now."""
    heights = [PANEL] * len(DIMENSIONS) + [GRIPPER_PANEL]
    height = TOP + sum(heights) + GAP * (len(heights) - 1) + BOTTOM
    canvas = _Canvas(WIDTH, height)
    times, rows = _played(comparison)
    span = (times[0], times[-1] + comparison.plan.period_s)
    _head(canvas, comparison, title, replayed_by)
    top = TOP
    for place, panel in enumerate(heights):
        _panel(canvas, comparison, place, (top, top + panel), span, times, rows)
        top += panel + GAP
    _time_axis(canvas, span, top - GAP)
    _words(canvas, comparison, span, top - GAP)
    return canvas.reduced()


class _Canvas:
    """Drawing in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * FINE, height * FINE), BACKGROUND)
        self._draw = ImageDraw.Draw(self._image)

    def box(self, left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
        self._draw.rectangle((left * FINE, top * FINE, right * FINE - 1, bottom * FINE - 1), fill=colour)

    def line(self, points: Sequence[tuple[float, float]], colour: tuple[int, int, int], width: float = 1.0) -> None:
        self._draw.line([(x * FINE, y * FINE) for x, y in points], fill=colour, width=round(width * FINE), joint="curve")

    def text(self, x: float, y: float, text: str, colour: tuple[int, int, int], size: int, anchor: str = "la") -> None:
        self._draw.text((x * FINE, y * FINE), text, fill=colour, font=_font(size * FINE), anchor=anchor)

    def length(self, text: str, size: int) -> float:
        return self._draw.textlength(text, font=_font(size * FINE)) / FINE

    def reduced(self) -> Image.Image:
        return self._image.resize((self.width, self.height), Image.Resampling.LANCZOS)


def _played(comparison: Comparison) -> tuple[np.ndarray, np.ndarray]:
    """What would have been played: times (N,) in s from the first decision, and (2, N, 7) recorded and replayed rows.

    A chunk counts up to the observation that the next one answers.
    """
    decisions, period_s = comparison.decisions, comparison.plan.period_s
    stamps_s = np.array([(decision.stamp_ns - decisions[0].stamp_ns) * 1e-9 for decision in decisions])
    order = np.argsort(stamps_s, kind="stable")
    times, rows = [], []
    for place, index in enumerate(order):
        until_s = stamps_s[order[place + 1]] if place + 1 < len(order) else np.inf
        own_s = stamps_s[index] + np.arange(comparison.recorded.shape[1]) * period_s
        kept = own_s < until_s - 0.5 * period_s
        times.append(own_s[kept])
        rows.append(np.stack([comparison.recorded[index][kept], comparison.replayed[index][kept]]))
    return np.concatenate(times), np.concatenate(rows, axis=1)


def _head(canvas: _Canvas, comparison: Comparison, title: str, replayed_by: str) -> None:
    canvas.text(LEFT, 18, title, INK, 21)
    verdict = {"no": "different"}.get(comparison.equal, f"equal {comparison.equal}")
    note = f"{len(comparison.decisions)} decisions of {comparison.recorded.shape[1]} rows, against {comparison.plan.against}"
    canvas.text(canvas.width - 24, 22, f"{note}: {verdict}", FAINT, 15, "ra")
    x = LEFT
    for label, colour, width in (("recorded", RECORDED, 5.0), (f"replayed by {replayed_by}", REPLAYED, 1.8)):
        canvas.line([(x, 64), (x + 30, 64)], colour, width)
        canvas.text(x + 38, 64, label, INK, 14, "lm")
        x += 38 + canvas.length(label, 14) + 34
    if comparison.disagreements.any():
        canvas.box(x, 57, x + 30, 71, APART)
        canvas.text(x + 38, 64, "gripper disagrees", INK, 14, "lm")
    canvas.text(canvas.width - RIGHT + 100, 76, "error, mean", FAINT, 13, "ra")
    canvas.text(canvas.width - 24, 76, "largest", FAINT, 13, "ra")


def _panel(
    canvas: _Canvas,
    comparison: Comparison,
    place: int,
    edges: tuple[float, float],
    span: tuple[float, float],
    times: np.ndarray,
    rows: np.ndarray,
) -> None:
    """One dimension; place 6 is the gripper."""
    (top, bottom), gripper = edges, place == len(DIMENSIONS)
    right = canvas.width - RIGHT
    canvas.box(LEFT, top, right, bottom, GROUND)
    values = rows[:, :, place] * (1.0 if gripper else 1e3)
    low, high = (0.0, 1.0) if gripper else _range(values)
    margin = HEADROOM * (bottom - top)

    def y_of(value: float) -> float:
        return bottom - margin - (value - low) / (high - low) * (bottom - top - 2 * margin)

    if gripper:
        for time_s in times[np.abs(values[0] - values[1]) > 0.5]:
            x, end = _x(time_s, span), _x(time_s + comparison.plan.period_s, span)
            canvas.box(x, top, max(end, x + 1) + 1 / FINE, bottom, APART)  # neighbours touch
    elif low < 0 < high:
        canvas.line([(LEFT, y_of(0.0)), (right, y_of(0.0))], GRID)
    for line, colour, width in ((values[0], RECORDED, 5.0), (values[1], REPLAYED, 1.8)):
        for part in _unbroken(times, comparison.plan.period_s):
            canvas.line(_steps(times[part], line[part], comparison.plan.period_s, span, y_of), colour, width)
    labels = ((1.0, "open"), (0.0, "closed")) if gripper else ((high, _number(high)), (low, _number(low)))
    for value, text in labels:
        canvas.text(LEFT - 8, y_of(value), text, FAINT, 12, "rm")
    name = "gripper" if gripper else f"{DIMENSIONS[place]}, {UNITS[place]}"
    canvas.text(20, (top + bottom) / 2, name, INK, 14, "lm")
    if gripper:
        share = f"{100 * comparison.disagreements.mean():.1f} % of rows"
        canvas.text(canvas.width - 24, (top + bottom) / 2, share, INK, 14, "rm")
    else:
        errors = comparison.errors[..., place]
        canvas.text(right + 100, (top + bottom) / 2, _error(errors.mean()), INK, 14, "rm")
        canvas.text(canvas.width - 24, (top + bottom) / 2, _error(errors.max()), INK, 14, "rm")


def _range(values: np.ndarray) -> tuple[float, float]:
    """Of a panel: at least a tenth of a mm or mrad, so that rounding does not look like a mountain."""
    low, high = float(values.min()), float(values.max())
    middle, half = (low + high) / 2, max((high - low) / 2, 0.05)
    return middle - half, middle + half


def _unbroken(times: np.ndarray, period_s: float) -> Iterator[slice]:
    """Parts without a silence."""
    cuts = [0, *(np.flatnonzero(np.diff(times) > BREAK_ROWS * period_s) + 1).tolist(), len(times)]
    return (slice(begin, end) for begin, end in pairwise(cuts))


def _steps(times, values, period_s, span, y_of) -> list[tuple[float, float]]:
    """A row holds for one period."""
    points: list[tuple[float, float]] = []
    for time_s, value in zip(times, values, strict=True):
        points += [(_x(time_s, span), y_of(value)), (_x(time_s + period_s, span), y_of(value))]
    return points


def _x(time_s: float, span: tuple[float, float]) -> float:
    return LEFT + (time_s - span[0]) / (span[1] - span[0]) * (WIDTH - LEFT - RIGHT)


def _time_axis(canvas: _Canvas, span: tuple[float, float], top: float) -> None:
    step = next((tick for tick in TICKS if (span[1] - span[0]) / tick <= 12), TICKS[-1])
    for time_s in np.arange(np.ceil(span[0] / step), np.floor(span[1] / step + 1e-3) + 0.5) * step:
        x = _x(time_s, span)
        canvas.line([(x, top), (x, top + 5)], FAINT)
        canvas.text(x, top + 9, f"{time_s:g}", FAINT, 13, "ma")
    canvas.text(WIDTH - RIGHT + 18, top + 9, "s", FAINT, 13)


def _words(canvas: _Canvas, comparison: Comparison, span: tuple[float, float], bottom: float) -> None:
    """Where the policy was given words, or had to begin anew."""
    free = LEFT
    for decision in comparison.decisions:
        if not decision.afresh:
            continue
        x = _x((decision.stamp_ns - comparison.decisions[0].stamp_ns) * 1e-9, span)
        canvas.line([(x, TOP - 4), (x, bottom)], FAINT)
        text = f"“{decision.words}”"
        if x >= free and x + canvas.length(text, 13) < WIDTH - RIGHT:
            canvas.text(x, TOP - 20, text, FAINT, 13)
            free = x + canvas.length(text, 13) + 12


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _error(value: float) -> str:
    return "0" if value == 0 else f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font."""
    return ImageFont.load_default(size)
