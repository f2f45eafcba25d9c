"""A bag as arrays: for each topic, when its messages came, what they are stamped with, and what is wrong with them.

Stamps come from the header at the start of a message where its type has one; it stands at a fixed place in the bytes. For other
types it is the publish time.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from worldagen.bags.reader import Bag, begins_with_header
from worldagen.bags.types import Topic
from worldagen.errors import BagError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
PICTURES = (IMAGE, COMPRESSED)
JOINTS = "sensor_msgs/msg/JointState"
SHORTEST_STAMPED = 12  # bytes: encapsulation, seconds, nanoseconds


@dataclass
class Stream:
    """One topic of a bag, n messages in the order in which they stand in the files.

    log_ns, stamp_ns: (n,) int64. formats: of pictures, "640x480 rgb8" -> how many. undecodable: how many messages do not fit
    their definition, and the first reason.
    """

    topic: Topic
    log_ns: np.ndarray
    stamp_ns: np.ndarray
    stamped: bool  # by a header
    formats: dict[str, int] = field(default_factory=dict)
    undecodable: int = 0
    problem: str = ""

    @property
    def count(self) -> int:
        """Messages."""
        return len(self.log_ns)

    @property
    def period_s(self) -> float:
        """Median time between two stamps, s; 0 with fewer than two. Pauses and losses hardly move it."""
        steps = np.diff(np.unique(self.stamp_ns))
        return float(np.median(steps)) * 1e-9 if len(steps) else 0.0

    @property
    def rate_hz(self) -> float:
        """One over the period; 0 with fewer than two stamps."""
        return 1.0 / self.period_s if self.period_s else 0.0

    @property
    def largest_gap_s(self) -> float:
        """Longest time between two stamps, s; 0 with fewer than two."""
        steps = np.diff(np.unique(self.stamp_ns))
        return float(steps.max()) * 1e-9 if len(steps) else 0.0


def header_stamp_ns(data: bytes) -> int:
    """The stamp of a serialised message whose type begins with a std_msgs/Header. Raises BagError when it is too short."""
    if len(data) < SHORTEST_STAMPED:
        raise BagError(f"a message of {len(data)} bytes; one with a header has at least {SHORTEST_STAMPED}")
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return seconds * 1_000_000_000 + nanoseconds


def read_streams(bag: Bag, decode: bool = True) -> dict[str, Stream]:
    """Every topic of a bag, by name. Reads every message; decode: and takes each apart, to see whether it can be.

    Raises BagError where a file is damaged.
    """
    reading = {name: _Reading(topic, _is_stamped(topic)) for name, topic in bag.topics.items()}
    for message in bag.messages(by_time=False):
        stream = reading[message.topic]
        stream.log_ns.append(message.log_time_ns)
        stamp_ns = message.publish_time_ns
        try:
            if stream.stamped:
                stamp_ns = header_stamp_ns(message.data)
            if decode:
                stream.look(bag.decode(message))
        except BagError as error:
            stream.undecodable += 1
            stream.problem = stream.problem or str(error)
        stream.stamp_ns.append(stamp_ns)
    return {name: stream.done() for name, stream in reading.items()}


@dataclass
class _Reading:
    topic: Topic
    stamped: bool
    log_ns: list[int] = field(default_factory=list)
    stamp_ns: list[int] = field(default_factory=list)
    formats: dict[str, int] = field(default_factory=dict)
    undecodable: int = 0
    problem: str = ""

    def look(self, message: Any) -> None:
        if self.topic.type not in PICTURES:
            return
        if self.topic.type == IMAGE:
            shape = f"{message.width}x{message.height} {message.encoding}"
            if len(message.data) != message.height * message.step:
                raise BagError(f"{shape}: {len(message.data)} bytes; expected {message.height} rows of {message.step}")
        else:
            shape = str(message.format)
        self.formats[shape] = self.formats.get(shape, 0) + 1

    def done(self) -> Stream:
        return Stream(
            self.topic,
            np.array(self.log_ns, np.int64),
            np.array(self.stamp_ns, np.int64),
            self.stamped,
            self.formats,
            self.undecodable,
            self.problem,
        )


def _is_stamped(topic: Topic) -> bool:
    try:
        return begins_with_header(topic.type, topic.schema)
    except BagError:  # told when a message is decoded
        return False
