"""A texture as OpenGL looks it up: four texels blended, from the two halvings of the picture that fit the pixel's size.

Shapes: P pixels along a side, N places.
"""

import numpy as np

from worldagen.errors import SimulatorError


class Mipmaps:
    """A square picture with all its halvings; it repeats beyond its edges."""

    def __init__(self, picture: np.ndarray) -> None:
        """picture: (P, P, 3) uint8. Raises SimulatorError unless P is a power of two."""
        side = len(picture)
        if picture.shape != (side, side, 3) or side & (side - 1):
            raise SimulatorError(f"a texture is {picture.shape}; ray casting expects a square with a power of two of pixels")
        halvings = [picture.astype(np.float32) / 255]
        while (side := side // 2) > 0:
            fine = halvings[-1]
            halvings.append((fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]) / 4)
        self._sides = np.array([len(halving) for halving in halvings], dtype=np.int32)
        self._starts = (np.cumsum(self._sides**2) - self._sides**2).astype(np.int32)
        self._texels = np.concatenate([halving.reshape(-1, 3) for halving in halvings])

    def sample(self, across: np.ndarray, down: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        """The colours (N, 3) float32 in 0..1 at places (N,), (N,) from the upper left corner, in sides of the picture.

        pixel: (N,) the longer side of what one pixel sees there, in the same unit.
        """
        level = np.log2(np.clip(pixel * self._sides[0], 1, self._sides[0]))
        finer = level.astype(np.int32)
        fine = self._blend(across, down, finer)
        coarse = self._blend(across, down, np.minimum(finer + 1, len(self._sides) - 1))
        return fine + (level - finer.astype(np.float32))[:, None] * (coarse - fine)

    def _blend(self, across: np.ndarray, down: np.ndarray, level: np.ndarray) -> np.ndarray:
        sides, starts = self._sides[level], self._starts[level]
        scale = sides.astype(np.float32)
        x, y = across * scale - np.float32(0.5), down * scale - np.float32(0.5)
        left, top = np.floor(x), np.floor(y)
        right_share, low_share = (x - left)[:, None], (y - top)[:, None]
        mask = sides - 1
        left, top = left.astype(np.int32), top.astype(np.int32)
        right, left = (left + 1) & mask, left & mask
        upper, lower = starts + (top & mask) * sides, starts + ((top + 1) & mask) * sides
        corners = self._texels.take([upper + left, upper + right, lower + left, lower + right], axis=0)  # (4, N, 3)
        high = corners[0] + (corners[1] - corners[0]) * right_share
        low = corners[2] + (corners[3] - corners[2]) * right_share
        return high + (low - high) * low_share
