"""Pictures by OpenGL: one off-screen context for both cameras, made and used in one thread.

A software driver spends more on shadows, on waiting and on building contexts than on pixels. So the lamp's shadow map is drawn
for the first camera and serves both; both draw side by side into one frame before the first is read back; and a model that
differs from the last one only in what is sent anew with every frame, and in its textures, keeps the context.
"""

import atexit
import threading
import weakref
from collections.abc import Collection, Hashable
from importlib import import_module
from typing import Any

import mujoco
import numpy as np

from worldagen.errors import SimulatorError
from worldagen_sim.environment import VIEWS
from worldagen_sim.playtable.rendering import CAMERAS

MAX_GEOMS = 200
EMPTY_MJCF = '<mujoco><visual><global offwidth="8" offheight="8"/><quality shadowsize="8" offsamples="0"/></visual></mujoco>'
FRAME_PIXELS = (sum(CAMERAS.values()), max(CAMERAS.values()))  # width, height
# What a MuJoCo context copies out of a model (render_context.c of 3.8.1), textures and shapes of its own apart.
COPIED_SETTINGS = {
    "quality": ("shadowsize", "offsamples", "numslices", "numstacks", "numquads"),
    "map": ("shadowclip", "shadowscale", "fogstart", "fogend", "haze", "zfar"),
    "rgba": ("fog", "haze"),
    "global_": ("linewidth",),
}
COPIED_ARRAYS = (
    "mat_texid",
    "mat_texuniform",
    "mat_texrepeat",
    "tex_type",
    "tex_width",
    "tex_height",
    "tex_nchannel",
    "tex_colorspace",
)


class GlRenderer:
    """Draws with MuJoCo's own renderer on EGL or OSMesa. The calling thread owns the context."""

    def __init__(self, platform: str) -> None:
        self._platform = platform
        self._window: Any = import_module(f"mujoco.{platform}").GLContext(*FRAME_PIXELS)
        self._window.make_current()
        self._owner = threading.get_ident()
        self._context: mujoco.MjrContext | None = None
        self._blind: mujoco.MjrContext | None = None  # its shadow map takes what nobody looks at
        self._structure: Hashable = None
        self._options = mujoco.MjvOption()
        # Contexts must go before the interpreter takes the GL library apart, or it prints a traceback.
        this = weakref.ref(self)
        self._at_exit = lambda: renderer.close() if (renderer := this()) else None
        atexit.register(self._at_exit)

    def load(self, model: mujoco.MjModel) -> None:
        """Take up a new model; forget the last. Raises SimulatorError when the driver fails."""
        self._window.make_current()
        structure = _structure(model)
        try:
            if self._context is None or structure is None or structure != self._structure:
                self._build_contexts(model)
            else:
                self._send_textures(model)
        except Exception as error:  # drivers fail in many ways and MuJoCo passes them all on
            self._structure = None
            raise SimulatorError(f"OpenGL by {self._platform} cannot take up a model: {error!r}") from error
        self._model, self._structure, self._texels = model, structure, model.tex_data.copy()
        self._cameras = {name: _fixed_camera(model, name) for name in CAMERAS}

    def render(self, data: mujoco.MjData, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """Pictures of a state after mj_forward: name -> (pixels, pixels, 3) uint8 RGB, upright; only those of `views`."""
        self._window.make_current()
        left, frames = 0, {}
        for name, pixels in CAMERAS.items():
            if name not in views:
                continue
            frames[name] = mujoco.MjrRect(left, 0, pixels, pixels)
            self._draw(data, name, frames[name], with_shadow_map=left == 0)
            left += pixels
        return {name: self._read(frame) for name, frame in frames.items()}

    def close(self) -> None:
        """Free the context; harmless to call twice, and from another thread, as happens at exit."""
        if self._window is None:
            return
        atexit.unregister(self._at_exit)
        # A context that is current in one thread cannot become current in another; what it holds goes with it then.
        if threading.get_ident() == self._owner:
            self._window.make_current()
            self._free_contexts()
        self._window.free()
        self._context = self._blind = self._window = None

    def _build_contexts(self, model: mujoco.MjModel) -> None:
        self._free_contexts()
        scale = mujoco.mjtFontScale.mjFONTSCALE_100.value
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._blind = mujoco.MjrContext(mujoco.MjModel.from_xml_string(EMPTY_MJCF), scale)
        self._context = context = mujoco.MjrContext(model, scale)
        self._shadow_buffer = context.shadowFBO
        mujoco.mjr_resizeOffscreen(*FRAME_PIXELS, context)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)

    def _free_contexts(self) -> None:
        for context in (self._context, self._blind):
            if context is not None:
                context.free()
        self._context = self._blind = None

    def _send_textures(self, model: mujoco.MjModel) -> None:
        for texture, start in enumerate(model.tex_adr):
            end = start + model.tex_width[texture] * model.tex_height[texture] * model.tex_nchannel[texture]
            if not np.array_equal(model.tex_data[start:end], self._texels[start:end]):
                mujoco.mjr_uploadTexture(model, self._context, texture)

    def _draw(self, data: mujoco.MjData, name: str, frame: mujoco.MjrRect, with_shadow_map: bool) -> None:
        assert self._context is not None and self._blind is not None
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._cameras[name], everything, self._scene)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            # Decoration throws no shadow. Planes have nothing below them, and would only speckle themselves.
            if not with_shadow_map or geom.type == mujoco.mjtGeom.mjGEOM_PLANE:
                geom.category = mujoco.mjtCatBit.mjCAT_DECOR
        self._context.shadowFBO = self._shadow_buffer if with_shadow_map else self._blind.shadowFBO
        mujoco.mjr_render(frame, self._scene, self._context)
        self._context.shadowFBO = self._shadow_buffer

    def _read(self, frame: mujoco.MjrRect) -> np.ndarray:
        picture = np.empty((frame.height, frame.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(picture, None, frame, self._context)
        return np.ascontiguousarray(picture[::-1])  # OpenGL counts rows from below


def _structure(model: mujoco.MjModel) -> Hashable:
    """Everything a context copies out of a model but the textures' texels; None where a context cannot be kept."""
    if model.nmesh or model.nhfield or model.nskin or model.nflex:
        return None
    settings = tuple(
        np.asarray(getattr(getattr(model.vis, section), field)).tobytes()
        for section, fields in COPIED_SETTINGS.items()
        for field in fields
    )
    arrays = tuple(getattr(model, name).tobytes() for name in COPIED_ARRAYS)
    planes = model.geom_size[model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE]
    return (settings, arrays, planes.tobytes(), float(model.stat.extent))


def _fixed_camera(model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = model.camera(name).id
    return camera
