"""Latencies are counted from an observation to its own answer, whatever order the messages come in."""

import pytest
from rclpy.node import Node

from worldagen_msgs.msg import ActionChunk
from worldagen_ros.messages import header
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
