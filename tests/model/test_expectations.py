"""An expected picture is compared with the one that came at its instant, in whatever order they arrive."""

import numpy as np
import pytest

from worldagen.expectations import WAITING, Expectations

MS = 1_000_000
VIEWS = ("static", "wrist")


def picture(shade: int) -> np.ndarray:
    return np.full((2, 2, 3), shade, np.uint8)


@pytest.fixture
def expectations() -> Expectations:
    return Expectations(VIEWS, max_skew_s=0.02)


def expect(expectations: Expectations, stamp_ms: float, shade: int = 0) -> None:
    for view in VIEWS:
        expectations.expect(view, round(stamp_ms * MS), picture(shade))


def see(expectations: Expectations, stamp_ms: float, shade: int = 0, later_ms: float = 0) -> None:
    expectations.see("static", round(stamp_ms * MS), picture(shade))
    expectations.see("wrist", round((stamp_ms + later_ms) * MS), picture(shade))


def shades(pairs) -> list[tuple[int, int]]:
    return [(int(pair.expected["wrist"].max()), int(pair.seen["wrist"].max())) for pair in pairs]


@pytest.mark.parametrize("first", ["expected", "seen"])
def test_a_pair_is_known_once_both_are_there_and_given_once(expectations, first):
    for what in (expect, see) if first == "expected" else (see, expect):
        assert expectations.pairs() == []
        what(expectations, 100, shade=7)
    assert shades(expectations.pairs()) == [(7, 7)]
    assert expectations.pairs() == []


def test_it_waits_for_both_views(expectations):
    expect(expectations, 100)
    expectations.see("static", 100 * MS, picture(0))
    assert expectations.pairs() == []
    expectations.see("wrist", 100 * MS, picture(0))
    assert len(expectations.pairs()) == 1


def test_the_nearest_counts_and_a_nearer_one_is_waited_for(expectations):
    expect(expectations, 100, shade=1)
    see(expectations, 85, shade=2)
    assert expectations.pairs() == []
    see(expectations, 104, shade=3)
    (pair,) = expectations.pairs()
    assert shades([pair]) == [(1, 3)] and pair.stamp_ns == 104 * MS


def test_rounded_stamps_of_simulated_time_wait_for_nothing(expectations):
    expect(expectations, 100.00001)
    see(expectations, 100)
    assert len(expectations.pairs()) == 1


def test_where_nothing_came_near_there_is_no_pair_and_the_next_one_is_found(expectations):
    expect(expectations, 100)
    expect(expectations, 200, shade=5)
    see(expectations, 70)
    see(expectations, 200, shade=6)
    assert shades(expectations.pairs()) == [(5, 6)]


def test_a_jump_back_in_time_forgets_both_sides(expectations):
    expect(expectations, 100)
    see(expectations, 90)
    see(expectations, 10)
    see(expectations, 100)
    assert expectations.pairs() == []


def test_what_waits_is_bounded(expectations):
    for index in range(WAITING + 3):
        expect(expectations, 100 * index)
    for index in range(WAITING + 3):
        see(expectations, 100 * index)
    assert len(expectations.pairs()) == WAITING


def test_cleared_expectations_pair_with_nothing(expectations):
    expect(expectations, 100)
    expectations.clear()
    see(expectations, 100)
    assert expectations.pairs() == []
