"""Put arm, doors and blocks where a layout says, at rest."""

import mujoco
import numpy as np

from worldagen_sim.playtable.cabinet import bay_middle
from worldagen_sim.playtable.conditions import BLOCKS, Conditions
from worldagen_sim.playtable.desk import BOARD_M, DRAWER_Z_M, drawer_drop_y
from worldagen_sim.playtable.layout import Layout
from worldagen_sim.playtable.panda import ARM_JOINT_NAMES, FINGER_JOINT_NAMES, FINGER_TRAVEL_M
from worldagen_sim.playtable.scenes import SceneParameters
from worldagen_sim.playtable.surfaces import TABLE_TOP_M

TYPICAL_OPENING_M = 0.14  # of the drawer when the block was put into it


def place_things(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    arm_rad: np.ndarray,
    layout: Layout,
    scene: SceneParameters,
    conditions: Conditions,
) -> float:
    """Set positions and servo set points of a fresh model; the gripper's opening, 0 when it holds a block."""
    in_hand = [index for index, block in enumerate(BLOCKS) if conditions[block] == "hand"]
    opening = 0.0 if in_hand else 1.0
    fingers = scene.block_edges_m[in_hand[0]] / 2 if in_hand else FINGER_TRAVEL_M
    positions = dict(zip(ARM_JOINT_NAMES, arm_rad, strict=True)) | dict.fromkeys(FINGER_JOINT_NAMES, fingers)
    positions |= {"drawer": layout.drawer_m, "slider": layout.door_m, "switch": layout.lever_m}
    for name, position in positions.items():
        data.qpos[model.joint(name).qposadr[0]] = position
    data.ctrl[:] = (*arm_rad, *(FINGER_TRAVEL_M * opening,) * 2)
    for index, block in enumerate(BLOCKS):
        x, y, z, yaw = _pose_of(index, layout, scene, conditions)
        address = model.joint(block).qposadr[0]
        data.qpos[address : address + 7] = (x, y, z, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
    mujoco.mj_forward(model, data)
    return opening


def _pose_of(index: int, layout: Layout, scene: SceneParameters, conditions: Conditions) -> tuple[float, ...]:
    """x, y, z (m) and yaw (rad) of a block's middle."""
    x, y, yaw = layout.blocks[index]
    half, place = scene.block_edges_m[index] / 2, conditions[BLOCKS[index]]
    if place == "hand":
        return (*layout.tcp_m, layout.tcp_yaw_rad)
    if place == "drawer":
        opened = layout.drawer_m or TYPICAL_OPENING_M
        middle = drawer_drop_y(opened) + opened - layout.drawer_m  # it moves along with the drawer
        return (scene.drawer_x_m + x, middle + y, DRAWER_Z_M[0] + 2 * BOARD_M + half, yaw)
    if place.startswith("slider"):
        bay_x, bay_y, _ = bay_middle(scene, place.removeprefix("slider_"))
        return (bay_x + x, bay_y + y, TABLE_TOP_M + half, yaw)
    if place == "stack":
        base = BLOCKS.index(layout.base_block)
        base_x, base_y, base_yaw = layout.blocks[base]
        return (base_x + x, base_y + y, TABLE_TOP_M + scene.block_edges_m[base] + half, base_yaw)
    return (x, y, TABLE_TOP_M + half, yaw)
