"""An eye on a running stack: pictures of both cameras, what was expected of them, and how long each answer took.

In lockstep stamps are simulation time, so latencies are taken between the wall times at which messages were handed to DDS:
from the joint states of an instant (published as soon as it exists) to the chunk that answers it and to the first command.
In real time the capture stamp itself is where they begin.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image, JointState

from worldagen_msgs.msg import ActionChunk
from worldagen_ros import qos, topics
from worldagen_ros.images import decode_image
from worldagen_ros.messages import stamp_to_ns

PREDICTIONS = {"static": topics.STATIC_PREDICTION, "wrist": topics.WRIST_PREDICTION}
PREDICTIONS_KEPT = 256  # of each view: more than there are among the thousand pictures that may wait to be drawn
HALF_STEP_NS = 1_000_000_000 // 60
REMEMBERED = 100_000  # instants; an hour of control steps
EVERYTHING = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)  # the watcher may be late, but misses nothing


@dataclass(frozen=True)
class Latencies:
    """Wall seconds from an observation to the chunk and to the first command row that answer it."""

    to_chunk_s: tuple[float, ...]
    to_command_s: tuple[float, ...]

    def percentiles_ms(self) -> dict[str, float]:
        """p50 and p99 of both, in milliseconds; empty where nothing was measured."""
        named = {"chunk": self.to_chunk_s, "command": self.to_command_s}
        return {
            f"{name}_p{percent}_ms": float(np.percentile(values, percent)) * 1e3
            for name, values in named.items()
            for percent in (50, 99)
            if values
        }


class Watcher:
    """Subscribes on an existing node.

    on_pictures(static, wrist, stamp_ns) gets (H, W, 3) uint8 pairs of one stamp. expectations: look at what the world model
    expects too, which makes it paint.
    """

    def __init__(
        self,
        node: Node,
        live: bool,
        on_pictures: Callable[[np.ndarray, np.ndarray, int], None] | None = None,
        expectations: bool = False,
    ) -> None:
        self.chunks: list[ActionChunk] = []
        self._node = node
        self._live, self._on_pictures = live, on_pictures
        self._existed: dict[int, int] = {}  # stamp of an instant -> wall time from which it could be answered, ns
        self._answered: dict[int, int] = {}  # stamp of an instant -> wall time of its chunk, ns
        self._commanded: list[int] = []  # wall times of commands, ns
        self._pictures: dict[str, tuple[int, np.ndarray]] = {}
        self._expected: dict[str, dict[int, np.ndarray]] = {view: {} for view in PREDICTIONS}  # by the stamp expected
        node.create_subscription(JointState, topics.JOINT_STATES, timed(self._on_joints), EVERYTHING)
        node.create_subscription(ActionChunk, topics.ACTION_CHUNK, timed(self._on_chunk), EVERYTHING)
        node.create_subscription(PoseStamped, topics.TARGET_POSE, timed(self._on_command), EVERYTHING)
        if on_pictures is not None:
            for name, topic in topics.CAMERA_TOPICS.items():
                node.create_subscription(Image, topic, self._receiver(name), qos.images_in() if live else EVERYTHING)
        for view, topic in PREDICTIONS.items() if expectations else ():
            node.create_subscription(Image, topic, partial(self._on_prediction, view), EVERYTHING)

    def is_connected(self) -> bool:
        """Whether somebody publishes what latencies are taken from; before that, first messages may be missed."""
        watched = (topics.JOINT_STATES, topics.ACTION_CHUNK, topics.TARGET_POSE)
        return all(self._node.count_publishers(topic) for topic in watched)

    def forget(self) -> None:
        """Start counting afresh."""
        self.chunks = []
        self._existed.clear()
        self._answered.clear()
        self._commanded.clear()
        for expected in self._expected.values():
            expected.clear()

    def expected_at(self, stamp_ns: int) -> dict[str, np.ndarray] | None:
        """The pictures that were expected of an instant, by view, at most half a control step away; None if there are none."""
        found = {}
        for view, expected in self._expected.items():
            nearest = min(expected, key=lambda at_ns: abs(at_ns - stamp_ns), default=None)
            if nearest is None or abs(nearest - stamp_ns) > HALF_STEP_NS:
                return None
            found[view] = expected[nearest]
        return found

    @property
    def newest_picture_ns(self) -> int:
        """Stamp of the newest pictures that were shown, 0 before the first."""
        return min((stamp_ns for stamp_ns, _ in self._pictures.values()), default=0)

    def decisions_before(self, stamp_ns: int) -> int:
        """How many observations older than this were answered."""
        return sum(1 for answered_ns in self._answered if answered_ns < stamp_ns)

    def latencies(self) -> Latencies:
        """Of every observation so far that was answered by a chunk and by a command."""
        commanded = sorted(self._commanded)
        times = []
        for stamp_ns, answered_ns in self._answered.items():
            first = bisect_left(commanded, answered_ns)  # the first command after the chunk
            if stamp_ns in self._existed and first < len(commanded):
                existed_ns = self._existed[stamp_ns]
                times.append(((answered_ns - existed_ns) * 1e-9, (commanded[first] - existed_ns) * 1e-9))
        return Latencies(tuple(chunk_s for chunk_s, _ in times), tuple(command_s for _, command_s in times))

    def _on_joints(self, msg: JointState, sent_ns: int) -> None:
        stamp_ns = stamp_to_ns(msg.header.stamp)
        self._existed.setdefault(stamp_ns, stamp_ns if self._live else sent_ns)
        while len(self._existed) > REMEMBERED:
            self._existed.pop(next(iter(self._existed)))

    def _on_chunk(self, msg: ActionChunk, sent_ns: int) -> None:
        stamp_ns = stamp_to_ns(msg.header.stamp)
        if stamp_ns not in self._answered:  # else the same answer again
            self.chunks.append(msg)
            self._answered[stamp_ns] = sent_ns

    def _on_command(self, msg: PoseStamped, sent_ns: int) -> None:
        self._commanded.append(sent_ns)

    def _on_prediction(self, view: str, msg: Image) -> None:
        expected = self._expected[view]
        expected[stamp_to_ns(msg.header.stamp)] = decode_image(msg)
        while len(expected) > PREDICTIONS_KEPT:
            expected.pop(next(iter(expected)))

    def _receiver(self, name: str) -> Callable[[Image], None]:
        def receive(msg: Image) -> None:
            self._pictures[name] = (stamp_to_ns(msg.header.stamp), decode_image(msg))
            stamps = {stamp_ns for stamp_ns, _ in self._pictures.values()}
            if len(self._pictures) == len(topics.CAMERA_TOPICS) and len(stamps) == 1 and self._on_pictures:
                pair = [self._pictures[camera][1] for camera in topics.CAMERA_TOPICS]
                self._on_pictures(pair[0], pair[1], stamps.pop())

        return receive


def timed(callback: Callable[[Any, int], None]) -> Callable[..., None]:
    """A subscription callback that is told when the message was handed to DDS, in wall nanoseconds.

    Humble tells only that a message came, so there it is the time of arrival.
    """
    if not hasattr(Subscription, "CallbackType"):
        return lambda msg: callback(msg, time.time_ns())

    def with_information(msg: Any, information: Any) -> None:
        callback(msg, information["source_timestamp"])

    return with_information
