"""Write a bag: a rosbag2 folder of MCAP files that `ros2 bag play`, rosbags and Foxglove open.

    with BagWriter(folder, {"episode": {"task": "lift_red_block"}}) as bag:
        bag.add_topic(topic)
        bag.write(topic.name, data, log_time_ns, publish_time_ns)

A new file is begun by size or by time; each can be read without the others. Whatever happens to the program, all that was
flushed is in the files: `worldagen bag recover` reads up to the last whole chunk. Nothing that exists is overwritten.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from worldagen.bags.mcap_writer import McapWriter
from worldagen.bags.metadata_file import NEWEST, VERSIONS, qos_text, write_information
from worldagen.bags.types import BagMetadata, BagSummary, FileSummary, Topic
from worldagen.errors import BagError, DiskFull

COMPRESSIONS = {"none": "", "zstd": "zstd"}  # our name -> MCAP's
LAST_NS = 2**63 - 1
MIB = 1 << 20


@dataclass(frozen=True)
class WriterOptions:
    """How a bag is laid out on disk.

    compression: of each chunk, "zstd" or "none". chunk_bytes: a chunk is written once it holds more; what is in an unwritten
    chunk is lost with the program. max_file_bytes, max_file_s: begin another file after so many bytes on disk or seconds of
    log time; 0: never. metadata_version: 9, or 5 for Humble, which cannot hold custom data there.
    """

    compression: str = "zstd"
    chunk_bytes: int = 4 * MIB
    max_file_bytes: int = 1024 * MIB
    max_file_s: float = 0.0
    ros_distro: str = "kilted"
    metadata_version: int = NEWEST

    def __post_init__(self) -> None:
        if self.compression not in COMPRESSIONS:
            raise BagError(f"compression {self.compression!r}; expected one of: {', '.join(COMPRESSIONS)}")
        if self.metadata_version not in VERSIONS:
            raise BagError(f"metadata version {self.metadata_version}; expected one of: {', '.join(map(str, VERSIONS))}")
        if self.chunk_bytes < 1 or self.max_file_bytes < 0 or self.max_file_s < 0:
            raise BagError(f"sizes and times of a bag's files must not be negative, and a chunk needs a size: {self}")


class BagWriter:
    """One bag being written. Not for several threads at once; several processes may each write their own bags."""

    def __init__(self, folder: Path, metadata: BagMetadata | None = None, options: WriterOptions | None = None) -> None:
        """Make the folder and begin its first file.

        Raises BagError when there is something in the folder already or it cannot be made, DiskFull on a full disk.
        """
        self.folder, self.options = Path(folder), options or WriterOptions()
        self._metadata = {name: _checked(name, values) for name, values in (metadata or {}).items()}
        self._topics: dict[str, Topic] = {}
        self._counts: dict[str, int] = {}
        self._files: list[FileSummary] = []
        self._bytes = 0  # of finished files
        self._told_topics = 0  # how many of them metadata.yaml names
        self._failure: BagError | None = None
        self._closed = False
        make_empty_folder(self.folder)
        with self._guarded():
            self._begin_file()
            self._describe()

    def __enter__(self) -> "BagWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def size_bytes(self) -> int:
        """Written to disk so far, in all files."""
        return self._bytes + (0 if self._closed else self._output.count)

    @property
    def counts(self) -> dict[str, int]:
        """Messages so far, by topic."""
        return dict(self._counts)

    def add_topic(self, topic: Topic) -> None:
        """Announce a topic; the same one again changes nothing. Raises BagError when its name has another definition."""
        known = self._topics.get(topic.name)
        if known == topic:
            return
        if known is not None:
            raise BagError(f"{self.folder}: topic {topic.name} is already {known.type}; it cannot become {topic.type}")
        with self._guarded():
            self._topics[topic.name] = topic
            self._counts[topic.name] = 0
            self._register(topic)

    def write(self, name: str, data: bytes, log_time_ns: int, publish_time_ns: int) -> None:
        """Append one serialised message (CDR with its encapsulation header) of an announced topic.

        Raises BagError on an unknown topic or an impossible time, DiskFull when the disk is full.
        """
        if not 0 <= log_time_ns <= LAST_NS or not 0 <= publish_time_ns <= LAST_NS:
            raise BagError(f"{name}: log time {log_time_ns} ns, publish time {publish_time_ns} ns; expected 0 to 2^63-1")
        if name not in self._topics:
            raise BagError(f"{self.folder}: message of unknown topic {name}; announced: {', '.join(self._topics) or 'none'}")
        with self._guarded():
            if self._is_due(log_time_ns):
                self._end_file()
                self._begin_file()
                for topic in self._topics.values():
                    self._register(topic)
                self._describe()
            self._mcap.add_message(self._channels[name], self._counts[name], log_time_ns, publish_time_ns, data)
            self._counts[name] += 1
            self._in_file += 1
            self._start_ns = min(self._start_ns, log_time_ns)
            self._end_ns = max(self._end_ns, log_time_ns)

    def annotate(self, name: str, values: Mapping[str, str]) -> None:
        """Add a named map to the bag's metadata, or replace one: what is known only at the end. Raises like the constructor."""
        self._metadata[name] = _checked(name, values)
        with self._guarded():
            self._mcap.add_metadata(name, self._metadata[name])

    def flush(self) -> None:
        """Hand everything to the operating system: from here on it survives the death of this program (not of the power)."""
        with self._guarded():
            self._mcap.flush()
            if self._told_topics != len(self._topics):
                self._describe()

    def close(self) -> BagSummary:
        """Finish the last file and the description. Again: only the summary. Never raises for what was raised before."""
        if not self._closed and self._failure is None:
            with self._guarded():
                self._end_file()
                self._closed = True
                self._describe()
        elif not self._closed:
            self._files.append(self._file_summary())
            self._bytes += self._output.count
            self._output.close()
            self._closed = True
        return BagSummary(self.folder, tuple(self._files), dict(self._counts), self._bytes, self._failure is None)

    def _begin_file(self) -> None:
        self._name = f"{self.folder.name}_{len(self._files)}.mcap"
        self._in_file, self._start_ns, self._end_ns = 0, LAST_NS, 0
        self._schemas: dict[tuple[str, str], int] = {}
        self._channels: dict[str, int] = {}
        self._output = _Output(self.folder / self._name)
        self._mcap = McapWriter(self._output, self.options.chunk_bytes, COMPRESSIONS[self.options.compression])
        for name, values in self._metadata.items():
            self._mcap.add_metadata(name, values)

    def _end_file(self) -> None:
        self._mcap.finish()
        self._output.close()
        self._files.append(self._file_summary())
        self._bytes += self._output.count

    def _file_summary(self) -> FileSummary:
        return FileSummary(self._name, self._in_file, self._start_ns if self._in_file else 0, self._end_ns)

    def _is_due(self, log_time_ns: int) -> bool:
        """Whether this message belongs into another file."""
        size, seconds = self.options.max_file_bytes, self.options.max_file_s
        full = bool(size) and self._output.count >= size
        return self._in_file > 0 and (full or (bool(seconds) and log_time_ns - self._start_ns >= seconds * 1e9))

    def _register(self, topic: Topic) -> None:
        kind = (topic.type, topic.schema)
        if kind not in self._schemas:
            encoding = "ros2idl" if topic.schema.startswith(f"{'=' * 80}\nIDL: ") else "ros2msg" if topic.schema else ""
            self._schemas[kind] = self._mcap.add_schema(topic.type, encoding, topic.schema.encode())
        described = {
            "offered_qos_profiles": qos_text(topic.qos, self.options.metadata_version),
            "topic_type_hash": topic.type_hash,
        }
        self._channels[topic.name] = self._mcap.add_channel(topic.name, self._schemas[kind], described)

    def _describe(self) -> None:
        files = self._files if self._closed else [*self._files, self._file_summary()]
        options = self.options
        write_information(
            self.folder,
            list(self._topics.values()),
            self._counts,
            files,
            self._metadata,
            options.metadata_version,
            options.ros_distro,
        )
        self._told_topics = len(self._topics)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """What the operating system refuses becomes our own error, once and for all: the file's end is undefined after it."""
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise BagError(f"{self.folder}: this bag is closed")
        try:
            yield
        except OSError as error:
            kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else BagError
            saved = sum(self._counts.values())
            self._failure = kind(
                f"{self.folder}: cannot write ({error.strerror or error}); up to {saved} messages are saved, but for the last "
                f"moments. `worldagen bag recover {self.folder}` makes a whole bag of them, on a disk with space"
            )
            raise self._failure from error


def make_empty_folder(folder: Path) -> None:
    """Make a folder for a bag; an empty one will do. Raises BagError when there is something in it, DiskFull without space."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        first = next(os.scandir(folder), None)
    except OSError as error:
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else BagError
        raise kind(f"{folder}: cannot become a bag's folder ({error.strerror or error})") from None
    if first is not None:
        raise BagError(f"{folder}: not empty (there is {first.name}); give a folder that does not exist. Nothing was changed")


def _checked(name: str, values: Mapping[str, str]) -> dict[str, str]:
    if "." in name or not all(isinstance(text, str) for item in values.items() for text in item):
        raise BagError(f"bag metadata {name!r}: expected a name without dots, and texts only")
    return dict(values)


class _Output:
    """A new file that passes on at once what it is given, so that a killed program loses none of it, and counts."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)  # x: what is there is never overwritten
        self.count = 0

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest) or 0
            self.count += written
            rest = rest[written:]
        return len(data)

    def close(self) -> None:
        self._file.close()
