"""The layouts for Foxglove, RViz and PlotJuggler name topics, fields and plugins that there are."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image, JointState
from visualization_msgs.msg import MarkerArray

from worldagen_msgs.msg import ActionChunk, CommandStatus, GripperCommand, PolicyStatus, Surprise
from worldagen_ros import topics
from worldagen_ros.config import RobotConfig

VIEWS = Path(__file__).parents[2] / "ros2_ws" / "src" / "worldagen_ros" / "views"
KINDS = {
    topics.STATIC_IMAGE: Image,
    topics.WRIST_IMAGE: Image,
    topics.SURPRISE_IMAGE: Image,
    topics.JOINT_STATES: JointState,
    topics.ACTION_CHUNK: ActionChunk,
    topics.TARGET_POSE: PoseStamped,
    topics.GRIPPER_COMMAND: GripperCommand,
    topics.SURPRISE: Surprise,
    topics.POLICY_STATUS: PolicyStatus,
    topics.COMMAND_STATUS: CommandStatus,
    topics.DIAGNOSTICS: DiagnosticArray,
    topics.MARKERS: MarkerArray,
}
ON_THE_WIRE = {f"/{name.lstrip('/')}": kind for name, kind in KINDS.items()}  # of a stack without a namespace
ARM = tuple(f"panda_joint{number}" for number in range(1, 8))

# What rviz_common and rviz_default_plugins export under these names, Humble to Kilted (plugins_description.xml of both).
RVIZ_PANELS = {
    f"rviz_common/{name}" for name in ("Displays", "Selection", "Time", "Tool Properties", "Views", "Transformation")
}
RVIZ_DISPLAYS = {
    f"rviz_default_plugins/{name}"
    for name in ("Axes", "Camera", "Grid", "Image", "Marker", "MarkerArray", "Path", "Pose", "PoseArray", "RobotModel", "TF")
}
RVIZ_TOOLS = {f"rviz_default_plugins/{name}" for name in ("Interact", "MoveCamera", "Select", "FocusCamera", "Measure")}
RVIZ_VIEWS = {f"rviz_default_plugins/{name}" for name in ("Orbit", "XYOrbit", "FPS", "TopDownOrtho", "ThirdPersonFollower")}
FOXGLOVE_PANELS = {"3D", "Image", "Plot", "StateTransitions", "DiagnosticSummary", "RawMessages"}


def kind_of(topic: str) -> type:
    assert topic in ON_THE_WIRE, f"{topic} is no topic of the stack; there are: {', '.join(ON_THE_WIRE)}"
    return ON_THE_WIRE[topic]


def require_field(kind: type, path: list[str]) -> None:
    """A way through a message's fields to a number or text."""
    message = kind()
    for name in path:
        assert name in message.get_fields_and_field_types(), f"{type(message).__name__} has no field {name}: {path}"
        message = getattr(message, name)
    assert isinstance(message, bool | int | float | str), f"{path} is no number"


# -- Foxglove ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def foxglove() -> dict[str, Any]:
    return json.loads((VIEWS / "foxglove.json").read_text("utf-8"))


def panels_of(tree: Any) -> Iterator[str]:
    """The panels of a tree of splits."""
    if isinstance(tree, str):
        yield tree
        return
    assert set(tree) == {"direction", "first", "second", "splitPercentage"} and tree["direction"] in ("row", "column")
    assert 0 < tree["splitPercentage"] < 100
    yield from panels_of(tree["first"])
    yield from panels_of(tree["second"])


def test_every_panel_stands_in_the_foxglove_layout_once(foxglove):
    placed = list(panels_of(foxglove["layout"]))
    assert sorted(placed) == sorted(foxglove["configById"])
    assert {panel.split("!")[0] for panel in placed} == FOXGLOVE_PANELS


def test_foxglove_names_topics_and_fields_that_there_are(foxglove):
    for name, panel in foxglove["configById"].items():
        for path in panel.get("paths", []):
            topic, *fields = path["value"].split(".")
            require_field(kind_of(topic), fields)
        for topic in panel.get("topics", {}):
            assert kind_of(topic) in (MarkerArray, PoseStamped), name
        if name.startswith("Image!"):
            assert kind_of(panel["imageMode"]["imageTopic"]) is Image
        for key in ("topicToRender", "topicPath"):
            assert key not in panel or kind_of(panel[key])


