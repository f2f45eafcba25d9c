"""Where things are at the start of an episode, drawn from its seed so that the wanted conditions hold.

Lengths in metres, angles in radians, world frame.
"""

from dataclasses import dataclass

import numpy as np

from worldagen_sim.playtable.cabinet import DOOR_TRAVEL_M
from worldagen_sim.playtable.conditions import BLOCKS, Conditions, at
from worldagen_sim.playtable.consoles import LEVER_TRAVEL_M, SWITCH_HALF_M
from worldagen_sim.playtable.draws import Draws
from worldagen_sim.playtable.panda import BASE_M
from worldagen_sim.playtable.scenes import SceneParameters

BLOCK_X_M = (-0.16, 0.19)
BLOCK_Y_M = (-0.14, 0.03)
BLOCK_REACH_M = 0.66  # across, from the robot's base: 4 cm less than the tool reaches, to stand behind a block
BLOCK_YAW_RAD = 0.3
# Room for an open finger, or a closed hand, between any two blocks.
BLOCK_GAP_M = 0.065
CONSOLE_GAP_M = 0.012
PUSH_ROOM_M = 0.125  # a block that will be pushed has this much free table ahead
PUSHED_REACH_M = 0.71  # the tool stands behind it and needs no room beyond
TCP_CENTRE_M = (0.05, -0.20, 0.61)
TCP_SPREAD_M = (0.07, 0.06, 0.04)
TCP_YAW_RAD = np.pi / 2  # the fingers close along x
TCP_YAW_SPREAD_RAD = 0.15
DRAWER_OPEN_M = (0.125, 0.155)
CONTAINER_SPREAD_M = 0.006  # of a block in a drawer or bay around its middle
CONTAINER_YAW_SHARE = 0.4  # a block that was put somewhere stands straighter
STACK_SPREAD_M = 0.005

BlockPose = tuple[float, float, float]  # x, y, yaw


@dataclass(frozen=True)
class Layout:
    """tcp_m, tcp_yaw_rad: tool point and yaw, the hand pointing down; blocks: on the table, or their offsets elsewhere.

    blocks: x, y (m) and yaw (rad) of each; for a block in a drawer, bay, hand or stack x and y are offsets from its middle.
    base_block: what a stacked block stands on, "" for none. drawer_m, door_m, lever_m: joint positions.
    """

    tcp_m: tuple[float, float, float]
    tcp_yaw_rad: float
    blocks: tuple[BlockPose, ...]
    base_block: str
    drawer_m: float
    door_m: float
    lever_m: float


def draw_layout(draws: Draws, scene: SceneParameters, conditions: Conditions, task: str = "") -> Layout:
    """The layout of an episode. A task that pushes a block gets one with room to go."""
    x, y, z = (float(number) for number in draws.vector("tool place", 3) * TCP_SPREAD_M + TCP_CENTRE_M)
    bases = at(conditions, "table") if at(conditions, "stack") else ()
    return Layout(
        tcp_m=(x, y, z),
        tcp_yaw_rad=TCP_YAW_RAD + draws("tool yaw", TCP_YAW_SPREAD_RAD),
        blocks=_draw_blocks(draws, scene, conditions, task),
        base_block=str(draws.generator("stack").choice(bases)) if bases else "",
        drawer_m=draws.between("drawer opening", *DRAWER_OPEN_M) if conditions["drawer"] == "open" else 0.0,
        door_m=DOOR_TRAVEL_M if conditions["slider"] == "right" else 0.0,
        lever_m=LEVER_TRAVEL_M if conditions["lightbulb"] == "on" else 0.0,
    )


def _draw_blocks(draws: Draws, scene: SceneParameters, conditions: Conditions, task: str) -> tuple[BlockPose, ...]:
    """Draw all places on the table until they fit; a block that is elsewhere leaves its place unused."""
    random = draws.generator("blocks")
    low, high = zip(BLOCK_X_M, BLOCK_Y_M, strict=True)
    on_table = [index for index, block in enumerate(BLOCKS) if conditions[block] == "table"]
    pushed = BLOCKS.index(task.removeprefix("push_").rpartition("_")[0]) if task.startswith("push_") else None
    ahead_m = -PUSH_ROOM_M if task.endswith("left") else PUSH_ROOM_M
    while True:
        places = random.uniform(low, high, size=(len(BLOCKS), 2))
        if not _fit(places[on_table], scene, BLOCK_REACH_M):
            continue
        if pushed is None:
            break
        # Where it will lie, it must fit as well; half way it passes nobody if it fits at both ends.
        pushed_places = places + np.outer(np.arange(len(BLOCKS)) == pushed, (ahead_m, 0.0))
        if _fit(pushed_places[on_table], scene, PUSHED_REACH_M):
            break
    yaws = random.uniform(-BLOCK_YAW_RAD, BLOCK_YAW_RAD, size=len(BLOCKS))
    offsets = random.uniform(-1, 1, size=(len(BLOCKS), 2))
    poses = []
    for block, place, offset, yaw in zip(BLOCKS, places, offsets, yaws, strict=True):
        spread = {"table": 0.0, "hand": 0.0, "stack": STACK_SPREAD_M}.get(conditions[block], CONTAINER_SPREAD_M)
        x, y = place if conditions[block] == "table" else offset * spread
        turn = {"table": 1.0, "stack": 1.0, "hand": 0.0}.get(conditions[block], CONTAINER_YAW_SHARE)
        poses.append((float(x), float(y), float(yaw * turn)))
    return tuple(poses)


def _fit(places: np.ndarray, scene: SceneParameters, reach_m: float) -> bool:
    """Whether blocks at these places (N, 2) keep clear of one another and of the consoles, and within reach."""
    if len(places) == 0:
        return True
    spacing = max(scene.block_edges_m) + BLOCK_GAP_M
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(len(places)) * spacing
    consoles = np.array([scene.switch_m, scene.button_m])
    beside = np.abs(places[:, None] - consoles[None]) - np.array(SWITCH_HALF_M)  # (N, 2, 2)
    is_off_consoles = beside.max(axis=-1).min() > max(scene.block_edges_m) / 2 + CONSOLE_GAP_M
    return bool(gaps.min() >= spacing and is_off_consoles and np.linalg.norm(places - BASE_M[:2], axis=-1).max() <= reach_m)
