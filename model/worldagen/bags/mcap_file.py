"""One MCAP file: its summary when it is whole, and all that can be read of it when it was cut off.

A file that its writer finished ends with a summary and a footer. One that was cut off has neither; its records are read from
the start up to the first that is not all there. A chunk whose checksum is wrong is left out as a whole.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, Header, Message, Metadata, Schema
from mcap.stream_reader import CRCValidationError, breakup_chunk
from mcap.summary import Summary
from zstandard import ZstdError

from worldagen.errors import BagError, BagUnfinished

MAGIC = b"\x89MCAP0\r\n"
FOOTER_BYTES = 9 + 20  # opcode, length, and what the footer holds; the magic bytes follow it
RECORD_HEAD = struct.Struct("<BQ")  # opcode, length
LAST_OPCODE, FIRST_PRIVATE = max(Opcode), 0x80
# What reading damaged bytes may raise, in mcap and below it.
DAMAGE = (McapError, CRCValidationError, ZstdError, RuntimeError, ValueError, KeyError, IndexError, struct.error)
READABLE = {Opcode.CHANNEL: Channel, Opcode.HEADER: Header, Opcode.METADATA: Metadata, Opcode.SCHEMA: Schema}


@dataclass
class Salvage:
    """What was found while reading a file front to back, filled in while `records` runs."""

    size: int = 0
    good_bytes: int = 0  # up to the end of the last record that was all there
    finished: bool = False  # it has its end
    bad_chunks: int = 0  # left out
    reason: str = ""  # of the first that was left out
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def lost_bytes(self) -> int:
        """At the end of the file."""
        return self.size - self.good_bytes


def open_whole(path: Path) -> tuple[SeekingReader, Summary]:
    """A finished file and its summary; the reader checks checksums, its `_stream` is the caller's to close.

    Raises BagUnfinished when the file has no end, BagError when it is something else or damaged.
    """
    stream = path.open("rb")
    try:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if stream.read(len(MAGIC)) != MAGIC:
            raise BagError(f"{path}: {'empty' if not size else 'not an MCAP file'}; nothing can be read of it")
        stream.seek(max(0, size - FOOTER_BYTES - len(MAGIC)))
        tail = stream.read()
        if tail[-len(MAGIC) :] != MAGIC or tail[:1] != bytes([Opcode.FOOTER]) or len(tail) < FOOTER_BYTES + len(MAGIC):
            raise BagUnfinished(f"{path}: has no end: its recorder was killed or the file was cut off")
        stream.seek(0)
        reader = SeekingReader(stream, validate_crcs=True)
        header, summary = reader.get_header(), reader.get_summary()
        if header.profile not in ("ros2", ""):
            raise BagError(f"{path}: an MCAP file of {header.profile!r}; this suite reads those of ros2")
        if summary is None or summary.statistics is None:
            raise BagError(f"{path}: an MCAP file without a summary; `mcap recover` or `worldagen bag recover` makes one")
        return reader, summary
    except DAMAGE as error:
        stream.close()
        raise BagError(f"{path}: damaged ({_words(error)})") from None
    except BaseException:
        stream.close()
        raise


def salvage(path: Path, found: Salvage) -> Iterator[Schema | Channel | Message]:
    """Every schema, channel and message of a file, front to back, as far as it can be read; `found` tells how far that was.

    Raises BagError only when the file is no MCAP file at all.
    """
    with path.open("rb") as stream:
        found.size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        magic = stream.read(len(MAGIC))
        if magic != MAGIC[: len(magic)]:
            raise BagError(f"{path}: not an MCAP file; nothing can be read of it")
        found.good_bytes = len(magic)
        while not found.finished and (whole := _next_record(stream, found.size)):
            opcode, data = whole
            try:
                yield from _read_record(opcode, data, found)
            except DAMAGE as error:
                found.bad_chunks += 1
                found.reason = found.reason or _words(error)
            found.good_bytes = stream.tell()
        if found.finished:
            found.good_bytes = found.size  # what follows the footer is the magic bytes again


def _next_record(stream: io.BufferedReader, size: int) -> tuple[int, bytes] | None:
    """The next record, or None when it is not all there."""
    head = _next_head(stream, size)
    return (head[0], stream.read(head[1])) if head else None


def _next_head(stream: io.BufferedReader, size: int) -> tuple[int, int] | None:
    """Opcode and length of the next record, or None when it is not all there or is none."""
    head = stream.read(RECORD_HEAD.size)
    if len(head) < RECORD_HEAD.size:
        return None
    opcode, length = RECORD_HEAD.unpack(head)
    reserved = opcode == 0 or LAST_OPCODE < opcode < FIRST_PRIVATE  # no record: the zeros of a file that lost its power, say
    return None if reserved or length > size - stream.tell() else (opcode, length)


def _read_record(opcode: int, data: bytes, found: Salvage) -> Iterator[Schema | Channel | Message]:
    stream = ReadDataStream(io.BytesIO(data))
    if opcode == Opcode.CHUNK:
        # All of a chunk is read before any of it is handed out: its checksum covers the whole.
        for record in breakup_chunk(Chunk.read(stream), validate_crc=True):
            if isinstance(record, Schema | Channel | Message):
                yield record
    elif opcode == Opcode.MESSAGE:
        yield Message.read(stream, len(data))
    elif opcode == Opcode.METADATA:
        record = Metadata.read(stream)
        found.metadata[record.name] = dict(record.metadata)
    elif opcode in READABLE:
        record = READABLE[opcode].read(stream)  # type: ignore[index]
        if isinstance(record, Schema | Channel):
            yield record
    elif opcode == Opcode.FOOTER:
        found.finished = True


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
