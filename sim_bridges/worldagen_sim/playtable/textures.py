"""What the table top, the floor and the back board look like: a few numbers in, a picture out.

A texture lays a pattern over its first colour: where the pattern is 1 the second colour shows, as far as the strength allows.
Every number bends the picture without a jump, so textures can be drawn at random, and blended as pictures, by any small step.
Irregular patterns are sums of waves; a wave over a regular grid is a product of two short vectors, so all of them together are
one small matrix product.

Pictures are seen along the surface's -z axis with +x to the right and +y up, and their middle lies on the middle of the geom.
Shapes: P pixels along a side, K waves. Patterns are (P, P) float32 in 0..1; row 0 is the upper edge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from xml.etree.ElementTree import Element

import mujoco
import numpy as np

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.playtable.elements import add

Colour = tuple[float, float, float]  # red, green, blue in 0..1


@dataclass(frozen=True)
class Texture:
    """A pattern in two colours. scale_m: size of a feature; angle_deg: turned to the left; phase: moved, in features."""

    kind: str = "plain"
    colour: Colour = (0.7, 0.7, 0.7)
    second_colour: Colour = (0.5, 0.5, 0.5)
    strength: float = 1.0
    scale_m: float = 0.1
    angle_deg: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True)
class Surface:
    """How a picture lies on a geom: it has that many pixels along a side, spans that many metres, and repeats beyond."""

    pixels: int
    span_m: float


# About as fine as the cameras see them: a pixel of the static camera is 4 mm wide on the table.
SURFACES = {"table_top": Surface(256, 1.0), "back_board": Surface(256, 1.0), "floor": Surface(512, 5.0)}


@dataclass(frozen=True)
class Grid:
    """The texels of a picture in features: place (P,) along each side, and what one texel spans."""

    columns: np.ndarray
    rows: np.ndarray
    cos: float
    sin: float
    phase: float
    texel: float

    @property
    def across(self) -> np.ndarray:
        """The pattern's first coordinate: (P, P)."""
        return (self.cos * self.columns + self.phase) + (self.sin * self.rows)[:, None]

    @property
    def along(self) -> np.ndarray:
        """The pattern's second coordinate: (P, P)."""
        return -self.sin * self.columns + (self.cos * self.rows)[:, None]


