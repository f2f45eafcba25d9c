"""LIBERO in a process and a Python environment of its own: `scripts/setup --with libero`, docs/simulators.md.

installation.py   what is in that environment: versions, assets, the configuration file LIBERO would otherwise ask for
suites.py         its tasks, by suite
initial_states.py its stored initial states, read without unpickling
looks.py          its light and camera, when they are to be others
simulator.py      the Environment, which runs over there

Here nothing of LIBERO is imported.
"""

import os
import sys
from pathlib import Path

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.libero.suites import SUITES
from worldagen_sim.playtable.rendering import RENDERERS
from worldagen_sim.remote.environment import RemoteEnvironment
from worldagen_sim.remote.process import Launch

PYTHON = "WORLDAGEN_LIBERO_PYTHON"
SETTLING = ("open", "still")


def make_libero(
    renderer: str = "auto",
    suites: str = ",".join(SUITES),
    size: int = 128,
    settle_steps: int = 10,
    settle: str = "open",
    shows_before_settling: bool = False,
    light: float = 1.0,
    camera_deg: float = 0.0,
    python: str = "",
) -> RemoteEnvironment:
    """Start LIBERO. renderer: "raycast" means none: it then gives no pictures.

    suites: those whose tasks it offers, commas between. size: of both pictures, pixels. settle_steps: control steps played
    after a reset, before the episode begins, with an open gripper ("open") or with zeros that move nothing ("still").
    shows_before_settling: the first state and pictures are those from before these steps, as in WorldAgen's published
    evaluation. light: factor on all light, 0 to 3; camera_deg: the fixed camera is moved around the table by so much, -90 to 90
    (libero/looks.py). python: its interpreter; else WORLDAGEN_LIBERO_PYTHON, else the one that scripts/setup made.
    Raises UnknownName, and SimulatorError with what is missing.
    """
    asked = tuple(filter(None, (suite.strip() for suite in str(suites).split(","))))
    named = [("LIBERO renderer", renderer, RENDERERS), ("way to settle", settle, SETTLING)]
    for kind, name, known in [*named, *(("LIBERO suite", suite, SUITES) for suite in asked)]:
        if name not in known:
            raise UnknownName(kind, name, known)
    if not asked or not 8 <= size <= 2048 or settle_steps < 0:
        found = f"suites={suites!r}, size={size}, settle_steps={settle_steps}"
        raise SimulatorError(f"LIBERO cannot be started with {found}; expected a suite, 8 to 2048 pixels, 0 or more steps")
    if not 0.0 <= light <= 3.0 or not -90.0 <= camera_deg <= 90.0:
        raise SimulatorError(f"LIBERO cannot be seen with light={light}, camera_deg={camera_deg}; expected 0 to 3, -90 to 90")
    options = {
        "renderer": renderer,
        "suites": asked,
        "size": size,
        "settle_steps": settle_steps,
        "settle": settle,
        "shows_before_settling": shows_before_settling,
        "light": light,
        "camera_deg": camera_deg,
    }
    return RemoteEnvironment(Launch("libero", "worldagen_sim.libero.simulator:make_simulator", options, find_python(python)))


def find_python(python: str = "") -> str:
    """The interpreter that has LIBERO; raises SimulatorError with what to do when it is not there."""
    for origin, place in (("the option python", python), (PYTHON, os.environ.get(PYTHON, ""))):
        if place:
            if not Path(place).is_file():
                raise SimulatorError(f"there is no interpreter {place}, which {origin} names for LIBERO")
            return place
    place = Path(sys.prefix, "simulators", "libero", "bin", "python")
    if not place.is_file():
        raise SimulatorError(f"LIBERO is not installed ({place} is missing): run scripts/setup --with libero, or see {PYTHON}")
    return str(place)
