"""The gate: what an adapter must fulfil before it may drive, each point with its number and its bound.

Legend: V held-out windows, R rollouts they come from, K units, m rows.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import numpy as np

from worldagen.adaptation.adapter import ACCEPTED, REJECTED
from worldagen.adaptation.recipe import GateSection
from worldagen.conventions import Convention

LEAST_ROLLOUTS = 2


@dataclass(frozen=True)
class Check:
    """One point: whether it is fulfilled, and in words, with numbers, why."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Reduction:
    """By how much a loss fell, as a share of what it was: the mean and an interval over rollouts."""

    before: float
    after: float
    share: float
    low: float
    high: float
    rollouts: int


@dataclass(frozen=True)
class Drift:
    """How far actions on probed frames moved: 99th percentiles over rows, and the share of rows whose gripper turned."""

    rows: int
    translation_p99_m: float
    rotation_p99_rad: float
    gripper_flips: float


@dataclass(frozen=True)
class Verdict:
    """All points. Accepted where every one is fulfilled."""

    checks: tuple[Check, ...]
    numbers: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether it may drive."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Every point in words."""
        return [f"{'passed' if check.passed else 'FAILED'}: {check.name}: {check.reason}" for check in self.checks]

    def with_checks(self, checks: Sequence[Check], **numbers: Any) -> "Verdict":
        """With further points."""
        return Verdict((*self.checks, *checks), {**self.numbers, **numbers})

    def to_json(self) -> dict[str, Any]:
        """As a manifest holds it."""
        checks = [asdict(check) for check in self.checks]
        return {"verdict": ACCEPTED if self.accepted else REJECTED, "reasons": self.reasons, "checks": checks, **self.numbers}


def measure_reduction(
    before: np.ndarray, after: np.ndarray, rollouts: np.ndarray, section: GateSection, seed: int
) -> Reduction:
    """Losses (V,) of the same windows before and after. Windows of a rollout are alike, so rollouts are drawn, not windows."""
    names = np.unique(rollouts)
    sums = np.array([[part[rollouts == name].sum() for name in names] for part in (before, after)])  # (2, R)
    drawn = np.random.default_rng(seed).integers(len(names), size=(section.resamples, len(names)))
    totals = sums[:, drawn].sum(axis=2)  # (2, resamples)
    shares = 1.0 - totals[1] / np.maximum(totals[0], 1e-12)
    tail = (1.0 - section.confidence) / 2
    low, high = np.quantile(shares, [tail, 1.0 - tail])
    share = 1.0 - after.mean() / max(before.mean(), 1e-12)
    return Reduction(float(before.mean()), float(after.mean()), float(share), float(low), float(high), len(names))


def measure_drift(before: np.ndarray, after: np.ndarray, convention: Convention) -> Drift:
    """Action numbers (V, K m, 7) of the network on the same frames; the gripper's sign is what it is asked for."""
    arm = np.abs(after[..., :6] - before[..., :6]).reshape(-1, 2, 3)
    scale = np.array([convention.translation_scale_m, convention.rotation_scale_rad])
    moved = np.linalg.norm(arm, axis=2) * scale  # (rows, 2)
    flips = float((np.sign(after[..., 6]) != np.sign(before[..., 6])).mean())
    p99 = np.quantile(moved, 0.99, axis=0)
    return Drift(len(moved), float(p99[0]), float(p99[1]), flips)


def judge(finite: bool, reduction: Reduction, drift: Drift, section: GateSection) -> Verdict:
    """The points that need no robot."""
    interval = f"{100 * reduction.share:.1f} % lower ({100 * reduction.low:.1f} to {100 * reduction.high:.1f} %)"
    checks = (
        Check("finite", finite, "all numbers are finite" if finite else "adapter or losses hold numbers that are not finite"),
        Check(
            "held-out loss",
            bool(reduction.rollouts >= LEAST_ROLLOUTS and reduction.low > section.least_reduction),
            f"{reduction.before:.5f} -> {reduction.after:.5f}, {interval} on {reduction.rollouts} rollouts; "
            f"expected the interval above {100 * section.least_reduction:g} %",
        ),
        *judge_drift(drift, section),
    )
    return Verdict(checks, {"reduction": asdict(reduction), "drift": asdict(drift)})


def judge_drift(drift: Drift, section: GateSection) -> tuple[Check, Check, Check]:
    """The bounds on how far actions may move."""
    return (
        Check(
            "translation",
            drift.translation_p99_m <= section.translation_p99_m,
            f"99 % of {drift.rows} rows move by less than {1e3 * drift.translation_p99_m:.2f} mm; "
            f"allowed {1e3 * section.translation_p99_m:g} mm",
        ),
        Check(
            "rotation",
            drift.rotation_p99_rad <= section.rotation_p99_rad,
            f"99 % turn by less than {np.degrees(drift.rotation_p99_rad):.2f} degrees; "
            f"allowed {np.degrees(section.rotation_p99_rad):.1f}",
        ),
        Check(
            "gripper",
            drift.gripper_flips <= section.gripper_flips,
            f"{100 * drift.gripper_flips:.2f} % of rows ask for the opposite; allowed {100 * section.gripper_flips:g} %",
        ),
    )


def mcnemar_worse(before: Sequence[bool], after: Sequence[bool]) -> float:
    """One-sided exact p that `after` is no worse than `before`, from pairs: the chance of so many losses among the changes.

    McNemar (1947): of n pairs that changed, losses are binomial (n, 1/2) where nothing got worse. 1.0 without a change.
    """
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    won = sum(a and not b for b, a in zip(before, after, strict=True))
    changed = lost + won
    return sum(comb(changed, k) for k in range(lost, changed + 1)) / 2**changed if changed else 1.0


def judge_canary(pairs: dict[str, tuple[list[bool], list[bool]]], section: GateSection) -> list[Check]:
    """Success before and after on the same episodes: a task that got significantly worse rejects, and so do all together.

    A few episodes of a task that is seldom done can show nothing by themselves, however much is lost over all tasks.
    """
    together = tuple([done for one in pairs.values() for done in one[side]] for side in (0, 1))
    checks = []
    for task, (before, after) in {"of all tasks": together, **pairs}.items():
        p = mcnemar_worse(before, after)
        told = f"{sum(before)} -> {sum(after)} of {len(before)}, p = {p:.3f} of no loss; rejects below {section.canary_p:g}"
        checks.append(Check(f"canary {task}", p >= section.canary_p, told))
    return checks
