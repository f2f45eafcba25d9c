"""The sliding cabinet at the back of the table: two bays side by side, open to above, and a door that covers one at a time.

The door is an angle of a front panel and a lid, so that a hand that points down reaches into the bay it leaves open. A knob
stands on the lid. Position 0 of the door is its left end (-x). Lengths in metres.
"""

from xml.etree.ElementTree import Element

from worldagen_sim.playtable.elements import add, add_inertial, add_slab
from worldagen_sim.playtable.scenes import SceneParameters
from worldagen_sim.playtable.surfaces import TABLE_TOP_M

BAY_WIDTH_M = 0.140  # inside; an open gripper is 108 mm across
BAY_Y_M = (0.110, 0.200)
BAY_HEIGHT_M = 0.064  # above the tallest block
FRONT_WALL_M = 0.030  # low, so that the camera sees what lies in a bay
WALL_M = 0.006
DOOR_TRAVEL_M = BAY_WIDTH_M + WALL_M
KNOB_HALF_M = 0.014
KNOB_HEIGHT_M = 0.045
KNOB_GRIP_M = 0.030  # of the fingers above the lid
DOOR_MASS_KG = 0.5


def bay_middle(scene: SceneParameters, side: str) -> tuple[float, float, float]:
    """The middle of a bay's floor ("left" or "right") in the world."""
    sign = -1.0 if side == "left" else 1.0
    return (scene.slider_x_m + sign * DOOR_TRAVEL_M / 2, sum(BAY_Y_M) / 2, TABLE_TOP_M)


def add_cabinet(desk: Element, scene: SceneParameters) -> None:
    """Append the walls around both bays to the desk's body."""
    middle, reach = scene.slider_x_m, DOOR_TRAVEL_M
    (front, back), low, high = BAY_Y_M, TABLE_TOP_M, TABLE_TOP_M + BAY_HEIGHT_M
    colour = scene.cabinet_colour
    for name, x in (("left", middle - reach), ("middle", middle), ("right", middle + reach)):
        add_slab(desk, f"bay_wall_{name}", (x - WALL_M / 2, x + WALL_M / 2), (front, back), (low, high), colour)
    across = (middle - reach - WALL_M / 2, middle + reach + WALL_M / 2)
    add_slab(desk, "bay_back", across, (back, back + WALL_M), (low, high), colour)
    add_slab(desk, "bay_front", across, (front - WALL_M, front), (low, low + FRONT_WALL_M), colour)


def add_door(desk: Element, scene: SceneParameters) -> None:
    """The door's frame lies at table height in the middle of the bay it covers at the left end."""
    x, _, z = bay_middle(scene, "left")
    door = add(desk, "body", name="door", pos=(x, 0, z))
    add(
        door,
        "joint",
        name="slider",
        type="slide",
        axis=(1, 0, 0),
        range=(0, DOOR_TRAVEL_M),
        damping=4.0,
        frictionloss=1.0,
        armature=0.1,
    )
    (front, back), half, lid = BAY_Y_M, DOOR_TRAVEL_M / 2, BAY_HEIGHT_M + WALL_M
    panel = front - WALL_M
    add_slab(door, "door_panel", (-half, half), (panel - WALL_M, panel), (0.002, lid), scene.door_colour)
    add_slab(door, "door_lid", (-half, half), (panel, back + WALL_M), (BAY_HEIGHT_M + 0.001, lid), scene.door_colour)
    knob, middle = KNOB_HALF_M, (front + back) / 2
    top = lid + KNOB_HEIGHT_M
    add_slab(door, "door_knob", (-knob, knob), (middle - knob, middle + knob), (lid, top), scene.handle_colour)
    add_inertial(door, DOOR_MASS_KG)
    add(door, "site", name="slider_handle", pos=(0, middle, lid + KNOB_GRIP_M), size=(0.001,), rgba=(0, 0, 0, 0))
