"""Which renderer the playtable takes here, found by making it: `python -m worldagen_sim.doctor_rendering auto` prints JSON.

{"wanted": "auto", "chosen": "egl", "device": "llvmpipe ...", "why": ""}; chosen is empty when a wanted platform does not work,
and why tells what is wrong with what would be better. A process of its own, because drivers crash.
"""

import json
import os
import sys

from worldagen_sim.playtable.rendering import find_gl_platform


def try_renderer(wanted: str) -> dict[str, str]:
    """wanted: one of RENDERERS. Makes an OpenGL context, as the simulator would."""
    found = {"wanted": wanted, "chosen": "raycast", "device": "", "why": ""}
    if wanted == "raycast":
        return found
    otherwise = "raycast" if wanted == "auto" else ""
    platform, why = find_gl_platform(wanted)
    if not platform:
        return {**found, "chosen": otherwise, "why": why}
    os.environ["MUJOCO_GL"] = os.environ["PYOPENGL_PLATFORM"] = platform
    from OpenGL.GL import GL_RENDERER, glGetString

    from worldagen_sim.playtable.gl_rendering import GlRenderer

    try:
        renderer = GlRenderer(platform)
        device = glGetString(GL_RENDERER).decode("utf-8", "replace")
        renderer.close()
    except Exception as error:  # drivers fail in many ways and PyOpenGL passes them all on
        return {**found, "chosen": otherwise, "why": f"{platform}: {error!r}"}
    return {**found, "chosen": platform, "device": device}


if __name__ == "__main__":
    print(json.dumps(try_renderer(sys.argv[1])))
