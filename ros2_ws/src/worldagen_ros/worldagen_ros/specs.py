"""Which nodes there are, in plain Python: one list, read by the launch files, by `worldagen up` and by a test of setup.py."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from worldagen.config import leaves
from worldagen_ros.config import DeploymentConfig

PACKAGE = "worldagen_ros"
PICTURES_PROFILE, UDP_PROFILE = "fastdds.xml", "fastdds_udp.xml"  # in config/
SECTIONS = tuple(field.name for field in fields(DeploymentConfig))


@dataclass(frozen=True)
class NodeSpec:
    """A node's name, its console script, the branches of the deployment it reads, and whether it hears or shows pictures."""

    name: str
    executable: str
    sections: tuple[str, ...]
    pictures: bool = False


NODES = (
    NodeSpec("sim", "sim_node", ("timing", "robot", "sim"), pictures=True),
    NodeSpec("command", "command_node", ("timing", "robot", "command")),
    NodeSpec("policy", "policy_node", ("timing", "robot", "cameras", "policy", "engine"), pictures=True),
    NodeSpec("monitor", "monitor_node", ("timing", "robot", "cameras", "policy", "monitor"), pictures=True),
    NodeSpec("adapt", "adapt_node", ("policy", "adapt")),
    NodeSpec("explore", "explore_node", ("timing", "robot", "cameras", "policy", "sim", "recorder", "explore"), pictures=True),
    NodeSpec("markers", "markers_node", ("robot", "command", "explore")),
    # All sections: a bag carries the parameters of the whole deployment.
    NodeSpec("recorder", "recorder_node", SECTIONS, pictures=True),
    NodeSpec("manager", "manager_node", SECTIONS),
)
MANAGER = NODES[-1].name


def nodes_of(config: DeploymentConfig) -> tuple[NodeSpec, ...]:
    """The nodes a deployment needs: without the simulator where real hardware speaks; some only if asked for."""
    needed = {
        "sim": config.robot.source == "simulator",
        "monitor": config.monitor.enabled,
        "recorder": config.recorder.enabled,
        "explore": config.explore.enabled,
        "adapt": config.adapt.enabled,
        "markers": config.markers.enabled,
    }
    return tuple(spec for spec in NODES if needed.get(spec.name, True))


def managed_of(config: DeploymentConfig) -> tuple[NodeSpec, ...]:
    """The nodes that the manager brings up, in this order."""
    return tuple(spec for spec in nodes_of(config) if spec.name != MANAGER)


def profile_of(spec: NodeSpec, config: DeploymentConfig) -> str:
    """The Fast DDS profile of a node. Shared memory only where pictures are large, which those of simulators are not: a killed
    node makes those wait that send to it through shared memory, and the command node must never wait."""
    return PICTURES_PROFILE if spec.pictures and config.robot.source != "simulator" else UDP_PROFILE


def flat_parameters(spec: NodeSpec, config: DeploymentConfig) -> dict[str, Any]:
    """A node's ROS parameters and the clock it goes by: dotted names, and lists for tuples, as ROS takes them."""
    # The simulator makes the clock in lockstep, so it must not wait for one.
    flat: dict[str, Any] = {"use_sim_time": config.timing.mode == "lockstep" and spec.name != "sim"}
    for name in spec.sections:
        for leaf in leaves(getattr(config, name), f"{name}."):
            flat[leaf.key] = list(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
    return flat


def remappings_of(namespace: str, asked: Sequence[tuple[str, str]] = ()) -> tuple[tuple[str, str], ...]:
    """What was asked for, first, for the first rule counts; in a namespace the clock is the stack's own besides, so that two
    lockstep stacks do not drive each other.
    """
    own = (("/clock", f"/{namespace.strip('/')}/clock"),) if namespace.strip("/") else ()
    return (*asked, *own)
