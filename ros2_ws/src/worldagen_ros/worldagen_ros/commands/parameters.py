"""Print every value of a deployment: its meaning, its default and what it may be, as a Markdown table.

docs/reference/parameters.md is this command's output.
"""

import argparse
from dataclasses import fields

from worldagen.config import allowed_text, leaves
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.specs import NODES

HELP = "print every value of a deployment, with its meaning and bounds"
HEAD = """# Parameters

A deployment file holds what differs from these defaults. Each section is also the prefix of ROS parameters of the nodes that
read it, so `-p command.limits.max_step_m:=0.01` works too. All are read-only while a node runs.

This page is the output of `worldagen parameters`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def markdown() -> str:
    """The whole page."""
    parts = [HEAD]
    for section in fields(DeploymentConfig):
        value = getattr(DeploymentConfig(), section.name)
        nodes = ", ".join(spec.name for spec in NODES if section.name in spec.sections)
        parts.append(f"## {section.name}\n\n{type(value).__doc__} Read by: {nodes}.\n")
        parts.append("| key | default | allowed | meaning |\n| --- | --- | --- | --- |")
        for leaf in leaves(value, f"{section.name}."):
            default = list(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
            shown = f"{default:.6g}" if isinstance(default, float) else repr(default) if default == "" else str(default)
            parts.append(f"| `{leaf.key}` | {shown} | {allowed_text(leaf)} | {leaf.metadata['meaning']} |")
        parts.append("")
    return "\n".join(parts)


def run(args: argparse.Namespace) -> int:
    print(markdown(), end="")
    return 0
