"""Latencies are counted from an observation to its own answer, whatever order the messages come in."""

import numpy as np
import pytest
from rclpy.node import Node
from sensor_msgs.msg import Image

from worldagen_msgs.msg import ActionChunk
from worldagen_ros.images import encode_image
from worldagen_ros.messages import header
from worldagen_ros.video import SIDE, STRIP, Compared, draw_comparison
from worldagen_ros.watching import Watcher

MS = 1_000_000


@pytest.fixture
def watcher(start_ros):
    graph = start_ros()
    return Watcher(graph.add(Node("eye")), live=False)


def chunk(stamp_ms: int) -> ActionChunk:
    return ActionChunk(header=header(stamp_ms * MS, "world"))


def test_a_command_counts_for_the_newest_chunk_before_it(watcher):
    watcher._commanded += [1060 * MS, 1012 * MS, 1045 * MS]
    for stamp_ms, chunk_ms in ((0, 1010), (100, 1050)):
        watcher._answered[stamp_ms * MS] = chunk_ms * MS
        watcher._existed[stamp_ms * MS] = 1000 * MS + 30 * MS * (stamp_ms > 0)
    latencies = watcher.latencies()
    assert latencies.to_chunk_s == pytest.approx((0.010, 0.020))
    assert latencies.to_command_s == pytest.approx((0.012, 0.030))


def test_an_observation_without_a_command_does_not_count(watcher):
    watcher._existed[0], watcher._answered[0] = 1000 * MS, 1010 * MS
    assert watcher.latencies().percentiles_ms() == {}


def test_the_same_answer_again_counts_once(watcher):
    watcher._on_chunk(chunk(5), 1010 * MS)
    watcher._on_chunk(chunk(5), 2010 * MS)
    assert len(watcher.chunks) == 1 and watcher.decisions_before(6 * MS) == 1 and watcher.decisions_before(5 * MS) == 0


def picture(stamp_ns: int, shade: int) -> Image:
    return encode_image(np.full((4, 4, 3), shade, np.uint8), Image(header=header(stamp_ns, "camera")))


def test_an_expectation_is_found_by_the_instant_it_is_of(watcher):
    for view in ("static", "wrist"):
        watcher._on_prediction(view, picture(1000 * MS, 7))
    assert watcher.expected_at(1000 * MS + 1)["wrist"].max() == 7  # stamps of simulated time are rounded
    assert watcher.expected_at(1033 * MS) is None
    for late in range(1, 200):  # drawing is that far behind
        for view in ("static", "wrist"):
            watcher._on_prediction(view, picture((1000 + 167 * late) * MS, 9))
    assert watcher.expected_at(1000 * MS)["static"].max() == 7
    watcher.forget()
    assert watcher.expected_at(1000 * MS) is None


def test_what_was_expected_stands_beside_what_came():
    expected, came = (np.full((8, 8, 3), shade, np.uint8) for shade in (40, 200))
    strip = draw_comparison(Compared({"static": expected, "wrist": expected}, {"static": came, "wrist": came}))
    assert strip.shape == (STRIP, 2 * SIDE, 3)
    assert [int(strip[20, column * STRIP + 20].mean()) for column in range(4)] == [40, 200, 40, 200]
    assert draw_comparison(None).shape == strip.shape
