"""The attention mask as a picture: an SVG text with one square per pair of tokens, its groups named at the edges."""

from itertools import pairwise

import numpy as np

from worldagen.network.layout import Group, Layout

CELL, LEFT, TOP = 7, 130, 110  # pixels
COLORS = {
    Group.TEXT: "#8e6c8a",
    Group.STATE: "#3b6fb6",
    Group.ACTION: "#d1603d",
    Group.LATENT: "#2f8f6b",
    Group.CLS: "#2f8f6b",
}


def draw_mask(layout: Layout, mask: np.ndarray) -> str:
    """An SVG of an (L, L) mask: a row asks, a coloured square in its column is read; the colour is the group that is read."""
    side = layout.length * CELL
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + side + 20}" height="{TOP + side + 20}" '
        'font-family="sans-serif" font-size="7">',
        f'<rect width="{LEFT + side + 20}" height="{TOP + side + 20}" fill="white"/>',
        f'<text x="10" y="20" font-size="12">rows ask, columns are read; {int(mask.sum())} of {mask.size} pairs</text>',
    ]
    groups = list(Group)
    for row, line in enumerate(mask):
        pieces += [_bar(row, start, stop, COLORS[groups[group]]) for start, stop, group in _runs(line, layout.group_of())]
    for unit in range(layout.units):
        pieces += _labels(layout, unit)
    return "\n".join([*pieces, "</svg>", ""])


def _runs(line: np.ndarray, group_of: np.ndarray) -> list[tuple[int, int, int]]:
    """(start, stop, group) of every run of allowed columns of one group."""
    marked = np.where(line, group_of, -1)
    edges = [0, *(np.flatnonzero(np.diff(marked)) + 1), len(marked)]
    return [(start, stop, int(marked[start])) for start, stop in pairwise(edges) if marked[start] >= 0]


def _bar(row: int, start: int, stop: int, color: str) -> str:
    x, y = LEFT + start * CELL, TOP + row * CELL
    return f'<rect x="{x}" y="{y}" width="{(stop - start) * CELL}" height="{CELL - 1}" fill="{color}"/>'


def _labels(layout: Layout, unit: int) -> list[str]:
    """Names of a unit's groups at both edges, and the lines around the unit."""
    start, side = unit * layout.unit_length * CELL, layout.length * CELL
    pieces = [
        f'<path d="M{LEFT} {TOP + start}h{side}M{LEFT + start} {TOP}v{side}" stroke="#888" stroke-width="0.7" fill="none"/>'
    ]
    for group in Group:
        span = layout.span(group)
        if span.start == span.stop:
            continue
        middle = start + (span.start + span.stop) * CELL / 2 + 2.5
        name = f"{group.value} {unit}"
        pieces.append(f'<text x="{LEFT - 6}" y="{TOP + middle}" text-anchor="end">{name}</text>')
        pieces.append(f'<text transform="translate({LEFT + middle} {TOP - 6}) rotate(-60)">{name}</text>')
    return pieces
