"""What a bag says of the run that it holds: the chunks, when each came, the words that were followed, and the streams.

Nothing is aligned here and no picture is decoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldagen.bags.reader import Bag
from worldagen.bags.streams import header_stamp_ns
from worldagen.bags.types import Message
from worldagen.decoding import decode_chunk
from worldagen.errors import BadChunk, BagError, WorldAgenError
from worldagen.types import ActionChunk

CHUNKS, EXPERT = "action_chunk", "expert/action_chunk"
# Where words are looked for, the best first: an action's goal is on no topic, but the policy says what it follows.
WORDS = ("policy/status", "instruction", "sim/task_state")
STREAMS = {
    "static_camera": "static_camera/image_raw",
    "wrist_camera": "wrist_camera/image_raw",
    "joint_states": "joint_states",
}
COMPRESSED = "/compressed"


class ReplayError(WorldAgenError):
    """A run cannot be replayed as asked, or where asked."""


@dataclass(frozen=True, eq=False)
class GivenChunk:
    """A chunk as it was recorded. log_ns: when it had arrived. words: what was followed then."""

    chunk: ActionChunk
    log_ns: int
    words: str


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """One bag. topics: stream -> its topic. static_ns: (T, 2) stamp and log time of every picture of the static camera."""

    folder: Path
    parameters: Mapping[str, str]
    topics: Mapping[str, str]
    chunks: tuple[GivenChunk, ...]
    static_ns: np.ndarray

    @property
    def compressed(self) -> bool:
        """Whether its pictures are."""
        return self.topics["static_camera"].endswith(COMPRESSED)


def read_run(bag: Bag, frame_id: str) -> RecordedRun:
    """Read everything but pictures. frame_id: the axes that its chunks must move along.

    Raises BagError where something is missing or damaged, saying what there is and what to do.
    """
    topics = {stream: _stream(bag, name) for stream, name in STREAMS.items()}
    chunk_topic = _find(bag, CHUNKS)
    if chunk_topic is None or not bag.counts[chunk_topic]:
        raise BagError(
            f"{bag.folder}: no chunks on {CHUNKS}, so there is no decision to make again; it has: {_spoken(bag)}. "
            "Record while a policy decides, without recorder.skip of this topic"
        )
    told: dict[str, list[tuple[int, str]]] = {name: [] for source in WORDS if (name := _find(bag, source)) is not None}
    given: list[tuple[int, ActionChunk]] = []
    static: list[tuple[int, int]] = []
    wanted = {topics["static_camera"], chunk_topic, *told}
    for message in bag.messages(wanted):
        if message.topic == topics["static_camera"]:
            static.append((header_stamp_ns(message.data), message.log_time_ns))
        elif message.topic == chunk_topic:
            given.append((message.log_time_ns, _chunk(bag, message, frame_id)))
        else:
            decoded: Any = bag.decode(message)
            text = str(decoded.data if hasattr(decoded, "data") else decoded.instruction)
            if text.strip():
                told[message.topic].append((message.log_time_ns, text))
    timeline = next((heard for heard in told.values() if heard), None)
    if timeline is None:
        raise BagError(
            f"{bag.folder}: no words on {', '.join(WORDS)}; record one of them, the policy is asked with its instruction"
        )
    return RecordedRun(
        folder=bag.folder,
        parameters=bag.metadata.get("parameters", {}),
        topics=topics,
        chunks=tuple(GivenChunk(chunk, log_ns, _words_at(timeline, log_ns)) for log_ns, chunk in _without_repeats(given)),
        static_ns=np.array(static, np.int64).reshape(-1, 2),
    )


def _stream(bag: Bag, name: str) -> str:
    """The topic that a policy looks at, for pictures raw or compressed. Raises BagError for one that is silent."""
    raw = _find(bag, name)
    topic = raw if raw is not None and bag.counts[raw] else _find(bag, f"{name}{COMPRESSED}")
    if topic is None or not bag.counts[topic]:
        raise BagError(f"{bag.folder}: nothing on {name}, which the policy looks at; it has: {_spoken(bag)}")
    return topic


def _find(bag: Bag, name: str) -> str | None:
    """The topic of that relative name, at the root or in a namespace. Raises BagError for several."""
    if f"/{name}" in bag.topics:
        return f"/{name}"
    ends = [topic for topic in bag.topics if topic.endswith(f"/{name}")]
    found = [topic for topic in ends if name == EXPERT or not topic.endswith(f"/{EXPERT}")]
    if len(found) > 1:
        raise BagError(f"{bag.folder}: {len(found)} topics end in {name}: {', '.join(found)}; expected one robot in a bag")
    return found[0] if found else None


def _spoken(bag: Bag) -> str:
    return ", ".join(name for name, count in bag.counts.items() if count) or "no messages"


def _chunk(bag: Bag, message: Message, frame_id: str) -> ActionChunk:
    try:
        return decode_chunk(bag.decode(message), frame_id)
    except BadChunk as error:
        raise BagError(f"{bag.folder}: a message of {message.topic}: {error}") from None


def _without_repeats(given: list[tuple[int, ActionChunk]]) -> list[tuple[int, ActionChunk]]:
    """In lockstep a chunk is sent again when it seems to have been lost."""
    kept: list[tuple[int, ActionChunk]] = []
    for log_ns, chunk in given:
        before = kept[-1][1] if kept else None
        if before is None or (chunk.stamp_ns, chunk.sequence) != (before.stamp_ns, before.sequence):
            kept.append((log_ns, chunk))
    return kept


def _words_at(timeline: list[tuple[int, str]], log_ns: int) -> str:
    """The newest words that were told by then; the first ones where none were, for a recorder can connect late."""
    told = [text for at_ns, text in timeline if at_ns <= log_ns]
    return told[-1] if told else timeline[0][1]
