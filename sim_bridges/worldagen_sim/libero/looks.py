"""How a world of LIBERO is lit, and from where its fixed camera looks: perturbations of what a policy was trained on."""

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation


def change_looks(model: Any, camera: str, light: float, camera_deg: float) -> None:
    """Change a world's model, which is built anew for every task; called once for each.

    model: robosuite's. camera: the fixed one's name. light: factor on every lamp and on the light from everywhere. camera_deg:
    by how much that camera is moved around the vertical through the world's origin, which is the middle of the table.
    """
    for lights in (model.light_diffuse, model.light_specular, model.vis.headlight.diffuse, model.vis.headlight.ambient):
        lights[:] = np.asarray(lights) * light
    number = model.camera_name2id(camera)
    turn = Rotation.from_euler("z", camera_deg, degrees=True)
    w, x, y, z = model.cam_quat[number]
    turned = (turn * Rotation.from_quat([x, y, z, w])).as_quat()
    model.cam_pos[number] = turn.apply(model.cam_pos[number])
    model.cam_quat[number] = turned[[3, 0, 1, 2]]
