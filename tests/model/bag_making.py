"""Small bags for the tests: real types, real bytes, made without ROS."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rosbags.typesys import Stores, get_typestore

from worldagen.bags.types import BagMetadata, BagSummary, Topic
from worldagen.bags.writer import BagWriter, WriterOptions

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
SECOND_NS = 1_000_000_000
BEST_EFFORT = {
    "history": "keep_last",
    "depth": 5,
    "reliability": "best_effort",
    "durability": "volatile",
    "deadline": {"sec": 0, "nsec": 0},
    "lifespan": {"sec": 0, "nsec": 0},
    "liveliness": "automatic",
    "liveliness_lease_duration": {"sec": 0, "nsec": 0},
    "avoid_ros_namespace_conventions": False,
}


def topic(name: str, kind: str) -> Topic:
    schema, _ = STORE.generate_msgdef(kind, ros_version=2)
    return Topic(name, kind, schema, STORE.hash_rihs01(kind), (BEST_EFFORT,))


STATIC = topic("/static_camera/image_raw", "sensor_msgs/msg/Image")
WRIST = replace(STATIC, name="/wrist_camera/image_raw")
JOINTS = topic("/joint_states", "sensor_msgs/msg/JointState")
WORDS = topic("/instruction", "std_msgs/msg/String")


def encode(kind: str, message: object) -> bytes:
    return bytes(STORE.serialize_cdr(message, kind))


def header(stamp_ns: int):
    time = TYPES["builtin_interfaces/msg/Time"](*divmod(stamp_ns, SECOND_NS))
    return TYPES["std_msgs/msg/Header"](time, "world")


def picture(stamp_ns: int, shade: int = 0, height: int = 6, width: int = 8, encoding: str = "rgb8") -> bytes:
    pixels = np.full(height * width * 3, shade % 256, np.uint8)
    image = TYPES[STATIC.type](header(stamp_ns), height, width, encoding, 0, width * 3, pixels)
    return encode(STATIC.type, image)


def joints(stamp_ns: int) -> bytes:
    values = np.arange(3.0)
    return encode(JOINTS.type, TYPES[JOINTS.type](header(stamp_ns), ["a", "b", "c"], values, values, np.zeros(0)))


def words(text: str) -> bytes:
    return encode(WORDS.type, TYPES[WORDS.type](text))


# topic, data, log time (ns), publish time (ns)
Record = tuple[Topic, bytes, int, int]


def episode(seconds: float = 2.0, rate_hz: int = 30, start_ns: int = 1_000 * SECOND_NS) -> list[Record]:
    """Two cameras and joint states of the same instants, received 1, 2 and 3 ms later."""
    records: list[Record] = []
    for index in range(round(seconds * rate_hz)):
        stamp_ns = start_ns + index * SECOND_NS // rate_hz
        for delay_ms, (what, data) in enumerate(
            ((STATIC, picture(stamp_ns, index)), (WRIST, picture(stamp_ns, index + 1)), (JOINTS, joints(stamp_ns))), 1
        ):
            records.append((what, data, stamp_ns + delay_ms * 1_000_000, stamp_ns))
    return records


def write_bag(
    folder: Path, records: Iterable[Record], metadata: BagMetadata | None = None, options: WriterOptions | None = None
) -> BagSummary:
    with BagWriter(folder, metadata, options) as bag:
        for what, data, log_ns, publish_ns in records:
            bag.add_topic(what)
            bag.write(what.name, data, log_ns, publish_ns)
    return bag.close()
