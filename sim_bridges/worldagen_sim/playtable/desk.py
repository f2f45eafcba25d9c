"""The table with its cabinet, drawer and blocks, as MJCF bodies.

The cabinet stands below the table top and is hollow where the drawer runs, so that a closed drawer can hold a block. The
drawer opens towards -y, out of the front edge. Lengths in metres.
"""

from xml.etree.ElementTree import Element

from worldagen_sim.playtable.elements import add, add_inertial
from worldagen_sim.playtable.scenes import Colour, SceneParameters

TABLE_TOP_M = 0.46
TABLE_THICKNESS_M = 0.03
TABLE_X_M = (-0.42, 0.44)
TABLE_Y_M = (-0.20, 0.27)
BACK_HEIGHT_M = 0.12

DRAWER_TRAVEL_M = 0.16
DRAWER_HALF_WIDTH_M = 0.14
DRAWER_DEPTH_M = 0.24
DRAWER_Z_M = (0.315, 0.42)
BOARD_M = 0.006  # half thickness of the drawer's boards
# A stem of 28 mm between the fingers and a wider plate at its end: the fingers hook behind it, so that pulling does not
# hang on friction alone.
STEM_HALF_WIDTH_M = 0.014
STEM_LENGTH_M = 0.080
PLATE_HALF_WIDTH_M = 0.027
HANDLE_GRIP_M = 0.047  # from the drawer's face to where the fingers take hold

BLOCKS: dict[str, Colour] = {
    "red_block": (0.85, 0.13, 0.12),
    "blue_block": (0.12, 0.27, 0.85),
    "pink_block": (0.95, 0.47, 0.70),
}
BLOCK_MASS_KG = 0.08
DRAWER_MASS_KG = 1.6
DESK_MASS_KG = 40.0
# With more friction on the table a pushed block tips over. Between fingers and block the pads' own, higher, friction counts.
WORLD_CONTACT = {"contype": 2, "conaffinity": 3, "friction": "0.6 0.02 0.0005"}


def add_desk(world: Element, scene: SceneParameters) -> None:
    """Append the table, the cabinet and its drawer to the world body."""
    desk = add(world, "body", name="desk")
    under = TABLE_TOP_M - TABLE_THICKNESS_M
    x, y = TABLE_X_M, TABLE_Y_M
    _add_slab(desk, "table_top", x, y, (under, TABLE_TOP_M), scene.table_colour)
    _add_slab(desk, "back_board", x, (y[1], y[1] + 0.025), (0.0, TABLE_TOP_M + BACK_HEIGHT_M), scene.back_colour)
    front = y[0] + 0.01
    left = scene.drawer_x_m - DRAWER_HALF_WIDTH_M - 0.004
    right = scene.drawer_x_m + DRAWER_HALF_WIDTH_M + 0.004
    _add_slab(desk, "cabinet_left", (x[0] + 0.02, left), (front, y[1]), (0.0, under), scene.cabinet_colour)
    _add_slab(desk, "cabinet_right", (right, x[1] - 0.02), (front, y[1]), (0.0, under), scene.cabinet_colour)
    _add_slab(desk, "cabinet_below", (left, right), (front, y[1]), (0.0, DRAWER_Z_M[0] - 0.004), scene.cabinet_colour)
    add_inertial(desk, DESK_MASS_KG)
    _add_drawer(desk, scene)


def add_blocks(world: Element, scene: SceneParameters) -> None:
    """Append the three free blocks; their places come with the reset."""
    half = scene.block_edge_m / 2
    for name, colour in BLOCKS.items():
        body = add(world, "body", name=name, pos=(0, 0, TABLE_TOP_M + half))
        add(body, "freejoint", name=name)
        add(
            body,
            "geom",
            name=name,
            type="box",
            size=(half, half, half),
            mass=BLOCK_MASS_KG,
            rgba=(*colour, 1.0),
            condim=4,
            **WORLD_CONTACT,
        )


def add_drawer_exclusion(mjcf: Element) -> None:
    """The drawer runs on its slide joint; rubbing on the boards around it would only add noise."""
    add(add(mjcf, "contact"), "exclude", body1="desk", body2="drawer")


def _add_drawer(desk: Element, scene: SceneParameters) -> None:
    """The drawer's frame lies in the middle of its front face; boards reach back into the cabinet from there."""
    bottom, top = DRAWER_Z_M
    drawer = add(desk, "body", name="drawer", pos=(scene.drawer_x_m, TABLE_Y_M[0], (bottom + top) / 2))
    add(
        drawer,
        "joint",
        name="drawer",
        type="slide",
        axis=(0, -1, 0),
        range=(0, DRAWER_TRAVEL_M),
        damping=4.0,
        frictionloss=1.0,
        armature=0.1,
    )
    half, wide, high = BOARD_M, DRAWER_HALF_WIDTH_M, (top - bottom) / 2
    back, low = DRAWER_DEPTH_M, high - 0.02
    inner = tuple(0.82 * channel for channel in scene.drawer_colour)
    _add_slab(drawer, "drawer_front", (-wide, wide), (0, 2 * half), (-high, high), scene.drawer_colour)
    _add_slab(drawer, "drawer_bottom", (-wide, wide), (2 * half, back), (-high, -high + 2 * half), inner)
    sides = (-high + 2 * half, low)
    _add_slab(drawer, "drawer_left", (-wide, -wide + 2 * half), (2 * half, back), sides, inner)
    _add_slab(drawer, "drawer_right", (wide - 2 * half, wide), (2 * half, back), sides, inner)
    _add_slab(drawer, "drawer_back", (-wide + 2 * half, wide - 2 * half), (back - 2 * half, back), sides, inner)
    stem, plate, length = STEM_HALF_WIDTH_M, PLATE_HALF_WIDTH_M, STEM_LENGTH_M
    _add_slab(drawer, "handle_stem", (-stem, stem), (-length, 0), (-0.011, 0.011), scene.handle_colour)
    _add_slab(drawer, "handle_plate", (-plate, plate), (-length - 0.010, -length), (-0.016, 0.016), scene.handle_colour)
    add_inertial(drawer, DRAWER_MASS_KG)
    add(drawer, "site", name="drawer_handle", pos=(0, -HANDLE_GRIP_M, 0), size=(0.001,), rgba=(0, 0, 0, 0))


def _add_slab(
    body: Element,
    name: str,
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    colour: tuple[float, ...],
) -> Element:
    """A box from its extent along each axis of the body."""
    centre = tuple((low + high) / 2 for low, high in (x, y, z))
    half = tuple((high - low) / 2 for low, high in (x, y, z))
    return add(body, "geom", name=name, type="box", pos=centre, size=half, rgba=(*colour, 1.0), **WORLD_CONTACT)
