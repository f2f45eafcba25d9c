"""Records topics into a bag as they come off the wire: serialised, undecoded, in the order in which they arrive.

A Recorder lives on a node of its owner, who spins it. Its callbacks only queue; a thread of its own writes
(worldagen/bags/recording.py). Subscriptions ask for what the publishers offer and follow when others appear.

Two times are kept of each message. Log time: when it arrived, on the system clock, whatever clock the node goes by. Publish
time: the stamp in its header, which in lockstep is simulated time and is what aligns the streams; without a header, when it
was handed to the middleware.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from rclpy._rclpy_pybind11 import RCLError
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from worldagen.bags.disk import DiskGuard, free_bytes
from worldagen.bags.metadata_file import NEWEST
from worldagen.bags.reader import begins_with_header
from worldagen.bags.recording import Recording, RecordingReport
from worldagen.bags.streams import SHORTEST_STAMPED, header_stamp_ns
from worldagen.bags.types import BagMetadata, Topic
from worldagen.bags.writer import WriterOptions
from worldagen.errors import BagError
from worldagen_ros import qos
from worldagen_ros.config import RecorderConfig
from worldagen_ros.definitions import topic_of
from worldagen_ros.recorded import COMPRESSED, IMAGE, JOINT_STATE, Recorded

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError  # type: ignore[no-redef]

FAST = (IMAGE, COMPRESSED, JOINT_STATE)  # types of streams that a middleware may lose messages of
LOOK_PERIOD_S = 0.5  # between two looks at the graph and at the disk's thread
# While it connects, DDS hands over a few of the messages before, between those that come after.
SETTLE_S = 0.4
IMAGE_DEPTH, DEPTH = 30, 1000  # messages the middleware keeps for us while another callback runs
MIB = 1 << 20
FOR_HUMBLE = 5  # version of metadata.yaml


class Recorder:
    """start, stop, and in between nothing to do. on_stopped(report) is called when recording ends by itself."""

    def __init__(
        self,
        node: Node,
        topics: Iterable[Recorded],
        config: RecorderConfig,
        on_stopped: Callable[[RecordingReport], None] = lambda _: None,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """free: how free disk is counted; for tests."""
        self._node, self._topics, self._config = node, tuple(topics), config
        self._on_stopped, self._free = on_stopped, free
        self._streams: list[_Stream] = []
        self._recording: Recording | None = None
        self._stays_connected = False
        node.create_timer(LOOK_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def recording(self) -> bool:
        """Whether a bag is being recorded."""
        return self._recording is not None

    @property
    def silent(self) -> tuple[str, ...]:
        """Topics somebody publishes, of which no message has been recorded yet."""
        return tuple(stream.name for stream in self._streams if not stream.heard and stream.publisher_names)

    def unmatched(self, expected: Collection[str] = ()) -> tuple[str, ...]:
        """Topics that somebody publishes, and those expected, by full name, that no publisher is connected with here yet.

        That others have discovered our subscription does not mean that we have discovered their publisher.
        """
        return tuple(
            stream.name
            for stream in self._streams
            if not stream.matched and not stream.problem and (stream.publisher_names or stream.name in expected)
        )

    @property
    def not_recorded(self) -> tuple[str, ...]:
        """Topics that cannot be recorded, with the reason: their type is not installed here, or somebody uses another."""
        return tuple(f"{stream.name} ({stream.problem})" for stream in self._streams if stream.problem)

    def connect(self) -> None:
        """Subscribe now and stay subscribed between bags: a bag then begins with the first message after `start`.

        What was latched before is not heard again, so this is for an owner who knows what comes after a start.
        """
        self._stays_connected = True
        self._streams = self._streams or [_Stream(self._node, item) for item in self._topics]

    @property
    def connected(self) -> bool:
        """Whether every topic that somebody publishes is subscribed for good."""
        return all(stream.connected for stream in self._streams)

    @property
    def publishers(self) -> frozenset[str]:
        """Full names of the other nodes that publish something to be recorded, as far as they have been discovered."""
        own = self._node.get_fully_qualified_name()
        return frozenset(name for stream in self._streams for name in stream.publisher_names) - {own}

    def newest_ns(self, name: str) -> int:
        """Publish time of the newest message of a topic in this bag, by its relative name; -1 for none."""
        resolved = self._node.resolve_topic_name(name)
        return max((stream.newest_published_ns for stream in self._streams if stream.name == resolved), default=-1)

    def note(self, name: str, kind: str, data: bytes, published_ns: int) -> None:
        """Put a message of the owner's own into the bag. Raises BagError when nothing is being recorded."""
        if self._recording is None:
            raise BagError("nothing is being recorded")
        resolved = self._node.resolve_topic_name(name)
        self._recording.add_topic(topic_of(resolved, kind))
        self._recording.offer(resolved, data, time.time_ns(), published_ns)

    def start(self, folder: Path, metadata: BagMetadata | None = None) -> None:
        """Begin a bag. metadata: named maps of texts that describe it.

        Messages count from the moment the middleware has connected us, some tenths of a second; `silent` tells of whom nothing
        came yet. Raises BagError when a bag is being recorded or the folder is in use, DiskFull below the floor.
        """
        if self._recording is not None:
            raise BagError(f"already recording into {self.progress().folder}; stop that first")
        config = self._config
        options = WriterOptions(
            compression=config.compression,
            chunk_bytes=config.chunk_kib << 10,
            max_file_bytes=config.split_mib * MIB,
            max_file_s=config.split_s,
            ros_distro=_ros_distro(),
            metadata_version=FOR_HUMBLE if config.for_humble else NEWEST,
        )
        guard = DiskGuard(folder, config.floor_mib * MIB, self._free)
        self._recording = Recording(folder, metadata or {}, options, guard, config.flush_s, config.queue_mib * MIB)
        self._streams = self._streams or [_Stream(self._node, item) for item in self._topics]
        for stream in self._streams:
            stream.begin(self._recording)

    def progress(self) -> RecordingReport:
        """Counts so far. Raises BagError when nothing is being recorded."""
        if self._recording is None:
            raise BagError("nothing is being recorded")
        return self._recording.progress()

    def stop(self, metadata: BagMetadata | None = None) -> RecordingReport:
        """Finish the bag: all that arrived is in it when this returns. Raises BagError when nothing is being recorded.

        metadata: named maps of texts that are known only now; they replace those of the same name.
        """
        if self._recording is None:
            raise BagError("nothing is being recorded")
        for stream in self._streams:
            stream.end()
        if not self._stays_connected:
            self.disconnect()
        report = self._recording.stop(metadata)
        self._recording = None
        return report

    def disconnect(self) -> None:
        """Give up all subscriptions."""
        for stream in self._streams:
            stream.close()
        self._streams, self._stays_connected = [], False

    def _look(self) -> None:
        """Follow the publishers that came and went; notice when the writer had to give up."""
        if self._recording is not None and self._recording.failure:
            self._on_stopped(self.stop())
        for stream in self._streams:
            stream.follow()


