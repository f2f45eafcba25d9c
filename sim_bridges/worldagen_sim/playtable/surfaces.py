"""The extent of the table, and its textured surfaces: thin planes over the table top and the back board, and the floor.

A plane of its own gives a picture a simple place, on which both renderers agree (see textures.py). Only the floor is solid; the
others lie on boards that are. Lengths in metres.
"""

from xml.etree.ElementTree import Element

import mujoco

from worldagen_sim.playtable.elements import WORLD_CONTACT, add
from worldagen_sim.playtable.scenes import SceneParameters
from worldagen_sim.playtable.textures import SURFACES, mix, paint, write_texture

TABLE_TOP_M = 0.46
TABLE_X_M = (-0.42, 0.44)
TABLE_Y_M = (-0.20, 0.27)
BACK_TOP_M = TABLE_TOP_M + 0.12
FLOOR_M = 4.0
ABOVE_M = 0.0005  # far enough for the renderers to tell plane and board apart
NO_CONTACT = {"contype": 0, "conaffinity": 0}


def add_surfaces(world: Element) -> None:
    """Append the floor and both picture planes to the world body."""
    add(world, "geom", name="floor", type="plane", size=(FLOOR_M, FLOOR_M, 0.1), material="floor", **WORLD_CONTACT)
    (left, right), (front, back) = TABLE_X_M, TABLE_Y_M
    top = ((left + right) / 2, (front + back) / 2, TABLE_TOP_M + ABOVE_M)
    size = ((right - left) / 2, (back - front) / 2, 0.1)
    add(world, "geom", name="table_top", type="plane", pos=top, size=size, material="table_top", **NO_CONTACT)
    board = (top[0], back - ABOVE_M, (TABLE_TOP_M + BACK_TOP_M) / 2)
    size = (size[0], (BACK_TOP_M - TABLE_TOP_M) / 2, 0.1)
    upright = {"euler": (1.5707963267948966, 0, 0)}  # its normal, +z, comes to point at -y
    add(world, "geom", name="back_board", type="plane", pos=board, size=size, material="back_board", **upright, **NO_CONTACT)


def write_pictures(model: mujoco.MjModel, scene: SceneParameters) -> None:
    """Paint the surfaces of a compiled model."""
    own = (scene.table, scene.back_board, scene.floor)
    for name, texture, foreign in zip(("table_top", "back_board", "floor"), own, scene.foreign, strict=True):
        surface = SURFACES[name]
        picture = paint(texture, surface.pixels, surface.span_m)
        if scene.foreign_share > 0:
            picture = mix(picture, paint(foreign, surface.pixels, surface.span_m), scene.foreign_share)
        write_texture(model, name, picture)
