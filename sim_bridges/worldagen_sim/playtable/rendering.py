"""Which renderer draws the pictures, decided before MuJoCo is imported: EGL, then OSMesa, then ray casting.

PyOpenGL binds itself to one platform at its first import, so the choice is made by asking the drivers directly, without it, and
then written to the environment. Imports no MuJoCo.
"""

import ctypes
import ctypes.util
import logging
import os
import sys
from collections.abc import Callable, Collection
from typing import Any, Protocol

import numpy as np

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.environment import VIEWS

log = logging.getLogger(__name__)
GL_PLATFORMS = ("egl", "osmesa")
RENDERERS = ("auto", *GL_PLATFORMS, "raycast")
CAMERAS = {"static": 200, "wrist": 84}  # name -> height and width in pixels


class Renderer(Protocol):
    """Draws both cameras of a model. One thread makes, uses and closes it."""

    def load(self, model: Any) -> None:
        """Take up a new model; forget the last."""
        ...

    def render(self, data: Any, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """Pictures of a state after mj_forward: name -> (pixels, pixels, 3) uint8 RGB, upright; only those of `views`."""
        ...

    def close(self) -> None:
        """Free what it holds; harmless to call twice."""
        ...


def choose_renderer(wanted: str) -> Callable[[], Renderer]:
    """How to make the wanted renderer. "auto" takes the first that works here and logs why not a better one.

    Raises UnknownName for another word, SimulatorError for a GL platform that is not on this machine.
    """
    if wanted not in RENDERERS:
        raise UnknownName("playtable renderer", wanted, RENDERERS)
    if wanted == "raycast":
        return make_ray_caster
    platform, reason = find_gl_platform(wanted)
    if platform:
        os.environ["MUJOCO_GL"] = os.environ["PYOPENGL_PLATFORM"] = platform
        return lambda: _make_gl(platform, may_fall_back=wanted == "auto")
    if wanted != "auto":
        raise SimulatorError(f"no OpenGL for the playtable ({reason}); choose the renderer raycast, or auto")
    log.warning("playtable draws its pictures by ray casting, without OpenGL (%s)", reason)
    return make_ray_caster


def find_gl_platform(wanted: str) -> tuple[str, str]:
    """The first OpenGL platform that works here, of all for "auto", or "" and why there is none."""
    faults = []
    for platform in _platforms_to_try() if wanted == "auto" else (wanted,):
        fault = _fault_of_platform(platform)
        if fault is None:
            return platform, ""
        faults.append(f"{platform}: {fault}")
    return "", "; ".join(faults) or f"MUJOCO_GL is {os.environ['MUJOCO_GL']!r}"


def make_ray_caster() -> Renderer:
    """The renderer that needs no OpenGL."""
    from worldagen_sim.playtable.ray_casting import RayCaster

    return RayCaster()


def _make_gl(platform: str, may_fall_back: bool) -> Renderer:
    from worldagen_sim.playtable.gl_rendering import GlRenderer

    try:
        renderer = GlRenderer(platform)
    except Exception as error:  # drivers fail in many ways and PyOpenGL passes them all on
        fault = SimulatorError(f"OpenGL by {platform} failed: {error!r}")
        if not may_fall_back:
            raise fault from error
        return _fall_back(fault)
    return FallingBack(renderer) if may_fall_back else renderer


class FallingBack:
    """A renderer until it fails to take up a model; from then on ray casting."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def load(self, model: Any) -> None:
        """Take up a new model; forget the last."""
        try:
            self._renderer.load(model)
        except SimulatorError as fault:
            self._renderer.close()
            self._renderer = _fall_back(fault)
            self._renderer.load(model)

    def render(self, data: Any, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """See Renderer."""
        return self._renderer.render(data, views)

    def close(self) -> None:
        """See Renderer."""
        self._renderer.close()


def _fall_back(fault: SimulatorError) -> Renderer:
    log.warning("playtable draws its pictures by ray casting: %s", fault)
    return make_ray_caster()


def _platforms_to_try() -> tuple[str, ...]:
    """Both platforms, or the one MUJOCO_GL names, or none when it says so."""
    named = os.environ.get("MUJOCO_GL", "").strip().lower()
    if named in GL_PLATFORMS:
        return (named,)
    if named in ("disable", "disabled", "off", "false", "0"):
        return ()
    return GL_PLATFORMS


def _fault_of_platform(platform: str) -> str | None:
    """Why the platform cannot be used in this process, or None."""
    if sys.platform != "linux":
        return f"only tried on Linux, this is {sys.platform}"
    bound = os.environ.get("PYOPENGL_PLATFORM", "").lower() if "OpenGL" in sys.modules else platform
    if bound != platform:
        return f"PyOpenGL is loaded for {bound or 'another platform'} already"
    return _fault_of_egl() if platform == "egl" else _fault_of_osmesa()


def _fault_of_osmesa() -> str | None:
    return None if ctypes.util.find_library("OSMesa") else "libOSMesa is missing (Debian and Ubuntu: libosmesa6)"


def _fault_of_egl() -> str | None:
    """Ask each EGL device for a display, as MuJoCo will."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return "libEGL.so.1 is missing (Debian and Ubuntu: libegl1 libegl-mesa0 libgl1-mesa-dri)"
    find: Any = egl.eglGetProcAddress
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    addresses = [find(name) for name in (b"eglQueryDevicesEXT", b"eglGetPlatformDisplayEXT")]
    if not all(addresses):
        return "libEGL has no device extension"
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    query = ctypes.CFUNCTYPE(ctypes.c_uint, integer, ctypes.POINTER(pointer), ctypes.POINTER(integer))(addresses[0])
    open_display = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, ctypes.POINTER(integer))(addresses[1])
    devices, count = (pointer * 16)(), integer(0)
    if not query(16, devices, ctypes.byref(count)) or count.value == 0:
        return "EGL knows no device"
    platform_device = 0x313F  # EGL_PLATFORM_DEVICE_EXT
    for device in devices[: count.value]:
        display = open_display(platform_device, device, None)
        if display and egl.eglInitialize(pointer(display), None, None):
            return None
    return "no EGL device can be initialised"