def test_foxglove_shows_what_an_operator_looks_for(foxglove):
    text = json.dumps(foxglove)
    for topic in ON_THE_WIRE:
        assert topic in text or topic == f"/{topics.JOINT_STATES}", topic
    assert foxglove["configById"]["3D!scene"]["followTf"] == RobotConfig().frame_id


# -- RViz ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rviz() -> dict[str, Any]:
    return yaml.safe_load((VIEWS / "worldagen.rviz").read_text("utf-8"))


def test_rviz_loads_plugins_that_there_are(rviz):
    manager = rviz["Visualization Manager"]
    assert {panel["Class"] for panel in rviz["Panels"]} <= RVIZ_PANELS
    assert {display["Class"] for display in manager["Displays"]} <= RVIZ_DISPLAYS
    assert {tool["Class"] for tool in manager["Tools"]} <= RVIZ_TOOLS
    assert manager["Views"]["Current"]["Class"] in RVIZ_VIEWS
    assert manager["Global Options"]["Fixed Frame"] == RobotConfig().frame_id


def test_rviz_displays_hear_topics_of_their_type(rviz):
    takes = {
        "rviz_default_plugins/MarkerArray": MarkerArray,
        "rviz_default_plugins/Image": Image,
        "rviz_default_plugins/Pose": PoseStamped,
    }
    displays = rviz["Visualization Manager"]["Displays"]
    heard = {display["Topic"]["Value"]: display for display in displays if "Topic" in display}
    for topic, display in heard.items():
        assert kind_of(topic) is takes[display["Class"]]
        # Cameras may speak best effort only; then a reliable listener hears nothing.
        assert display["Topic"]["Reliability Policy"] == ("Best Effort" if kind_of(topic) is Image else "Reliable")
    assert {f"/{topic}" for topic in (topics.STATIC_IMAGE, topics.WRIST_IMAGE, topics.TARGET_POSE)} < set(heard)
    assert {"rviz_default_plugins/TF", "rviz_default_plugins/Grid"} <= {display["Class"] for display in displays}
    assert all(display["Enabled"] == display["Value"] for display in displays)


# -- PlotJuggler ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plotjuggler() -> ET.Element:
    return ET.parse(VIEWS / "plotjuggler.xml").getroot()


def test_plotjuggler_names_topics_and_fields_that_there_are(plotjuggler):
    drawn = set()
    for curve in plotjuggler.iter("curve"):
        name = curve.get("name", "")
        topic = max((topic for topic in ON_THE_WIRE if name.startswith(f"{topic}/")), key=len, default="")
        assert topic, f"{name} is of no topic of the stack"
        drawn.add(topic)
        fields = name.removeprefix(f"{topic}/").split("/")
        if kind_of(topic) is JointState:  # which PlotJuggler takes apart by joint
            assert fields[0] in ARM and fields[1:] == ["position"], name
        else:
            require_field(kind_of(topic), fields)
    assert {f"/{topic}" for topic in (topics.JOINT_STATES, topics.TARGET_POSE, topics.GRIPPER_COMMAND)} < drawn
    for choice in plotjuggler.iter("selected_topics"):
        assert set(choice.get("value", "").split(";")) == drawn


def test_plotjuggler_has_a_place_for_every_plot(plotjuggler):
    assert plotjuggler.tag == "root" and plotjuggler.find("tabbed_widget/currentTabIndex") is not None
    for tab in plotjuggler.iter("Tab"):
        splitter = tab.find("Container/DockSplitter")
        assert splitter is not None
        places = splitter.findall("DockArea/plot")
        assert int(splitter.get("count", "0")) == len(places) == len(splitter.get("sizes", "").split(";"))
    assert all(re.fullmatch("#[0-9a-f]{6}", curve.get("color", "")) for curve in plotjuggler.iter("curve"))
