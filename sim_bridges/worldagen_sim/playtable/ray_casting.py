"""Pictures without OpenGL: rays cast by MuJoCo, shaded in numpy with the same light as its OpenGL renderer.

Light as in fixed-function OpenGL: colour x (ambient + headlight x cosine + lamp x cosine where the lamp is seen), cut at
white. The lamp is directional; its shadow rays start at one point far away, because MuJoCo casts many rays from one point
only.

Casting is what costs, so rays are spared: the static camera and the fixed geoms never move within a model, so what its rays
meet of them is found once; after that only rays near a mover are cast again, for the picture and for its shadow.

Shapes: N rays or pixels of one camera, row by row from the upper left; G geoms.
"""

from dataclasses import dataclass
from itertools import product

import mujoco
import numpy as np

from worldagen_sim.playtable.rendering import CAMERAS

FAR_M = 1e10
LAMP_DISTANCE_M = 30.0
SHADOW_BIAS_M = 0.004  # a surface must not shadow itself
SHADOW_CELL_M = 0.02
SHADOW_CELLS = 256
CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))  # (8, 3)


@dataclass
class Hits:
    """What rays met. geom: (N,) or -1; distance_m: (N,); normal: (N, 3); lamp: (N,) cosine of the lamp's light, 0 in shadow."""

    geom: np.ndarray
    distance_m: np.ndarray
    normal: np.ndarray
    lamp: np.ndarray

    def copy(self) -> "Hits":
        return Hits(self.geom.copy(), self.distance_m.copy(), self.normal.copy(), self.lamp.copy())


@dataclass(frozen=True)
class Backdrop:
    """What the static camera sees of the fixed geoms, and which cell of the lamp's grid each pixel lies in, (N,)."""

    hits: Hits
    points_m: np.ndarray
    lamp_cells: np.ndarray


