"""What counts as done, and whether the words are true in the picture."""

import numpy as np
import pytest

from worldagen_sim.experts import ExpertPolicy
from worldagen_sim.playtable.scenes import SCENES
from worldagen_sim.playtable.tasks import ORACLES, TASKS

START = {"red_block_z": 0.485, "blue_block_x": 0.1, "blue_block_z": 0.485, "drawer_opening": 0.0}


@pytest.mark.parametrize(
    ("task", "undone", "done"),
    [
        ("lift_red_block", {"red_block_z": 0.53}, {"red_block_z": 0.54}),
        ("push_blue_block_left", {"blue_block_x": 0.03}, {"blue_block_x": 0.01}),
        ("open_drawer", {"drawer_opening": 0.09}, {"drawer_opening": 0.11}),
    ],
)
def test_a_task_is_done_past_its_threshold(task, undone, done):
    assert not ORACLES[task](START, {**START, **undone})
    assert ORACLES[task](START, {**START, **done})


def test_what_was_so_at_the_start_does_not_count():
    open_before = {**START, "drawer_opening": 0.12}
    assert not ORACLES["open_drawer"](open_before, open_before)


def test_a_block_pushed_off_the_table_is_not_pushed_left():
    assert not ORACLES["push_blue_block_left"](START, {**START, "blue_block_x": -0.5, "blue_block_z": 0.02})


def test_every_task_has_an_oracle():
    assert {task.name for task in TASKS} == set(ORACLES)


@pytest.mark.parametrize("scene", SCENES)
def test_pushed_left_means_further_left_in_the_static_picture(playtable, scene):
    state = playtable.reset("push_blue_block_left", scene, 5)
    before = blue_column(playtable.render()["static"])
    expert = ExpertPolicy()
    expert.reset("push_blue_block_left")
    while not state.success and state.time_ns < 5e9:
        state = playtable.step(expert.plan(state.values, 1)[0])
    assert state.success
    assert blue_column(playtable.render()["static"]) < before - 8


def blue_column(picture):
    """The middle column of the blue block's pixels."""
    red, green, blue = picture.astype(int).transpose(2, 0, 1)
    columns = np.nonzero((blue > 2 * red) & (blue > 1.7 * green) & (blue > 60))[1]
    assert len(columns) > 20
    return columns.mean()
