"""Where the lamp's light ends: its shadow map, cast cell by cell as MuJoCo's OpenGL renderer draws it.

The lamp is directional. Its map is a square grid across the light; each cell holds how far the light gets before it meets
something, and a point farther away than its cell says lies in shadow. MuJoCo casts many rays from one point only, so the rays
start at one point far away. Fixed geoms are cast once, movers for each picture.

Shapes: C cells of the map, N points; depths in metres along the light from the lamp.
"""

import mujoco
import numpy as np

from worldagen_sim.playtable.casting import FAR_M, cast_rays, corners_of, hide, stamp

ORIGIN_M = 1e4  # so far away that rays run side by side to a fraction of a millimetre
STEEPEST = 100.0


class ShadowMap:
    """The map of a model's first light."""

    def __init__(self, model: mujoco.MjModel, movers: np.ndarray) -> None:
        """movers: indices of the geoms that move."""
        self._model, self._movers = model, movers
        self.direction, self._lamp_m = model.light_dir[0].copy(), model.light_pos[0].copy()
        up = np.cross(self.direction, (-1.0, 0.0, 0.0))  # as MuJoCo turns its map
        up /= np.linalg.norm(up)
        self._axes = np.stack([np.cross(self.direction, up), up], axis=1)  # (3, 2)
        self._side = int(model.vis.quality.shadowsize)
        self._reach_m = float(model.vis.map.shadowclip * model.stat.extent)
        self._fixed = self._moving = np.zeros(0)
        self._moving_cells = np.zeros(0, dtype=int)

    def cast_fixed(self, data: mujoco.MjData) -> None:
        """Map the geoms that never move. Planes shade nothing."""
        planes = np.flatnonzero(self._model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE)
        hidden = np.union1d(planes, self._movers)
        self._fixed = np.full(self._side**2, FAR_M)
        self._moving = self._fixed.copy()
        cells = self._cells_of(data, np.setdiff1d(np.arange(self._model.ngeom), hidden))
        with hide(self._model, hidden):
            self._fixed[cells] = self._cast(data, cells, movers_only=False)

    def cast_movers(self, data: mujoco.MjData) -> None:
        """Map the movers where they are now."""
        self._moving[self._moving_cells] = FAR_M
        self._moving_cells = self._cells_of(data, self._movers)
        self._moving[self._moving_cells] = self._cast(data, self._moving_cells, movers_only=True)

    def place(self, points_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cell (N,) and depth (N,) of points (N, 3)."""
        from_lamp = points_m - self._lamp_m
        columns, rows = np.clip(self._grid_places(from_lamp), 0, self._side - 1).astype(int).T
        return rows * self._side + columns, from_lamp @ self.direction

    def seen_past_fixed(self, cells: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
        """Whether no fixed geom keeps the light from points: (N,), (N,) -> (N,) bool."""
        return depth_m <= self._fixed[cells]

    def seen_past_movers(self, cells: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
        """Whether no mover keeps the light from points: (N,), (N,) -> (N,) bool."""
        return depth_m <= self._moving[cells]

    def _cells_of(self, data: mujoco.MjData, geoms: np.ndarray) -> np.ndarray:
        """Cells that geoms may shade."""
        return stamp(self._grid_places(corners_of(self._model, data, geoms) - self._lamp_m), self._side)

    def _grid_places(self, from_lamp_m: np.ndarray) -> np.ndarray:
        """Column and row (..., 2) of points relative to the lamp (..., 3)."""
        return (from_lamp_m @ self._axes / self._reach_m + 1) * (self._side / 2)

    def _cast(self, data: mujoco.MjData, cells: np.ndarray, movers_only: bool) -> np.ndarray:
        # OpenGL draws the map into all cells but those at the rim, and looks it up as if it filled them too.
        drawn = self._side - 2
        across = (np.stack([cells % self._side, cells // self._side], axis=1) - 0.5) / drawn * 2 - 1
        rays = across * self._reach_m @ self._axes.T + ORIGIN_M * self.direction
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        origin = self._lamp_m - ORIGIN_M * self.direction
        geom, distance, normal = cast_rays(self._model, data, origin, rays, movers_only)
        # A cell lies slanted on what it maps, so a surface would shade itself; OpenGL is told to push it back as far.
        slope = np.abs(normal @ self._axes).max(axis=1) / np.maximum(np.abs(normal @ self.direction), 1 / STEEPEST)
        depth = distance * (rays @ self.direction) - ORIGIN_M + 1.5 * slope * (2 * self._reach_m / drawn)
        return np.where(geom < 0, FAR_M, depth)
