"""Two evaluations of the same episodes: differences, intervals, and the pairs that changed."""

import numpy as np
import pytest

from worldagen.errors import EvaluationError
from worldagen_sim.evaluation import CHAIN, TASK, Leg, Result, Trial
from worldagen_sim.paired import compare, compare_evaluations, mcnemar


def test_mcnemar_looks_at_changed_pairs_only():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 6) == mcnemar(6, 0) == pytest.approx(2 / 64)
    assert mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 1024)


def test_a_difference_comes_with_an_interval_over_pairs():
    random = np.random.default_rng(0)
    before = random.random(400) < 0.3
    after = before | (random.random(400) < 0.2)
    told = compare(before.astype(float).tolist(), after.astype(float).tolist(), yes_or_no=True)
    assert told.lost == 0 and told.won == int((after & ~before).sum()) and told.p is not None and told.p < 1e-6
    assert told.low < told.difference < told.high and told.low > 0.05
    error = np.std(after.astype(float) - before, ddof=1) / 20
    assert told.high - told.low == pytest.approx(2 * 1.96 * error, rel=0.1)  # as the normal distribution says for so many


def test_equal_results_have_no_difference_and_chains_no_p():
    told = compare([0.0, 2.0, 5.0], [0.0, 2.0, 5.0], yes_or_no=False)
    assert (told.difference, told.low, told.high, told.p) == (0.0, 0.0, 0.0, None)


def test_nothing_to_compare_is_refused():
    with pytest.raises(EvaluationError, match="0 results before and 0 after"):
        compare([], [], yes_or_no=True)
    with pytest.raises(EvaluationError, match="as many pairs"):
        compare([1.0], [1.0, 0.0], yes_or_no=True)


def trial(kind: str, seed: int, *tasks: str) -> Trial:
    return Trial(kind, "training", "D", seed, tasks, tasks)


def result(*done: bool) -> Result:
    return Result(tuple(Leg(success, 10, 2, "") for success in done), 1.0)


def test_episodes_are_paired_by_what_they_are_and_those_of_one_side_are_left_out():
    before = [
        (trial(TASK, 1, "open"), result(False)),
        (trial(TASK, 2, "open"), result(True)),
        (trial(TASK, 1, "close"), result(True)),
        (trial(CHAIN, 1, "open", "close"), result(True, True)),
        (trial(TASK, 9, "open"), result(True)),
    ]
    after = [
        (trial(CHAIN, 1, "open", "close"), result(False)),
        (trial(TASK, 2, "open"), result(True)),
        (trial(TASK, 1, "open"), result(True)),
        (trial(TASK, 1, "close"), result(False)),
    ]
    told = compare_evaluations(before, after)
    assert told["tasks"]["all"]["pairs"] == 3 and told["tasks"]["all"]["difference"] == 0.0
    assert told["tasks"]["tasks"]["open"]["won"] == 1 and told["tasks"]["tasks"]["close"]["lost"] == 1
    assert told["chains"]["difference"] == -2.0 and told["first_tasks"]["lost"] == 1
