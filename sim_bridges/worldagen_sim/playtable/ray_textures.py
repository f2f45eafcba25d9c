"""The colour of a texture where a ray meets its geom, as OpenGL with MuJoCo's coordinates shows it.

A picture lies across the geom's own x and y axis and is seen through along z. Shapes: N rays.
"""

import mujoco
import numpy as np

from worldagen_sim.playtable.casting import View
from worldagen_sim.playtable.mipmaps import Mipmaps


class RayTextures:
    """The textures of a model's geoms."""

    def __init__(self, model: mujoco.MjModel) -> None:
        # Geom -> its picture, and what it spans of the geom's x and y axis, in metres.
        self._pictures: dict[int, tuple[Mipmaps, np.ndarray]] = {}
        for geom in np.flatnonzero(model.geom_matid >= 0):
            material = model.geom_matid[geom]
            texture = model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB.value]
            if texture >= 0:
                start, side = model.tex_adr[texture], model.tex_width[texture]
                picture = model.tex_data[start : start + 3 * side * side].reshape(-1, side, 3)
                scale = 1 if model.mat_texuniform[material] else model.geom_size[geom, :2]
                self._pictures[int(geom)] = Mipmaps(picture), 2 / model.mat_texrepeat[material] * scale

    def colours(
        self, data: mujoco.MjData, view: View, geom: np.ndarray, distance_m: np.ndarray, normal: np.ndarray
    ) -> np.ndarray:
        """What the rays of a view meet, (N,), (N,), (N, 3), coloured by its texture: (N, 3) float32, 1 without one."""
        colours = np.ones((len(geom), 3), dtype=np.float32)
        for index, (picture, span_m) in self._pictures.items():
            here = np.flatnonzero(geom == index)
            if len(here) == 0:
                continue
            axes = data.geom_xmat[index].reshape(3, 3)[:, :2] / span_m * (1, -1)  # a picture's rows run down
            distance = distance_m[here, None].astype(np.float32)
            rays, slant = view.rays[here].astype(np.float32), normal[here].astype(np.float32)
            along = rays @ axes.astype(np.float32)  # (N, 2): how a ray moves over the picture
            start = (view.place_m - data.geom_xpos[index]) @ axes + 0.5
            across, down = (start.astype(np.float32) + along * distance).T
            # How far a point moves over the picture from one pixel to the next, to the right and up; the longer way counts.
            lean = slant @ view.axes[:, :2].astype(np.float32) / (slant * rays).sum(axis=1, keepdims=True)
            right, up = (view.axes[:, :2].T @ axes).astype(np.float32)
            longest = np.maximum(np.hypot(*(right - along * lean[:, :1]).T), np.hypot(*(up - along * lean[:, 1:]).T))
            width = np.float32(view.pixel) * distance[:, 0] * view.forward[here].astype(np.float32)
            colours[here] = picture.sample(across, down, longest * width)
        return colours
