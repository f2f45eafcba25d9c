"""A gripper that is told 0 or 1, and not too often."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldagen.errors import ConfigError
from worldagen.gripper import BinaryGripper

MS = 1_000_000


def decide(gripper: BinaryGripper, *wishes: tuple[float, int]) -> list[float]:
    return [gripper.decide(wish, time_ms * MS) for wish, time_ms in wishes]


def test_between_the_thresholds_it_stays_as_it_is():
    assert decide(BinaryGripper(), (1.0, 0), (0.45, 400), (0.39, 800), (0.55, 1200), (0.61, 1600)) == [1, 1, 0, 0, 1]


def test_after_a_change_it_stays_for_the_dwell_and_then_does_what_is_wished_then():
    gripper = BinaryGripper(dwell_s=0.3)
    assert decide(gripper, (1.0, 0), (0.0, 299), (0.0, 300), (1.0, 400), (0.0, 500), (1.0, 599), (1.0, 600)) == [
        *(1, 1, 0),
        *(0, 0, 0, 1),
    ]


@pytest.mark.parametrize(("wish", "opening"), [(0.5, 1.0), (0.49, 0.0), (float("nan"), 0.0)])
def test_the_first_wish_is_rounded(wish, opening):
    gripper = BinaryGripper()
    assert gripper.opening is None
    assert gripper.decide(wish, 0) == gripper.opening == opening


def test_a_wish_that_is_no_number_changes_nothing():
    assert decide(BinaryGripper(), (1.0, 0), (float("nan"), 1000), (0.0, 2000), (float("nan"), 3000)) == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"close_below": 0.7}, "closes below 0.7 and opens above 0.6"),
        ({"open_above": 1.2}, "from 0 to 1"),
        ({"close_below": float("nan")}, "closes below nan"),
        ({"dwell_s": -0.1}, "dwell is -0.1 s"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(arguments, says):
    with pytest.raises(ConfigError, match=says):
        BinaryGripper(**arguments)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.integers(0, 200)), max_size=50))
def test_whatever_is_wished_it_is_open_or_closed_and_changes_are_a_dwell_apart(stream):
    gripper, now_ms, changes, before = BinaryGripper(dwell_s=0.3), 0, [], None
    for wish, pause_ms in stream:
        now_ms += pause_ms
        opening = gripper.decide(wish, now_ms * MS)
        assert opening in (0.0, 1.0)
        if opening != before:
            changes.append(now_ms)
        before = opening
    assert all(later - earlier >= 300 for earlier, later in pairwise(changes))
