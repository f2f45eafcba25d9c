"""What `worldagen doctor --live` hears of a running stack, as plain numbers; doctor_live.py judges it."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState

from worldagen.bags.streams import Stream
from worldagen.bags.types import Topic
from worldagen.errors import BadObservation
from worldagen_ros import images, qos, topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.messages import stamp_to_ns
from worldagen_ros.recorded import contract_of_deployment
from worldagen_ros.specs import remappings_of
from worldagen_ros.spinning import open_ros, spin_once

DISCOVERY_S = 6.0  # so long publishers and their first messages are waited for
INFO, COMPRESSED = " info", "/compressed"  # how a role of a CameraInfo and a compressed picture's topic end


@dataclass(frozen=True)
class Endpoint:
    """A publisher or subscription of a topic, as the graph tells of it."""

    node: str
    type: str
    profile: QoSProfile


@dataclass
class Heard:
    """What came on one topic. Times are ns of the system clock; stamps and ages by the clock in use.

    sent_ns: when the publisher handed it over, by its own clock; empty where the middleware does not tell.
    ages_ns: our clock at the message less its stamp; only of messages that are stamped, while our clock runs.
    """

    role: str
    name: str
    type: str
    publishers: list[Endpoint] = field(default_factory=list)
    subscriptions: list[Endpoint] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    sent_ns: list[int] = field(default_factory=list)
    stamps_ns: list[int] = field(default_factory=list)
    ages_ns: list[int] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    last: Any = None
    problem: str = ""  # of the first message that cannot be decoded

    def forget(self) -> None:
        """Begin to measure here; what the messages look like is kept."""
        for times in (self.received_ns, self.sent_ns, self.stamps_ns, self.ages_ns):
            times.clear()

    def stream(self) -> Stream:
        """As a bag would hold it; without stamps the times of arrival stand for them."""
        stamps = self.stamps_ns if all(self.stamps_ns) else self.received_ns
        return Stream(
            Topic(self.name, self.type, ""),
            np.array(self.received_ns, np.int64),
            np.array(stamps, np.int64),
            stamped=True,
            formats=dict(self.formats),
        )


class Listener:
    """Subscribes, on a node, to the cameras, what describes them, and the joint states of a deployment."""

    def __init__(self, node: Node, config: DeploymentConfig) -> None:
        self._node = node
        self.contract = contract_of_deployment(config, node.resolve_topic_name)
        self.heard: dict[str, Heard] = {}
        compressed = config.cameras.transport == "compressed"
        for role, topic in topics.CAMERA_TOPICS.items():
            if compressed:
                self._follow(role, f"{topic}{COMPRESSED}", CompressedImage)
            else:
                self._follow(role, topic, Image)
        for role, topic in topics.CAMERA_INFO_TOPICS.items():
            self._follow(f"{role}{INFO}", topic, CameraInfo)
        self._follow(topics.JOINT_STATES, topics.JOINT_STATES, JointState)

    @property
    def met(self) -> bool:
        """Whether a message came on every topic; a camera that nobody describes is not waited for."""
        return all(
            heard.last is not None or (heard.role.endswith(INFO) and not self._node.count_publishers(heard.name))
            for heard in self.heard.values()
        )

    def look_at_graph(self) -> dict[str, list[str]]:
        """Who publishes and listens, into `heard`; returns every topic that somebody publishes, with its types."""
        for heard in self.heard.values():
            heard.publishers = [_endpoint(info) for info in self._node.get_publishers_info_by_topic(heard.name)]
            heard.subscriptions = [_endpoint(info) for info in self._node.get_subscriptions_info_by_topic(heard.name)]
        return {name: types for name, types in self._node.get_topic_names_and_types() if self._node.count_publishers(name)}

    def clocks(self) -> list[str]:
        """Nodes that publish the clock of the stack."""
        clock = self._node.resolve_topic_name(topics.CLOCK)
        return [_endpoint(info).node for info in self._node.get_publishers_info_by_topic(clock)]

    def _follow(self, role: str, topic: str, kind: Any) -> None:
        heard = Heard(role, self._node.resolve_topic_name(topic), _type_name(kind))
        self.heard[role] = heard
        quality = qos.states() if kind is JointState else qos.images_in()  # best effort: hears publishers of either kind

        def take(msg: Any, information: Mapping[str, int]) -> None:
            self._take(heard, msg, information)

        def take_alone(msg: Any) -> None:
            self._take(heard, msg, {})  # Humble tells only that a message came, not when

        callback: Any = take if hasattr(Subscription, "CallbackType") else take_alone
        self._node.create_subscription(kind, topic, callback, quality)

    def _take(self, heard: Heard, msg: Any, information: Mapping[str, int]) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        stamp_ns = stamp_to_ns(msg.header.stamp)
        heard.received_ns.append(information.get("received_timestamp") or time.time_ns())
        if sent_ns := information.get("source_timestamp"):
            heard.sent_ns.append(sent_ns)
        heard.stamps_ns.append(stamp_ns)
        if stamp_ns and now_ns:
            heard.ages_ns.append(now_ns - stamp_ns)
        heard.frames[msg.header.frame_id] += 1
        shape = _shape(msg)
        if shape and shape not in heard.formats:
            heard.problem = heard.problem or _fault(msg)
        heard.formats[shape] += 1
        heard.size_bytes = len(msg.data) if isinstance(msg, (Image, CompressedImage)) else 0
        heard.last = msg


def _endpoint(info: Any) -> Endpoint:
    return Endpoint(f"{info.node_namespace.rstrip('/')}/{info.node_name}", info.topic_type, info.qos_profile)


def _type_name(kind: Any) -> str:
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def _shape(msg: Any) -> str:
    if isinstance(msg, Image):
        return f"{msg.width}x{msg.height} {msg.encoding}"
    return msg.format if isinstance(msg, CompressedImage) else ""


def _fault(msg: Any) -> str:
    try:
        images.decode_image(msg) if isinstance(msg, Image) else images.decode_compressed(msg)
    except BadObservation as error:
        return str(error)
    return ""


def listen(config: DeploymentConfig, namespace: str, seconds: float) -> tuple[Listener, dict[str, list[str]], list[str]]:
    """Wait until what is needed is heard, DISCOVERY_S at most, then listen for so long. With a ROS context of its own.

    Returns the listener, the topics that somebody publishes with their types, and the nodes that publish a clock.
    """
    context = Context()
    with open_ros(context):
        remapped = [part for old, new in remappings_of(namespace) for part in ("-r", f"{old}:={new}")]
        node = Node(
            "doctor",
            context=context,
            namespace=namespace,
            cli_args=["--ros-args", *remapped] if remapped else None,
            enable_rosout=False,
            parameter_overrides=[Parameter("use_sim_time", value=config.timing.mode == "lockstep")],
        )
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        listener = Listener(node, config)
        _spin(executor, DISCOVERY_S, lambda: listener.met)
        for heard in listener.heard.values():
            heard.forget()
        _spin(executor, seconds)
        graph, clocks = listener.look_at_graph(), listener.clocks()
        executor.shutdown()
        node.destroy_node()
    return listener, graph, clocks


def _spin(executor: SingleThreadedExecutor, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        spin_once(executor, 0.05)
