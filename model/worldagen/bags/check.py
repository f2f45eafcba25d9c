"""Is a bag what it should be? Pure functions over its streams and its contract; every doubt is a finding, none is an exception.

FAIL   must not be trained on or replayed as if it were whole
WARN   usable, and somebody should know
OK     as it should be
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from worldagen.bags.contract import Contract, TopicContract, contract_of
from worldagen.bags.reader import open_bag
from worldagen.bags.streams import JOINTS, PICTURES, Stream, read_streams
from worldagen.bags.types import BagMetadata
from worldagen.errors import BagError

RATE_WARN, RATE_FAIL = 0.05, 0.2  # of the declared rate
LOSS_FAIL = 0.05  # share of messages that are missing, or of instants whose streams do not belong together
LOST_AFTER = 1.5  # periods without a message
RECORDING = "recording"  # bag metadata: what the recorder itself counted


class Level(IntEnum):
    """How bad a finding is."""

    OK = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True)
class Finding:
    """One sentence about a bag. where: a topic, or "bag"."""

    level: Level
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.level.name:<4} {self.where}: {self.text}"


def check_bag(path: Path, contract: Contract | None = None) -> list[Finding]:
    """Everything there is to say about a bag, against its own contract or another. Reads and decodes every message.

    Raises BagError only when it is no bag that this suite can open.
    """
    with open_bag(path) as bag:
        try:
            contract = contract or contract_of(bag.metadata, str(path))
            streams = read_streams(bag)
        except BagError as error:
            return [Finding(Level.FAIL, "bag", str(error))]
        return [*check_recording(bag.metadata), *check_streams(streams, contract)]


def check_streams(streams: Mapping[str, Stream], contract: Contract | None) -> list[Finding]:
    """Findings about all streams of a bag; without a contract only what needs none."""
    promised = {topic.name: topic for topic in contract.topics} if contract else {}
    findings: list[Finding] = []
    if contract is None:
        findings.append(
            Finding(Level.WARN, "bag", "carries no contract: required topics, rates and picture sizes are not checked")
        )
    for topic in promised.values():
        findings += check_presence(streams.get(topic.name), topic)
    for stream in streams.values():
        if stream.count:
            findings += check_content(stream)
            findings += check_order(stream)
            topic = promised.get(stream.topic.name)
            if topic is not None:
                findings += check_rate(stream, topic.rate_hz, contract.pause_s if contract else 0.0)
                findings += check_pictures(stream, topic)
    findings += check_skew(streams, contract)
    return findings


def check_recording(metadata: BagMetadata) -> Iterator[Finding]:
    """What the recorder says of its own work: messages it had to drop, why it stopped."""
    told = metadata.get(RECORDING, {})
    for key, text in told.items():
        if key.startswith("dropped ") and text != "0":
            yield Finding(Level.FAIL, key.removeprefix("dropped "), f"the recorder dropped {text} messages")
        elif key.startswith("lost ") and text != "0":
            yield Finding(Level.WARN, key.removeprefix("lost "), f"the middleware lost {text} messages before the recorder")
    if told.get("stopped"):
        yield Finding(Level.WARN, "bag", f"the recorder stopped by itself: {told['stopped']}")
    if "recovered" in told:
        yield Finding(Level.WARN, "bag", f"recovered: {told['recovered']}")


def check_presence(stream: Stream | None, topic: TopicContract) -> Iterator[Finding]:
    """Whether a promised topic is there, with messages, of its type."""
    bad = Level.FAIL if topic.required else Level.OK
    if stream is None:
        yield Finding(bad, topic.name, "missing: the bag has no such topic" if topic.required else "not recorded (optional)")
    elif stream.topic.type != topic.type:
        yield Finding(Level.FAIL, topic.name, f"is {stream.topic.type}; the contract says {topic.type}")
    elif not stream.count:
        yield Finding(bad, topic.name, "no message" if topic.required else "no message (optional)")


def check_content(stream: Stream) -> Iterator[Finding]:
    """Whether every message fits the definition in the bag."""
    name = stream.topic.name
    if not stream.topic.schema:
        yield Finding(Level.FAIL, name, f"no definition of {stream.topic.type} in the bag: it cannot be decoded")
    elif stream.undecodable:
        yield Finding(
            Level.FAIL, name, f"{stream.undecodable} of {stream.count} messages cannot be decoded; first: {stream.problem}"
        )
    if stream.stamped and not stream.stamp_ns.all():
        unset = int(np.count_nonzero(stream.stamp_ns == 0))
        yield Finding(Level.WARN, name, f"{unset} of {stream.count} messages have no stamp in their header (it is 0)")


def check_order(stream: Stream) -> Iterator[Finding]:
    """Whether time runs forward, by the clock of the recorder and by the stamps."""
    for what, times_ns in (("log time", stream.log_ns), ("stamp", stream.stamp_ns)):
        steps = np.diff(times_ns)
        back = np.flatnonzero(steps < 0)
        if len(back):
            worst_s = -float(steps.min()) * 1e-9
            yield Finding(
                Level.FAIL,
                stream.topic.name,
                f"{what} runs back {len(back)} times, first at message {back[0] + 1}, by {worst_s:.6f} s at most",
            )
    if stream.stamped:
        repeated = int(np.count_nonzero(np.diff(stream.stamp_ns) == 0))
        if repeated:
            yield Finding(Level.WARN, stream.topic.name, f"{repeated} messages repeat the stamp before them")


def check_rate(stream: Stream, rate_hz: float, pause_s: float = 0.0) -> Iterator[Finding]:
    """Rate against the declared one (0: none), and what is missing. Silences longer than pause_s (> 0) are no loss."""
    name = stream.topic.name
    if not rate_hz:
        return
    if stream.count < 2:
        yield Finding(Level.WARN, name, f"{stream.count} message is too few to tell a rate; declared are {rate_hz:g} Hz")
        return
    off = abs(stream.rate_hz - rate_hz) / rate_hz
    level = Level.FAIL if off > RATE_FAIL else Level.WARN if off > RATE_WARN else Level.OK
    yield Finding(level, name, f"{stream.rate_hz:.2f} Hz; declared are {rate_hz:g} Hz")
    periods = np.diff(np.unique(stream.stamp_ns)) * 1e-9 * rate_hz
    gaps = periods[(periods > LOST_AFTER) & ((periods < pause_s * rate_hz) | (pause_s <= 0))]
    if len(gaps):
        missing = int(np.sum(np.round(gaps) - 1))
        share = missing / (stream.count + missing)
        yield Finding(
            Level.FAIL if share > LOSS_FAIL else Level.WARN,
            name,
            f"{missing} messages are missing in {len(gaps)} gaps ({share:.1%}); the longest is {gaps.max() / rate_hz:.3f} s",
        )


def check_pictures(stream: Stream, topic: TopicContract) -> Iterator[Finding]:
    """Whether all pictures have one size and encoding, and the promised one."""
    if len(stream.formats) > 1:
        counted = ", ".join(f"{count} of {shape}" for shape, count in stream.formats.items())
        yield Finding(Level.FAIL, topic.name, f"pictures change: {counted}")
    for shape in stream.formats:
        size, _, encoding = shape.partition(" ")
        wanted = f"{topic.width}x{topic.height}"
        if stream.topic.type == PICTURES[0] and topic.width and size != wanted:
            yield Finding(Level.FAIL, topic.name, f"pictures of {size}; the contract says {wanted}")
        if stream.topic.type == PICTURES[0] and topic.encoding and encoding != topic.encoding:
            yield Finding(Level.FAIL, topic.name, f"pictures are {encoding}; the contract says {topic.encoding}")


def check_skew(streams: Mapping[str, Stream], contract: Contract | None) -> Iterator[Finding]:
    """How far the stamps of other cameras and of the joint states are from the first camera's, at each of its instants."""
    cameras = [stream for stream in streams.values() if stream.topic.type in PICTURES and stream.stamped and stream.count]
    joints = [stream for stream in streams.values() if stream.topic.type == JOINTS and stream.stamped and stream.count]
    if contract:  # predictions and other pictures do not belong to the instants of the cameras
        promised = {topic.name for topic in contract.topics if topic.required}
        cameras = [stream for stream in cameras if stream.topic.name in promised]
        joints = [stream for stream in joints if stream.topic.name in promised]
    allowed_s = contract.max_skew_s if contract else 0.0
    for other in [*cameras[1:], *joints] if cameras else []:
        skew_s = nearest_distance_s(cameras[0].stamp_ns, other.stamp_ns)
        apart = int(np.count_nonzero(skew_s > allowed_s)) if allowed_s else 0
        p50, p99, worst = (float(value) * 1e3 for value in (*np.percentile(skew_s, (50, 99)), skew_s.max()))
        text = f"skew to {cameras[0].topic.name} p50 {p50:.1f}, p99 {p99:.1f}, largest {worst:.1f} ms"
        if apart:
            text += f"; {apart} of {len(skew_s)} instants are more than {allowed_s * 1e3:g} ms apart"
        level = Level.FAIL if apart > LOSS_FAIL * len(skew_s) else Level.WARN if apart else Level.OK
        yield Finding(level, other.topic.name, text)


def nearest_distance_s(at_ns: np.ndarray, among_ns: np.ndarray) -> np.ndarray:
    """Distance of each instant (n,) from the nearest of others (m,), m > 0: (n,) s."""
    among_ns = np.sort(among_ns)
    after = np.clip(np.searchsorted(among_ns, at_ns), 1, max(1, len(among_ns) - 1))
    before_ns, after_ns = among_ns[after - 1], among_ns[np.minimum(after, len(among_ns) - 1)]
    return np.minimum(np.abs(at_ns - before_ns), np.abs(after_ns - at_ns)) * 1e-9
