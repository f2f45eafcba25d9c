"""From a camera's message to an observation no picture is copied, and nothing is kept that is not needed any more."""

import tracemalloc

import numpy as np
import pytest
from rclpy.node import Node
from sensor_msgs.msg import Image

from worldagen_ros import messages, topics
from worldagen_ros.config import CamerasConfig, TimingConfig
from worldagen_ros.diagnostics import Diagnostics
from worldagen_ros.images import encode_image
from worldagen_ros.inputs import Inputs

SHAPE = (480, 640, 3)
PICTURE = int(np.prod(SHAPE))  # bytes
PERIOD_NS = 33_000_000
STREAMS = ("static_camera", "wrist_camera", "joint_states")


@pytest.fixture
def senses(start_ros):
    """(inputs, what its subscriptions call, by topic)."""
    node = start_ros().add(Node("policy"))
    inputs = Inputs(node, STREAMS, CamerasConfig(), TimingConfig(mode="realtime"), Diagnostics(node), lambda: None)
    return inputs, {subscription.topic_name.lstrip("/"): subscription.callback for subscription in node.subscriptions}


def show(receive, frame: int, pictures: list[Image]) -> None:
    """One instant: joints that move, and a picture of each camera."""
    stamp_ns = 10**9 + frame * PERIOD_NS
    receive[topics.JOINT_STATES](messages.encode_joints(("joint",), np.array([0.01 * frame]), np.zeros(1), stamp_ns))
    for (name, topic), picture in zip(topics.CAMERA_TOPICS.items(), (pictures[0], pictures[1]), strict=True):
        picture.header = messages.header(stamp_ns, name)
        receive[topic](picture)


def test_in_steady_state_a_frame_costs_no_copy_and_leaves_nothing_behind(senses):
    inputs, receive = senses
    draw = np.random.default_rng(0)
    frames = [[encode_image(draw.integers(0, 256, SHAPE, np.uint8), Image()) for _ in range(2)] for _ in range(3)]
    for frame in range(12):  # caches and queues fill
        show(receive, frame, frames[frame % 3])
    tracemalloc.start()
    try:
        show(receive, 12, frames[0])
        show(receive, 13, frames[1])
        begin = tracemalloc.get_traced_memory()[0]
        highest = 0
        for frame in range(14, 44):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            show(receive, frame, frames[frame % 3])
            highest = max(highest, tracemalloc.get_traced_memory()[1] - before)
            assert inputs.newest() is not None
        kept = tracemalloc.get_traced_memory()[0] - begin
    finally:
        tracemalloc.stop()
    assert highest < PICTURE / 8  # the sparse rows of two pictures, compared: a copy would be the whole
    assert kept < 20_000  # 30 frames; the newest eight samples of each stream replace those before


def test_the_observation_looks_at_the_bytes_of_the_messages_themselves(senses):
    inputs, receive = senses
    frames = [encode_image(np.full(SHAPE, number, np.uint8), Image()) for number in (1, 2)]
    show(receive, 0, frames)
    seen = inputs.newest()
    assert seen is not None
    for (name, _), picture in zip(topics.CAMERA_TOPICS.items(), frames, strict=True):
        assert np.shares_memory(seen.values[name], np.frombuffer(picture.data, np.uint8))
