"""A node between publishers and subscribers. It passes on bytes as they come, until it is told to disturb a channel.

The stack's nodes are remapped so that what they subscribe to comes from `relayed/...`; who publishes stays as it is.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, String

from worldagen_msgs.msg import ActionChunk
from worldagen_ros import qos, topics

Passed = list[tuple[float, bytes]]  # seconds from now, message
Disturb = Callable[[bytes], Passed]
Change = Callable[[Any], None]  # of a decoded message, in place


@dataclass(frozen=True)
class Channel:
    """An input of the stack: its topic and kind, and the nodes that read it."""

    topic: str
    kind: Any
    readers: tuple[str, ...]
    read: QoSProfile
    sent: QoSProfile

    @property
    def relayed(self) -> str:
        return f"relayed/{self.topic}"


def channels(period_s: float) -> dict[str, Channel]:
    """By name. period_s: of the pictures."""
    cameras = {
        name: Channel(topic, Image, ("policy",), qos.images_in(), qos.images_out(period_s))
        for name, topic in topics.CAMERA_TOPICS.items()
    }
    return {
        "joint_states": Channel(topics.JOINT_STATES, JointState, ("command", "policy"), qos.states(), qos.states_out()),
        **cameras,
        "action_chunk": Channel(topics.ACTION_CHUNK, ActionChunk, ("command",), qos.CHUNKS, qos.CHUNKS),
        "deadman": Channel(topics.DEADMAN, Bool, ("command",), qos.states(), qos.states_out()),
        "instruction": Channel(topics.INSTRUCTION, String, ("policy",), qos.LATCHED, qos.LATCHED),
    }


def remappings(period_s: float) -> list[tuple[str, str]]:
    """Of single nodes, in the form NODE:NAME."""
    return [(f"{reader}:{one.topic}", one.relayed) for one in channels(period_s).values() for reader in one.readers]


class Relay(Node):
    """Two topics for each channel."""

    def __init__(self, period_s: float, late_s: float, pictures: bool) -> None:
        """period_s: of the pictures; late_s: by so much a delayed message is; pictures: whether anybody looks at them."""
        super().__init__("fault_relay", enable_rosout=False)
        self._late_s = late_s
        self.channels = channels(period_s)
        self._disturbances: dict[str, Disturb] = {}
        self._publishers_of: dict[str, Any] = {}
        for name, channel in self.channels.items():
            if channel.kind is Image and not pictures:
                continue  # or they would be drawn for nobody
            self._publishers_of[name] = self.create_publisher(channel.kind, channel.relayed, channel.sent)
            receive: Any = self._receiver(name)  # rclpy's types know no bytes
            self.create_subscription(channel.kind, channel.topic, receive, channel.read, raw=True)

    def disturb(self, name: str, how: str) -> None:
        """Until `calm`. how: drop, duplicate, delay, reorder, freeze, swap, or one of CHANGES for this channel."""
        kind = self.channels[name].kind
        if how == "swap":
            one, other = topics.CAMERA_TOPICS
            self._disturbances |= {one: self._sent_as(other), other: self._sent_as(one)}
        elif how == "delay":
            self._disturbances[name] = lambda data: [(self._late_s, data)]
        elif how in WAYS:
            self._disturbances[name] = WAYS[how](kind)
        else:
            self._disturbances[name] = _changed(kind, CHANGES[name][how])

    def calm(self) -> None:
        """Pass on everything as it comes."""
        self._disturbances = {}

    def say(self, name: str, msg: Any) -> None:
        """Publish on a channel what nobody sent."""
        self._publishers_of[name].publish(msg)

    def _receiver(self, name: str) -> Callable[[bytes], None]:
        publish = self._publishers_of[name].publish

        def receive(data: bytes) -> None:
            disturb = self._disturbances.get(name)
            if disturb is None:
                publish(data)
                return
            for after_s, changed in disturb(data):
                if after_s:
                    timer = threading.Timer(after_s, publish, (changed,))
                    timer.daemon = True
                    timer.start()
                else:
                    publish(changed)

        return receive

    def _sent_as(self, other: str) -> Disturb:
        publish = self._publishers_of[other].publish

        def send(data: bytes) -> Passed:
            publish(data)
            return []

        return send


# ---------------------------------------------------------------- ways to disturb


def _dropped(kind: Any) -> Disturb:
    return lambda data: []


def _duplicated(kind: Any) -> Disturb:
    return lambda data: [(0.0, data), (0.0, data)]


def _reordered(kind: Any) -> Disturb:
    """Each pair the other way round."""
    kept: list[bytes] = []

    def swap(data: bytes) -> Passed:
        if not kept:
            kept.append(data)
            return []
        return [(0.0, data), (0.0, kept.pop())]

    return swap


def _frozen(kind: Any) -> Disturb:
    """The first, again and again, with the stamps of those that came."""
    first: list[Any] = []

    def freeze(data: bytes) -> Passed:
        msg = deserialize_message(data, kind)
        if not first:
            first.append(msg)
        first[0].header.stamp = msg.header.stamp
        return [(0.0, serialize_message(first[0]))]

    return freeze


WAYS: dict[str, Callable[[Any], Disturb]] = {
    "drop": _dropped,
    "duplicate": _duplicated,
    "reorder": _reordered,
    "freeze": _frozen,
}


def _changed(kind: Any, change: Change) -> Disturb:
    def corrupt(data: bytes) -> Passed:
        msg = deserialize_message(data, kind)
        change(msg)
        return [(0.0, serialize_message(msg))]

    return corrupt


# ---------------------------------------------------------------- what can be wrong with a message


def _nan_positions(msg: JointState) -> None:
    msg.position = [float("nan")] * len(msg.position)


def _short_positions(msg: JointState) -> None:
    msg.position = list(msg.position)[:-1]


def _other_clock(offset_s: int) -> Change:
    def shift(msg: Any) -> None:
        msg.header.stamp.sec += offset_s

    return shift


def _short_picture(msg: Image) -> None:
    msg.data = msg.data[: len(msg.data) // 2]


def _odd_encoding(msg: Image) -> None:
    msg.encoding = "rgb9"


def _odd_frame(msg: Any) -> None:
    msg.header.frame_id = "elsewhere"


def _nan_rows(msg: ActionChunk) -> None:
    rows: Any = msg.rows
    rows[0].translation.x = float("nan")


def _no_rows(msg: ActionChunk) -> None:
    msg.rows = []


def _huge_rows(msg: ActionChunk) -> None:
    for row in msg.rows:
        row.translation.x, row.translation.y = 1e30, -1e30


def _no_period(msg: ActionChunk) -> None:
    msg.row_period.sec = msg.row_period.nanosec = 0


def _released(msg: Bool) -> None:
    msg.data = False


def _no_words(msg: String) -> None:
    msg.data = "\x00\x07 \ufffd" * 2000


CHANGES: dict[str, dict[str, Change]] = {
    "joint_states": {
        "NaN": _nan_positions,
        "wrong size": _short_positions,
        "clock +10 s": _other_clock(10),
        "clock -10 s": _other_clock(-10),
    },
    **{
        camera: {"wrong size": _short_picture, "wrong encoding": _odd_encoding, "wrong frame_id": _odd_frame}
        for camera in topics.CAMERA_TOPICS
    },
    "action_chunk": {
        "NaN": _nan_rows,
        "no rows": _no_rows,
        "wrong frame_id": _odd_frame,
        "row period 0": _no_period,
        "1e30 m": _huge_rows,
    },
    "deadman": {"released": _released},
    "instruction": {"no words": _no_words},
}
