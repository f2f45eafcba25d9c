"""A bag that is written while messages arrive: whoever hears them only queues them, and one thread owns the file.

The queue is bounded: what finds it full is dropped and counted, never waited for. Once in an interval everything is handed to
the operating system, so that a killed recorder loses no more than that. A floor of free disk is kept: at the floor the bag is
finished and recording stops, loudly.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worldagen.bags.check import RECORDING
from worldagen.bags.disk import DiskGuard
from worldagen.bags.types import BagMetadata, BagSummary, Topic
from worldagen.bags.writer import BagWriter, WriterOptions
from worldagen.errors import BagError


@dataclass(frozen=True)
class RecordingReport:
    """How a recording went. Counts are messages by topic.

    dropped: found the queue full. lost: by the middleware, before they came here. stopped: why recording ended by itself, or
    empty. most_queued, most_queued_bytes: the highest the queue ever stood.
    """

    folder: Path
    messages: Mapping[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    stopped: str = ""
    finished: bool = True
    most_queued: int = 0
    most_queued_bytes: int = 0

    def __str__(self) -> str:
        count, dropped, lost = (sum(counts.values()) for counts in (self.messages, self.dropped, self.lost))
        text = f"{self.folder}: {count} messages, {self.size_bytes / 1e6:.1f} MB, {dropped} dropped, {lost} lost before"
        return f"{text}; stopped by itself: {self.stopped}" if self.stopped else text


@dataclass(frozen=True)
class _Item:
    name: str
    data: bytes
    log_time_ns: int
    publish_time_ns: int


class Recording:
    """One bag while it is recorded. `offer` and `add_topic` never wait for the disk; `stop` does."""

    def __init__(
        self,
        folder: Path,
        metadata: BagMetadata,
        options: WriterOptions,
        guard: DiskGuard,
        flush_s: float = 1.0,
        queue_bytes: int = 256 << 20,
    ) -> None:
        """Begin. Raises DiskFull below the floor, BagError when the folder is in use."""
        guard.check()
        self._bag = BagWriter(folder, metadata, options)
        self._guard, self._flush_s, self._queue_bytes = guard, flush_s, queue_bytes
        self._changed = threading.Condition()
        self._queue: deque[Topic | _Item] = deque()
        self._queued_bytes = self._most_queued = self._most_queued_bytes = 0
        self._dropped: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._stopping = False
        self._told_last: BagMetadata = {}
        self._failure = ""
        self._summary: BagSummary | None = None
        self._thread = threading.Thread(target=self._work, name="bag writer", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """Why it stopped by itself; empty while all is well."""
        return self._failure

    def add_topic(self, topic: Topic) -> None:
        """Announce a topic before its first message."""
        with self._changed:
            self._queue.append(topic)
            self._changed.notify()

    def offer(self, name: str, data: bytes, log_time_ns: int, publish_time_ns: int) -> bool:
        """Queue a message of an announced topic; False: dropped and counted, because the queue is full or recording ended."""
        with self._changed:
            if self._stopping or self._failure or self._queued_bytes + len(data) > self._queue_bytes:
                self._dropped[name] = self._dropped.get(name, 0) + 1
                return False
            self._queue.append(_Item(name, data, log_time_ns, publish_time_ns))
            self._queued_bytes += len(data)
            self._most_queued = max(self._most_queued, len(self._queue))
            self._most_queued_bytes = max(self._most_queued_bytes, self._queued_bytes)
            self._changed.notify()
            return True

    def note_lost(self, name: str, count: int) -> None:
        """The middleware says that it lost messages before they came here."""
        with self._changed:
            self._lost[name] = self._lost.get(name, 0) + count

    def progress(self) -> RecordingReport:
        """The counts so far; those of the file lag behind by what is queued."""
        with self._changed:
            return self._report_now(self._bag.counts, self._bag.size_bytes)

    def stop(self, metadata: BagMetadata | None = None) -> RecordingReport:
        """Write what is queued, finish the bag, and say how it went. metadata: what is known only now.

        Again: the same report, with what was offered in vain since.
        """
        with self._changed:
            self._told_last = dict(metadata or {})
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        assert self._summary is not None
        return self._report_now(self._summary.messages, self._summary.size_bytes, self._summary.finished)

    def _work(self) -> None:
        """The writer's thread, from beginning to end."""
        try:
            self._write_until_told()
        except BagError as error:
            self._fail(str(error))
        except Exception as error:  # a fault of ours must not look like a recording that goes on
            self._fail(f"{type(error).__name__}: {error}")
        self._summary = self._finish()

    def _write_until_told(self) -> None:
        due_s = time.monotonic() + self._flush_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopping, max(0.0, due_s - time.monotonic()))
                items, over = list(self._queue), self._stopping
                self._queue.clear()
            for item in items:
                if isinstance(item, Topic):
                    self._bag.add_topic(item)
                else:
                    self._bag.write(item.name, item.data, item.log_time_ns, item.publish_time_ns)
                    with self._changed:
                        self._queued_bytes -= len(item.data)
                if time.monotonic() >= due_s:
                    due_s = self._flush()
            if over:
                return
            if time.monotonic() >= due_s:
                due_s = self._flush()

    def _flush(self) -> float:
        """Returns when the next one is due."""
        self._bag.flush()
        self._guard.check()
        return time.monotonic() + self._flush_s

    def _fail(self, why: str) -> None:
        with self._changed:
            self._failure = why
            for item in self._queue:
                if isinstance(item, _Item):
                    self._dropped[item.name] = self._dropped.get(item.name, 0) + 1
            self._queue.clear()

    def _finish(self) -> BagSummary:
        with self._changed:
            told = {f"dropped {name}": str(count) for name, count in self._dropped.items()}
            told |= {f"lost {name}": str(count) for name, count in self._lost.items()}
            told |= {"stopped": self._failure, "most_queued": str(self._most_queued)}
        try:
            for name, values in {**self._told_last, RECORDING: told}.items():
                self._bag.annotate(name, values)
            return self._bag.close()
        except BagError as error:
            self._fail(self._failure or str(error))
            return self._bag.close()

    def _report_now(self, messages: Mapping[str, int], size_bytes: int, finished: bool = True) -> RecordingReport:
        return RecordingReport(
            folder=self._bag.folder,
            messages=dict(messages),
            size_bytes=size_bytes,
            dropped=dict(self._dropped),
            lost=dict(self._lost),
            stopped=self._failure,
            finished=finished,
            most_queued=self._most_queued,
            most_queued_bytes=self._most_queued_bytes,
        )
