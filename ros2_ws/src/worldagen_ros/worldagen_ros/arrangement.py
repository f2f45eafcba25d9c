"""What an operator asks for at the start of a stack, in plain Python: the same for the launch files and for `worldagen up`.

    arranged = arrange(Wish("franka_crisp", static_camera="/realsense/color/image_raw", namespace="left"))

Words become a deployment, changes of it, and remappings. Nothing here imports ROS.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

from worldagen.errors import ConfigError, UnknownName
from worldagen_ros import topics
from worldagen_ros.config import DeploymentConfig, load_deployment
from worldagen_ros.overrides import parse_overrides

ROBOTS = {"playtable": "simulator", "franka": "hardware"}  # who plays the robot -> robot.source
COMPRESSED = "/compressed"
NAMES = frozenset(
    value for key, value in vars(topics).items() if key.isupper() and isinstance(value, str)
)  # every name on the wire
NAME = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)

Remapping = tuple[str, str]  # our name, the name on the wire


@dataclass(frozen=True)
class Arrangement:
    """What is started: a deployment's values, where its nodes live, and which of their names are others'."""

    config: DeploymentConfig
    namespace: str
    remappings: tuple[Remapping, ...]


@dataclass(frozen=True)
class Wish:
    """What can be asked for, as text; empty: as the deployment says. The launch files' arguments are these fields."""

    deployment: str
    robot: str = ""
    checkpoint: str = ""
    static_camera: str = ""
    wrist_camera: str = ""
    namespace: str = ""
    set: tuple[str, ...] = ()  # KEY=VALUE each
    remap: tuple[str, ...] = ()  # OLD:=NEW each


ASKED = {
    "deployment": "a shipped deployment or a YAML file; for a real arm the one of its controller, e.g. franka_crisp",
    "robot": "playtable: the embedded simulator plays the robot; franka: the real one; empty: as the deployment says",
    "checkpoint": "folder or shipped name of the policy's weights; empty: as the deployment says",
    "static_camera": "topic of the driver's raw pictures, e.g. /realsense/color/image_raw; camera_info lies beside it",
    "wrist_camera": "the same for the camera at the hand",
    "namespace": "put all names under this namespace; absolute ones that were remapped to stay",
    "set": "changes, e.g. set:='sim.scene=D policy.kind=expert'",
    "remap": "names of others, e.g. remap:='joint_states:=/franka/joint_states'",
}
assert list(ASKED) == [field.name for field in fields(Wish)]


def arrange(wish: Wish) -> Arrangement:
    """Words -> what is started. Raises ConfigError or UnknownName with what is allowed."""
    overrides = {**robot_overrides(wish), **parse_overrides(wish.set)}
    remappings = (
        *camera_remappings("static_camera", wish.static_camera),
        *camera_remappings("wrist_camera", wish.wrist_camera),
        *parse_remappings(wish.remap),
    )
    require_distinct(remappings)
    return Arrangement(load_deployment(wish.deployment, overrides), wish.namespace.strip("/"), remappings)


def robot_overrides(wish: Wish) -> dict[str, str]:
    """The changes of the deployment that robot and checkpoint stand for; `set` may change them again.

    Raises UnknownName, and ConfigError where the simulator would play an arm that it has not.
    """
    overrides = {}
    if wish.robot:
        if wish.robot not in ROBOTS:
            raise UnknownName("robot", wish.robot, ROBOTS)
        if wish.robot == "playtable" and load_deployment(wish.deployment).robot.source == "hardware":
            raise ConfigError(
                f"{wish.deployment} describes a real arm and its place; the playtable plays franka, sim_realtime and sim"
            )
        overrides["robot.source"] = ROBOTS[wish.robot]
    if wish.checkpoint:
        overrides |= {"policy.kind": "network", "policy.checkpoint": wish.checkpoint}
    return overrides


def camera_remappings(camera: str, pictures: str) -> tuple[Remapping, ...]:
    """A camera's three names onto those of its driver. pictures: the driver's topic of raw pictures; empty: none."""
    if not pictures:
        return ()
    require_name(pictures, camera)
    if pictures.endswith(COMPRESSED):
        raise ConfigError(
            f"{camera} is {pictures!r}; name the raw pictures it belongs to, "
            f"{pictures.removesuffix(COMPRESSED)!r}, and set cameras.transport=compressed"
        )
    image, info = topics.CAMERA_TOPICS[camera], topics.CAMERA_INFO_TOPICS[camera]
    beside = pictures.rpartition("/")[0]  # image_transport: camera_info lies beside the pictures
    named = f"{beside}/camera_info" if beside or pictures.startswith("/") else "camera_info"
    return ((image, pictures), (image + COMPRESSED, pictures + COMPRESSED), (info, named))


def parse_remappings(texts: Iterable[str]) -> tuple[Remapping, ...]:
    """["joint_states:=/arm/joint_states"] -> pairs; raises ConfigError, or UnknownName for what no node uses."""
    pairs = []
    for text in texts:
        old, sign, new = text.partition(":=")
        if not (old and sign and new):
            raise ConfigError(f"remapping {text!r}: expected OLD:=NEW, e.g. joint_states:=/franka/joint_states")
        for name in (old, new):
            require_name(name, f"remapping {text!r}")
        if old.removesuffix(COMPRESSED) not in NAMES and not old.startswith("/"):
            raise UnknownName("name to remap", old, NAMES)
        pairs.append((old, new))
    return tuple(pairs)


def require_name(name: str, where: str) -> None:
    """Raises ConfigError for what is no name in ROS."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} is no topic; expected letters, digits, _ and /, e.g. /realsense/color/image_raw")


def require_distinct(remappings: Iterable[Remapping]) -> None:
    """Raises ConfigError for a name that is remapped twice: ROS would take the first and say nothing."""
    seen: dict[str, str] = {}
    for old, new in remappings:
        if seen.setdefault(old, new) != new:
            raise ConfigError(f"{old} is remapped twice, to {seen[old]} and to {new}; say one of them")
