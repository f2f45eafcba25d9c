"""Which nodes there are, in plain Python: one list, read by the launch files, by `worldagen up` and by a test of setup.py."""

from dataclasses import asdict, dataclass
from typing import Any

from worldagen.config import leaves
from worldagen_ros.config import DeploymentConfig

PACKAGE = "worldagen_ros"


@dataclass(frozen=True)
class NodeSpec:
    """A node's name, its console script, and the branches of the deployment it reads."""

    name: str
    executable: str
    sections: tuple[str, ...]


NODES = (
    NodeSpec("sim", "sim_node", ("timing", "robot", "sim")),
    NodeSpec("command", "command_node", ("timing", "robot", "command")),
    NodeSpec("policy", "policy_node", ("timing", "robot", "cameras", "policy")),
)


def nodes_of(config: DeploymentConfig) -> tuple[NodeSpec, ...]:
    """The nodes a deployment needs: without the simulator where real hardware speaks."""
    return tuple(spec for spec in NODES if spec.name != "sim" or config.robot.source == "simulator")


def parameters_of(spec: NodeSpec, config: DeploymentConfig) -> dict[str, Any]:
    """A node's ROS parameters, nested as in the deployment, plus the clock it goes by."""
    # The simulator makes the clock in lockstep, so it must not wait for one.
    sim_time = config.timing.mode == "lockstep" and spec.name != "sim"
    return {**{name: asdict(getattr(config, name)) for name in spec.sections}, "use_sim_time": sim_time}


def flat_parameters(spec: NodeSpec, config: DeploymentConfig) -> dict[str, Any]:
    """The same with dotted names, and lists for tuples, as a ROS parameter file and launch_ros take them."""
    flat: dict[str, Any] = {"use_sim_time": parameters_of(spec, config)["use_sim_time"]}
    for name in spec.sections:
        for leaf in leaves(getattr(config, name), f"{name}."):
            flat[leaf.key] = list(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
    return flat


def remappings_of(namespace: str) -> tuple[tuple[str, str], ...]:
    """In a namespace the clock is the stack's own, so that two lockstep stacks do not drive each other."""
    return (("/clock", f"/{namespace.strip('/')}/clock"),) if namespace.strip("/") else ()
