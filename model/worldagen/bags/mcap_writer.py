"""One MCAP file being written: messages are gathered in chunks, each compressed and indexed, and a summary ends the file.

The records are those of the mcap package. Its own writer compresses with zstd at level 3 only, which takes six times the
processor of level 1 for pictures with sensor noise (106 against 678 MB/s) and saves a tenth of the disk; it also copies each
message four times. A recorder shares its machine with a robot, so here messages are copied once, and the level is 1.
"""

import struct
import zlib
from collections.abc import Mapping
from typing import Protocol

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

from worldagen.bags.mcap_file import MAGIC

ZSTD_LEVEL = 1
MESSAGE_HEAD = struct.Struct("<BQHIQQ")  # opcode, length, channel, sequence, log time, publish time
MESSAGE_FIXED = MESSAGE_HEAD.size - 9  # bytes of a message record that are not its data, behind opcode and length
CHUNK_HEAD = struct.Struct("<BQQQQI")  # opcode, length, first and last time, uncompressed size, checksum


class Output(Protocol):
    """Where a file goes. count: bytes so far."""

    count: int

    def write(self, data: bytes) -> int: ...


class McapWriter:
    """One file. The caller opens and closes the output; `finish` makes the file whole."""

    def __init__(self, output: Output, chunk_bytes: int, compression: str) -> None:
        """chunk_bytes: a chunk is written once it holds more. compression: "zstd", or "" for none."""
        self._output, self._chunk_bytes, self._compression = output, chunk_bytes, compression
        self._schemas: list[Schema] = []
        self._channels: list[Channel] = []
        self._counts: dict[int, int] = {}
        self._chunks: list[ChunkIndex] = []
        self._metadata: list[MetadataIndex] = []
        self._start_ns, self._end_ns = 2**64 - 1, 0
        self._begin_chunk()
        self._output.write(MAGIC)
        self._write_record(Header("ros2", "worldagen"))

    def add_schema(self, name: str, encoding: str, data: bytes) -> int:
        """A definition; returns its id. encoding: "ros2msg", "ros2idl", or empty without data."""
        schema = Schema(id=len(self._schemas) + 1, name=name, encoding=encoding, data=data)
        self._schemas.append(schema)
        self._add(encoded(schema))
        return schema.id

    def add_channel(self, topic: str, schema: int, metadata: Mapping[str, str]) -> int:
        """A topic of CDR messages; returns its id."""
        channel = Channel(
            id=len(self._channels) + 1, topic=topic, message_encoding="cdr", metadata=dict(metadata), schema_id=schema
        )
        self._channels.append(channel)
        self._add(encoded(channel))
        return channel.id

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """A named map of texts."""
        record = Metadata(name=name, metadata=dict(values))
        offset = self._output.count
        self._metadata.append(MetadataIndex(offset=offset, length=self._write_record(record), name=name))

    def add_message(self, channel: int, sequence: int, log_time_ns: int, publish_time_ns: int, data: bytes) -> None:
        """One message. data is kept, not copied, until its chunk is written."""
        self._index.setdefault(channel, []).append((log_time_ns, self._size))
        self._add(
            MESSAGE_HEAD.pack(Opcode.MESSAGE, MESSAGE_FIXED + len(data), channel, sequence, log_time_ns, publish_time_ns), data
        )
        self._chunk_start_ns = min(self._chunk_start_ns, log_time_ns)
        self._chunk_end_ns = max(self._chunk_end_ns, log_time_ns)
        if self._size > self._chunk_bytes:
            self.flush()

    def flush(self) -> None:
        """Write the chunk in progress, if it has messages."""
        if not self._index:
            return  # schemas and channels wait for the first message
        raw = b"".join(self._parts)
        data = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(raw) if self._compression else raw
        name = self._compression.encode()
        tail = struct.pack("<I", len(name)) + name + struct.pack("<Q", len(data))
        length = CHUNK_HEAD.size - 9 + len(tail) + len(data)
        head = CHUNK_HEAD.pack(Opcode.CHUNK, length, self._chunk_start_ns, self._chunk_end_ns, len(raw), zlib.crc32(raw))
        offset = self._output.count
        self._output.write(head + tail)
        self._output.write(data)
        indexed = self._output.count
        places: dict[int, int] = {}
        builder = RecordBuilder()
        for channel, records in self._index.items():
            places[channel] = indexed + builder.count
            MessageIndex(channel_id=channel, records=records).write(builder)
            self._counts[channel] = self._counts.get(channel, 0) + len(records)
        self._output.write(builder.end())
        self._chunks.append(
            ChunkIndex(
                chunk_length=indexed - offset,
                chunk_start_offset=offset,
                compression=self._compression,
                compressed_size=len(data),
                message_end_time=self._chunk_end_ns,
                message_index_length=self._output.count - indexed,
                message_index_offsets=places,
                message_start_time=self._chunk_start_ns,
                uncompressed_size=len(raw),
            )
        )
        self._start_ns, self._end_ns = min(self._start_ns, self._chunk_start_ns), max(self._end_ns, self._chunk_end_ns)
        self._begin_chunk()

    def finish(self) -> None:
        """Write the summary and the footer."""
        self.flush()
        self._write_record(DataEnd(0))
        start = self._output.count
        summary, groups = RecordBuilder(), []
        for opcode, records in (
            (Opcode.SCHEMA, self._schemas),
            (Opcode.CHANNEL, self._channels),
            (Opcode.STATISTICS, [self._statistics()]),
            (Opcode.CHUNK_INDEX, self._chunks),
            (Opcode.METADATA_INDEX, self._metadata),
        ):
            begun = summary.count
            for record in records:
                record.write(summary)
            groups.append(SummaryOffset(group_opcode=opcode, group_start=start + begun, group_length=summary.count - begun))
        offsets = start + summary.count
        for group in groups:
            if group.group_length:
                group.write(summary)
        data = summary.end()
        fixed = struct.pack("<BQQQ", Opcode.FOOTER, 20, start, offsets)  # the checksum covers the footer's beginning too
        self._output.write(data)
        checksum = zlib.crc32(fixed, zlib.crc32(data))
        self._write_record(Footer(summary_start=start, summary_offset_start=offsets, summary_crc=checksum))
        self._output.write(MAGIC)

    def _statistics(self) -> Statistics:
        return Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=self._counts,
            chunk_count=len(self._chunks),
            message_count=sum(self._counts.values()),
            message_end_time=self._end_ns,
            message_start_time=self._start_ns if self._counts else 0,
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )

    def _begin_chunk(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._index: dict[int, list[tuple[int, int]]] = {}  # channel -> (log time, place in the chunk) of each message
        self._chunk_start_ns, self._chunk_end_ns = 2**64 - 1, 0

    def _add(self, *parts: bytes) -> None:
        self._parts += parts
        self._size += sum(map(len, parts))

    def _write_record(self, record: Header | Metadata | DataEnd | Footer) -> int:
        return self._output.write(encoded(record))


def encoded(record: Header | Schema | Channel | Metadata | DataEnd | Footer) -> bytes:
    """The bytes of a record."""
    builder = RecordBuilder()
    record.write(builder)
    return builder.end()