def paint(texture: Texture, pixels: int, span_m: float) -> np.ndarray:
    """The picture of a texture over a square of that span: (pixels, pixels, 3) uint8. Raises UnknownName for its kind."""
    if texture.kind not in PATTERNS:
        raise UnknownName("playtable texture", texture.kind, PATTERNS)
    if not texture.scale_m > 0:
        raise SimulatorError(f"the playtable texture {texture.kind} has scale_m {texture.scale_m}; expected more than 0")
    places = (((np.arange(pixels) + 0.5) / pixels - 0.5) * span_m / texture.scale_m).astype(np.float32)
    turn = np.radians(texture.angle_deg)
    texel = span_m / pixels / texture.scale_m
    grid = Grid(places, -places, float(np.cos(turn)), float(np.sin(turn)), texture.phase, texel)
    shades = (PATTERNS[texture.kind](grid) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    first, second = np.array(texture.colour), np.array(texture.second_colour)
    palette = first + np.linspace(0, texture.strength, 256)[:, None] * (second - first)  # (256, 3)
    return np.take((np.clip(palette, 0, 1) * 255 + 0.5).astype(np.uint8), shades, axis=0)


def mix(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Blend two pictures (P, P, 3) uint8 of one size: share 0 is the first, 1 the second."""
    return (first + (second.astype(np.float32) - first) * np.float32(share) + np.float32(0.5)).astype(np.uint8)


def add_textures(assets: Element) -> None:
    """Append a texture and a material for each surface, white until a picture is written. A geom names the material."""
    for name, surface in SURFACES.items():
        side, repeat = surface.pixels, 2 / surface.span_m  # MuJoCo counts repetitions in two metres
        add(assets, "texture", name=name, type="2d", builtin="flat", rgb1=(1, 1, 1), width=side, height=side)
        dull = {"reflectance": 0, "specular": 0, "shininess": 0}
        add(assets, "material", name=name, texture=name, texuniform=True, texrepeat=(repeat, repeat), **dull)


def write_texture(model: mujoco.MjModel, name: str, picture: np.ndarray) -> None:
    """Put a picture (P, P, 3) uint8 into a compiled model; a renderer sees it when it next loads the model."""
    texture = model.texture(name)
    side = int(texture.width[0])
    if picture.shape != (side, side, 3) or picture.dtype != np.uint8:
        raise SimulatorError(
            f"the picture for the texture {name} is {picture.dtype} {picture.shape}; expected uint8 {(side, side, 3)}"
        )
    start = int(texture.adr[0])
    model.tex_data[start : start + picture.size] = picture.reshape(-1)


def _plain(grid: Grid) -> np.ndarray:
    return np.zeros((len(grid.rows), len(grid.columns)), np.float32)


def _stripes(grid: Grid) -> np.ndarray:
    return 0.5 + 0.5 * _square_wave(grid.across, grid.texel)


def _checks(grid: Grid) -> np.ndarray:
    return 0.5 + 0.5 * _square_wave(grid.across, grid.texel) * _square_wave(grid.along, grid.texel)


def _tiles(grid: Grid) -> np.ndarray:
    """Joints are 1; the tiles differ a little from one another."""
    across, along = grid.across, grid.along
    joint = np.float32(max(0.02, 0.75 * grid.texel))  # half its width; never thinner than the texels can show
    nearest = np.minimum(np.abs(across - np.rint(across)), np.abs(along - np.rint(along)))
    joints = np.clip((joint - nearest) / np.float32(grid.texel) + np.float32(0.5), 0, 1)
    row, column = np.floor(along).astype(np.int32) & 15, np.floor(across).astype(np.int32) & 15
    return np.maximum(joints, _tile_tones().take(16 * row + column))


def _wood(grid: Grid) -> np.ndarray:
    """Year rings cut lengthwise, and fine fibres; both run along the second coordinate."""
    drift = _waves(grid, seed=1, count=12, across=0.35, along=0.05)
    fibres = _waves(grid, seed=2, count=40, across=5.0, along=0.12)
    rings = np.sin(_turns(grid.across + 0.5 * drift))
    return np.clip(0.45 + 0.26 * rings + 0.12 * fibres + 0.10 * drift, 0, 1)


def _speckle(grid: Grid) -> np.ndarray:
    """Terrazzo: chips of stone in a plain ground, large and small."""
    large = _waves(grid, seed=3, count=40, across=0.8, along=0.8)
    small = _waves(grid, seed=4, count=40, across=2.2, along=2.2)
    sharpness = np.float32(min(6.0, 0.5 / grid.texel))
    chips = np.clip((large - 1.1) * sharpness, 0, 1) + 0.6 * np.clip((small - 1.3) * sharpness, 0, 1)
    return np.clip(chips, 0, 1)


def _linen(grid: Grid) -> np.ndarray:
    """Threads of uneven strength in both directions, over and under one another."""
    weave = np.sin(_turns(grid.across)) * np.sin(_turns(grid.along))
    warp = _waves(grid, seed=5, count=32, across=0.6, along=0.03)
    weft = _waves(grid, seed=6, count=32, across=0.03, along=0.6)
    # What the texels are too coarse for must go, or it comes back as a wrong, larger pattern.
    visible = np.float32(np.clip(2 - 4 * np.sqrt(2) * grid.texel, 0, 1))
    return np.clip(0.45 + 0.22 * visible * weave + 0.13 * (warp + weft), 0, 1)


PATTERNS: dict[str, Callable[[Grid], np.ndarray]] = {
    "plain": _plain,
    "wood": _wood,
    "checks": _checks,
    "stripes": _stripes,
    "speckle": _speckle,
    "tiles": _tiles,
    "linen": _linen,
}


def _square_wave(places: np.ndarray, texel: float) -> np.ndarray:
    """-1 and 1 by turns, each one feature long, with an edge as wide as a texel."""
    return np.clip(np.sin(np.float32(np.pi) * places) / np.float32(np.pi * texel), -1, 1)


def _waves(grid: Grid, seed: int, count: int, across: float, along: float) -> np.ndarray:
    """A random surface of mean 0 and deviation 1 with features of size 1/across and 1/along: (P, P)."""
    frequency, offset = _wave_table(seed, count)  # (K, 2), (K,)
    frequency = frequency * (across, along)
    right = grid.cos * frequency[:, 0] - grid.sin * frequency[:, 1]
    up = grid.sin * frequency[:, 0] + grid.cos * frequency[:, 1]
    strength = np.sqrt(2 / count) * np.clip(2 - 4 * np.hypot(right, up) * grid.texel, 0, 1)
    at_columns = _turns(np.outer(right, grid.columns) + (frequency[:, 0] * grid.phase + offset)[:, None])  # (K, P)
    at_rows = _turns(np.outer(up, grid.rows))
    # cos(a + b) = cos a cos b - sin a sin b
    in_rows = np.vstack([np.cos(at_rows), -np.sin(at_rows)]) * np.tile(strength, 2)[:, None].astype(np.float32)
    return in_rows.T @ np.vstack([np.cos(at_columns), np.sin(at_columns)])


def _turns(turns: np.ndarray) -> np.ndarray:
    return (2 * np.pi * turns).astype(np.float32)


@cache
def _wave_table(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 2)), random.random(count)


@cache
def _tile_tones() -> np.ndarray:
    return (0.18 * np.random.default_rng(7).random(16 * 16)).astype(np.float32)
