"""Rates and their intervals."""

import pytest

from worldagen_sim.scores import Tried, score, score_tasks, wilson_interval


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [  # by hand with z = 1.96: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_intervals_are_those_computed_by_hand(successes, count, low, high):
    assert wilson_interval(successes, count) == pytest.approx((low, high), abs=1e-4)


def test_scores_are_kept_per_task_per_scene_and_together():
    tried = [Tried("push", "A", True, 30), Tried("push", "B", False, 360), Tried("lift", "A", True, 50)]
    table = score_tasks(tried, ("push", "lift", "stack"), ("A", "B"))
    assert table["all"]["successes"] == 2 and table["all"]["median_steps"] == 40
    assert (table["tasks"]["push"]["rate"], table["scenes"]["B"]["all"]["rate"]) == (0.5, 0.0)
    assert table["scenes"]["A"]["tasks"]["lift"]["successes"] == 1
    assert table["tasks"]["stack"] == score([]) and score([])["median_steps"] is None
