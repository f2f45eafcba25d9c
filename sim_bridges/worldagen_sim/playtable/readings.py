"""Every number of a state that an oracle or an expert needs, by name; metres and radians, world frame.

Poses are NAME_x, _y, _z, _roll, _pitch, _yaw (extrinsic x-y-z) of tcp, target, the blocks and both cameras (x to the right of
the picture, y down, z into it; VIEW_camera_fov is the angle across it); points are NAME_x, _y, _z.
"""

import mujoco
import numpy as np

from worldagen_sim.playtable.cabinet import BAY_WIDTH_M, BAY_Y_M, bay_middle
from worldagen_sim.playtable.conditions import BLOCKS
from worldagen_sim.playtable.desk import BOARD_M, DRAWER_DEPTH_M, DRAWER_HALF_WIDTH_M, drawer_drop_y
from worldagen_sim.playtable.panda import FINGER_JOINT_NAMES
from worldagen_sim.playtable.rendering import CAMERAS
from worldagen_sim.playtable.scenes import SceneParameters
from worldagen_sim.playtable.surfaces import TABLE_TOP_M

POSE_AXES = ("x", "y", "z", "roll", "pitch", "yaw")
POINTS = ("drawer_handle", "slider_handle", "switch_lever", "button_top", "drawer_floor")  # sites
JOINTS = {"drawer": "drawer_opening", "slider": "slider_position", "switch": "switch_position", "button": "button_press"}
OPTICAL = np.diag([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z, with y up
FINGERS = ("panda_leftfinger", "panda_rightfinger")


class Readings:
    """Where to find the numbers in one model."""

    def __init__(self, model: mujoco.MjModel, scene: SceneParameters) -> None:
        self._tcp = model.site("panda_hand_tcp").id
        self._points = [model.site(name).id for name in POINTS]
        self._joints = {reading: model.joint(name).qposadr[0] for name, reading in JOINTS.items()}
        self._fingers = [model.joint(name).qposadr[0] for name in FINGER_JOINT_NAMES]
        self._blocks = [model.joint(name).qposadr[0] for name in BLOCKS]
        self._body_of_geom = model.geom_bodyid
        self._finger_bodies = [model.body(name).id for name in FINGERS]
        self._block_bodies = [model.body(name).id for name in BLOCKS]
        self._cameras = {f"{name}_camera": model.camera(name).id for name in CAMERAS}
        self._fixed = _fixed_numbers(scene)
        self._fixed |= {f"{name}_fov": float(np.radians(model.cam_fovy[camera])) for name, camera in self._cameras.items()}

    def read(self, data: mujoco.MjData, target_m: np.ndarray, target_quaternion: np.ndarray) -> dict[str, float]:
        """The numbers after mj_forward; target: the commanded pose, (3,) m and (4,) w, x, y, z."""
        qpos = data.qpos
        named = {"tcp": data.site_xpos[self._tcp], "target": target_m}
        quaternions = [np.empty(4), target_quaternion]
        mujoco.mju_mat2Quat(quaternions[0], data.site_xmat[self._tcp])
        for name, address in zip(BLOCKS, self._blocks, strict=True):
            named[name] = qpos[address : address + 3]
            quaternions.append(qpos[address + 3 : address + 7])
        for name, camera in self._cameras.items():
            named[name] = data.cam_xpos[camera]
            quaternions.append(np.empty(4))
            mujoco.mju_mat2Quat(quaternions[-1], (data.cam_xmat[camera].reshape(3, 3) @ OPTICAL).ravel())
        turns = _euler_angles(np.array(quaternions)).tolist()  # (bodies, 3)
        values: dict[str, float] = {}
        for (name, place), turn in zip(named.items(), turns, strict=True):
            values.update(zip((f"{name}_{axis}" for axis in POSE_AXES), (*place.tolist(), *turn), strict=True))
        for name, site in zip(POINTS, self._points, strict=True):
            values.update(zip((f"{name}_{axis}" for axis in "xyz"), data.site_xpos[site].tolist(), strict=True))
        values.update({reading: float(qpos[address]) for reading, address in self._joints.items()})
        values["gripper_width"] = float(qpos[self._fingers].sum())
        values.update(self._held(data))
        values.update(self._fixed)
        values.update({f"drawer_{axis}": values.pop(f"drawer_floor_{axis}") for axis in "xyz"})
        values["drawer_drop_y"] = drawer_drop_y(values["drawer_opening"])
        return values

    def _held(self, data: mujoco.MjData) -> dict[str, float]:
        """BLOCK_held: 1 for a block that touches both fingers."""
        touching = {(one, other) for one, other in self._body_of_geom[data.contact.geom].tolist()}
        touching |= {(other, one) for one, other in touching}
        return {
            f"{name}_held": float(all((finger, body) in touching for finger in self._finger_bodies))
            for name, body in zip(BLOCKS, self._block_bodies, strict=True)
        }


def _fixed_numbers(scene: SceneParameters) -> dict[str, float]:
    """What an episode does not change: sizes, and boxes as the middle of their floor and half extents."""
    values = {"table_top": TABLE_TOP_M, "drawer_half_x": DRAWER_HALF_WIDTH_M, "drawer_half_y": DRAWER_DEPTH_M / 2 - BOARD_M}
    for side in ("left", "right"):
        values.update({f"{side}_bay_{axis}": number for axis, number in zip("xyz", bay_middle(scene, side), strict=True)})
        values.update({f"{side}_bay_half_x": BAY_WIDTH_M / 2, f"{side}_bay_half_y": (BAY_Y_M[1] - BAY_Y_M[0]) / 2})
    values.update({f"{name}_edge": edge for name, edge in zip(BLOCKS, scene.block_edges_m, strict=True)})
    return values


def _euler_angles(quaternions: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw (extrinsic x-y-z) of unit quaternions: (n, 4) -> (n, 3). SciPy would warn of a block on its edge."""
    w, x, y, z = quaternions.T
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = np.arcsin(np.clip(2 * (w * y - z * x), -1.0, 1.0))
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return np.stack([roll, pitch, yaw], axis=1)