class _Stream:
    """One topic: its subscription and, while a bag is recorded, what the bag is told about it."""

    def __init__(self, node: Node, item: Recorded) -> None:
        self._node, self._item = node, item
        self._recording: Recording | None = None
        self.name = node.resolve_topic_name(item.name)
        self.heard = False  # in this bag
        self.newest_published_ns = -1
        self.publisher_names: frozenset[str] = frozenset()
        self.problem = ""
        self._hopeless = False
        self._newest_sent_ns = -1
        self._begin_to_settle()
        self._subscription: Subscription | None = None
        self._asked: tuple[Any, Any] | None = None
        try:
            self._message_type = _message_type(item.type)
            self._topic = topic_of(self.name, item.type)
        except BagError as error:
            self.problem, self._hopeless = str(error), True
            return
        self._stamped = begins_with_header(item.type, self._topic.schema)
        self.follow()

    @property
    def connected(self) -> bool:
        """Whether nobody publishes, or what is published comes in order."""
        return not self.publisher_names or self._settled

    @property
    def matched(self) -> bool:
        """Whether the middleware has connected the subscription with a publisher; True where it does not tell (Humble)."""
        count = getattr(self._subscription, "get_publisher_count", None)
        return self._subscription is not None and (count is None or count() > 0)

    def begin(self, recording: Recording) -> None:
        """From now on, into this bag."""
        self._recording, self.heard, self.newest_published_ns = recording, False, -1

    def end(self) -> None:
        """The bag ends here."""
        self._settle()
        self._recording = None

    def follow(self) -> None:
        """Ask for as much as the present publishers offer; a subscription that asks for more than one offers hears nothing."""
        if self._hopeless:
            return
        if not self._settled and 0.0 < self._settles_s <= time.monotonic():
            self._settle()
        offered = self._offered()
        depth = IMAGE_DEPTH if self._item.type == IMAGE else DEPTH
        wanted = qos.matching(offered, self._item.expected, depth)
        asked = (wanted.reliability, wanted.durability)
        if self._subscription is None or (offered and asked != self._asked):
            self.close()
            try:
                self._subscription, self._asked = self._subscribe(wanted), asked
            except RCLError as error:  # the middleware refuses a second type in one process; asked again at the next look
                self.problem = self.problem or f"cannot be subscribed ({error})"

    def close(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
            self._settle()
            self._begin_to_settle()

    def _begin_to_settle(self) -> None:
        """A new subscription: until it is connected for good, messages may come out of order."""
        self._settled, self._settles_s = False, 0.0
        self._early: list[tuple[int, int, bytes]] = []

    def _offered(self) -> list[QoSProfile]:
        publishers = self._node.get_publishers_info_by_topic(self.name)
        others = {info.topic_type for info in publishers} - {self._item.type}
        self.problem = f"somebody publishes {', '.join(sorted(others))} there; expected {self._item.type}" if others else ""
        ours = [info for info in publishers if info.topic_type == self._item.type]
        self.publisher_names = frozenset(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in ours)
        return [info.qos_profile for info in ours]

    def _subscribe(self, wanted: QoSProfile) -> Subscription:
        make = partial(self._node.create_subscription, self._message_type, self._item.name, self._callback(), wanted, raw=True)
        # Every kind of event of every subscription costs the executor time whenever it wakes, so only fast streams have one.
        told = {"message_lost": self._on_lost} if self._item.type in FAST else {}
        try:
            return make(event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False, **told))
        except UnsupportedEventTypeError:  # a middleware that does not count what it loses
            return make(event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False))

    def _callback(self) -> Callable[..., None]:
        if hasattr(Subscription, "CallbackType"):
            return lambda data, information: self._on_message(data, information)
        return lambda data: self._on_message(data, {})  # Humble tells only that a message came

    def _on_message(self, data: bytes, information: Mapping[str, int]) -> None:
        received_ns = information.get("received_timestamp") or time.time_ns()
        sent_ns = information.get("source_timestamp") or received_ns
        if self._settles_s == 0.0:
            self._settles_s = time.monotonic() + SETTLE_S
        if self._recording is None:
            self._newest_sent_ns = max(self._newest_sent_ns, sent_ns)
            return
        if not self.heard:
            self.heard = True
            offered = tuple(qos.as_bags_hold_it(profile) for profile in self._offered())
            self._recording.add_topic(Topic(self.name, self._topic.type, self._topic.schema, self._topic.type_hash, offered))
        if self._settled:
            self._offer(sent_ns, received_ns, data)
        else:
            self._early.append((sent_ns, received_ns, data))

    def _offer(self, sent_ns: int, received_ns: int, data: bytes) -> None:
        assert self._recording is not None
        stamped = self._stamped and len(data) >= SHORTEST_STAMPED
        published_ns = max(0, header_stamp_ns(data)) if stamped else sent_ns
        self._newest_sent_ns = max(self._newest_sent_ns, sent_ns)
        self.newest_published_ns = max(self.newest_published_ns, published_ns)
        self._recording.offer(self.name, data, received_ns, published_ns)

    def _settle(self) -> None:
        """Pass on what came while the middleware connected, in the order in which it was sent, each once."""
        early = sorted(self._early, key=lambda item: item[0])
        arrivals_ns = sorted(received_ns for _, received_ns, _ in early)
        for (sent_ns, _, data), received_ns in zip(early, arrivals_ns, strict=True):
            if sent_ns > self._newest_sent_ns:  # else an earlier subscription has heard it
                self._offer(sent_ns, received_ns, data)
        self._settled, self._early = True, []

    def _on_lost(self, event: Any) -> None:
        if self._recording is not None:
            self._recording.note_lost(self.name, event.total_count_change)


def _message_type(kind: str) -> type:
    package, part, name = kind.split("/")
    try:
        return getattr(import_module(f"{package}.{part}"), name)
    except (ImportError, AttributeError):
        raise BagError(f"{kind} is not installed") from None


def _ros_distro() -> str:
    return os.environ.get("ROS_DISTRO", "kilted")  # the wheels are Kilted and set nothing
