"""The launch files' common part: the same list of nodes that `worldagen up` starts, as launch_ros nodes.

Imported by launch files only; `launch` comes with a ROS distribution, not as a wheel.
"""

import os
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch_ros.actions import Node

from launch import LaunchDescription
from worldagen_ros.config import load_deployment
from worldagen_ros.overrides import parse_overrides
from worldagen_ros.specs import PACKAGE, flat_parameters, nodes_of, remappings_of
from worldagen_ros.stack import stack_environment


def describe(deployment: str) -> LaunchDescription:
    """A launch description with a deployment as the default of its `deployment` argument."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("deployment", default_value=deployment, description="a shipped deployment or a YAML file"),
            DeclareLaunchArgument("namespace", default_value="", description="put all topics under this namespace"),
            DeclareLaunchArgument("set", default_value="", description="changes, e.g. set:='sim.scene=D policy.kind=expert'"),
            OpaqueFunction(function=_start),
        ]
    )


def _start(context: Any) -> list[Any]:
    arguments = context.launch_configurations
    config = load_deployment(arguments["deployment"], parse_overrides(arguments["set"].split()))
    environment = stack_environment(os.environ)
    changed = {key: value for key, value in environment.items() if os.environ.get(key) != value}
    nodes = [
        Node(
            package=PACKAGE,
            executable=spec.executable,
            name=spec.name,
            namespace=arguments["namespace"],
            parameters=[flat_parameters(spec, config)],
            remappings=list(remappings_of(arguments["namespace"])),
            output="screen",
            on_exit=Shutdown(reason=f"{spec.name} has ended"),  # as `worldagen up` does: a stack is whole or not at all
        )
        for spec in nodes_of(config)
    ]
    return [*(SetEnvironmentVariable(key, value) for key, value in changed.items()), *nodes]
