"""Samples are paired by their stamps; silence is noticed; nothing is paired across a jump of time."""

import numpy as np
import pytest

from worldagen.assembly import Assembler, FreezeWatch, StreamWatch

MS = 1_000_000
STREAMS = ("static", "wrist", "joints")


def filled(**stamps_ms: int) -> Assembler:
    assembler = Assembler(STREAMS, max_skew_s=0.02)
    for stream, stamp_ms in stamps_ms.items():
        assembler.add(stream, stamp_ms * MS, f"{stream}@{stamp_ms}")
    return assembler


def test_one_sample_of_each_stream_makes_a_set():
    samples = filled(static=100, wrist=105, joints=95).newest()
    assert samples is not None
    assert samples.stamp_ns == 100 * MS
    assert samples.values == {"static": "static@100", "wrist": "wrist@105", "joints": "joints@95"}


def test_a_missing_stream_makes_none():
    assert filled(static=100, wrist=100).newest() is None


def test_too_much_skew_makes_none():
    assert filled(static=100, wrist=100, joints=121).newest() is None


def test_the_newest_complete_set_wins_over_a_newer_incomplete_one():
    assembler = filled(static=100, wrist=100, joints=100)
    assembler.add("static", 133 * MS, "static@133")
    samples = assembler.newest()
    assert samples is not None and samples.stamp_ns == 100 * MS


def test_the_nearest_sample_is_taken():
    assembler = filled(static=100, wrist=100)
    for stamp_ms in (90, 99, 108):
        assembler.add("joints", stamp_ms * MS, stamp_ms)
    samples = assembler.newest()
    assert samples is not None and samples.values["joints"] == 99


def test_a_jump_back_in_time_forgets_what_was_before():
    assembler = filled(static=100, wrist=100, joints=100)
    assembler.add("static", 5 * MS, "static@5")
    assert assembler.newest() is None


def test_a_repeated_sample_replaces_itself():
    assembler = filled(static=100, wrist=100, joints=100)
    assembler.add("static", 100 * MS, "again")
    samples = assembler.newest()
    assert samples is not None and samples.values["static"] == "again"


def test_a_silent_stream_is_lost_once_and_found_once():
    watch = StreamWatch(("a", "b"), max_age_s=0.1, now_s=0.0)
    watch.heard("a", 0.1)
    events = watch.check(0.15)
    assert [(event.stream, event.lost) for event in events] == [("b", True)]
    assert watch.check(0.16) == [] and watch.lost == {"b"}
    event = watch.heard("b", 0.5)
    assert event is not None and not event.lost and event.age_s == 0.5
    assert watch.heard("b", 0.6) is None and watch.lost == frozenset()


def test_the_next_look_is_due_when_a_stream_can_be_silent():
    watch = StreamWatch(("a", "b"), max_age_s=0.1, now_s=0.0)
    watch.heard("a", 0.05)
    assert watch.next_s == pytest.approx(0.1)
    watch.check(0.12)  # b is lost
    assert watch.next_s == pytest.approx(0.15)
    watch.check(0.2)
    assert watch.next_s == float("inf")


def test_streams_that_are_silent_together_only_wait():
    watch = StreamWatch(("a", "b"), max_age_s=0.1, now_s=0.0, together=True)
    assert watch.check(100.0) == []
    watch.heard("a", 100.0)
    assert [event.stream for event in watch.check(100.0)] == ["b"]


def frozen_after(seconds: float, moves: float, changes: bool = False) -> float:
    """The last answer to pictures at 10 Hz, while a joint moves that fast, in rad/s."""
    watch, answer = FreezeWatch(longest_s=1.0, moved=0.02), 0.0
    for step in range(round(seconds * 10) + 1):
        watch.joints(np.array([0.0, moves * step / 10]))
        picture = np.full((2, 2, 3), step if changes else 7, np.uint8)
        answer = watch.picture("static", step * 100 * MS, picture)
    return answer


def test_the_same_picture_for_longer_than_a_second_is_frozen_while_the_robot_moves():
    assert frozen_after(1.5, moves=0.1) == pytest.approx(1.5)
    assert frozen_after(0.9, moves=0.1) == 0.0
    assert frozen_after(1.5, moves=0.1, changes=True) == 0.0


@pytest.mark.parametrize("row", [0, 1, 31])
def test_pictures_that_differ_in_one_row_only_are_not_the_same(row):
    watch, pictures = FreezeWatch(longest_s=1.0, moved=0.02), np.zeros((2, 32, 2, 3), np.uint8)
    pictures[1, row] = 1
    for step in range(20):
        watch.joints(np.array([step * 0.1]))
        assert watch.picture("static", step * 100 * MS, pictures[step % 2]) == 0.0


def test_a_robot_that_stands_may_be_shown_the_same_picture_for_ever():
    assert frozen_after(30.0, moves=0.0) == 0.0


def test_a_new_picture_ends_a_freeze_and_one_that_came_back_to_where_it_was_has_moved():
    watch = FreezeWatch(longest_s=1.0, moved=0.02)
    for step, position in enumerate((0.0, 0.3, 0.0, 0.0)):
        watch.joints(np.array([position]))
        answer = watch.picture("static", step * 500 * MS, np.zeros((2, 2, 3), np.uint8))
    assert answer == pytest.approx(1.5)
    assert watch.picture("static", 2000 * MS, np.ones((2, 2, 3), np.uint8)) == 0.0