class RayCaster:
    """Draws both cameras of a model, in any thread."""

    def load(self, model: mujoco.MjModel) -> None:
        """Take up a new model; forget the last."""
        self._model = model
        self._rays = {name: _camera_rays(model, name, pixels) for name, pixels in CAMERAS.items()}
        self._movers = np.flatnonzero(model.body_weldid[model.geom_bodyid] != 0)
        background = model.tex_data[:3] / 255.0
        self._colours = np.vstack([model.geom_rgba[:, :3], background]).astype(np.float32)  # geom -1 is the background
        self._lamp_axes = _axes_across(model.light_dir[0])  # (3, 2)
        self._lamp_m = model.light_pos[0] - LAMP_DISTANCE_M * model.light_dir[0]
        self._backdrop: Backdrop | None = None

    def render(self, data: mujoco.MjData) -> dict[str, np.ndarray]:
        """Pictures of a state after mj_forward: name -> (pixels, pixels, 3) uint8 RGB, upright."""
        if self._backdrop is None:
            self._backdrop = self._find_backdrop(data)
        static = self._put_movers_before(data, self._backdrop)
        wrist, _ = self._look(data, data.camera("wrist").xpos, self._world_rays(data, "wrist"))
        return {"static": self._shade(data, "static", static), "wrist": self._shade(data, "wrist", wrist)}

    def close(self) -> None:
        """Nothing to free."""

    def _find_backdrop(self, data: mujoco.MjData) -> Backdrop:
        everything_fixed = mujoco.MjData(self._model)
        hidden = self._model.geom_rgba[self._movers, 3].copy()
        self._model.geom_rgba[self._movers, 3] = 0.0  # rays pass through what is fully transparent
        mujoco.mj_forward(self._model, everything_fixed)
        origin = data.camera("static").xpos
        hits, points = self._look(everything_fixed, origin, self._world_rays(data, "static"))
        self._model.geom_rgba[self._movers, 3] = hidden
        return Backdrop(hits, points, self._cells(points))

    def _put_movers_before(self, data: mujoco.MjData, backdrop: Backdrop) -> Hits:
        origin, rays = data.camera("static").xpos, self._world_rays(data, "static")
        hits = backdrop.hits.copy()
        in_shade = np.flatnonzero((hits.lamp > 0) & self._mover_cells(data)[backdrop.lamp_cells])
        hits.lamp[in_shade] *= self._lamp_seen(data, backdrop.points_m[in_shade], movers_only=True)
        near = np.flatnonzero(self._mover_pixels(data))
        geom, distance, normal = _cast(self._model, data, origin, rays[near], movers_only=True)
        seen = (geom >= 0) & (distance < hits.distance_m[near])
        points = origin + rays[near[seen]] * distance[seen, None]
        hits.geom[near[seen]], hits.normal[near[seen]] = geom[seen], normal[seen]
        hits.lamp[near[seen]] = self._lamp_light(data, points, normal[seen])
        return hits

    def _look(self, data: mujoco.MjData, origin_m: np.ndarray, rays: np.ndarray) -> tuple[Hits, np.ndarray]:
        """Cast rays (N, 3) against all geoms: hits, and where they lie (N, 3)."""
        geom, distance, normal = _cast(self._model, data, origin_m, rays, movers_only=False)
        points = origin_m + rays * distance[:, None]
        return Hits(geom, distance, normal, self._lamp_light(data, points, normal)), points

    def _lamp_light(self, data: mujoco.MjData, points_m: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """The cosine under which the lamp shines on each point (N, 3) of a surface, 0 in shadow: (N,)."""
        light = np.maximum(-(normal @ self._model.light_dir[0]), 0.0)
        towards = np.flatnonzero(light)
        light[towards] *= self._lamp_seen(data, points_m[towards], movers_only=False)
        return light

    def _lamp_seen(self, data: mujoco.MjData, points_m: np.ndarray, movers_only: bool) -> np.ndarray:
        """Whether nothing stands between the lamp and each point: (N, 3) -> (N,)."""
        rays = points_m - self._lamp_m
        length = np.linalg.norm(rays, axis=1)
        geom, distance, _ = _cast(self._model, data, self._lamp_m, rays / length[:, None], movers_only)
        return (geom < 0) | (distance > length - SHADOW_BIAS_M)

    def _mover_pixels(self, data: mujoco.MjData) -> np.ndarray:
        """Pixels of the static camera that some mover may cover, (N,)."""
        pixels, camera = CAMERAS["static"], data.camera("static")
        corners = (self._mover_corners(data) - camera.xpos) @ camera.xmat.reshape(3, 3)  # (G, 8, 3): right, up, back
        scale = pixels / 2 / np.tan(np.radians(self._model.camera("static").fovy[0]) / 2)
        places = np.stack([-corners[..., 1], corners[..., 0]], axis=-1) / -corners[..., 2:]  # row, column
        return _stamp(places * scale + pixels / 2, pixels)

    def _mover_cells(self, data: mujoco.MjData) -> np.ndarray:
        """Cells of the plane across the lamp's light which some mover may shade, (cells,)."""
        return _stamp(self._grid_places(self._mover_corners(data)), SHADOW_CELLS)

    def _mover_corners(self, data: mujoco.MjData) -> np.ndarray:
        """Corners of the movers' bounding boxes in the world: (G, 8, 3)."""
        boxes = self._model.geom_aabb[self._movers]  # (G, 6): centre, half extent
        corners = boxes[:, None, :3] + boxes[:, None, 3:] * CORNERS
        turns = data.geom_xmat[self._movers].reshape(-1, 3, 3)
        return data.geom_xpos[self._movers, None] + corners @ turns.transpose(0, 2, 1)

    def _cells(self, points_m: np.ndarray) -> np.ndarray:
        rows, columns = np.clip(self._grid_places(points_m).astype(int), 0, SHADOW_CELLS - 1).T
        return rows * SHADOW_CELLS + columns

    def _grid_places(self, points_m: np.ndarray) -> np.ndarray:
        return (points_m - self._model.light_pos[0]) @ self._lamp_axes / SHADOW_CELL_M + SHADOW_CELLS / 2

    def _world_rays(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        return self._rays[camera] @ data.camera(camera).xmat.reshape(3, 3).T

    def _shade(self, data: mujoco.MjData, camera: str, hits: Hits) -> np.ndarray:
        head, lamp = self._model.vis.headlight, self._model.light_diffuse[0, 0]
        towards_viewer = data.camera(camera).xmat.reshape(3, 3)[:, 2]
        light = head.ambient[0] + head.diffuse[0] * np.maximum(hits.normal @ towards_viewer, 0.0) + lamp * hits.lamp
        light[hits.geom < 0] = 1.0  # the background shines by itself
        colours = self._colours[hits.geom] * light[:, None].astype(np.float32)
        pixels = CAMERAS[camera]
        return (np.minimum(colours, 1.0) * 255.0 + 0.5).astype(np.uint8).reshape(pixels, pixels, 3)


def _cast(
    model: mujoco.MjModel, data: mujoco.MjData, origin_m: np.ndarray, rays: np.ndarray, movers_only: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first geom (or -1), its distance (FAR_M if none) and normal along each unit ray: (N, 3) -> (N,), (N,), (N, 3)."""
    count = len(rays)
    geom, distance, normal = np.full(count, -1, np.int32), np.full(count, FAR_M), np.zeros((count, 3))
    if count:
        flat = np.ascontiguousarray(rays).reshape(-1)
        mujoco.mj_multiRay(
            model, data, origin_m, flat, None, not movers_only, -1, geom, distance, normal.reshape(-1), count, FAR_M
        )
    distance[geom < 0] = FAR_M
    return geom, distance, normal


def _camera_rays(model: mujoco.MjModel, name: str, pixels: int) -> np.ndarray:
    """Unit rays through the middle of each pixel in the camera's frame (right, up, back): (N, 3)."""
    half = np.tan(np.radians(model.camera(name).fovy[0]) / 2)
    across = ((np.arange(pixels) + 0.5) / pixels * 2 - 1) * half
    right, down = np.meshgrid(across, across)
    rays = np.stack([right, -down, -np.ones_like(right)], axis=-1).reshape(-1, 3)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _axes_across(direction: np.ndarray) -> np.ndarray:
    """Two unit vectors at right angles to a direction: (3,) -> (3, 2)."""
    first = np.cross(direction, (1.0, 0.0, 0.0))
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first)], axis=1)


def _stamp(places: np.ndarray, cells: int) -> np.ndarray:
    """Mark on a grid the rectangles around groups of points: row and column (G, 8, 2) -> (cells * cells,) bool."""
    marked = np.zeros((cells, cells), dtype=bool)
    lowest = np.clip(np.floor(places.min(axis=1)) - 1, 0, cells).astype(int)
    highest = np.clip(np.ceil(places.max(axis=1)) + 1, 0, cells).astype(int)
    for (top, left), (bottom, right) in zip(lowest, highest, strict=True):
        marked[top:bottom, left:right] = True
    return marked.reshape(-1)
