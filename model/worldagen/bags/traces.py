"""A bag -> the latency traces in it."""

from collections.abc import Iterator

from worldagen.bags.reader import Bag
from worldagen.decoding import decode_trace
from worldagen.errors import BagError
from worldagen.latency import LatencyWindow, Trace

TRACE, CHUNK = "worldagen_msgs/msg/LatencyTrace", "worldagen_msgs/msg/ActionChunk"
TOPIC, CHUNKS = "latency", "action_chunk"


def traced(bag: Bag, namespace: str = "") -> LatencyWindow:
    """All of a stack's traces. Where no command node completed them, those of its chunks, which end with `published`.

    namespace: empty where the bag holds one stack. Raises BagError where there are none, or several stacks.
    """
    traces = list(_traces(bag, _topic_of(bag, TOPIC, TRACE, namespace))) or list(
        _traces(bag, _topic_of(bag, CHUNKS, CHUNK, namespace))
    )
    if not traces:
        spoken = ", ".join(name for name, count in bag.counts.items() if count) or "nothing"
        raise BagError(
            f"{bag.folder}: no latency traces{f' in namespace {namespace}' if namespace else ''}; it has {spoken}. Bags from "
            "before traces, and those of demonstrators, which answer to no clock, hold none"
        )
    window = LatencyWindow(len(traces))
    for trace in traces:
        window.add(trace)
    return window


def _topic_of(bag: Bag, name: str, kind: str, namespace: str) -> str:
    """The one topic of that type and relative name, "" for none. Raises BagError for several."""
    wanted = f"/{namespace.strip('/')}/{name}" if namespace.strip("/") else ""
    ends = [
        topic for topic, count in bag.counts.items() if count and bag.topics[topic].type == kind and topic.endswith(f"/{name}")
    ]
    # The demonstrators' second chunk topic is expert/action_chunk: it is in no namespace of its own.
    found = [topic for topic in ends if (topic == wanted if wanted else not topic.endswith(f"/expert/{name}"))]
    if len(found) > 1:
        raise BagError(f"{bag.folder}: {len(found)} stacks speak: {', '.join(found)}; choose one with --namespace")
    return found[0] if found else ""


def _traces(bag: Bag, topic: str) -> Iterator[Trace]:
    """Of messages that carry one; in older bags chunks do not."""
    if not topic:
        return
    for message in bag.messages([topic]):
        decoded = bag.decode(message)
        told = getattr(decoded, "trace", decoded)
        if hasattr(told, "published") and (trace := decode_trace(told)).published_ns:
            yield trace
