"""Read a bag: any standard rosbag2 folder of MCAP files, ours or another tool's.

    with open_bag(folder) as bag:
        for message in bag.messages(["/joint_states"]):
            joints = bag.decode(message)

Messages are decoded by the definitions inside the bag, so types that are not installed here work too.
"""

import heapq
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import yaml
from mcap.reader import SeekingReader
from mcap.records import Channel, Schema
from mcap.summary import Summary
from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError, get_types_from_idl, get_types_from_msg
from rosbags.typesys.store import Typestore

from worldagen.bags import metadata_file
from worldagen.bags.mcap_file import DAMAGE, open_whole
from worldagen.bags.types import Message, Topic
from worldagen.errors import BagError, BagUnfinished, ForeignBag

STAMPED = "std_msgs/msg/Header"
ALIGNMENT = 4  # bytes


class _File(NamedTuple):
    path: Path
    reader: SeekingReader
    summary: Summary

    @property
    def start_ns(self) -> int:
        assert self.summary.statistics is not None
        return self.summary.statistics.message_start_time

    @property
    def end_ns(self) -> int:
        assert self.summary.statistics is not None
        return self.summary.statistics.message_end_time


class Bag:
    """An open bag. Made by `open_bag`; a context manager."""

    def __init__(self, folder: Path, information: metadata_file.Information, files: list[_File]) -> None:
        self.folder, self.information = folder, information
        self._files = [file for file in files if _count(file)]
        self._all = files
        self.topics: dict[str, Topic] = {}
        self.counts: dict[str, int] = dict.fromkeys(information.types, 0)
        for file in files:
            for channel in file.summary.channels.values():
                self._add(file, channel)
        for name, kind in information.types.items():  # announced, but never heard
            self.topics.setdefault(name, Topic(name, kind, ""))
        self.metadata = _metadata_of(files, information)

    def __enter__(self) -> "Bag":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its files."""
        for file in self._all:
            file.reader._stream.close()

    @property
    def message_count(self) -> int:
        """Messages in all files."""
        return sum(_count(file) for file in self._all)

    @property
    def start_ns(self) -> int:
        """Log time of the first message; 0 without messages."""
        return min((file.start_ns for file in self._files), default=0)

    @property
    def end_ns(self) -> int:
        """Log time of the last message; 0 without messages."""
        return max((file.end_ns for file in self._files), default=0)

    @property
    def duration_s(self) -> float:
        """From the first message to the last, s."""
        return (self.end_ns - self.start_ns) * 1e-9

    @property
    def size_bytes(self) -> int:
        """Size of its files."""
        return sum(file.path.stat().st_size for file in self._all)

    @property
    def files(self) -> tuple[Path, ...]:
        """Its MCAP files, in order."""
        return tuple(file.path for file in self._all)

    def messages(self, topics: Collection[str] | None = None, by_time: bool = True) -> Iterator[Message]:
        """All messages, or those of some topics, by log time, or else as they stand in the files.

        Raises BagError where a file is damaged or a topic unknown.
        """
        unknown = set(topics or ()) - set(self.topics)
        if unknown:
            raise BagError(f"{self.folder}: has no topic {', '.join(sorted(unknown))}; it has: {', '.join(self.topics)}")
        for group in _overlapping(self._files) if by_time else [[file] for file in self._files]:
            streams = (self._read(file, topics, by_time) for file in group)
            yield from heapq.merge(*streams, key=lambda message: message.log_time_ns)

    def decode(self, message: Message) -> Any:
        """The message as an object with its type's fields; arrays are numpy arrays.

        Raises BagError when the bag holds no usable definition or the bytes do not fit it.
        """
        topic, data = self.topics[message.topic], message.data
        try:
            store = typestore(topic.type, topic.schema)
            try:
                return store.deserialize_cdr(data, topic.type)
            except SerdeError:
                # Fast CDR aligns after the length of an empty sequence too, and so ends some messages (a JointState without
                # efforts) with four bytes that rosbags does not expect.
                return store.deserialize_cdr(data[:-ALIGNMENT], topic.type)
        except (SerdeError, KeyError, IndexError, ValueError) as error:
            raise BagError(
                f"{self.folder}: a message of {topic.name} is no {topic.type} of {len(message.data)} bytes ({error})"
            ) from None

    def _add(self, file: _File, channel: Channel) -> None:
        schema = file.summary.schemas.get(channel.schema_id)
        topic = make_topic(channel, schema, self.information.types.get(channel.topic, ""))
        known = self.topics.setdefault(topic.name, topic)
        if known.type != topic.type:
            raise BagError(f"{file.path}: topic {topic.name} is {topic.type}, but {known.type} in an earlier file")
        if channel.message_encoding != "cdr":
            raise BagError(f"{file.path}: topic {topic.name} is encoded as {channel.message_encoding!r}; this suite reads cdr")
        assert file.summary.statistics is not None
        self.counts[topic.name] = self.counts.get(topic.name, 0) + file.summary.statistics.channel_message_counts.get(
            channel.id, 0
        )

    def _read(self, file: _File, topics: Collection[str] | None, by_time: bool) -> Iterator[Message]:
        try:
            for _, channel, record in file.reader.iter_messages(topics, log_time_order=by_time):
                yield Message(channel.topic, record.log_time, record.publish_time, record.data)
        except (*DAMAGE, OSError) as error:
            raise BagError(f"{file.path}: damaged ({error}); `worldagen bag recover` saves what is before it") from None


def open_bag(path: Path) -> Bag:
    """Open a rosbag2 folder. Raises BagError saying what was found and what to do, BagUnfinished where it has no end."""
    path = Path(path)
    folder = bag_folder(path)
    if not (folder / metadata_file.NAME).exists():
        if any(folder.glob("*.mcap")):
            raise BagUnfinished(f"{folder}: has no {metadata_file.NAME}; run: worldagen bag recover {folder}")
        raise BagError(f"{folder}: no bag: neither {metadata_file.NAME} nor .mcap files; {_what_is_in(folder)}")
    information = metadata_file.read_information(folder)
    files: list[_File] = []
    try:
        for name in information.files:
            if not (folder / name).is_file():
                raise BagError(f"{folder}: its file {name} is missing; `worldagen bag recover` makes a bag of the others")
            files.append(_File(folder / name, *open_whole(folder / name)))
        spare = sorted({file.name for file in folder.glob("*.mcap")} - set(information.files))
        if spare:
            raise BagUnfinished(f"{folder}: {metadata_file.NAME} does not name {', '.join(spare)}")
        return Bag(folder, information, files)
    except BaseException as error:
        for file in files:
            file.reader._stream.close()
        if isinstance(error, BagUnfinished):
            raise BagUnfinished(f"{error}; run: worldagen bag recover {folder}") from None
        raise


def bag_folder(path: Path) -> Path:
    """The folder, or a BagError that says what the path is instead."""
    if path.is_dir():
        return path
    if not path.exists():
        raise BagError(f"{path}: no such bag; give the folder that holds {metadata_file.NAME}")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"#ROSBAG"):
        raise ForeignBag(f"{path}: a ROS 1 bag; rosbags-convert (--dst-storage mcap) makes one of ROS 2")
    if start.startswith(b"SQLite format 3"):
        raise ForeignBag(f"{path}: an sqlite3 file of rosbag2; give mcap instead (ros2 bag convert makes one)")
    if path.suffix == ".mcap":
        raise BagError(f"{path}: a bare MCAP file; give the folder it is in, or run: worldagen bag recover {path}")
    raise BagError(f"{path}: not a bag; give the folder that holds {metadata_file.NAME}")


@lru_cache(maxsize=256)
def typestore(kind: str, schema: str) -> Typestore:
    """What decodes one type by its definition. Raises BagError when the definition is missing or cannot be understood."""
    if not schema:
        raise BagError(f"the bag holds no definition of {kind}; it cannot be decoded")
    store = Typestore()
    try:
        idl = schema.startswith(f"{'=' * 80}\nIDL: ")
        store.register(get_types_from_idl(schema) if idl else get_types_from_msg(schema, kind))
        store.get_msgdef(kind)  # compiles it, and so finds types that are named but not defined
    except (TypesysError, KeyError, ValueError, SyntaxError) as error:
        raise BagError(f"the bag's definition of {kind} cannot be understood ({type(error).__name__}: {error})") from None
    return store


@lru_cache(maxsize=256)
def begins_with_header(kind: str, schema: str) -> bool:
    """Whether the first field of a type is a std_msgs/Header, so that its stamp stands at the start of the bytes."""
    fields = typestore(kind, schema).fielddefs[kind][1]
    return bool(fields) and fields[0][1] == (Nodetype.NAME, STAMPED)


def make_topic(channel: Channel, schema: Schema | None, kind: str = "") -> Topic:
    """What an MCAP file says of a topic. kind: its type where there is no schema that tells it."""
    return Topic(
        name=channel.topic,
        type=schema.name if schema else kind,
        schema=schema.data.decode("utf-8", "replace") if schema else "",
        type_hash=channel.metadata.get("topic_type_hash", ""),
        qos=_offered(channel.metadata.get("offered_qos_profiles", "")),
    )


def _count(file: _File) -> int:
    assert file.summary.statistics is not None
    return file.summary.statistics.message_count


def _overlapping(files: list[_File]) -> Iterator[list[_File]]:
    """Files by time, in groups that must be merged; split files of one recorder hardly ever need it."""
    group: list[_File] = []
    for file in sorted(files, key=lambda item: item.start_ns):
        if group and file.start_ns > max(item.end_ns for item in group):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


@lru_cache(maxsize=256)  # the same few in every bag, and reading them as YAML was half of opening a short one
def _offered(text: str) -> tuple[Mapping[str, Any], ...]:
    """Offered quality of service from a channel; what is not understood is left out, as players do."""
    try:
        offered = yaml.load(text, Loader=metadata_file.SafeLoader) if text else []
    except yaml.YAMLError:
        return ()
    return tuple(item for item in offered if isinstance(item, dict)) if isinstance(offered, list) else ()


def _metadata_of(files: list[_File], information: metadata_file.Information) -> dict[str, dict[str, str]]:
    """The named maps of all files, what was noted last first; those of metadata.yaml where a conversion kept nothing else."""
    found: dict[str, dict[str, str]] = {}
    for key, text in information.custom.items():
        name, dot, rest = key.partition(".")
        found.setdefault(name if dot else "", {})[rest if dot else name] = text
    for file in files:
        found.update({item.name: dict(item.metadata) for item in file.reader.iter_metadata() if item.name != "rosbag2"})
    return found


def _what_is_in(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir())
    return f"it holds {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else "it is empty"
