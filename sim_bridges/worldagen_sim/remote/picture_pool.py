"""Memory that two processes see, in slots of one instant's pictures each. It has no name, so that no name can be in use.

The simulator's process copies a picture into a slot, once; ours hands out read-only views of the slot and copies nothing. A
slot is not written again while anybody holds a view of it. Whoever holds more pictures than there are slots gets copies.
"""

import contextlib
import mmap
import os
import weakref
from collections.abc import Iterable, Mapping

import numpy as np

from worldagen.errors import SimulatorError
from worldagen_sim.environment import Camera

SLOTS = 8


def slot_bytes(cameras: Mapping[str, Camera]) -> int:
    """Size of the pictures of one instant."""
    return sum(camera.height * camera.width * 3 for camera in cameras.values())


def make_memory() -> int:
    """A file descriptor of memory that any child may inherit; empty until its size is set."""
    return os.memfd_create("worldagen_pictures", 0)


class PicturePool:
    """The slots. cameras: what a slot holds, in this order."""

    def __init__(self, descriptor: int, cameras: Mapping[str, Camera], writable: bool) -> None:
        self._cameras = dict(cameras)
        self._size = slot_bytes(cameras)
        if writable:
            os.ftruncate(descriptor, max(1, SLOTS * self._size))
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._memory = mmap.mmap(descriptor, max(1, SLOTS * self._size), access=access)
        self._held: list[list[weakref.ref]] = [[] for _ in range(SLOTS)]
        self._last = 0

    def write(self, slot: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Copy an instant's pictures into their slot. Raises SimulatorError for a picture that is not what its camera gives."""
        for name, picture in pictures.items():
            begin, shape = self._place(slot, name)
            if picture.shape != shape or picture.dtype != np.uint8:
                raise SimulatorError(
                    f"the {name} picture has shape {picture.shape} and type {picture.dtype}; its camera gives {shape} uint8"
                )
            np.frombuffer(self._memory, np.uint8, picture.size, begin).reshape(shape)[:] = picture

    def free_slot(self) -> int:
        """A slot that nobody looks at, or 0, whose pictures are copied."""
        for step in range(1, SLOTS):  # slot 0 is kept for those that are copied
            slot = 1 + (self._last + step - 1) % (SLOTS - 1)
            if all(reference() is None for reference in self._held[slot]):
                self._last = slot
                return slot
        return 0

    def read(self, slot: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Views of a slot's pictures, (H, W, 3) uint8 each, read-only; copies of slot 0's, which is written every time."""
        pictures = {}
        self._held[slot] = []
        for name in names:
            begin, shape = self._place(slot, name)
            flat = np.frombuffer(self._memory, np.uint8, int(np.prod(shape)), begin)
            if slot:
                # Every view of `flat` holds `flat` itself, whose base is no array: while one lives, so does it.
                self._held[slot].append(weakref.ref(flat))
            pictures[name] = flat.reshape(shape) if slot else flat.reshape(shape).copy()
        return pictures

    def close(self) -> None:
        """Let go of the memory; pictures that are still held keep it."""
        with contextlib.suppress(BufferError):  # somebody holds a view; it goes with the last of them
            self._memory.close()

    def _place(self, slot: int, name: str) -> tuple[int, tuple[int, int, int]]:
        begin = slot * self._size
        for known, camera in self._cameras.items():
            shape = (camera.height, camera.width, 3)
            if known == name:
                return begin, shape
            begin += camera.height * camera.width * 3
        raise SimulatorError(f"there is no camera {name!r}; expected one of: {', '.join(self._cameras)}")
