"""From episodes that ended to rates with intervals: per task, per scene, and together.

The interval is Wilson's (1927), which stays inside 0..1 and is honest for few episodes and for rates of 0 and 1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import Any

Z_95 = 1.959963984540054  # of the normal distribution, two-sided 95 %


def wilson_interval(successes: int, count: int, z: float = Z_95) -> tuple[float, float]:
    """Lowest and highest rate that go well with so many successes; (0, 1) when nothing was tried."""
    if count == 0:
        return 0.0, 1.0
    rate, weight = successes / count, z * z / count
    middle = (rate + weight / 2) / (1 + weight)
    spread = z * sqrt(rate * (1 - rate) / count + weight / (4 * count)) / (1 + weight)
    # At 0 and at all successes the bounds are exact in theory and a rounding error off in practice.
    return 0.0 if successes == 0 else middle - spread, 1.0 if successes == count else middle + spread


@dataclass(frozen=True)
class Tried:
    """One task that was tried: where, whether it was done, after how many control steps."""

    task: str
    scene: str
    success: bool
    steps: int


def score(tried: Sequence[Tried]) -> dict[str, Any]:
    """Of anything that was tried: successes, episodes, rate and its 95 % interval, median steps of the successes."""
    successes = sum(one.success for one in tried)
    low, high = wilson_interval(successes, len(tried))
    return {
        "successes": successes,
        "episodes": len(tried),
        "rate": successes / len(tried) if tried else 0.0,
        "low": low,
        "high": high,
        "median_steps": median(one.steps for one in tried if one.success) if successes else None,
    }


def score_tasks(tried: Iterable[Tried], tasks: Sequence[str], scenes: Sequence[str]) -> dict[str, Any]:
    """{"all": score, "tasks": {task: score}} over all scenes, and the same for each scene under "scenes"."""
    everything = list(tried)

    def table(some: list[Tried]) -> dict[str, Any]:
        return {"all": score(some), "tasks": {task: score([one for one in some if one.task == task]) for task in tasks}}

    by_scene = {scene: table([one for one in everything if one.scene == scene]) for scene in scenes}
    return {**table(everything), "scenes": by_scene}
