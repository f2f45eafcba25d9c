"""Installs the nodes, their deployments and the launch files; the list of nodes is worldagen_ros/specs.py."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
NAME = "worldagen_ros"


def shipped(folder: str, pattern: str) -> list[str]:
    """Files of a folder, as setuptools wants them: relative to this file."""
    return sorted(str(path.relative_to(HERE)) for path in (HERE / folder).glob(pattern))


setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/config", shipped("config", "*")),
        (f"share/{NAME}/launch", shipped("launch", "*.launch.py")),  # a link to the top level's launch/
        (f"share/{NAME}/views", shipped("views", "*")),  # for Foxglove, RViz and PlotJuggler
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    maintainer="The worldagen_ros authors",
    maintainer_email="maintainers@worldagen.example",
    description="Nodes, launch files and operator commands of the WorldAgen deployment suite",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "sim_node = worldagen_ros.sim_node:main",
            "policy_node = worldagen_ros.policy_node:main",
            "command_node = worldagen_ros.command_node:main",
            "monitor_node = worldagen_ros.monitor_node:main",
            "recorder_node = worldagen_ros.recorder_node:main",
            "explore_node = worldagen_ros.explore_node:main",
            "adapt_node = worldagen_ros.adapt_node:main",
            "manager_node = worldagen_ros.manager_node:main",
            "markers_node = worldagen_ros.markers_node:main",
        ],
        # sub-commands of `worldagen` (worldagen.cli finds them here)
        "worldagen.commands": [
            "adapt = worldagen_ros.commands.adapt",
            "bench = worldagen_ros.commands.bench",
            "demo = worldagen_ros.commands.demo",
            "evaluate = worldagen_ros.commands.evaluate",
            "execute = worldagen_ros.commands.execute",
            "explore = worldagen_ros.commands.explore",
            "faults = worldagen_ros.commands.faults",
            "latency = worldagen_ros.commands.latency",
            "parameters = worldagen_ros.commands.parameters",
            "record = worldagen_ros.commands.record",
            "replay = worldagen_ros.commands.replay",
            "train = worldagen_ros.commands.train",
            "up = worldagen_ros.commands.up",
            "view = worldagen_ros.commands.view",
        ],
        # actions of `worldagen bag` (worldagen/commands/bag.py finds them here)
        "worldagen.bag_actions": ["record = worldagen_ros.commands.bag_record"],
    },
)
