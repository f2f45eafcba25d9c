"""The table with its drawer and blocks, as MJCF bodies.

The drawer runs in a hollow below the table top, so that a closed drawer can hold a block, and opens towards -y, out of the
front edge. Lengths in metres.
"""

from xml.etree.ElementTree import Element

from worldagen_sim.playtable.cabinet import add_cabinet, add_door
from worldagen_sim.playtable.conditions import BLOCKS
from worldagen_sim.playtable.consoles import add_button, add_button_console, add_lever, add_switch_console
from worldagen_sim.playtable.elements import WORLD_CONTACT, add, add_inertial, add_slab
from worldagen_sim.playtable.scenes import SceneParameters
from worldagen_sim.playtable.surfaces import BACK_TOP_M, TABLE_TOP_M, TABLE_X_M, TABLE_Y_M

TABLE_THICKNESS_M = 0.03

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
DRAWER_MASS_KG = 1.6
DESK_MASS_KG = 40.0
HAND_CLEARANCE_M = 0.035  # of the hand from the table's edge when it reaches into the drawer


def drawer_drop_y(opening_m: float) -> float:
    """Where along y (m) a hand that points down puts a block into the open drawer: the middle of what it can reach."""
    middle = TABLE_Y_M[0] - (opening_m - 2 * BOARD_M) / 2
    return min(middle, TABLE_Y_M[0] - HAND_CLEARANCE_M)


def add_desk(world: Element, scene: SceneParameters) -> None:
    """Append the table and everything on it but the blocks to the world body."""
    desk = add(world, "body", name="desk")
    under = TABLE_TOP_M - TABLE_THICKNESS_M
    x, y = TABLE_X_M, TABLE_Y_M
    add_slab(desk, "table", x, y, (under, TABLE_TOP_M), scene.table.colour)
    add_slab(desk, "back", x, (y[1], y[1] + 0.025), (0.0, BACK_TOP_M), scene.back_board.colour)
    front = y[0] + 0.01
    left = scene.drawer_x_m - DRAWER_HALF_WIDTH_M - 0.004
    right = scene.drawer_x_m + DRAWER_HALF_WIDTH_M + 0.004
    add_slab(desk, "corpus_left", (x[0] + 0.02, left), (front, y[1]), (0.0, under), scene.cabinet_colour)
    add_slab(desk, "corpus_right", (right, x[1] - 0.02), (front, y[1]), (0.0, under), scene.cabinet_colour)
    add_slab(desk, "corpus_below", (left, right), (front, y[1]), (0.0, DRAWER_Z_M[0] - 0.004), scene.cabinet_colour)
    add_cabinet(desk, scene)
    add_switch_console(desk, scene)
    add_button_console(desk, scene)
    add_inertial(desk, DESK_MASS_KG)
    _add_drawer(desk, scene)
    add_door(desk, scene)
    add_lever(desk, scene)
    add_button(desk, scene)


def add_blocks(world: Element, scene: SceneParameters) -> None:
    """Append the three free blocks; their places come with the reset."""
    for name, colour, edge in zip(BLOCKS, scene.block_colours, scene.block_edges_m, strict=True):
        body = add(world, "body", name=name, pos=(0, 0, TABLE_TOP_M + edge / 2))
        add(body, "freejoint", name=name)
        add(
            body,
            "geom",
            name=name,
            type="box",
            size=(edge / 2,) * 3,
            mass=scene.block_mass_kg,
            rgba=(*colour, 1.0),
            condim=4,
            **WORLD_CONTACT,
        )


def add_exclusions(mjcf: Element) -> None:
    """What moves on the desk runs on its joint; rubbing on the boards around it would only add noise."""
    contact = add(mjcf, "contact")
    for body in ("drawer", "door", "lever", "button"):
        add(contact, "exclude", body1="desk", body2=body)


def _add_drawer(desk: Element, scene: SceneParameters) -> None:
    """The drawer's frame lies in the middle of its front face; boards reach back into the desk from there."""
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
    add_slab(drawer, "drawer_front", (-wide, wide), (0, 2 * half), (-high, high), scene.drawer_colour)
    add_slab(drawer, "drawer_bottom", (-wide, wide), (2 * half, back), (-high, -high + 2 * half), inner)
    sides = (-high + 2 * half, low)
    add_slab(drawer, "drawer_left", (-wide, -wide + 2 * half), (2 * half, back), sides, inner)
    add_slab(drawer, "drawer_right", (wide - 2 * half, wide), (2 * half, back), sides, inner)
    add_slab(drawer, "drawer_back", (-wide + 2 * half, wide - 2 * half), (back - 2 * half, back), sides, inner)
    stem, plate, length = STEM_HALF_WIDTH_M, PLATE_HALF_WIDTH_M, STEM_LENGTH_M
    add_slab(drawer, "handle_stem", (-stem, stem), (-length, 0), (-0.011, 0.011), scene.handle_colour)
    add_slab(drawer, "handle_plate", (-plate, plate), (-length - 0.010, -length), (-0.016, 0.016), scene.handle_colour)
    add_inertial(drawer, DRAWER_MASS_KG)
    add(drawer, "site", name="drawer_handle", pos=(0, -HANDLE_GRIP_M, 0), size=(0.001,), rgba=(0, 0, 0, 0))
    add(drawer, "site", name="drawer_floor", pos=(0, back / 2, -high + 2 * half), size=(0.001,), rgba=(0, 0, 0, 0))
