"""Make a whole bag of one whose recorder was killed: a new folder beside it; what was there is only read.

All messages of all whole chunks come over, with topics and metadata, as they were. The new bag is then read back, message by
message, and compared with what was copied: only then is it reported as recovered.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mcap.records import Channel, Message, Schema

from worldagen.bags import metadata_file
from worldagen.bags.check import RECORDING
from worldagen.bags.mcap_file import MAGIC, Salvage, salvage
from worldagen.bags.reader import bag_folder, make_topic, open_bag
from worldagen.bags.types import Topic
from worldagen.bags.writer import BagWriter, WriterOptions
from worldagen.errors import BagError, ForeignBag

SUFFIX = "_recovered"
NUMBER = re.compile(r"_(\d+)\.mcap$")


@dataclass(frozen=True)
class TopicRecovery:
    """What was saved of a topic; times are log times, ns. checksum: over all its messages, in order."""

    messages: int = 0
    start_ns: int = 0
    end_ns: int = 0
    checksum: int = 0

    def plus(self, log_time_ns: int, publish_time_ns: int, data: bytes) -> "TopicRecovery":
        """With one more message."""
        checksum = zlib.crc32(data, zlib.crc32(b"%d %d " % (log_time_ns, publish_time_ns), self.checksum))
        return TopicRecovery(self.messages + 1, self.start_ns if self.messages else log_time_ns, log_time_ns, checksum)


@dataclass(frozen=True)
class FileRecovery:
    """What of one file could not be read. lost_bytes: at its end; bad_chunks: in the middle, with the first reason.

    nameless: messages whose topic was announced in a bad chunk.
    """

    name: str
    messages: int
    lost_bytes: int
    bad_chunks: int
    reason: str
    nameless: int = 0

    def __str__(self) -> str:
        lost = [f"{self.lost_bytes} bytes at its end are no whole chunk"] if self.lost_bytes else []
        lost += [f"{self.bad_chunks} damaged chunks left out ({self.reason})"] if self.bad_chunks else []
        lost += [f"{self.nameless} messages left out, whose topic was announced in a damaged chunk"] if self.nameless else []
        return f"{self.name}: {self.messages} messages; {'; '.join(lost) or 'nothing lost'}"


@dataclass(frozen=True)
class Recovery:
    """The outcome. healthy: the bag needed none, `folder` is the bag itself and nothing was written."""

    folder: Path
    healthy: bool
    topics: Mapping[str, TopicRecovery] = field(default_factory=dict)
    files: tuple[FileRecovery, ...] = ()


def recover_bag(path: Path, out: Path | None = None) -> Recovery:
    """Recover a bag folder, or a bare MCAP file, into `out` (default: `<name>_recovered` beside it), and verify it.

    Raises BagError when there is nothing to recover, when `out` is in use, or when the new bag does not read back as copied.
    """
    path = Path(path)
    bare = path.is_file() and path.suffix == ".mcap"
    if not bare:
        healthy = _read_back_if_whole(bag_folder(path))
        if healthy is not None:
            return Recovery(path, True, healthy)
    files = [path] if bare else sorted(path.glob("*.mcap"), key=_place)
    files = [file for file in files if _has_content(file)]
    if not files:
        raise BagError(f"{path}: no MCAP file with content; there is nothing to recover")
    out = out or path.parent / f"{path.stem if bare else path.name}{SUFFIX}"
    announced = [_announcements(file) for file in files]
    metadata = {name: values for item in announced for name, values in item.metadata.items()}
    metadata.pop("rosbag2", None)  # what rosbag2 notes at the end of a file, about that file
    metadata[RECORDING] = {**metadata.get(RECORDING, {}), "recovered": f"from {path.name}"}
    copier = _Copier(out, metadata, _options_of(path))
    try:
        told = tuple(copier.copy(file, item.topics) for file, item in zip(files, announced, strict=True))
    finally:
        copier.close()
    if not copier.topics:
        raise BagError(f"{path}: holds no whole message; there is nothing to recover")
    with open_bag(out) as bag:
        back = _sum_up(bag)
    if back != copier.topics:
        raise BagError(f"{out}: does not read back as it was copied ({back} instead of {copier.topics}); it is not to be used")
    return Recovery(out, False, copier.topics, told)


class _Copier:
    """Writes the new bag; it exists only once there is a message for it."""

    def __init__(self, out: Path, metadata: Mapping[str, Mapping[str, str]], options: WriterOptions) -> None:
        self._out, self._metadata, self._options = out, metadata, options
        self._writer: BagWriter | None = None
        self.topics: dict[str, TopicRecovery] = {}

    def copy(self, file: Path, topics: Mapping[int, Topic]) -> FileRecovery:
        """All that can be read of one file. topics: by channel."""
        found, count, nameless = Salvage(), 0, 0
        for record in salvage(file, found):
            if isinstance(record, Message) and record.channel_id in topics:
                self._copy_message(topics[record.channel_id], record)
                count += 1
            elif isinstance(record, Message):
                nameless += 1
        return FileRecovery(file.name, count, found.lost_bytes, found.bad_chunks, found.reason, nameless)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _copy_message(self, topic: Topic, record: Message) -> None:
        if self._writer is None:
            self._writer = BagWriter(self._out, self._metadata, self._options)
        self._writer.add_topic(topic)
        self._writer.write(topic.name, record.data, record.log_time, record.publish_time)
        seen = self.topics.get(topic.name, TopicRecovery())
        self.topics[topic.name] = seen.plus(record.log_time, record.publish_time, record.data)


@dataclass(frozen=True)
class _Announcements:
    topics: Mapping[int, Topic]  # by channel
    metadata: Mapping[str, Mapping[str, str]]


def _announcements(file: Path) -> _Announcements:
    """The topics and the metadata of a file. All of it is read: should a damaged chunk announce a topic, its end may too."""
    found, schemas, channels = Salvage(), {}, {}
    for record in salvage(file, found):
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record
    nothing = Schema(id=0, name="", encoding="", data=b"")
    known = ((channel, schemas.get(channel.schema_id, nothing)) for channel in channels.values())
    topics = {channel.id: make_topic(channel, schema) for channel, schema in known if schema.id or not channel.schema_id}
    return _Announcements(topics, found.metadata)


def _read_back_if_whole(folder: Path) -> dict[str, TopicRecovery] | None:
    """What a bag holds, if every message of it can be read; None when it needs recovery."""
    try:
        with open_bag(folder) as bag:
            return _sum_up(bag)
    except ForeignBag:
        raise
    except BagError:
        if any(folder.glob("*.mcap")):
            return None
        raise


def _sum_up(bag) -> dict[str, TopicRecovery]:
    topics: dict[str, TopicRecovery] = {}
    for message in bag.messages(by_time=False):
        seen = topics.get(message.topic, TopicRecovery())
        topics[message.topic] = seen.plus(message.log_time_ns, message.publish_time_ns, message.data)
    return topics


def _options_of(path: Path) -> WriterOptions:
    """As the bag was described, where that can still be read."""
    try:
        known = metadata_file.read_information(path)
    except BagError:
        return WriterOptions()
    version = 5 if known.version < 6 else metadata_file.NEWEST
    return WriterOptions(metadata_version=version, ros_distro=known.ros_distro)


def _has_content(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def _place(file: Path) -> tuple[int, str]:
    number = NUMBER.search(file.name)
    return (int(number[1]) if number else 0, file.name)
