"""The scripted experts: they succeed, they find back, they keep their speed, and they need nothing but named numbers."""

import json

import numpy as np
import pytest

from worldagen.errors import UnknownName
from worldagen_sim.experts import EXPERTS, SPEED_SHARE, ExpertPolicy

MOST_STEPS = 150
FULL_M, FULL_RAD = 0.02, 0.05


def play(playtable, task, scene, seed, rows, disturb=None):
    """Run one episode open loop in chunks of rows: the last state and the rows played."""
    state, expert, played = playtable.reset(task, scene, seed), ExpertPolicy(), []
    expert.reset(task)
    while not state.success and len(played) < MOST_STEPS:
        for row in expert.plan(state.values, rows):
            executed = row if disturb is None else disturb(len(played), row)
            state = playtable.step(executed)
            played.append(row)
            if state.success or len(played) == MOST_STEPS:
                break
    return state, np.array(played)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("scene", ["A", "D"])
@pytest.mark.parametrize("task", EXPERTS)
def test_an_expert_succeeds_whether_it_plans_one_row_or_five(playtable, task, scene, rows):
    for seed in range(100, 104):
        state, played = play(playtable, task, scene, seed, rows)
        assert state.success, f"seed {seed}"
        assert len(played) < MOST_STEPS


@pytest.mark.parametrize("task", EXPERTS)
def test_an_expert_finds_back_when_it_is_thrown_off_its_way(playtable, task):
    def shove(step, row):
        return row + np.array([0.0, 0.012, 0.0, 0.0, 0.0, 0.0, 0.0]) if 8 <= step < 14 else row

    state, _ = play(playtable, task, "B", 0, 1, disturb=shove)
    assert state.success


@pytest.mark.parametrize("task", EXPERTS)
def test_an_expert_never_exceeds_its_share_of_full_scale(playtable, task):
    _, played = play(playtable, task, "C", 1, 5)
    assert np.linalg.norm(played[:, :3], axis=1).max() <= FULL_M * SPEED_SHARE + 1e-9
    assert np.linalg.norm(played[:, 3:6], axis=1).max() <= FULL_RAD * SPEED_SHARE + 1e-9
    assert set(played[:, 6]) <= {0.0, 1.0}


def test_an_expert_needs_only_numbers_that_survive_a_message(playtable):
    values = playtable.reset("open_drawer", "A", 0).values
    told = json.loads(json.dumps(dict(values)))
    plans = []
    for numbers in (values, told):
        expert = ExpertPolicy()
        expert.reset("open_drawer")
        plans.append(expert.plan(numbers, 5))
    assert plans[0].shape == (5, 7)
    assert np.array_equal(*plans)


def test_an_unknown_task_is_refused_with_those_that_have_an_expert():
    with pytest.raises(UnknownName, match="lift_red_block, open_drawer, push_blue_block_left"):
        ExpertPolicy().reset("fly")


def test_experts_run_where_there_is_no_simulator(run_python):
    run_python("import sys; sys.modules['mujoco'] = None; import worldagen_sim.experts")
