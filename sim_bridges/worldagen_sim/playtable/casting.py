"""Cameras as bundles of rays, rays through a MuJoCo model, and which cells of a grid are worth a ray.

Shapes: N rays, G geoms.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import mujoco
import numpy as np

FAR_M = 1e10
SHOWN_GROUPS = np.array([1, 1, 1, 0, 0, 0], dtype=np.uint8)  # as in MjvOption
HIDDEN_GROUP = 5
CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))  # (8, 3)


@dataclass(frozen=True)
class View:
    """A camera now: its place, its axes (right, up, back) as columns, unit rays (N, 3) and their share (N,) along its axis.

    pixel: width of a pixel at a distance of 1.
    """

    place_m: np.ndarray
    axes: np.ndarray
    rays: np.ndarray
    forward: np.ndarray
    pixel: float

    def __getitem__(self, chosen: np.ndarray) -> "View":
        return View(self.place_m, self.axes, self.rays[chosen], self.forward[chosen], self.pixel)


def camera_rays(model: mujoco.MjModel, name: str, pixels: int) -> np.ndarray:
    """Unit rays through the middle of each pixel in the camera's frame (right, up, back): (N, 3)."""
    half = np.tan(np.radians(model.camera(name).fovy[0]) / 2)
    across = ((np.arange(pixels) + 0.5) / pixels * 2 - 1) * half
    right, down = np.meshgrid(across, across)
    rays = np.stack([right, -down, -np.ones_like(right)], axis=-1).reshape(-1, 3)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def cast_rays(
    model: mujoco.MjModel, data: mujoco.MjData, origin_m: np.ndarray, rays: np.ndarray, movers_only: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first geom (or -1), its distance (FAR_M if none) and normal along each unit ray: (N, 3) -> (N,), (N,), (N, 3)."""
    count = len(rays)
    geom, distance, normal = np.full(count, -1, np.int32), np.full(count, FAR_M), np.zeros((count, 3))
    if count:
        flat = np.ascontiguousarray(rays).reshape(-1)
        mujoco.mj_multiRay(
            model, data, origin_m, flat, SHOWN_GROUPS, not movers_only, -1, geom, distance, normal.reshape(-1), count, FAR_M
        )
    distance[geom < 0] = FAR_M
    return geom, distance, normal


@contextmanager
def hide(model: mujoco.MjModel, geoms: np.ndarray) -> Iterator[None]:
    """Let rays pass through these geoms."""
    groups = model.geom_group[geoms].copy()
    model.geom_group[geoms] = HIDDEN_GROUP
    try:
        yield
    finally:
        model.geom_group[geoms] = groups


def corners_of(model: mujoco.MjModel, data: mujoco.MjData, geoms: np.ndarray) -> np.ndarray:
    """Corners of the geoms' bounding boxes in the world: (G, 8, 3)."""
    boxes = model.geom_aabb[geoms]  # (G, 6): centre, half extent
    corners = boxes[:, None, :3] + boxes[:, None, 3:] * CORNERS
    turns = data.geom_xmat[geoms].reshape(-1, 3, 3)
    return data.geom_xpos[geoms, None] + corners @ turns.transpose(0, 2, 1)


def stamp(places: np.ndarray, side: int) -> np.ndarray:
    """Cells of a square grid in the rectangles around groups of points: column and row (G, 8, 2) -> flat indices."""
    marked = np.zeros((side, side), dtype=bool)
    low = np.clip(np.floor(places.min(axis=1)) - 1, 0, side).astype(int)
    high = np.clip(np.ceil(places.max(axis=1)) + 1, 0, side).astype(int)
    for (left, top), (right, bottom) in zip(low.tolist(), high.tolist(), strict=True):
        marked[top:bottom, left:right] = True
    return np.flatnonzero(marked)
