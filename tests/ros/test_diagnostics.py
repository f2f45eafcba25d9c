"""Levels get worse at once and better a second late; every status has its line in the docs and its place in the tree."""

import re
from pathlib import Path

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from worldagen_ros import diagnostics, qos, topics
from worldagen_ros.diagnostics import ERROR, OK, Diagnostics
from worldagen_ros.inputs import SOURCES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ros2_ws/src/worldagen_ros"


@pytest.fixture
def watched(start_ros):
    graph = start_ros()
    told, node = [], graph.add(Node("arm"))
    graph.add(Node("operator")).create_subscription(DiagnosticArray, topics.DIAGNOSTICS, told.append, qos.DIAGNOSTICS)
    made = Diagnostics(node)
    graph.wait(lambda: made._publisher.get_subscription_count(), "discovery")
    return graph, made, told


def levels(told: list[DiagnosticArray]) -> list[bytes]:
    return [status.level for array in told for status in array.status]


def test_worse_is_told_at_once_and_better_when_it_has_lasted(watched, monkeypatch):
    graph, made, told = watched
    now = [100.0]
    monkeypatch.setattr(diagnostics.time, "monotonic", lambda: now[0])
    made.set("input", OK, "fresh")
    made.set("input", ERROR, "silent")
    made.set("input", OK, "fresh")
    made.set("input", ERROR, "silent")
    made.set("input", OK, "fresh")
    made.publish()
    now[0] += 1.1
    made.publish()
    monkeypatch.undo()
    graph.wait(lambda: len(told) >= 4, "statuses")
    assert levels(told)[:4] == [OK, ERROR, ERROR, OK]


def test_every_status_is_documented_and_has_its_place_in_the_tree():
    code = "".join(path.read_text() for path in (PACKAGE / "worldagen_ros").glob("*.py"))
    names = set(re.findall(r'diagnostics\.set\(\s*"(\w+)"', code)) | set(SOURCES)
    page = (ROOT / "docs/diagnostics.md").read_text()
    told = set(re.findall(r"`(?:(\w+): )?(\w+)`", page))
    assert names <= {name for _, name in told}
    owners = {owner for owner, _ in told if owner}
    tree = yaml.safe_load((PACKAGE / "views/diagnostic_aggregator.yaml").read_text())["analyzers"]["ros__parameters"]
    flat = yaml.safe_dump(tree)
    assert owners and all(f"'{owner}: '" in flat for owner in owners)
