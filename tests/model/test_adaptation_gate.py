"""The gate: what it lets pass, what it refuses, and the numbers it does so by."""

import json
from pathlib import Path

import numpy as np
import pytest

from worldagen.adaptation.adapter import read_manifest, settle_checks
from worldagen.adaptation.gate import (
    Check,
    Drift,
    judge,
    judge_canary,
    judge_drift,
    mcnemar_worse,
    measure_drift,
    measure_reduction,
)  # fmt: skip
from worldagen.adaptation.recipe import GateSection
from worldagen.conventions import find_convention

SECTION = GateSection(resamples=500)
STILL = Drift(100, 0.0, 0.0, 0.0)
ROLLOUTS = np.repeat(np.arange(12), 6)


def reduction(share: float, spread: float, seed: int = 0):
    """Losses that fall by a share, by rollout more or less."""
    random = np.random.default_rng(seed)
    before = random.uniform(0.8, 1.2, len(ROLLOUTS))
    by_rollout = random.normal(share, spread, 12)[ROLLOUTS]
    return measure_reduction(before, before * (1 - by_rollout), ROLLOUTS, SECTION, 0)


def test_a_loss_that_falls_everywhere_passes_and_one_that_falls_by_luck_does_not():
    sure, lucky = reduction(0.2, 0.05), reduction(0.05, 0.4)
    assert sure.low > 0 and judge(True, sure, STILL, SECTION).accepted
    assert lucky.low < 0
    verdict = judge(True, lucky, STILL, SECTION)
    assert not verdict.accepted and "FAILED: held-out loss" in " ".join(verdict.reasons)


def test_the_interval_is_over_rollouts_because_windows_of_one_are_alike():
    random = np.random.default_rng(1)
    before = np.ones(len(ROLLOUTS))
    after = before - np.repeat(random.normal(0.1, 0.2, 12), 6)  # every window of a rollout alike
    over_rollouts = measure_reduction(before, after, ROLLOUTS, SECTION, 0)
    over_windows = measure_reduction(before, after, np.arange(len(ROLLOUTS)), SECTION, 0)
    assert over_rollouts.high - over_rollouts.low > 2 * (over_windows.high - over_windows.low)
    assert over_rollouts.share == pytest.approx(over_windows.share)


def test_weights_that_are_not_finite_never_pass():
    assert not judge(False, reduction(0.2, 0.01), STILL, SECTION).accepted


def test_drift_is_in_metres_radians_and_flips():
    before = np.zeros((10, 15, 7))
    before[..., 6] = 1.0
    after = before.copy()
    after[..., 0], after[..., 4] = 0.3, -0.2
    after[0, :3, 6] = -0.5
    drift = measure_drift(before, after, find_convention("calvin"))
    assert drift.rows == 150
    assert drift.translation_p99_m == pytest.approx(0.3 * 0.02) and drift.rotation_p99_rad == pytest.approx(0.2 * 0.05)
    assert drift.gripper_flips == pytest.approx(3 / 150)


@pytest.mark.parametrize(
    ("drift", "failed"),
    [
        (Drift(9, 0.0051, 0.0, 0.0), "translation"),
        (Drift(9, 0.0, 0.06, 0.0), "rotation"),
        (Drift(9, 0.0, 0.0, 0.03), "gripper"),
    ],
)
def test_actions_that_move_too_far_do_not_pass(drift, failed):
    assert [check.name for check in judge_drift(drift, SECTION) if not check.passed] == [failed]


def test_the_canary_rejects_a_task_that_got_significantly_worse():
    worse = ([True] * 8 + [False] * 2, [False] * 6 + [True] * 2 + [False] * 2)
    luck = ([True, False] * 5, [False, True] * 5)
    assert mcnemar_worse(*worse) == pytest.approx(1 / 64) and mcnemar_worse(*luck) == pytest.approx(638 / 1024)
    assert mcnemar_worse([True], [True]) == 1.0
    checks = judge_canary({"open": worse, "close": luck}, SECTION)
    passed = {check.name: check.passed for check in checks}
    assert passed == {"canary of all tasks": True, "canary open": False, "canary close": True}
    assert "8 -> 2 of 10" in checks[1].reason


def test_losses_that_no_task_shows_alone_reject_together():
    one_lost, same = ([True] + [False] * 5, [False] * 6), ([True] * 3, [True] * 3)
    checks = judge_canary({f"task {number}": one_lost for number in range(6)} | {"easy": same}, SECTION)
    assert [check.name for check in checks if not check.passed] == ["canary of all tasks"]
    assert checks[0].reason == "9 -> 3 of 39, p = 0.016 of no loss; rejects below 0.05"


def manifest_with(folder: Path, *checks: dict) -> Path:
    gate = {"verdict": "rejected", "reasons": [], "checks": list(checks), "reduction": {"share": 0.2}}
    tree = {"format": "worldagen-adapter-1", "id": "some", "base": "", "recipe": {}, "files": {}, "gate": gate}
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(tree), "utf-8")
    return folder


def test_a_check_that_was_to_come_takes_its_place_and_the_verdict_follows(tmp_path):
    pending = [
        {"name": "finite", "passed": True, "reason": "fine"},
        {"name": "canary", "passed": False, "reason": "asked for and not made yet"},
    ]
    folder = manifest_with(tmp_path / "adapter", *pending)
    settle_checks(folder, [Check("canary open", True, "2 -> 2 of 2"), Check("canary close", True, "1 -> 1 of 2")])
    gate = read_manifest(folder)["gate"]
    assert gate["verdict"] == "accepted" and gate["reduction"] == {"share": 0.2}
    assert [check["name"] for check in gate["checks"]] == ["finite", "canary open", "canary close"]
    settle_checks(folder, [Check("shadow translation", False, "far off")])
    assert read_manifest(folder)["gate"]["verdict"] == "rejected"
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json"]
