"""A running stack as a StackView takes it: a node that listens, and asks the command node what it is bound by."""

import time
from functools import partial
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import CompressedImage

from worldagen.config import apply_tree, leaves, nest
from worldagen.errors import ConfigError
from worldagen_ros import qos, topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.params import plain
from worldagen_ros.viewing import PREDICTIONS, TOPICS, StackView

PATIENCE_S = 2.0
SILENCE_S = 3.0
LOOK_S = 0.5  # so often it is looked for what is not there yet


class ViewNode(Node):
    """Subscribes to everything that is shown. predictions: ask the policy to paint, which takes it time."""

    def __init__(self, view: StackView, namespace: str = "", predictions: bool = True) -> None:
        super().__init__("view", namespace=namespace, enable_rosout=False)
        self._view, self._begun_s = view, time.monotonic()
        self._cameras = dict(topics.CAMERA_TOPICS)  # those not heard yet
        self._asking: dict[str, tuple[float, Any]] = {}  # node -> when it was asked, its answer to come
        self._config = DeploymentConfig()
        for topic, shown in TOPICS.items():
            if topic not in topics.CAMERA_TOPICS.values() and (predictions or topic not in PREDICTIONS):
                self.create_subscription(shown.kind, topic, partial(view.take, topic), shown.quality)
        self._listen_for_frames()
        # The explore node exists only where it is enabled; then it knows the envelope.
        self._ask = {"command": ("robot", "command"), "explore": ("explore",)}
        self._askers = {name: self.create_client(GetParameters, f"{name}/get_parameters") for name in self._ask}
        self.create_timer(LOOK_S, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def described(self) -> bool:
        """Whether the command node has told what binds it."""
        return "command" not in self._ask

    def look(self) -> None:
        """Subscribe to cameras as they are published, compressed where that is; ask for bounds that are not known yet."""
        for camera, topic in list(self._cameras.items()):
            compressed = f"{topic}/compressed"
            if self.count_publishers(compressed):
                self._see(camera, topic, compressed, CompressedImage)
            elif self.count_publishers(topic):
                self._see(camera, topic, topic, TOPICS[topic].kind)
        for name in list(self._ask):
            self._inquire(name)
        if not self.described and time.monotonic() - self._begun_s > SILENCE_S:
            self._view.say("viewer", "no command node answers: nothing stands in space until one tells its bounds", "WARN")

    def _see(self, camera: str, topic: str, spoken: str, kind: type) -> None:
        self.create_subscription(kind, spoken, partial(self._view.take, topic), TOPICS[topic].quality)
        self._cameras.pop(camera)

    def _inquire(self, name: str) -> None:
        """Ask a node for the sections it has; take its answer up when it is there."""
        asked_s, answer = self._asking.get(name, (-PATIENCE_S, None))
        if answer is None or not answer.done():
            # The answer to a question before it has discovered this node is lost: asked again.
            if self._askers[name].service_is_ready() and time.monotonic() - asked_s > PATIENCE_S:
                keys = [leaf.key for leaf in self._leaves(name)]
                self._asking[name] = time.monotonic(), self._askers[name].call_async(GetParameters.Request(names=keys))
            return
        del self._asking[name]
        values = [parameter_value_to_python(value) for value in answer.result().values]
        told = {leaf.key: value for leaf, value in zip(self._leaves(name), values, strict=False) if value is not None}
        if not told:
            return  # it has not read its parameters yet: asked again
        try:
            for key, value in told.items():
                self._config = apply_tree(self._config, nest(key, plain(value)), f"parameters of node {name}")
            self._view.describe(self._config)
        except ConfigError as error:
            self._view.say("viewer", str(error))
        del self._ask[name]

    def _leaves(self, name: str) -> list[Any]:
        return [leaf for section in self._ask[name] for leaf in leaves(getattr(DeploymentConfig(), section), f"{section}.")]

    def _listen_for_frames(self) -> None:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            return  # then nobody can say where a camera is
        self.create_subscription(TFMessage, topics.TF_STATIC, partial(self._view.take, topics.TF_STATIC), qos.LATCHED_ALL)
