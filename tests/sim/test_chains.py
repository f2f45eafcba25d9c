"""Chains of tasks hang together, come from a seed, and are played in one world."""

from collections import Counter

import numpy as np
import pytest

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.chains import LENGTH, score_chains
from worldagen_sim.playtable.chains import conditions_along, draw_chain
from worldagen_sim.playtable.conditions import BLOCKS
from worldagen_sim.playtable.tasks import RULES
from worldagen_sim.rollout import ExpertActor, play_chain, play_episode

TABLE = {"slider": "left", "drawer": "closed", "lightbulb": "off", "led": "off", **dict.fromkeys(BLOCKS, "table")}


def test_in_every_chain_each_task_can_be_done_when_its_turn_comes():
    for seed in range(300):
        chain = draw_chain(seed)
        assert len(chain.tasks) == LENGTH
        assert len(conditions_along(chain.conditions, chain.tasks)) == LENGTH + 1  # or it raises


def test_no_chain_has_two_tasks_of_a_family():
    for seed in range(300):
        families = [RULES[task].family for task in draw_chain(seed).tasks]
        assert len(set(families)) == LENGTH


def test_a_chain_is_a_function_of_its_seed_and_every_task_turns_up():
    assert draw_chain(7) == draw_chain(7)
    counts = Counter(task for seed in range(600) for task in draw_chain(seed).tasks)
    assert set(counts) == set(RULES)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (("open_drawer", "open_drawer"), "task 2 of the chain, open_drawer, cannot be done then: slider left, drawer open"),
        (("place_in_drawer",), "task 1 of the chain, place_in_drawer, cannot be done"),
        (("lift_red_block_table", "turn_on_led"), "task 2 of the chain, turn_on_led"),
        (("lift_red_block_table", "place_in_slider", "lift_red_block_drawer"), "task 3 of the chain"),
        (("lift_red_block_table", "stack_block", "push_blue_block_left"), "task 3 of the chain"),
    ],
)
def test_a_chain_whose_preconditions_cannot_hold_is_refused_at_the_task_that_breaks_it(tasks, words):
    with pytest.raises(SimulatorError, match=words):
        conditions_along(TABLE, tasks)


def test_a_chain_with_an_unknown_task_or_an_impossible_length_is_refused():
    with pytest.raises(UnknownName, match="unknown playtable task 'fly'"):
        conditions_along(TABLE, ("fly",))
    with pytest.raises(SimulatorError, match="a chain of 40 tasks; expected 1 to 9"):
        draw_chain(0, 40)
    with pytest.raises(SimulatorError, match="whole number"):
        draw_chain(-1)


def test_rates_count_tasks_in_a_row():
    score = score_chains([5, 0, 2, 3])
    assert score.rates == (0.75, 0.75, 0.5, 0.25, 0.25)
    assert score.mean_length == 2.5
    with pytest.raises(SimulatorError, match="expected one or more numbers from 0 to 5"):
        score_chains([])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_expert_plays_a_chain_in_one_world(playtable, seed):
    chain = draw_chain(seed)
    outcomes = play_chain(playtable, ExpertActor(), chain.tasks, "B", seed, chain.conditions, 360)
    assert [outcome.success for outcome in outcomes] == [True] * LENGTH


class Idle:
    """Does nothing."""

    def take_up(self, task, seed):
        self.task = task.name

    def rows(self, state, look):
        return np.append(np.zeros((2, 6)), np.ones((2, 1)), axis=1)


def test_a_chain_ends_with_its_first_failure_and_a_task_with_its_steps(playtable):
    chain = draw_chain(0)
    outcomes = play_chain(playtable, Idle(), chain.tasks, "A", 0, chain.conditions, 5)
    assert [(outcome.success, outcome.steps) for outcome in outcomes] == [(False, 5)]


def test_an_actor_may_look_and_sees_what_a_policy_sees(playtable):
    seen = []

    class Looking(Idle):
        def rows(self, state, look):
            seen.append(look())
            return super().rows(state, look)

    play_episode(playtable, Looking(), "open_drawer", "A", 0, 4)
    assert [observation.stamp_ns for observation in seen] == [0, 66_666_667]
    assert seen[0].static_image.shape == (200, 200, 3)
