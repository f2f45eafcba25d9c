"""What passes between the parts of this package: topics, messages, and what was written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Named maps of text that describe a whole bag: {"contract": {"json": ...}, "episode": {"task": ...}}.
BagMetadata = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Topic:
    """One stream of a bag.

    name: resolved, e.g. "/joint_states". type: e.g. "sensor_msgs/msg/Image". schema: the definition as ros2msg text, with those
    of all types it holds (the form MCAP defines). type_hash: "RIHS01_..." or empty. qos: what its publishers offered, as the
    maps of rosbag2's version 9; empty: players use their default.
    """

    name: str
    type: str
    schema: str
    type_hash: str = ""
    qos: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Message:
    """One message as it came: data is CDR with its encapsulation header.

    log_time_ns: when it was received, on the system clock. publish_time_ns: the stamp in its header if its type begins with
    one, else when it was handed to the middleware. Streams are aligned by publish_time_ns, which in lockstep is simulated time.
    """

    topic: str
    log_time_ns: int
    publish_time_ns: int
    data: bytes


@dataclass(frozen=True)
class FileSummary:
    """One MCAP file of a bag; times are log times in ns, 0 where it has no messages."""

    name: str
    messages: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class BagSummary:
    """What was written. finished: false when writing failed and the last file has no end; `worldagen bag recover` helps."""

    folder: Path
    files: tuple[FileSummary, ...]
    messages: Mapping[str, int] = field(default_factory=dict)  # by topic
    size_bytes: int = 0  # of all files
    finished: bool = True

    @property
    def message_count(self) -> int:
        """Messages of all topics."""
        return sum(self.messages.values())
