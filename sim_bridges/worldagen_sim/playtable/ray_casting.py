"""Pictures without OpenGL: rays cast by MuJoCo, shaded in numpy with the same light as its OpenGL renderer.

Light as in fixed-function OpenGL: colour x texture x (ambient + headlight x cosine + lamp x cosine where the lamp is seen), cut
at white.

Casting is what costs, so rays are spared: the static camera and the fixed geoms never move within a model, so what its rays
meet of them is found once; after that only rays near a mover are cast again, and only its pixels and shadows painted anew.
Colours of geoms are read from the model at every picture.

Shapes: N rays or pixels of one camera, row by row from the upper left; G geoms.
"""

from collections.abc import Collection
from dataclasses import dataclass

import mujoco
import numpy as np

from worldagen_sim.environment import VIEWS
from worldagen_sim.playtable.casting import View, camera_rays, cast_rays, corners_of, hide, stamp
from worldagen_sim.playtable.ray_textures import RayTextures
from worldagen_sim.playtable.rendering import CAMERAS
from worldagen_sim.playtable.shadow_map import ShadowMap

DEFAULT_RGBA = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)


@dataclass(frozen=True)
class Sight:
    """What pixels see. geom: (N,) or -1; distance_m: (N,); texture: (N, 3) colour of the texture there, 1 without one.

    steady: (N,) light that no shadow takes away; lamp: (N,) the lamp's, where it is seen; cell, depth_m: (N,) places in the
    lamp's map.
    """

    geom: np.ndarray
    distance_m: np.ndarray
    texture: np.ndarray
    steady: np.ndarray
    lamp: np.ndarray
    cell: np.ndarray
    depth_m: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "Sight":
        return Sight(*(values[chosen] for values in vars(self).values()))


@dataclass
class Backdrop:
    """What the static camera sees of the fixed geoms: past_fixed (N,) says where the lamp is, but for the movers."""

    sight: Sight
    past_fixed: np.ndarray
    colours: np.ndarray  # of the geoms, (G, 3), when the picture (N, 3) was painted
    picture: np.ndarray


