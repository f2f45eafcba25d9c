"""The bridge from ROS parameters to the typed tree, in one function.

An unknown parameter, a wrong type or a value out of range is refused with a ConfigError before the node does anything.
"""

import difflib
from typing import Any, TypeVar

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from worldagen.config import Leaf, apply_tree, leaves, nest
from worldagen.errors import ConfigError

# Parameters that rclpy itself declares or that belong to it, and runtime.py's own.
OWN_TO_ROS = ("use_sim_time", "autostart", "start_type_description_service", "qos_overrides.")
Tree = TypeVar("Tree")


def read_tree(node: Node, defaults: Tree, names: tuple[str, ...]) -> Tree:
    """Declare each leaf of the named branches as a read-only parameter; return the tree with ROS's values in them.

    node: made with `automatically_declare_parameters_from_overrides=True`, so that a parameter nobody knows is seen.
    defaults: the whole tree, e.g. DeploymentConfig().
    """
    known = {leaf.key: leaf for name in names for leaf in leaves(getattr(defaults, name), f"{name}.")}
    where = f"parameters of node {node.get_fully_qualified_name()}"
    given = {key: parameter for key, parameter in node.get_parameters_by_prefix("").items() if not key.startswith(OWN_TO_ROS)}
    for key in given:
        if key not in known:
            hint = difflib.get_close_matches(key, known, n=1)
            meant = f"; did you mean {hint[0]}?" if hint else "."
            raise ConfigError(f"{where}: unknown parameter {key}{meant} Allowed: {', '.join(sorted(known))}")
    settled = defaults
    for key, parameter in given.items():
        settled = apply_tree(settled, nest(key, plain(parameter.value)), where)
        node.undeclare_parameter(key)  # declared by rclpy without type or description; declared properly below
    for name in names:
        for leaf in leaves(getattr(settled, name), f"{name}."):
            _declare(node, leaf)
    return settled


def plain(value: Any) -> Any:
    """A parameter's value as a tree takes it: arrays as lists."""
    return value if isinstance(value, str | bool | int | float) else list(value)


def _declare(node: Node, leaf: Leaf) -> None:
    value = list(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
    descriptor = ParameterDescriptor(description=leaf.metadata.get("meaning", ""), read_only=True)
    node.declare_parameter(leaf.key, value, descriptor, ignore_override=True)
