"""What the numbers of a checkpoint mean: actions, states, pictures, cameras, control period. Travels with its weights."""

from dataclasses import dataclass, replace

from worldagen.conventions import Convention, find_convention
from worldagen.errors import UnknownName
from worldagen.preprocess import ImageScaling, StateScaling

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