class RayCaster:
    """Draws both cameras of a model, in any thread."""

    def load(self, model: mujoco.MjModel) -> None:
        """Take up a new model; forget the last."""
        self._model = model
        self._rays = {name: camera_rays(model, name, pixels) for name, pixels in CAMERAS.items()}
        self._movers = np.flatnonzero(model.body_weldid[model.geom_bodyid] != 0)
        sky = int(np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)[0])
        self._background = model.tex_data[model.tex_adr[sky] :][:3] / 255.0
        self._textures = RayTextures(model)
        self._shadows = ShadowMap(model, self._movers)
        self._backdrop: Backdrop | None = None

    def render(self, data: mujoco.MjData, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """Pictures of a state after mj_forward: name -> (pixels, pixels, 3) uint8 RGB, upright; only those of `views`."""
        self._colours = np.vstack([_colours_of(self._model), self._background]).astype(np.float32)  # -1 is the background
        static = self._view(data, "static")
        if self._backdrop is None:
            self._backdrop = self._find_backdrop(data, static)
        self._shadows.cast_movers(data)
        pictures = {}
        if "static" in views:
            pictures["static"] = self._draw_static(data, static, self._backdrop)
        if "wrist" in views:
            pictures["wrist"] = self._draw(data, self._view(data, "wrist"))
        return {name: picture.reshape(CAMERAS[name], CAMERAS[name], 3) for name, picture in pictures.items()}

    def close(self) -> None:
        """Nothing to free."""

    def _find_backdrop(self, data: mujoco.MjData, view: View) -> Backdrop:
        with hide(self._model, self._movers):
            sight = self._look(data, view, movers_only=False)
        self._shadows.cast_fixed(data)
        past_fixed = self._shadows.seen_past_fixed(sight.cell, sight.depth_m)
        return Backdrop(sight, past_fixed, self._colours, self._paint(sight, past_fixed))

    def _draw_static(self, data: mujoco.MjData, view: View, backdrop: Backdrop) -> np.ndarray:
        if not np.array_equal(backdrop.colours, self._colours):  # a lamp was lit
            backdrop.colours, backdrop.picture = self._colours, self._paint(backdrop.sight, backdrop.past_fixed)
        picture = backdrop.picture.copy()
        sight = backdrop.sight
        shaded = np.flatnonzero(backdrop.past_fixed & ~self._shadows.seen_past_movers(sight.cell, sight.depth_m))
        picture[shaded] = self._paint(sight[shaded], np.zeros(len(shaded), dtype=bool))
        near = self._mover_pixels(data, view)
        mover = self._look(data, view[near], movers_only=True)
        before = (mover.geom >= 0) & (mover.distance_m < sight.distance_m[near])
        picture[near[before]] = self._paint_lit(mover[before])
        return picture

    def _draw(self, data: mujoco.MjData, view: View) -> np.ndarray:
        return self._paint_lit(self._look(data, view, movers_only=False))

    def _look(self, data: mujoco.MjData, view: View, movers_only: bool) -> Sight:
        geom, distance, normal = cast_rays(self._model, data, view.place_m, view.rays, movers_only)
        cell, depth = self._shadows.place(view.place_m + view.rays * distance[:, None])
        head, background = self._model.vis.headlight, geom < 0
        steady = head.ambient[0] + head.diffuse[0] * np.maximum(normal @ view.axes[:, 2], 0.0)
        steady[background] = 1.0  # shines by itself
        lamp = self._model.light_diffuse[0, 0] * np.maximum(-(normal @ self._shadows.direction), 0.0)
        return Sight(geom, distance, self._textures.colours(data, view, geom, distance, normal), steady, lamp, cell, depth)

    def _paint_lit(self, sight: Sight) -> np.ndarray:
        shadows = self._shadows
        lit = shadows.seen_past_fixed(sight.cell, sight.depth_m) & shadows.seen_past_movers(sight.cell, sight.depth_m)
        return self._paint(sight, lit)

    def _paint(self, sight: Sight, lit: np.ndarray) -> np.ndarray:
        """Colours of pixels, given where the lamp is seen: (N,) bool -> (N, 3) uint8."""
        light = (sight.steady + sight.lamp * lit).astype(np.float32)
        colours = self._colours[sight.geom] * sight.texture * light[:, None]
        return (np.minimum(colours, 1.0) * np.float32(255) + np.float32(0.5)).astype(np.uint8)

    def _mover_pixels(self, data: mujoco.MjData, view: View) -> np.ndarray:
        """Pixels of a camera far from all movers that some mover may cover: indices."""
        corners = (corners_of(self._model, data, self._movers) - view.place_m) @ view.axes  # (G, 8, 3): right, up, back
        places = corners[..., :2] * (-1, 1) / corners[..., 2:]  # right, down
        pixels = CAMERAS["static"]
        return stamp(places / view.pixel + pixels / 2, pixels)

    def _view(self, data: mujoco.MjData, name: str) -> View:
        camera, rays = data.camera(name), self._rays[name]
        axes = camera.xmat.reshape(3, 3).copy()
        pixel = 2 * np.tan(np.radians(self._model.camera(name).fovy[0]) / 2) / CAMERAS[name]
        return View(camera.xpos.copy(), axes, rays @ axes.T, -rays[:, 2], pixel)


def _colours_of(model: mujoco.MjModel) -> np.ndarray:
    """Each geom's colour, or its material's where the geom has MuJoCo's default colour: (G, 3)."""
    own = (model.geom_matid < 0) | (model.geom_rgba != DEFAULT_RGBA).any(axis=1)
    colours = model.geom_rgba[:, :3].copy()
    colours[~own] = model.mat_rgba[model.geom_matid[~own], :3]
    return colours
