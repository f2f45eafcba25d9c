"""The scripted experts: they succeed, they find back, they keep their speed, and they need nothing but named numbers."""

import json

import numpy as np
import pytest

from worldagen.errors import UnknownName
from worldagen_sim.expert_rules import RULES
from worldagen_sim.experts import DEMONSTRATOR, FULL_SCALE, STEADY, ExpertPolicy
from worldagen_sim.playtable.tasks import TASKS

MOST_STEPS = 360
# One of each kind: all of them, over many seeds, are in benchmarks/expert_success.py.
KINDS = (
    "open_drawer",
    "close_drawer",
    "move_slider_left",
    "turn_off_lightbulb",
    "turn_on_led",
    "lift_red_block_table",
    "lift_blue_block_slider",
    "lift_pink_block_drawer",
    "push_red_block_right",
    "rotate_blue_block_left",
    "place_in_drawer",
    "place_in_slider",
    "stack_block",
    "unstack_block",
)
FULL_M, FULL_RAD = 0.02, 0.05


def play(playtable, task, scene, seed, rows, disturb=None, manner=STEADY):
    """Run one episode open loop in chunks of rows: the last state and the rows played."""
    state, expert, played = playtable.reset(task, scene, seed), ExpertPolicy(manner), []
    expert.reset(task, seed)
    while not state.success and len(played) < MOST_STEPS:
        for row in expert.plan(state.values, rows):
            executed = row if disturb is None else disturb(len(played), row)
            state = playtable.step(executed)
            played.append(row)
            if state.success or len(played) == MOST_STEPS:
                break
    return state, np.array(played)


def test_every_task_has_an_expert():
    assert {task.name for task in TASKS} == set(RULES)


@pytest.mark.parametrize("task", RULES)
def test_an_expert_succeeds(playtable, task):
    for scene in "AD":
        assert play(playtable, task, scene, 100, 1)[0].success, scene


@pytest.mark.parametrize("task", KINDS)
def test_an_expert_succeeds_when_it_plans_five_rows(playtable, task):
    for seed in (100, 101):
        assert play(playtable, task, "B", seed, 5)[0].success, f"seed {seed}"


@pytest.mark.parametrize("task", KINDS)
def test_an_expert_succeeds_with_the_noise_of_a_demonstration(playtable, task):
    assert play(playtable, task, "C", 5, 1, manner=DEMONSTRATOR)[0].success


@pytest.mark.parametrize("task", KINDS)
def test_an_expert_finds_back_when_it_is_thrown_off_its_way(playtable, task):
    def shove(step, row):
        return row + np.array([0.0, 0.012, 0.0, 0.0, 0.0, 0.0, 0.0]) if 8 <= step < 14 else row

    state, _ = play(playtable, task, "B", 0, 1, disturb=shove)
    assert state.success


@pytest.mark.parametrize("task", KINDS)
def test_an_expert_never_exceeds_its_share_of_full_scale(playtable, task):
    _, played = play(playtable, task, "C", 1, 5)
    assert np.linalg.norm(played[:, :3], axis=1).max() <= FULL_SCALE[0] * STEADY.speed[1] + 1e-9
    assert np.linalg.norm(played[:, 3:6], axis=1).max() <= FULL_SCALE[3] * STEADY.speed[1] + 1e-9
    assert set(played[:, 6]) <= {0.0, 1.0}


def test_a_demonstration_keeps_the_clean_answer_beside_what_is_executed(playtable):
    values, expert = playtable.reset("open_drawer", "A", 0).values, ExpertPolicy(DEMONSTRATOR)
    expert.reset("open_drawer", 0)
    plans = [expert.demonstrate(values, 1) for _ in range(60)]  # the same state again and again
    clean, executed = (np.vstack([getattr(plan, part) for plan in plans]) for part in ("clean", "executed"))
    assert len(np.unique(clean, axis=0)) == 1
    assert len(np.unique(executed, axis=0)) == 60
    assert np.abs(executed[:, :6] / FULL_SCALE).max() <= 1 + 1e-12
    assert np.array_equal(clean[:, 6], executed[:, 6])
    assert np.linalg.norm(executed - clean, axis=1).max() > 3 * np.median(np.linalg.norm(executed - clean, axis=1))  # bursts


def test_the_manner_is_a_function_of_the_seed(playtable):
    values = playtable.reset("open_drawer", "A", 0).values
    plans = []
    for seed in (3, 3, 4):
        expert = ExpertPolicy(DEMONSTRATOR)
        expert.reset("open_drawer", seed)
        plans.append(expert.demonstrate(values, 20))
    assert np.array_equal(plans[0].executed, plans[1].executed)
    assert not np.array_equal(plans[0].clean, plans[2].clean)  # another speed


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
    with pytest.raises(UnknownName, match="close_drawer, lift_blue_block_drawer"):
        ExpertPolicy().reset("fly")


def test_experts_run_where_there_is_no_simulator(run_python):
    run_python("import sys; sys.modules['mujoco'] = None; import worldagen_sim.experts")
