"""The one protocol every simulator speaks, and the table of those that exist.

Physics and pictures are apart: `step` costs no rendering, `render` draws the present state, so that a camera nobody needs
is never drawn. Whatever thread calls `reset` first owns the GL context and must make every later call.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any, Protocol

import numpy as np
import yaml

from worldagen.conventions import Convention
from worldagen.errors import ConfigError, UnknownName
from worldagen.types import Observation

VIEWS = ("static", "wrist")


@dataclass(frozen=True)
class Task:
    """Something to do in a simulator, and the words that ask for it: some to train with, others held out for the test."""

    name: str
    phrasings: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    @property
    def instruction(self) -> str:
        """The plain words for it."""
        return self.phrasings[0]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion: the size of its pictures and its focal length, all in pixels."""

    width: int
    height: int
    focal_length: float


def pinhole(pixels: int, field_of_view_deg: float) -> Camera:
    """A camera with square pictures that sees so many degrees from edge to edge."""
    return Camera(pixels, pixels, pixels / 2 / np.tan(np.radians(field_of_view_deg) / 2))


@dataclass(frozen=True, eq=False)
class SimState:
    """The simulator after a reset or step; nothing here needs a picture.

    time_ns: simulation time since the reset, nanoseconds.
    joint_names; joint_positions, joint_velocities: (J,) in the order a JointState message carries them (rad, m).
    tcp_pose: (6,) measured tool pose in the simulator's world frame: x, y, z (m), roll, pitch, yaw (rad, extrinsic x-y-z).
    target_pose: (6,) the commanded tool pose that relative actions add to.
    gripper_opening: last commanded opening, 0 closed .. 1 open.
    success: the task's oracle, comparing this state with the one at the reset.
    values: everything else an oracle or a scripted expert needs, as flat named numbers.
    """

    time_ns: int
    joint_names: tuple[str, ...]
    joint_positions: np.ndarray
    joint_velocities: np.ndarray
    tcp_pose: np.ndarray
    target_pose: np.ndarray
    gripper_opening: float
    success: bool
    values: Mapping[str, float]


class Environment(Protocol):
    """A simulator with named tasks and scenes, a static and a wrist camera, and relative end-effector actions."""

    name: str
    version: str  # the same version, scene, task and seed always give the same episode
    tasks: tuple[Task, ...]
    scenes: tuple[str, ...]
    cameras: Mapping[str, Camera]  # of "static" and "wrist"
    convention: Convention  # its control period and full scale of one action
    conditions: Mapping[str, str]  # what was open, on, or where at the last reset, in the simulator's own words
    caveat: str  # why results in it are no benchmark's, such as stand-ins for its assets; "" for no reason

    def reset(self, task: str, scene: str, seed: int, conditions: Mapping[str, str] | None = None) -> SimState:
        """Begin an episode; the same arguments always give the same state.

        conditions: what is open, on, or where at the start, in the simulator's own words; None: drawn from the seed so that
        the task can be done. Raises UnknownName, and SimulatorError for conditions that cannot be or rule out the task.
        """
        ...

    def restore(self, task: str, scene: str, state: np.ndarray) -> SimState:
        """Begin an episode from a stored state: (N,) numbers in the simulator's own order, as its documentation tells.

        Raises UnknownName, and SimulatorError for numbers that are no state, or by a simulator that stores none.
        """
        ...

    def take_up(self, task: str) -> SimState:
        """Begin another task in the world as it stands: its start is now. Raises UnknownName."""
        ...

    def step(self, action: np.ndarray) -> SimState:
        """Play one row of an ActionChunk, (7,) SI, for one control period."""
        ...

    def render(self, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """Pictures of the present state: {"static": (H, W, 3), "wrist": (h, w, 3)} uint8 RGB, upright; those of `views`."""
        ...

    def close(self) -> None:
        """Free the renderer and the simulator; harmless to call twice."""
        ...


# name -> "module:factory"; a factory takes keyword options. Modules load on demand, so that one simulator's
# dependencies never burden another.
ENVIRONMENTS = {
    "playtable": "worldagen_sim.playtable:make_playtable",
    "libero": "worldagen_sim.libero:make_libero",
    "calvin": "worldagen_sim.calvin:make_calvin",
    "gymnasium": "worldagen_sim.gymnasium_bridge:make_gymnasium",
}

WITH_EXPERTS = ("playtable",)  # what can be demonstrated, explored without nodes, and evaluated with a world model's errors
DISTURBANCES = ("noise", "delay")  # options of every simulator: worldagen_sim/disturbed.py


def make_environment(name: str, renderer: str = "auto", options: str = "") -> Environment:
    """Build the simulator of that name. renderer: see RENDERERS. options: "KEY=VALUE; ...", what its factory takes besides.

    Raises UnknownName with the list of those that exist, ConfigError for options that are none, SimulatorError.
    """
    if name not in ENVIRONMENTS:
        raise UnknownName("environment", name, ENVIRONMENTS)
    module, factory = ENVIRONMENTS[name].split(":")
    build: Callable[..., Environment] = getattr(import_module(module), factory)
    known = [option for option in signature(build).parameters if option != "renderer"]
    given = parse_options(options, name, [*known, *DISTURBANCES])
    disturbances = {key: given.pop(key) for key in DISTURBANCES if key in given}
    environment = build(renderer=renderer, **given)
    if not disturbances:
        return environment
    from worldagen_sim.disturbed import Disturbed  # which needs this module

    return Disturbed(environment, **disturbances)


def parse_options(text: str, name: str, known: Collection[str] | None = None) -> dict[str, Any]:
    """ "scene=A; size=128" -> {"scene": "A", "size": 128}; values as in YAML. known: the only keys. Raises ConfigError."""
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, equals, value = part.partition("=")
        if not equals or key.strip() in options or (known is not None and key.strip() not in known):
            expected = "KEY=VALUE, each key once" + ("" if known is None else f", of: {', '.join(known) or 'none'}")
            raise ConfigError(f"{part!r} is no option of {name}; expected {expected}")
        options[key.strip()] = yaml.safe_load(value)
    return options


def find_task(environment: Environment, name: str) -> Task:
    """The environment's task of that name; raises UnknownName with the list of those that exist."""
    for task in environment.tasks:
        if task.name == name:
            return task
    raise UnknownName(f"{environment.name} task", name, [task.name for task in environment.tasks])


def observe(state: SimState, pictures: Mapping[str, np.ndarray]) -> Observation:
    """Join a state and its pictures into what a policy sees."""
    return Observation(
        stamp_ns=state.time_ns,
        static_image=pictures["static"],
        wrist_image=pictures["wrist"],
        state=np.append(state.tcp_pose, state.gripper_opening),
    )
