"""Markers node: what the robot is about to do and may not leave, as visualization_msgs for RViz and Foxglove.

It decodes and encodes; what is drawn is the business of worldagen/scenery.py. Silent while nobody looks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, PoseStamped, Quaternion
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from worldagen.errors import WorldAgenError
from worldagen.markers import Drawing
from worldagen_msgs.msg import ActionChunk
from worldagen_ros import messages, qos, topics
from worldagen_ros.diagnostics import OK, WARN
from worldagen_ros.managed import ManagedNode
from worldagen_ros.robots import scenery_of
from worldagen_ros.runtime import run_node

PERIOD_S = 0.2
LIFETIME_S = 1  # so that nothing stays when it is no longer so, or this node is gone
LABEL_M = 0.04
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


class MarkersNode(ManagedNode):
    """Decodes, asks the Scenery, encodes."""

    sections = ("robot", "command", "explore")

    def __init__(self) -> None:
        super().__init__("markers")

    def configure(self) -> None:
        self.described = self.robot, *_ = self.read()
        scenery_of(*self.described)  # refuses now what cannot be drawn

    def activate(self) -> None:
        self.scenery = scenery_of(*self.described)  # anew: what was drawn before is no longer so
        self.publisher = self.create_publisher(MarkerArray, topics.MARKERS, NEWEST)
        self.listen(JointState, topics.JOINT_STATES, self.scenery.joints, qos.states())
        self.listen(ActionChunk, topics.ACTION_CHUNK, self.scenery.chunk, qos.CHUNKS)
        self.listen(PoseStamped, topics.TARGET_POSE, self.scenery.target, qos.commands(None))
        self.listen_for_cameras()
        # Of the wall: in lockstep the ROS clock may stand still.
        self.create_timer(PERIOD_S, self.draw, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.diagnostics.set("markers", OK, "nobody looks")
        self.get_logger().info(f"ready: {self.publisher.topic_name} in frame {self.robot.frame_id}")

    def listen_for_cameras(self) -> None:
        """Their numbers come from CameraInfo, where they are from tf2's static frames."""
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            self.get_logger().info("tf2_msgs is not installed: where the cameras are is not known, so they are not drawn")
            return
        self.listen(TFMessage, topics.TF_STATIC, self.scenery.frames, qos.LATCHED_ALL)
        for camera, topic in topics.CAMERA_INFO_TOPICS.items():
            self.listen(CameraInfo, topic, partial(self.scenery.camera, camera), qos.images_in())

    def listen(self, kind: Any, topic: str, take: Callable[[Any], None], quality: QoSProfile) -> None:
        """Hand each message of a topic on; what is refused is told."""

        def receive(msg: Any) -> None:
            try:
                take(msg)
            except WorldAgenError as error:
                self.get_logger().warning(f"dropped a message of {topic}: {error}", throttle_duration_sec=2.0)
                self.diagnostics.set("markers", WARN, f"dropped a message of {topic}: {error}")

        self.create_subscription(kind, topic, receive, quality)

    def draw(self) -> None:
        if not self.publisher.get_subscription_count():
            return
        drawings = self.scenery.drawings()
        self.publisher.publish(encode_drawings(drawings, messages.header(self.scenery.stamp_ns, self.robot.frame_id)))
        self.diagnostics.set("markers", OK, f"draws {', '.join(drawing.name for drawing in drawings)}")


def encode_drawings(drawings: list[Drawing], header: Header) -> MarkerArray:
    """Lines and their labels -> message; each keeps its place by its name."""
    found = []
    for drawing in drawings:
        lines = _marker(drawing.name, Marker.LINE_STRIP if drawing.connected else Marker.LINE_LIST, header)
        lines.scale.x = drawing.width_m
        lines.points = [Point(x=x, y=y, z=z) for x, y, z in drawing.points.tolist()]
        lines.colors = [_colour(colour) for colour in drawing.colours.tolist()]
        found.append(lines)
        if drawing.label:
            words = _marker(f"{drawing.name}/label", Marker.TEXT_VIEW_FACING, header)
            words.text, words.scale.z, words.color = drawing.label, LABEL_M, _colour(drawing.colours[-1].tolist())
            words.pose.position = Point(**dict(zip("xyz", drawing.points[-1].tolist(), strict=True)))
            found.append(words)
    return MarkerArray(markers=found)


def _marker(name: str, kind: int, header: Header) -> Marker:
    marker = Marker(header=header, ns=name, id=0, type=kind, action=Marker.ADD)
    marker.pose.orientation = Quaternion(w=1.0)
    marker.lifetime = Duration(sec=LIFETIME_S)
    return marker


def _colour(colour: list[float]) -> ColorRGBA:
    return ColorRGBA(**dict(zip("rgba", colour, strict=True)))


def main() -> None:
    run_node(MarkersNode)
