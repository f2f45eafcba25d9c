"""Replay without ROS: which decisions are planned, how errors are counted, and a history that holds what was executed."""

from pathlib import Path

import numpy as np
import pytest
from small_networks import TINY, build, random_observations

from worldagen.policy_conventions import find_preset_conventions
from worldagen.replay.chart import draw_chart
from worldagen.replay.comparison import BITS, DIFFERENT, NEARLY, compare
from worldagen.replay.following import FollowingPolicy
from worldagen.replay.planning import Decision, Plan, plan_decisions
from worldagen.replay.recorded import GivenChunk, RecordedRun, ReplayError
from worldagen.session import NetworkPolicy
from worldagen.types import ActionChunk

PERIOD_NS = 33_333_333


def run_of(chunks: list[tuple[int, int, int]], pictures: int) -> RecordedRun:
    """chunks: (instant, sequence, rows); row k of the chunk at instant t moves by t + k mm."""
    given = [
        GivenChunk(
            ActionChunk(instant * PERIOD_NS, sequence, PERIOD_NS * 1e-9, "calvin", moves(instant, rows)),
            instant * PERIOD_NS,
            "go",
        )
        for instant, sequence, rows in chunks
    ]
    stamps = np.arange(pictures, dtype=np.int64) * PERIOD_NS
    return RecordedRun(Path("bag"), {}, {}, tuple(given), np.stack([stamps, stamps], axis=1))


def moves(instant: int, rows: int) -> np.ndarray:
    table = np.zeros((rows, 7))
    table[:, 0] = (instant + np.arange(rows)) * 1e-3
    return table


def test_chunks_of_as_many_rows_are_asked_for_again_where_they_were_given():
    plan = plan_decisions(run_of([(0, 0, 5), (3, 1, 5), (6, 2, 5), (20, 0, 5)], 30), 5, 0.5)
    assert plan.against == "chunks" and plan.notes == ()
    assert [decision.stamp_ns // PERIOD_NS for decision in plan.decisions] == [0, 3, 6, 20]
    assert [decision.afresh for decision in plan.decisions] == [True, False, False, True]


def test_chunks_of_one_row_are_compared_by_what_was_executed_in_every_m_rows():
    plan = plan_decisions(run_of([(instant, instant, 1) for instant in range(13)], 13), 5, 0.5)
    assert plan.against == "executed rows" and "it decides every 5 rows" in plan.notes[0]
    assert [decision.stamp_ns // PERIOD_NS for decision in plan.decisions] == [0, 5]
    assert np.allclose(np.concatenate([decision.rows[:, 0] for decision in plan.decisions]), np.arange(10) * 1e-3)


def test_after_a_reset_the_rows_are_counted_anew():
    chunks = [(instant, instant, 1) for instant in range(7)] + [(instant, instant - 7, 1) for instant in range(7, 14)]
    plan = plan_decisions(run_of(chunks, 14), 5, 0.5)
    assert [decision.stamp_ns // PERIOD_NS for decision in plan.decisions] == [0, 7]
    assert all(decision.afresh for decision in plan.decisions)


def test_what_is_not_in_the_bag_is_told():
    notes = plan_decisions(run_of([(0, 4, 5), (5, 5, 5), (15, 7, 5)], 20), 5, 0.5).notes
    assert "begins with decision 4" in notes[0] and "missing in the bag, first between decisions 5 and 7" in notes[1]
    with pytest.raises(ReplayError, match="nowhere were 5 rows executed in a row"):
        plan_decisions(run_of([(0, 0, 3)], 3), 5, 0.5)


def test_errors_are_in_mm_and_mrad_and_a_gripper_disagrees_or_not():
    plan = Plan(tuple(Decision(index, index, "go", index == 0, moves(0, 5)) for index in range(3)), "chunks", 1 / 30)
    off = moves(0, 5)
    off[2] += (0.002, 0, 0, 0, 0, 0.003, 1.0)
    found = compare(plan, [moves(0, 5), None, off])
    assert found.missing == (1,) and found.equal == DIFFERENT
    told = found.values()
    assert told["dimensions"]["x"]["max"] == pytest.approx(2.0) and told["dimensions"]["rz"]["max"] == pytest.approx(3.0)
    assert told["gripper"] == {"share": 0.1, "rows": 1, "of": 10}
    assert [decision["gripper_disagreements"] for decision in told["decisions"]] == [0, 1]
    assert draw_chart(found, "bag", "policy").size[0] == 1440


def test_equal_is_bit_for_bit_or_within_rounding():
    plan = Plan((Decision(0, 0, "go", True, moves(0, 5)),), "chunks", 1 / 30)
    assert compare(plan, [moves(0, 5)]).equal == BITS
    nearly = compare(plan, [moves(0, 5) + 1e-9])
    assert nearly.equal == NEARLY and nearly.exceeds(0.0) and not nearly.exceeds(1e-3)
    with pytest.raises(ReplayError, match="none of 1 decisions could be made again"):
        compare(plan, [None])


def answers(policy: NetworkPolicy, executed: np.ndarray | None = None) -> list[np.ndarray]:
    """Three decisions; executed: what was played instead of the first chunk."""
    policy.reset("open the drawer")
    rows = []
    for index, seen in enumerate(random_observations(3)):
        rows.append(policy.act(seen).rows)
        if executed is not None and index == 0:
            assert isinstance(policy, FollowingPolicy)
            policy.follow(executed)
        policy.prepare()
    return rows


def test_a_policy_that_follows_goes_on_from_what_was_executed():
    plain = NetworkPolicy(build(TINY), find_preset_conventions("playtable"))
    following, own = FollowingPolicy.of(plain), answers(plain)
    assert np.array_equal(answers(following), own)
    assert np.allclose(answers(following, own[0]), own, atol=1e-6)  # its own rows, there and back
    other = answers(following, own[0] * 0.5)
    assert np.array_equal(other[0], own[0]) and np.abs(other[1] - own[1]).max() > 1e-6
