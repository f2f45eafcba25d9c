"""CALVIN as an Environment, in a process and a Python environment of its own, over the user's clone of its repository.

clone.py        where the clone and its Python are, and the tasks and sentences that it brings
conditions.py   the states in which its evaluation begins; needs no clone
chains.py       the 1000 chains of its evaluation; needs no clone
simulator.py    the worker's side: a CALVIN that speaks our protocol
world.py        what of calvin_env is used, and how
"""

from worldagen.errors import UnknownName
from worldagen_sim.calvin.clone import find_clone, find_python
from worldagen_sim.remote.environment import RemoteEnvironment
from worldagen_sim.remote.process import Launch

# Our word -> whether PyBullet draws with its EGL plugin or with TinyRenderer, which needs no GL.
RENDERERS = {"auto": False, "raycast": False, "egl": True}


def make_calvin(renderer: str = "auto", root: str = "", python: str = "") -> RemoteEnvironment:
    """Start CALVIN. root: the clone, else CALVIN_ROOT. python: its interpreter, else WORLDAGEN_CALVIN_PYTHON, else setup's.

    Raises UnknownName for another renderer, SimulatorError for what is missing or does not start.
    """
    if renderer not in RENDERERS:
        raise UnknownName("renderer of calvin", renderer, RENDERERS)
    clone = find_clone(str(root))
    return RemoteEnvironment(
        Launch(
            "calvin",
            "worldagen_sim.calvin.simulator:make_simulator",
            {"root": str(clone.root), "egl": RENDERERS[renderer]},
            python=find_python(str(python)),
            paths=(str(clone.calvin_env),),
        )
    )
