"""The embedded simulator: a Franka Panda at a table with a drawer and three blocks, after CALVIN's play table.

MuJoCo is imported only when the first environment is made, after the renderer is chosen: it reads MUJOCO_GL then.
"""

from typing import TYPE_CHECKING

from worldagen_sim.playtable.rendering import choose_renderer

if TYPE_CHECKING:
    from worldagen_sim.playtable.simulator import Playtable


def make_playtable(renderer: str = "auto") -> "Playtable":
    """Build the playtable; its renderer ("auto", "egl", "osmesa", "raycast") is made by the thread that first renders.

    Raises UnknownName for another renderer, SimulatorError for a GL platform that is not on this machine.
    """
    make_renderer = choose_renderer(renderer)
    from worldagen_sim.playtable.simulator import Playtable

    return Playtable(make_renderer)
