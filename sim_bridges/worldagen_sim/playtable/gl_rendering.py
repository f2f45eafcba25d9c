"""Pictures by OpenGL: one off-screen context for both cameras, made and used in one thread."""

import atexit
import threading
import weakref
from importlib import import_module
from typing import Any

import mujoco
import numpy as np

from worldagen_sim.playtable.rendering import CAMERAS

MAX_GEOMS = 200


class GlRenderer:
    """Draws with MuJoCo's own renderer on EGL or OSMesa. The calling thread owns the context."""

    def __init__(self, platform: str) -> None:
        largest = max(CAMERAS.values())
        self._window: Any = import_module(f"mujoco.{platform}").GLContext(largest, largest)
        self._window.make_current()
        self._owner = threading.get_ident()
        self._context: mujoco.MjrContext | None = None
        # Contexts must go before the interpreter takes the GL library apart, or it prints a traceback.
        this = weakref.ref(self)
        self._at_exit = lambda: renderer.close() if (renderer := this()) else None
        atexit.register(self._at_exit)

    def load(self, model: mujoco.MjModel) -> None:
        """Take up a new model; forget the last."""
        self._window.make_current()
        if self._context is not None:
            self._context.free()
        self._model = model
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._options = mujoco.MjvOption()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._cameras = {name: _fixed_camera(model, name) for name in CAMERAS}

    def render(self, data: mujoco.MjData) -> dict[str, np.ndarray]:
        """Pictures of a state after mj_forward: name -> (pixels, pixels, 3) uint8 RGB, upright."""
        self._window.make_current()
        return {name: self._draw(data, name, pixels) for name, pixels in CAMERAS.items()}

    def close(self) -> None:
        """Free the context; harmless to call twice, and from another thread, as happens at exit."""
        if self._window is None:
            return
        atexit.unregister(self._at_exit)
        # A context that is current in one thread cannot become current in another; what it holds goes with it then.
        if self._context is not None and threading.get_ident() == self._owner:
            self._window.make_current()
            self._context.free()
        self._window.free()
        self._context = self._window = None

    def _draw(self, data: mujoco.MjData, name: str, pixels: int) -> np.ndarray:
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._cameras[name], everything, self._scene)
        frame = mujoco.MjrRect(0, 0, pixels, pixels)
        picture = np.empty((pixels, pixels, 3), dtype=np.uint8)
        mujoco.mjr_render(frame, self._scene, self._context)
        mujoco.mjr_readPixels(picture, None, frame, self._context)
        return np.ascontiguousarray(picture[::-1])  # OpenGL counts rows from below


def _fixed_camera(model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = model.camera(name).id
    return camera
