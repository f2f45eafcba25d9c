"""The launch files' common part: the same list of nodes that `worldagen up` starts, as launch_ros nodes.

Imported by launch files only; `launch` comes with a ROS distribution, not as a wheel. arrangement.py says what the
arguments mean.
"""

import os
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch_ros.actions import Node

from launch import LaunchDescription
from worldagen_ros.arrangement import ASKED, Wish, arrange
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.specs import PACKAGE, NodeSpec, flat_parameters, nodes_of, profile_of, remappings_of
from worldagen_ros.stack import stack_environment


def describe(deployment: str) -> LaunchDescription:
    """A launch description with a deployment as the default of its `deployment` argument."""
    defaults = {"deployment": deployment}
    arguments = [
        DeclareLaunchArgument(name, default_value=defaults.get(name, ""), description=told) for name, told in ASKED.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])


def _start(context: Any) -> list[Any]:
    said: dict[str, Any] = {name: context.launch_configurations[name] for name in ASKED}
    for several in ("set", "remap"):
        said[several] = tuple(said[several].split())
    arranged = arrange(Wish(**said))
    return [
        Node(
            package=PACKAGE,
            executable=spec.executable,
            name=spec.name,
            namespace=arranged.namespace,
            parameters=[flat_parameters(spec, arranged.config)],
            remappings=list(remappings_of(arranged.namespace, arranged.remappings)),
            additional_env=_changes(spec, arranged.config),
            output="screen",
            on_exit=Shutdown(reason=f"{spec.name} has ended"),  # as `worldagen up` does: a stack is whole or not at all
        )
        for spec in nodes_of(arranged.config)
    ]


def _changes(spec: NodeSpec, config: DeploymentConfig) -> dict[str, str]:
    environment = stack_environment(os.environ, profile=profile_of(spec, config))
    return {key: value for key, value in environment.items() if os.environ.get(key) != value}
