"""Two evaluations of the same episodes, before and after a change: differences with intervals that can tell a gain from luck.

An episode is a function of its scene, task, seed and words, so each is its own control. Pairs are drawn again for the bootstrap
(Efron 1979); McNemar's exact test (1947) looks at the pairs that changed.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import numpy as np

from worldagen.errors import EvaluationError
from worldagen_sim.evaluation import CHAIN, TASK, Result, Trial

RESAMPLES = 10_000
Ended = Sequence[tuple[Trial, Result]]


@dataclass(frozen=True)
class Difference:
    """Of a mean over pairs. p: two-sided, by McNemar's exact test, None where a pair has no yes or no."""

    pairs: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    won: int
    lost: int
    p: float | None


def compare(before: Sequence[float], after: Sequence[float], yes_or_no: bool, seed: int = 0) -> Difference:
    """Mean of `after - before` over pairs with a 95 % interval from a bootstrap. Raises EvaluationError without pairs."""
    one, other = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if len(one) == 0 or one.shape != other.shape:
        raise EvaluationError(f"{len(one)} results before and {len(other)} after; expected as many pairs, at least one")
    changes = other - one
    drawn = np.random.default_rng(seed).integers(len(changes), size=(RESAMPLES, len(changes)))
    low, high = np.quantile(changes[drawn].mean(axis=1), [0.025, 0.975])
    won, lost = int((changes > 0).sum()), int((changes < 0).sum())
    p = mcnemar(won, lost) if yes_or_no else None
    return Difference(
        len(changes), float(one.mean()), float(other.mean()), float(changes.mean()), float(low), float(high), won, lost, p
    )


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p of so many pairs that changed each way, were both ways equally likely."""
    changed, fewer = won + lost, min(won, lost)
    return min(1.0, 2 * sum(comb(changed, k) for k in range(fewer + 1)) / 2**changed) if changed else 1.0


def pair_episodes(before: Ended, after: Ended) -> list[tuple[Trial, Result, Result]]:
    """What was played in both, in the order of `after`."""
    earlier = {trial.key: result for trial, result in before}
    return [(trial, earlier[trial.key], result) for trial, result in after if trial.key in earlier]


def pair_tasks(before: Ended, after: Ended) -> list[tuple[str, bool, bool]]:
    """Of single tasks that were played in both: which, done before, done after."""
    pairs = pair_episodes(before, after)
    return [(trial.tasks[0], one.legs[0].success, other.legs[0].success) for trial, one, other in pairs if trial.kind == TASK]


def compare_evaluations(before: Ended, after: Ended) -> dict[str, Any]:
    """What was played in both: {"tasks": {"all", "tasks": {name}}, "chains": mean length, "first_tasks"}, JSON-ready."""
    report: dict[str, Any] = {}
    pairs, single = pair_episodes(before, after), pair_tasks(before, after)
    if single:
        names = dict.fromkeys(name for name, _, _ in single)
        report["tasks"] = {
            "all": _of([pair[1:] for pair in single]),
            "tasks": {name: _of([pair[1:] for pair in single if pair[0] == name]) for name in names},
        }
    chains = [(one.in_a_row, other.in_a_row) for trial, one, other in pairs if trial.kind == CHAIN]
    if chains:
        report["chains"] = asdict(compare(*zip(*chains, strict=True), yes_or_no=False))
        report["first_tasks"] = _of([(one > 0, other > 0) for one, other in chains])
    return report


def _of(pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    return asdict(compare(*zip(*pairs, strict=True), yes_or_no=True))
