"""One recording, two readers: what the policy node sees of it live, and what training reads of its bag, are equal."""

from pathlib import Path

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from worldagen.assembly import Assembler
from worldagen.bags.reader import open_bag
from worldagen.bags.streams import header_stamp_ns
from worldagen.bags.writer import BagWriter
from worldagen.cli import main
from worldagen.data.bags import BagSource
from worldagen.types import ActionChunk, Observation
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_ros import messages
from worldagen_ros.config import CamerasConfig, RobotConfig
from worldagen_ros.deciders import NetworkDecider
from worldagen_ros.inputs import SOURCES
from worldagen_ros.robots import kinematics_of
from worldagen_sim.demonstrations import EPISODES

CHUNKS, EXPERT, WORDS = "/action_chunk", "/expert/action_chunk", "/instruction"
TYPES = {f"/{topic}": kind for topic, kind, _ in SOURCES.values()} | {CHUNKS: ActionChunkMsg, WORDS: String}
MS = 1_000_000
SETTLED_NS = 12 * MS  # after a picture; all that is near it has come by then


class Witness:
    """In the place of the network: keeps what it is shown and answers as the recording did."""

    def __init__(self, chunks: dict[int, ActionChunk]) -> None:
        self._chunks = chunks
        self.seen: list[Observation] = []

    def reset(self, instruction: str, disturbance=None) -> None:
        self.instruction = instruction

    def act(self, observation: Observation) -> ActionChunk:
        self.seen.append(observation)
        return self._chunks.pop(observation.stamp_ns)

    def waits_for(self, stamp_ns: int) -> bool:
        return stamp_ns in self._chunks


def live(folder: Path) -> Witness:
    """The messages of a bag, as they were received, through the decoders, the assembly and the decider of the policy node."""
    robot, bag = RobotConfig(), open_bag(folder)
    content = [
        (message, deserialize_message(message.data, TYPES[message.topic]))
        for message in bag.messages()
        if message.topic in TYPES
    ]
    told = [messages.decode_chunk(msg, robot.frame_id) for message, msg in content if message.topic == CHUNKS]
    witness = Witness({chunk.stamp_ns: chunk for chunk in told})
    kinematics = kinematics_of(robot)
    decider = NetworkDecider(witness, kinematics, "")  # type: ignore[arg-type]
    decider.reset(next(msg.data for message, msg in content if message.topic == WORDS))
    assembler = Assembler(decider.streams, CamerasConfig().max_skew_s)
    for message, msg in [*content, (None, None)]:
        samples = assembler.newest()
        settled = message is None or samples is None or message.log_time_ns > samples.stamp_ns + SETTLED_NS
        if samples is not None and settled and witness.waits_for(samples.stamp_ns):
            decider.decide(samples)
        for stream in decider.streams:
            topic, _, decode = SOURCES[stream]
            if message is not None and message.topic == f"/{topic}":
                assembler.add(stream, messages.stamp_to_ns(msg.header.stamp), decode(msg))
    return witness


def offline(folder: Path) -> tuple[dict[int, Observation], np.ndarray]:
    """What training reads: observations by their stamps, and the actions."""
    source = BagSource(folder)
    [name] = source.episodes()
    episode = source.read(name)
    stamps = [header_stamp_ns(message.data) for message in open_bag(folder).messages(["/static_camera/image_raw"])]
    shown = zip(stamps, episode.pictures(), episode.states, strict=True)
    return {stamp: Observation(stamp, *pair, state) for stamp, pair, state in shown}, episode.actions


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("parity") / "out"
    what = [
        "record",
        "--env",
        "playtable",
        "--scenes",
        "D",
        "--seed",
        "3",
        "--renderer",
        "raycast",
        "--direct",
        "--processes",
        "1",
    ]
    assert main([*what, "--tasks", "turn_on_led", "--episodes-per-task", "1", "--out", str(out)]) == 0
    return next((out / EPISODES).glob("*/*/*"))


@pytest.fixture(scope="module")
def jittered(recorded, tmp_path_factory) -> Path:
    """The same as a robot would have sent it: cameras out of step, joints at another time, everything received late."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("jittered") / "bag"
    moved: list[tuple[str, bytes, int, int]] = []
    with open_bag(recorded) as bag, BagWriter(folder, bag.metadata) as written:
        for message in bag.messages():
            shift = int(random.integers(-8, 9)) * MS if message.topic in ("/wrist_camera/image_raw", "/joint_states") else 0
            stamp = message.publish_time_ns + shift
            data = bytearray(message.data)
            if shift:
                data[4:12] = (stamp // 1_000_000_000).to_bytes(4, "little") + (stamp % 1_000_000_000).to_bytes(4, "little")
            late = int(random.integers(1, 4)) * MS if message.topic != WORDS else 0
            moved.append((message.topic, bytes(data), stamp + late, stamp))
        for topic in bag.topics.values():
            written.add_topic(topic)
        for item in sorted(moved, key=lambda item: item[2]):
            written.write(*item)
    return folder


@pytest.mark.parametrize("which", ["recorded", "jittered"])
def test_the_policy_and_the_training_see_the_same(which, request):
    folder = request.getfixturevalue(which)
    witness, (read, _) = live(folder), offline(folder)
    assert len(witness.seen) > 10
    for seen in witness.seen:
        other = read[seen.stamp_ns]
        assert np.array_equal(seen.static_image, other.static_image)
        assert np.array_equal(seen.wrist_image, other.wrist_image)
        assert np.array_equal(seen.state, other.state)


def test_chunks_and_commands_tell_of_the_same_actions(recorded, tmp_path):
    with open_bag(recorded) as bag, BagWriter(tmp_path / "bag", bag.metadata) as written:
        for message in bag.messages():
            if message.topic not in (CHUNKS, EXPERT):
                written.add_topic(bag.topics[message.topic])
                written.write(message.topic, message.data, message.log_time_ns, message.publish_time_ns)
    _, by_chunks = offline(recorded)
    _, by_commands = offline(tmp_path / "bag")
    assert by_commands == pytest.approx(by_chunks, abs=1e-9)
