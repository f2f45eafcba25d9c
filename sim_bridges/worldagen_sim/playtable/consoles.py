"""Two consoles on the table: a lever switch with a light bulb, and a button with an LED.

The lever slides along y: away from the front edge (+y) is on. The button springs back; every press toggles its LED. Bulb and
LED are states, not lamps: the simulator shows them by their colour. They stand on the outer side of their console, out of the
hand's way. Lengths in metres.
"""

from xml.etree.ElementTree import Element

from worldagen_sim.playtable.elements import WORLD_CONTACT, add, add_inertial, add_slab
from worldagen_sim.playtable.scenes import Colour, Place, SceneParameters
from worldagen_sim.playtable.surfaces import TABLE_TOP_M

SWITCH_HALF_M = (0.030, 0.050)
SWITCH_HEIGHT_M = 0.020
LEVER_HALF_M = 0.011
LEVER_TOP_M = 0.060  # above the table
LEVER_TRAVEL_M = 0.050
LEVER_MASS_KG = 0.05
SWITCH_ON_SHARE, SWITCH_OFF_SHARE = 0.65, 0.35  # of the travel: past the one it goes on, below the other off

BUTTON_HALF_M = 0.030
BUTTON_HEIGHT_M = 0.012
CAP_RADIUS_M = 0.020
CAP_TOP_M = 0.036  # above the table
BUTTON_TRAVEL_M = 0.010
BUTTON_DOWN_M, BUTTON_UP_M = 0.006, 0.003  # pressed past the one it toggles; it must come back to the other first
CAP_MASS_KG = 0.03

LIGHT_OFFSET_M = 0.055  # from the middle of the console, outwards along x
BULB_RADIUS_M, BULB_HEIGHT_M = 0.020, 0.052
LED_RADIUS_M, LED_HEIGHT_M = 0.015, 0.024
LIGHT_COLOURS: dict[str, tuple[Colour, Colour]] = {  # off, on
    "lightbulb": ((0.42, 0.41, 0.36), (1.0, 0.92, 0.25)),
    "led": ((0.09, 0.20, 0.11), (0.20, 1.0, 0.30)),
}
METAL: Colour = (0.35, 0.36, 0.38)


def add_switch_console(desk: Element, scene: SceneParameters) -> None:
    """Append the switch's box and the bulb on its post to the desk's body."""
    x, y = scene.switch_m
    wide, deep = SWITCH_HALF_M
    low = TABLE_TOP_M
    add_slab(desk, "switch", (x - wide, x + wide), (y - deep, y + deep), (low, low + SWITCH_HEIGHT_M), scene.console_colour)
    _add_light(desk, "lightbulb", scene.switch_m, BULB_RADIUS_M, BULB_HEIGHT_M)


def add_button_console(desk: Element, scene: SceneParameters) -> None:
    """Append the button's box and the LED on its post to the desk's body."""
    (x, y), half, low = scene.button_m, BUTTON_HALF_M, TABLE_TOP_M
    add_slab(desk, "button", (x - half, x + half), (y - half, y + half), (low, low + BUTTON_HEIGHT_M), scene.console_colour)
    _add_light(desk, "led", scene.button_m, LED_RADIUS_M, LED_HEIGHT_M)


def add_lever(desk: Element, scene: SceneParameters) -> None:
    """The lever's frame lies at table height at its near end: off."""
    x, y = scene.switch_m
    lever = add(desk, "body", name="lever", pos=(x, y - LEVER_TRAVEL_M / 2, TABLE_TOP_M))
    add(
        lever,
        "joint",
        name="switch",
        type="slide",
        axis=(0, 1, 0),
        range=(0, LEVER_TRAVEL_M),
        damping=2.0,
        frictionloss=0.6,
        armature=0.05,
    )
    half = (-LEVER_HALF_M, LEVER_HALF_M)
    add_slab(lever, "lever", half, half, (SWITCH_HEIGHT_M, LEVER_TOP_M), scene.handle_colour)
    add_inertial(lever, LEVER_MASS_KG)
    add(lever, "site", name="switch_lever", pos=(0, 0, LEVER_TOP_M), size=(0.001,), rgba=(0, 0, 0, 0))


def add_button(desk: Element, scene: SceneParameters) -> None:
    """The button's frame lies at table height in the middle of its console."""
    cap = add(desk, "body", name="button", pos=(*scene.button_m, TABLE_TOP_M))
    add(
        cap,
        "joint",
        name="button",
        type="slide",
        axis=(0, 0, -1),
        range=(0, BUTTON_TRAVEL_M),
        stiffness=300.0,
        damping=3.0,
        armature=0.05,
    )
    ends = (0, 0, BUTTON_HEIGHT_M - BUTTON_TRAVEL_M, 0, 0, CAP_TOP_M)
    rgba = (*scene.handle_colour, 1.0)
    add(cap, "geom", name="button_cap", type="cylinder", fromto=ends, size=(CAP_RADIUS_M,), rgba=rgba, **WORLD_CONTACT)
    add_inertial(cap, CAP_MASS_KG)
    add(cap, "site", name="button_top", pos=(0, 0, CAP_TOP_M), size=(0.001,), rgba=(0, 0, 0, 0))


def _add_light(desk: Element, name: str, console: Place, radius: float, height: float) -> None:
    x, y = console[0] + (LIGHT_OFFSET_M if console[0] > 0 else -LIGHT_OFFSET_M), console[1]
    post = (x, y, TABLE_TOP_M, x, y, TABLE_TOP_M + height - radius / 2)
    add(desk, "geom", name=f"{name}_post", type="cylinder", fromto=post, size=(radius / 2,), rgba=(*METAL, 1), **WORLD_CONTACT)
    bulb = (x, y, TABLE_TOP_M + height - 0.001, x, y, TABLE_TOP_M + height + 0.001)
    rgba = (*LIGHT_COLOURS[name][0], 1.0)
    add(desk, "geom", name=name, type="capsule", fromto=bulb, size=(radius,), rgba=rgba, **WORLD_CONTACT)
