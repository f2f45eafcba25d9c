"""Decisions come one chunk apart, one at a time, and never for an instruction that is over."""

import threading

import numpy as np
import pytest

from worldagen.assembly import SampleSet
from worldagen.deciding import DecisionLoop
from worldagen.errors import BadObservation
from worldagen.schedule import Due, Schedule
from worldagen.types import ActionChunk

ROW_NS = 100_000_000


def chunk(stamp_ns: int, rows: int = 5) -> ActionChunk:
    return ActionChunk(stamp_ns=stamp_ns, sequence=0, period_s=0.1, convention="calvin", rows=np.zeros((rows, 7)))


class TestSchedule:
    def make(self, replan_rows: int = 0) -> Schedule:
        schedule = Schedule(replan_rows, max_gap_s=0.5)
        schedule.answered(chunk(0))
        return schedule

    def test_the_first_observation_is_due(self):
        assert Schedule(0, 0.5).due(123) is Due.ACT

    def test_an_observation_within_the_chunk_waits(self):
        assert self.make().due(4 * ROW_NS) is Due.WAIT

    def test_an_observation_at_its_end_is_due_and_half_a_row_of_jitter_is_forgiven(self):
        assert self.make().due(5 * ROW_NS) is Due.ACT
        assert self.make().due(5 * ROW_NS - ROW_NS // 3) is Due.ACT

    def test_replanning_early_is_due_early(self):
        assert self.make(replan_rows=3).due(3 * ROW_NS) is Due.ACT

    def test_the_same_observation_is_a_repetition(self):
        assert self.make().due(0) is Due.REPEAT

    def test_a_long_gap_or_a_jump_back_begins_afresh(self):
        assert self.make().due(5 * ROW_NS + 600_000_000) is Due.AFRESH
        assert self.make().due(-1) is Due.AFRESH


class SlowDecider:
    """Answers when it is allowed to."""

    name, source, streams = "slow", "", ("a",)

    def __init__(self) -> None:
        self.go = threading.Event()
        self.resets: list[str] = []
        self.error: Exception | None = None
        self.prepared = 0

    def reset(self, instruction: str, disturbance=None) -> None:
        self.resets.append(instruction)

    def decide(self, samples: SampleSet) -> ActionChunk:
        assert self.go.wait(5.0)
        if self.error:
            raise self.error
        return chunk(samples.stamp_ns)

    def prepare(self) -> None:
        self.prepared += 1


@pytest.fixture
def loop():
    done = threading.Event()
    made = DecisionLoop(SlowDecider(), Schedule(0, 0.5), on_done=done.set)
    made.done = done  # the test waits for it
    yield made
    made.decider.go.set()
    made.close()


def samples(stamp_ns: int) -> SampleSet:
    return SampleSet(stamp_ns, {"a": 1})


def collected(loop):
    loop.decider.go.set()
    assert loop.done.wait(5.0)
    loop.done.clear()
    return loop.collect()


def test_without_an_instruction_nothing_is_decided(loop):
    assert loop.offer(samples(0)) is Due.WAIT
    assert loop.decider.resets == []


def test_one_decision_at_a_time(loop):
    loop.start("open the drawer")
    assert loop.offer(samples(0)) is Due.ACT
    assert loop.offer(samples(5 * ROW_NS)) is Due.WAIT
    assert collected(loop).stamp_ns == 0
    assert loop.offer(samples(5 * ROW_NS)) is Due.ACT
    assert loop.decider.resets == ["open the drawer"] and loop.decisions == 1


def test_observations_of_the_last_episode_are_not_answered(loop):
    loop.start("open the drawer", not_before_ns=1000)
    assert loop.offer(samples(999)) is Due.WAIT
    assert loop.offer(samples(1000)) is Due.ACT


def test_a_decision_for_an_instruction_that_is_over_is_thrown_away(loop):
    loop.start("open the drawer")
    loop.offer(samples(0))
    loop.stop()
    assert collected(loop) is None
    assert loop.decisions == 0


def test_a_gap_makes_the_decider_forget(loop):
    loop.start("open the drawer")
    loop.offer(samples(0))
    collected(loop)
    assert loop.offer(samples(100 * ROW_NS)) is Due.AFRESH
    collected(loop)
    assert loop.decider.resets == ["open the drawer"] * 2


def test_after_a_bad_observation_the_next_good_one_works(loop):
    loop.start("open the drawer")
    loop.decider.error = BadObservation("black picture")
    loop.offer(samples(0))
    with pytest.raises(BadObservation):
        collected(loop)
    loop.decider.error = None
    assert loop.offer(samples(1)) is Due.ACT
    assert collected(loop).stamp_ns == 1


def test_after_each_decision_it_prepares_the_next(loop):
    loop.start("open the drawer")
    for step in range(3):
        loop.offer(samples(5 * ROW_NS * step))
        collected(loop)
    loop.close()
    assert loop.decider.prepared == 3
