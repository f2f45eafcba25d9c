"""Observation -> the numbers a network was trained on, and painted pictures back again.

Source of the published transform: OpenAI CLIP's image transform (bicubic with antialiasing on the shorter side, centre crop).
Legend: H x W pixels of a camera picture, S side of the network's square input.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class ImageScaling:
    """How pictures become numbers. mean, std: per RGB channel of pixels in [0, 1].

    flip_rows: the network was trained on pictures that are upside down, as LIBERO renders them; ours are upright.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip_rows: bool = False


@dataclass(frozen=True)
class StateScaling:
    """How a TCP pose becomes numbers: (pose - center) / scale, each (6,) in metres and radians.

    wrap_angles: bring the three differences of angles to [-pi, pi) first. A gripper that points down has a roll on the seam
    at pi, so a center there keeps neighbours together.
    """

    center: tuple[float, ...] = (0.0,) * 6
    scale: tuple[float, ...] = (1.0,) * 6
    wrap_angles: bool = False


def scale_pose(scaling: StateScaling, pose: np.ndarray) -> np.ndarray:
    """(6,) x, y, z, roll, pitch, yaw -> (6,) as the network was trained on."""
    return scale_poses(scaling, np.asarray(pose)[None])[0]


def scale_poses(scaling: StateScaling, poses: np.ndarray) -> np.ndarray:
    """The same for many: (N, 6) -> (N, 6)."""
    difference = np.asarray(poses, dtype=np.float64) - scaling.center
    if scaling.wrap_angles:
        difference[:, 3:] = (difference[:, 3:] + np.pi) % (2 * np.pi) - np.pi
    return difference / scaling.scale


def square_image(scaling: ImageScaling, image: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) uint8, upright RGB -> (S, S, 3) uint8 as the network will see it, before it becomes numbers."""
    if scaling.flip_rows:
        image = image[::-1]
    return np.asarray(_shrink_and_crop(Image.fromarray(np.ascontiguousarray(image)), side))


def scale_image(scaling: ImageScaling, image: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) uint8, upright RGB -> (3, S, S) float32."""
    return scale_images(scaling, [image], side)[0]


def scale_images(scaling: ImageScaling, images: Sequence[np.ndarray], side: int) -> np.ndarray:
    """N of them, of any sizes -> (N, 3, S, S) float32. Computed where the numbers stay: temporaries cost ten times as much."""
    numbers = np.empty((len(images), 3, side, side), np.float32)
    mean, std = _float32(scaling.mean)[:, None, None], _float32(scaling.std)[:, None, None]
    for scaled, image in zip(numbers, images, strict=True):
        planes = square_image(scaling, image, side).transpose(2, 0, 1)
        np.divide(planes, np.float32(255.0), out=scaled, dtype=np.float32)
        np.subtract(scaled, mean, out=scaled)
        np.divide(scaled, std, out=scaled)
    return numbers


class ViewScaler:
    """Scales the two views of an observation at the same time, on two cores, to the same bits: a robot waits for them."""

    def __init__(self) -> None:
        self._other: ThreadPoolExecutor | None = None  # made when first needed, so in the process that needs it

    def scale(
        self, scaling: ImageScaling, static: tuple[Sequence[np.ndarray], int], wrist: tuple[Sequence[np.ndarray], int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and side of each view -> what `scale_images` makes of them."""
        self._other = self._other or ThreadPoolExecutor(max_workers=1, thread_name_prefix="scale")
        second = self._other.submit(scale_images, scaling, *wrist)
        return scale_images(scaling, *static), second.result()


def restore_image(scaling: ImageScaling, picture: np.ndarray) -> np.ndarray:
    """The way back for a painted picture: (S, S, 3) normalised -> (S, S, 3) uint8, upright RGB."""
    pixels = (picture * _float32(scaling.std) + _float32(scaling.mean)) * 255.0
    pixels = pixels.clip(0, 255).round().astype(np.uint8)
    return pixels[::-1].copy() if scaling.flip_rows else pixels


def _float32(channels: tuple[float, float, float]) -> np.ndarray:
    return np.asarray(channels, dtype=np.float32)


def size_and_crop(width: int, height: int, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """What a picture is resized to, (width, height), and where the square begins that is cut out of its centre, (left, top).

    The shorter side becomes `side`, the longer one is rounded down.
    """
    shorter = min(width, height)
    width, height = int(side * width / shorter), int(side * height / shorter)
    return (width, height), (round((width - side) / 2), round((height - side) / 2))


def _shrink_and_crop(image: Image.Image, side: int) -> Image.Image:
    """Resize (bicubic, antialiased), then crop the centre."""
    size, (left, top) = size_and_crop(*image.size, side)
    return image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
