"""CALVIN's table in words, the states in which its evaluation begins, and the numbers that such a state becomes.

A condition is a flat mapping in CALVIN's own words (its `initial_state` holds 0 and 1 as numbers; ours are words):

    led, lightbulb                        0 | 1
    slider                                right | left             the end at which the door stands
    drawer                                closed | open
    red_block, blue_block, pink_block     table | slider_right | slider_left

Where a block lies and how it is turned is drawn with a seed that is a hash of the condition, so that the same condition is
always the same scene. Numbers are metres and radians; positions are of CALVIN's world frame, in which x runs to the right.
"""

from collections.abc import Mapping
from itertools import product
from math import pi
from types import MappingProxyType

import numpy as np

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.choices import fault_of_choices

Conditions = Mapping[str, str]
SCENES: tuple[str, ...] = ("A", "B", "C", "D")  # calvin_scene_A and so on
EVALUATION_SCENE = "D"
BLOCKS: tuple[str, ...] = ("red_block", "blue_block", "pink_block")
PLACES: tuple[str, ...] = ("table", "slider_right", "slider_left")
CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "led": ("0", "1"),
        "lightbulb": ("0", "1"),
        "slider": ("right", "left"),
        "drawer": ("closed", "open"),
        **dict.fromkeys(BLOCKS, PLACES),
    }
)
ROBOT_NUMBERS, SCENE_NUMBERS = 15, 24  # of robot_obs and scene_obs

# Tool x, y, z, roll, pitch, yaw; width of the gripper; seven joints; the last gripper action.
START_ROBOT = (
    *(0.02586889, -0.2313129, 0.5712808, 3.09045411, -0.02908596, 1.50013585, 0.07999963),
    *(-1.21779124, 1.03987629, 2.11978254, -2.34205014, -0.87015899, 1.64119093, 0.55344928, 1.0),
)
SLIDER_LEFT, DRAWER_OPEN, SWITCH_ON = 0.28, 0.22, 0.088  # joint values; all are 0 otherwise
BLOCK_YAW = (pi / 2 - pi / 8, pi / 2 + pi / 8)
SLIDER_Y, SLIDER_Z = 9.24044687e-02, 4.60990009e-01
TABLE_PLACES = ((5.00000896e-02, -1.20000177e-01, 4.59990009e-01), (2.29995412e-01, -1.19995140e-01, 4.59990010e-01))
# Scene -> x of a block at the left and right of the cabinet, and how far its table's free stretch lies from scene D's. Those of
# scene D are the published evaluation's; the others, which it does not know, follow from where each scene has its surfaces.
LAYOUTS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "A": (-2.40851662e-01, 7.03416330e-02, 0.0),
        "B": (-0.03, 0.24, -0.35),
        "C": (-0.03, 0.24, 0.0),
        "D": (-2.40851662e-01, 7.03416330e-02, 0.0),
    }
)


def initial_conditions() -> tuple[Conditions, ...]:
    """All 192 states in which an evaluation may begin, in CALVIN's order."""
    every = (dict(zip(CHOICES, values, strict=True)) for values in product(*CHOICES.values()))
    return tuple(MappingProxyType(conditions) for conditions in every if not fault_of(conditions))


def fault_of(conditions: Conditions) -> str:
    """Why no evaluation begins like this, in words; "" when one may."""
    if fault := fault_of_choices(conditions, CHOICES):
        return fault
    places = [conditions[block] for block in BLOCKS]
    for place in PLACES[1:]:
        if places.count(place) > 1:
            return (
                f"{' and '.join(block for block in BLOCKS if conditions[block] == place)} are both in {place}, which holds one"
            )
    if places.count("table") not in (1, 2):
        return f"{places.count('table')} blocks are on the table; expected 1 or 2"
    return ""


def checked(conditions: Conditions) -> Conditions:
    """A frozen copy; raises SimulatorError when no evaluation begins like this."""
    if fault := fault_of(conditions):
        raise SimulatorError(f"impossible conditions: {fault}")
    return MappingProxyType({name: conditions[name] for name in CHOICES})


def initial_state(conditions: Conditions, scene: str = EVALUATION_SCENE) -> tuple[np.ndarray, np.ndarray]:
    """The published evaluation's (15,) robot_obs and (24,) scene_obs of a condition, blocks in the order red, blue, pink.

    Raises SimulatorError for conditions in which no evaluation begins, UnknownName for a scene.
    """
    if scene not in LAYOUTS:
        raise UnknownName("calvin scene", scene, SCENES)
    conditions = checked(conditions)
    left, right, shift = LAYOUTS[scene]
    sides = {"slider_left": (left, SLIDER_Y, SLIDER_Z), "slider_right": (right, SLIDER_Y, SLIDER_Z)}
    random = np.random.RandomState(seed_of(conditions))  # the old generator: its streams never change
    order = [0, 1]
    random.shuffle(order)
    table = [np.add(TABLE_PLACES[place], (shift, 0, 0)) for place in order]
    table_place = {"red_block": 0, "blue_block": int(conditions["red_block"] == "table"), "pink_block": 1}
    scene_obs = np.zeros(SCENE_NUMBERS)
    scene_obs[0] = SLIDER_LEFT * (conditions["slider"] == "left")
    scene_obs[1] = DRAWER_OPEN * (conditions["drawer"] == "open")
    scene_obs[3] = SWITCH_ON * (conditions["lightbulb"] == "1")
    scene_obs[4], scene_obs[5] = int(conditions["lightbulb"]), int(conditions["led"])
    for block, begin in zip(BLOCKS, (6, 12, 18), strict=True):
        place = conditions[block]
        scene_obs[begin : begin + 3] = table[table_place[block]] if place == "table" else sides[place]
        scene_obs[begin + 5] = random.uniform(*BLOCK_YAW)
    return np.array(START_ROBOT), scene_obs


def seed_of(conditions: Conditions) -> int:
    """The seed of a condition: the hash of its values as Python 3 prints those of CALVIN's dictionary, the empty hand last."""
    values = [int(value) if value in ("0", "1") else value for value in (conditions[name] for name in CHOICES)]
    return published_hash(f"dict_values({[*values, 0]})")


def published_hash(text: str) -> int:
    """What the package pyhash gives for a string under the name fnv1_32.

    It is not FNV-1: the hash begins at 0 (FNV-0), and it is taken of the string as UTF-16, little end first.
    """
    value = 0
    for byte in text.encode("utf-16-le"):
        value = (value * 0x01000193 & 0xFFFFFFFF) ^ byte
    return value
