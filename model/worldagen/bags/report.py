"""What `worldagen bag` prints: a bag, and a recovery, in words and as plain values for programs."""

from datetime import datetime, timezone
from typing import Any

from worldagen.bags.contract import NAME as CONTRACT
from worldagen.bags.reader import Bag
from worldagen.bags.recover import Recovery
from worldagen.bags.streams import Stream, read_streams


def summarise(bag: Bag) -> dict[str, Any]:
    """Everything `worldagen bag info` tells, JSON-ready. Reads every message, but decodes none. Times s, rates Hz."""
    streams = read_streams(bag, decode=False)
    return {
        "bag": str(bag.folder),
        "version": bag.information.version,
        "ros_distro": bag.information.ros_distro,
        "files": [file.name for file in bag.files],
        "bytes": bag.size_bytes,
        "start": _date(bag.start_ns) if bag.message_count else "",
        "duration_s": round(bag.duration_s, 6),
        "messages": bag.message_count,
        "topics": {name: _topic(stream) for name, stream in sorted(streams.items())},
        "metadata": {name: values for name, values in bag.metadata.items() if name != CONTRACT},
        "has_contract": CONTRACT in bag.metadata,
    }


def describe(summary: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"{summary['bag']}: {summary['messages']} messages, {summary['duration_s']:.2f} s from {summary['start'] or 'never'}",
        f"  {_size(summary['bytes'])} in {len(summary['files'])} files; rosbag2 version {summary['version']} "
        f"{summary['ros_distro']}; {'with' if summary['has_contract'] else 'without'} a contract",
        "",
        f"  {'messages':>8} {'Hz':>8} {'gap, s':>8}  topic",
    ]
    for name, topic in summary["topics"].items():
        rate, gap = (f"{topic[key]:.2f}" if topic["messages"] > 1 else "-" for key in ("rate_hz", "largest_gap_s"))
        lines.append(f"  {topic['messages']:>8} {rate:>8} {gap:>8}  {name}  [{topic['type']}]")
    for name, values in summary["metadata"].items():
        lines += ["", f"  {name or 'custom data'}"]
        lines += [f"    {key}: {text if len(text) < 100 else text[:97] + '...'}" for key, text in values.items()]
    return "\n".join(lines)


def describe_recovery(recovery: Recovery) -> str:
    """What was saved of each topic and what was not, for people."""
    count = sum(topic.messages for topic in recovery.topics.values())
    if recovery.healthy:
        return f"{recovery.folder}: healthy: all of its {count} messages were read; nothing to recover, nothing written"
    lines = [f"recovered into {recovery.folder}: {count} messages, every one read back and compared"]
    lines += [f"  {file}" for file in recovery.files]
    last_ns = max(topic.end_ns for topic in recovery.topics.values())
    for name, topic in sorted(recovery.topics.items()):
        lines.append(f"  {topic.messages:>8}  {name}  (ends {(last_ns - topic.end_ns) * 1e-9:.3f} s before the last message)")
    return "\n".join(lines)


def recovery_values(recovery: Recovery) -> dict[str, Any]:
    """A recovery, JSON-ready."""
    return {
        "bag": str(recovery.folder),
        "healthy": recovery.healthy,
        "topics": {name: {"messages": topic.messages, "end_ns": topic.end_ns} for name, topic in recovery.topics.items()},
        "files": [str(file) for file in recovery.files],
    }


def _topic(stream: Stream) -> dict[str, Any]:
    return {
        "type": stream.topic.type,
        "messages": stream.count,
        "rate_hz": round(stream.rate_hz, 3),
        "largest_gap_s": round(stream.largest_gap_s, 6),
    }


def _date(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns * 1e-9, timezone.utc).isoformat(timespec="milliseconds")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
