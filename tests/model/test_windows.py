"""Chunk sampling: the worked examples of the specification."""

import pytest

from worldagen.errors import UnknownName
from worldagen.history import sampled_frames
from worldagen.windows import unit_indices, window_starts


def test_calvin_training_windows_pair_the_published_frames_actions_and_targets():
    units = unit_indices(units=3, frames=1, rows=5)
    assert [unit.frames for unit in units] == [(0,), (5,), (10,)]
    assert [unit.actions for unit in units] == [(1, 2, 3, 4, 5), (6, 7, 8, 9, 10), (11, 12, 13, 14, 15)]
    assert [unit.targets for unit in units] == [(5,), (10,), (15,)]


@pytest.mark.parametrize(
    ("frames", "rows", "places"), [(1, 5, [4]), (2, 3, [0, 2]), (3, 5, [0, 2, 4]), (2, 5, [0, 4]), (2, 4, [0, 3])]
)
def test_published_frames_of_a_block_are_the_last_or_spread_from_end_to_end(frames, rows, places):
    assert sampled_frames(frames, rows) == places


def test_half_a_frame_is_rounded_to_the_even_one():
    assert sampled_frames(3, 4) == [0, 2, 3]  # 1.5 -> 2
    assert sampled_frames(3, 6) == [0, 2, 5]  # 2.5 -> 2


def test_the_paper_gives_the_first_unit_only_the_first_actions():
    units = unit_indices(units=3, frames=2, rows=5, rule="paper")
    assert [unit.actions for unit in units] == [(0, 1), (2, 3, 4, 5, 6), (7, 8, 9, 10, 11)]


def test_the_paper_samples_a_block_by_rounding_down():
    units = unit_indices(units=2, frames=2, rows=5, rule="paper")
    assert [unit.frames for unit in units] == [(0, 1), (2, 4)]  # floor(0 * 5 / 2), floor(1 * 5 / 2) of frames 2..6
    assert units[1].targets == (7, 9)


@pytest.mark.parametrize("rule", ["published", "paper"])
def test_the_target_of_a_unit_is_the_input_of_the_next(rule):
    units = unit_indices(units=4, frames=2, rows=3, rule=rule)
    assert [unit.targets for unit in units[:-1]] == [unit.frames for unit in units[1:]]
    assert max(units[-1].targets) <= 2 + 4 * 3 - 1


def test_windows_start_at_every_frame_but_never_use_the_last():
    assert list(window_starts(first=10, last=29, window=16)) == [10, 11, 12, 13]
    assert list(window_starts(first=0, last=5, window=16)) == []


def test_an_unknown_rule_is_refused():
    with pytest.raises(UnknownName, match="paper, published"):
        unit_indices(3, 1, 5, "floor")  # type: ignore[arg-type]
