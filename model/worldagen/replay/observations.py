"""What the policy saw at each decision: messages of a bag, fed to the policy node's own Assembler in the order they came.

The set that counts is the first complete one of a stamp, for that is what a policy that waits answers. Messages stay encoded
until a set is chosen, so that of a long bag only the pictures that were looked at are decoded.
"""

from collections.abc import Iterator, Mapping, Sequence

from worldagen.assembly import Assembler, SampleSet
from worldagen.bags.reader import Bag
from worldagen.bags.streams import header_stamp_ns
from worldagen.decoding import decode_joints, decode_picture
from worldagen.errors import BadObservation, BagError
from worldagen.replay.planning import Decision

LATE_NS = 1_000_000_000  # a chunk can overtake its own observation on the way to the recorder, but not by that much


def observations(
    bag: Bag, topics: Mapping[str, str], max_skew_s: float, decisions: Sequence[Decision]
) -> Iterator[SampleSet | None]:
    """One set of encoded messages (bags.types.Message) for each decision, in order; None: the bag does not hold it.

    topics: stream -> topic. Raises BagError where a file is damaged.
    """
    streams = {topic: stream for stream, topic in topics.items()}
    assembler = Assembler(tuple(topics), max_skew_s)
    wanted = {decision.stamp_ns for decision in decisions}
    found: dict[int, SampleSet] = {}
    place, newest_ns = 0, -1
    for message in bag.messages(list(streams)):
        assembler.add(streams[message.topic], header_stamp_ns(message.data), message)
        newest = assembler.newest()
        if newest is not None and newest.stamp_ns != newest_ns:
            newest_ns = newest.stamp_ns
            if newest_ns in wanted:
                found[newest_ns] = newest
        while place < len(decisions):
            decision = decisions[place]
            if decision.stamp_ns not in found and message.log_time_ns <= decision.log_ns + LATE_NS:
                break
            place += 1
            yield _take(found, decision, decisions[place : place + 1])
        if place == len(decisions):
            return
    for index in range(place, len(decisions)):
        yield _take(found, decisions[index], decisions[index + 1 : index + 2])


def _take(found: dict[int, SampleSet], decision: Decision, following: Sequence[Decision]) -> SampleSet | None:
    """Give a set away, unless the next decision looks at it again: so does a policy that is given other words meanwhile."""
    again = bool(following) and following[0].stamp_ns == decision.stamp_ns
    return found.get(decision.stamp_ns) if again else found.pop(decision.stamp_ns, None)


def decode_samples(bag: Bag, encoded: SampleSet) -> SampleSet:
    """Messages -> what a decider takes. Raises BagError for one that cannot be decoded, naming its topic."""
    values = {}
    for stream, message in encoded.values.items():
        decoded = bag.decode(message)
        try:
            values[stream] = decode_joints(decoded) if stream == "joint_states" else decode_picture(decoded)
        except BadObservation as error:
            raise BagError(f"{bag.folder}: a message of {message.topic}: {error}") from None
    return SampleSet(encoded.stamp_ns, values)
