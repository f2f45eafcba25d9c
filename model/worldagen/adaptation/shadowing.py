"""Shadow mode: the base drives, and an adapter's answers to the same observations are held against those that were given."""

import numpy as np

from worldagen.adaptation.gate import Check, Drift, judge_drift, measure_drift
from worldagen.adaptation.recipe import GateSection
from worldagen.conventions import Convention
from worldagen.deciding import Shadowed


class Shadow:
    """One comparison, over so many decisions."""

    def __init__(self, adapter: str, decisions: int, convention: Convention) -> None:
        self.adapter, self._wanted, self._convention = adapter, decisions, convention
        self._given: list[np.ndarray] = []
        self._answered: list[np.ndarray] = []

    def compare(self, stamp_ns: int, given: np.ndarray, answered: np.ndarray) -> Shadowed:
        """Add one decision, (m, 7) network actions each; returns how far off all of them are."""
        self._given.append(given)
        self._answered.append(answered)
        drift = measure_drift(np.stack(self._given), np.stack(self._answered), self._convention)
        return Shadowed(
            self.adapter, stamp_ns, len(self._given), self._wanted,
            drift.translation_p99_m, drift.rotation_p99_rad, drift.gripper_flips,
        )  # fmt: skip


def judge_shadow(shadowed: Shadowed, rows: int, section: GateSection) -> list[Check]:
    """The gate's bounds on actions, on what a running robot saw. rows: of one decision."""
    drift = Drift(
        shadowed.decisions * rows, shadowed.translation_p99_m, shadowed.rotation_p99_rad, shadowed.gripper_flips
    )  # fmt: skip
    return [Check(f"shadow {check.name}", check.passed, check.reason) for check in judge_drift(drift, section)]
