"""What the numbers of a checkpoint mean: actions, states, pictures, cameras, control period. Travels with its weights."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np

from worldagen.conventions import Convention, encode_state, find_convention
from worldagen.errors import CheckpointError, UnknownName
from worldagen.preprocess import ImageScaling, StateScaling, scale_pose

CLIP_IMAGES = ImageScaling(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
RAW_STATES = StateScaling()


@dataclass(frozen=True)
class PolicyConventions:
    """Everything a robot or simulator must share with a checkpoint before its numbers mean anything.

    actions: scaling of the 7 action numbers, gripper sign and control period.
    gripper_threshold: chance of class 1 above which the network's gripper number is +1, else -1.
    cameras: names of the pictures, static view first.
    """

    actions: Convention
    image: ImageScaling = CLIP_IMAGES
    state: StateScaling = RAW_STATES
    gripper_threshold: float = 0.5
    cameras: tuple[str, str] = ("static", "wrist")


_CALVIN = PolicyConventions(find_convention("calvin"))

PRESET_CONVENTIONS = {
    "calvin": _CALVIN,
    "libero": replace(_CALVIN, actions=find_convention("libero"), image=replace(_CALVIN.image, flip_rows=True)),
    "playtable": replace(
        _CALVIN,
        image=ImageScaling((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        state=StateScaling(center=(0.0, 0.0, 0.0, 3.141592653589793, 0.0, 0.0), wrap_angles=True),
    ),
}


def find_preset_conventions(name: str) -> PolicyConventions:
    """The conventions of that network preset; raises UnknownName with the list of those that exist."""
    if name not in PRESET_CONVENTIONS:
        raise UnknownName("network preset", name, PRESET_CONVENTIONS)
    return PRESET_CONVENTIONS[name]


def state_numbers(conventions: PolicyConventions, state: np.ndarray) -> np.ndarray:
    """Our (7,) state -> the network's: scaled pose, gripper -1 or +1."""
    gripper = encode_state(conventions.actions, state)[6]
    return np.append(scale_pose(conventions.state, state[:6]), 1.0 if gripper > 0 else -1.0)


def require_match(checkpoint: PolicyConventions, robot: Convention, cameras: Iterable[str], name: str) -> None:
    """Refuse to start a policy on a robot or simulator that means something else by the same numbers.

    robot: what the robot or simulator declares. cameras: names of the pictures it gives. name: what it is called.
    Raises CheckpointError listing every difference; the conventions' own names do not matter, their numbers do.
    """
    lines = []
    for item in fields(Convention):
        ours, theirs = getattr(checkpoint.actions, item.name), getattr(robot, item.name)
        same = math.isclose(ours, theirs, rel_tol=1e-6) if isinstance(ours, float) else ours == theirs
        if item.name != "name" and not same:
            lines.append(f"{item.name}: the checkpoint has {ours}, {name} has {theirs}")
    lines += [f"camera {camera!r}: {name} does not have it" for camera in checkpoint.cameras if camera not in set(cameras)]
    if lines:
        raise CheckpointError(f"this checkpoint must not drive {name}, their conventions differ:\n  " + "\n  ".join(lines))
