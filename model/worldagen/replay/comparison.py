"""Recorded and replayed rows -> how far they are apart: by dimension over all, and a decision at a time.

Legend: D decisions that were made again, m rows each. Errors are in mm and mrad; the gripper agrees or it does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldagen.replay.planning import Decision, Plan
from worldagen.replay.recorded import ReplayError

DIMENSIONS = ("x", "y", "z", "rx", "ry", "rz")  # of a row; the seventh number is the gripper
UNITS = ("mm", "mm", "mm", "mrad", "mrad", "mrad")
ROUNDING = 1e-3  # mm, mrad: what another order of additions may change
HALF_OPEN = 0.5  # openings further apart are a disagreement
BITS, NEARLY, DIFFERENT = "bit for bit", "within rounding", "no"


@dataclass(frozen=True, eq=False)
class Comparison:
    """decisions: those that were made again. recorded, replayed: (D, m, 7) SI. missing: stamps (ns) of those that were not."""

    plan: Plan
    decisions: tuple[Decision, ...]
    recorded: np.ndarray
    replayed: np.ndarray
    missing: tuple[int, ...]

    @property
    def errors(self) -> np.ndarray:
        """(D, m, 6) absolute, mm and mrad."""
        return np.abs(self.replayed - self.recorded)[:, :, :6] * 1e3

    @property
    def disagreements(self) -> np.ndarray:
        """(D, m) where the gripper should do something else."""
        return np.abs(self.replayed - self.recorded)[:, :, 6] > HALF_OPEN

    @property
    def equal(self) -> str:
        """ "bit for bit", "within rounding" or "no"; about the decisions that were made again."""
        if np.array_equal(self.recorded, self.replayed):
            return BITS
        return NEARLY if self.errors.max() <= ROUNDING and not self.disagreements.any() else DIFFERENT

    def exceeds(self, tolerance: float) -> bool:
        """Whether anything is off by more than so many mm or mrad, a gripper disagrees, or a decision was not made again."""
        return bool(self.errors.max() > tolerance or self.disagreements.any() or self.missing)

    def values(self) -> dict[str, Any]:
        """JSON-ready."""
        errors, gripper = self.errors, self.disagreements
        begun_ns = self.decisions[0].stamp_ns
        each = [
            {
                "stamp_ns": decision.stamp_ns,
                "time_s": (decision.stamp_ns - begun_ns) * 1e-9,
                "instruction": decision.words,
                "afresh": decision.afresh,
                "mean": dict(zip(DIMENSIONS, errors[index].mean(0).tolist(), strict=True)),
                "max": dict(zip(DIMENSIONS, errors[index].max(0).tolist(), strict=True)),
                "gripper_disagreements": int(gripper[index].sum()),
            }
            for index, decision in enumerate(self.decisions)
        ]
        return {
            "compared_with": self.plan.against,
            "planned": len(self.plan.decisions),
            "compared": len(self.decisions),
            "rows": self.recorded.shape[1],
            "missing_ns": list(self.missing),
            "equal": self.equal,
            "dimensions": {
                name: {"unit": unit, "mean": float(errors[..., place].mean()), "max": float(errors[..., place].max())}
                for place, (name, unit) in enumerate(zip(DIMENSIONS, UNITS, strict=True))
            },
            "gripper": {"share": float(gripper.mean()), "rows": int(gripper.sum()), "of": int(gripper.size)},
            "decisions": each,
        }

    def describe(self, worst: int = 5) -> list[str]:
        """Lines for a terminal. worst: how many decisions are named one by one."""
        count, rows = self.recorded.shape[:2]
        lines = [f"{count} of {len(self.plan.decisions)} decisions, {rows} rows each, compared with {self.plan.against}"]
        lines += [f"note: {note}" for note in self.plan.notes]
        if self.missing:
            lines.append(f"{len(self.missing)} decisions could not be made again, first the one of stamp {self.missing[0]} ns")
        if self.equal == BITS:
            return [*lines, "equal: bit for bit"]
        largest = self.errors.max()
        if self.equal == NEARLY:
            return [*lines, f"equal: within rounding (largest difference {largest:.2g} mm or mrad)"]
        errors, gripper = self.errors, self.disagreements
        lines.append(f"different: up to {errors[..., :3].max():.3g} mm and {errors[..., 3:].max():.3g} mrad in a row")
        lines.append(
            "             " + "".join(f"{f'{name}, {unit}':>11}" for name, unit in zip(DIMENSIONS, UNITS, strict=True))
        )
        for name, values in (("mean", errors.mean((0, 1))), ("largest", errors.max((0, 1)))):
            lines.append(f"  {name:<11}" + "".join(f"{value:>11.3f}" for value in values))
        lines.append(f"  gripper disagrees in {100 * gripper.mean():.1f} % of {gripper.size} rows")
        for index in np.argsort(-errors.max((1, 2)), kind="stable")[:worst]:
            time_s = (self.decisions[index].stamp_ns - self.decisions[0].stamp_ns) * 1e-9
            apart = errors[index].max(0)
            lines.append(
                f"  at {time_s:8.3f} s: up to {apart[:3].max():.3f} mm, {apart[3:].max():.3f} mrad, "
                f"gripper in {gripper[index].sum()} of {rows}"
            )
        return lines


def compare(plan: Plan, replayed: Sequence[np.ndarray | None]) -> Comparison:
    """replayed: (m, 7) for each decision of the plan, None where it was not made. Raises ReplayError when none was."""
    made = [(decision, rows) for decision, rows in zip(plan.decisions, replayed, strict=True) if rows is not None]
    missing = tuple(decision.stamp_ns for decision, rows in zip(plan.decisions, replayed, strict=True) if rows is None)
    if not made:
        raise ReplayError(
            f"none of {len(plan.decisions)} decisions could be made again: what was seen is not in the bag, or not with stamps "
            "near enough to each other (cameras.max_skew_s), or no answer came in time (--pace lockstep waits for it)"
        )
    return Comparison(
        plan=plan,
        decisions=tuple(decision for decision, _ in made),
        recorded=np.array([decision.rows for decision, _ in made]),
        replayed=np.array([rows for _, rows in made]),
        missing=missing,
    )
