"""What counts as done, what the words are, and whether they are true in the picture."""

import numpy as np
import pytest

from worldagen_sim.expert_rules import RULES as EXPERT_RULES
from worldagen_sim.experts import ExpertPolicy
from worldagen_sim.playtable.conditions import BLOCKS
from worldagen_sim.playtable.scenes import SCENES
from worldagen_sim.playtable.tasks import ORACLES, RULES, TASKS

BLOCK = {"x": 0.1, "y": -0.1, "z": 0.485, "yaw": 0.1, "edge": 0.05, "held": 0.0}
BAY = {"y": 0.15, "z": 0.46, "half_x": 0.07, "half_y": 0.045}
START = {
    **{f"{block}_{key}": number for block in BLOCKS for key, number in BLOCK.items()},
    "blue_block_x": -0.1,
    "pink_block_x": 0.0,
    "drawer_opening": 0.06,
    "slider_position": 0.07,
    "lightbulb": 0.0,
    "led": 1.0,
    "table_top": 0.46,
    "gripper_opening": 1.0,
    **{f"drawer_{key}": number for key, number in {"x": 0.13, "y": -0.2, "z": 0.33, "half_x": 0.14, "half_y": 0.11}.items()},
    **{f"left_bay_{key}": number for key, number in {**BAY, "x": -0.2}.items()},
    **{f"right_bay_{key}": number for key, number in {**BAY, "x": -0.05}.items()},
}
LIFTED = {"red_block_z": 0.54, "red_block_held": 1.0}
HELD = {"red_block_held": 1.0, "red_block_z": 0.6, "gripper_opening": 0.0}
IN_DRAWER = {"red_block_x": 0.13, "red_block_y": -0.26, "red_block_z": 0.355}
IN_BAY = {"red_block_x": -0.2, "red_block_y": 0.15, "red_block_z": 0.485}
ON_BLUE = {"red_block_x": -0.095, "red_block_y": -0.1, "red_block_z": 0.535}


@pytest.mark.parametrize(
    ("task", "before", "undone", "done"),
    [
        ("lift_red_block_table", {}, {"red_block_z": 0.54}, LIFTED),
        ("lift_red_block_drawer", {}, {**LIFTED, "red_block_z": 0.53}, LIFTED),
        ("push_blue_block_left", {}, {"blue_block_x": -0.17}, {"blue_block_x": -0.19}),
        ("push_blue_block_right", {}, {"blue_block_x": -0.19}, {"blue_block_x": -0.01}),
        ("rotate_pink_block_left", {}, {"pink_block_yaw": 1.1}, {"pink_block_yaw": 1.2}),
        ("rotate_pink_block_right", {}, {"pink_block_yaw": 1.2}, {"pink_block_yaw": -1.0}),
        ("open_drawer", {}, {"drawer_opening": 0.15}, {"drawer_opening": 0.161}),
        ("close_drawer", {"drawer_opening": 0.14}, {"drawer_opening": 0.05}, {"drawer_opening": 0.03}),
        ("move_slider_right", {"slider_position": 0.0}, {"slider_position": 0.09}, {"slider_position": 0.11}),
        ("move_slider_left", {"slider_position": 0.146}, {"slider_position": 0.05}, {"slider_position": 0.04}),
        ("turn_on_lightbulb", {}, {"led": 0.0}, {"lightbulb": 1.0}),
        ("turn_off_led", {}, {"lightbulb": 1.0}, {"led": 0.0}),
        ("place_in_drawer", HELD, {**IN_DRAWER, "red_block_held": 1.0}, {**IN_DRAWER, "red_block_held": 0.0}),
        ("place_in_slider", HELD, {**IN_BAY, "red_block_held": 0.0, "red_block_y": 0.05}, {**IN_BAY, "red_block_held": 0.0}),
        ("stack_block", HELD, {**ON_BLUE, "red_block_x": -0.06, "red_block_held": 0.0}, {**ON_BLUE, "red_block_held": 0.0}),
        ("unstack_block", ON_BLUE, {"red_block_z": 0.535}, {"red_block_x": 0.05, "red_block_z": 0.485}),
    ],
)
def test_a_task_is_done_past_its_threshold(task, before, undone, done):
    start, opened = {**START, **before}, {"gripper_opening": 1.0}
    assert not ORACLES[task](start, start)
    assert not ORACLES[task](start, {**start, **opened, **undone})
    assert ORACLES[task](start, {**start, **opened, **done})


@pytest.mark.parametrize(
    ("task", "state"),
    [
        ("open_drawer", {"drawer_opening": 0.15}),
        ("turn_off_led", {"led": 0.0}),
        ("turn_on_lightbulb", {"lightbulb": 1.0}),
        ("stack_block", ON_BLUE),
        ("place_in_drawer", IN_DRAWER),
        ("lift_red_block_table", LIFTED),
    ],
)
def test_what_was_so_at_the_start_does_not_count(task, state):
    assert not ORACLES[task]({**START, **state}, {**START, **state})


def test_a_block_pushed_off_the_table_is_not_pushed_left():
    assert not ORACLES["push_blue_block_left"](START, {**START, "blue_block_x": -0.5, "blue_block_z": 0.02})


def test_a_block_that_was_carried_away_while_it_was_turned_is_not_rotated():
    assert not ORACLES["rotate_red_block_left"](START, {**START, "red_block_yaw": 1.3, "red_block_x": 0.25})


def test_a_block_let_go_by_chance_in_the_wrong_box_is_not_placed():
    start, gone = {**START, **HELD}, {**START, **IN_BAY}
    assert not ORACLES["place_in_drawer"](start, gone)
    assert ORACLES["place_in_slider"](start, gone)


def test_there_are_tasks_enough_and_each_has_rules_words_and_an_expert():
    assert len(TASKS) >= 20
    assert {task.name for task in TASKS} == set(RULES) == set(EXPERT_RULES)


def test_every_task_has_words_to_train_with_and_others_held_out():
    for task in TASKS:
        assert len(task.phrasings) >= 4 and len(task.held_out) >= 2
        assert task.instruction == task.phrasings[0]


def test_no_sentence_means_two_tasks_and_none_that_is_held_out_is_trained_with():
    trained = [words for task in TASKS for words in task.phrasings]
    held_out = [words for task in TASKS for words in task.held_out]
    assert len(set(trained + held_out)) == len(trained + held_out)


def test_held_out_sentences_use_only_words_that_are_trained_with():
    known = {word for task in TASKS for words in task.phrasings for word in words.split()}
    assert {word for task in TASKS for words in task.held_out for word in words.split()} <= known


@pytest.mark.parametrize("scene", SCENES)
def test_pushed_left_means_further_left_in_the_static_picture(playtable, scene):
    state = playtable.reset("push_blue_block_left", scene, 2)
    before = blue_column(playtable.render()["static"])
    expert = ExpertPolicy()
    expert.reset("push_blue_block_left")
    while not state.success and state.time_ns < 9e9:
        state = playtable.step(expert.plan(state.values, 1)[0])
    assert state.success
    assert blue_column(playtable.render()["static"]) < before - 8


@pytest.mark.parametrize(("task", "tone"), [("turn_on_lightbulb", "yellow"), ("turn_on_led", "green")])
def test_a_light_that_is_turned_on_shines_in_the_static_picture(playtable, task, tone):
    state = playtable.reset(task, "C", 1)
    before = shining(playtable.render()["static"], tone)
    expert = ExpertPolicy()
    expert.reset(task)
    while not state.success and state.time_ns < 9e9:
        state = playtable.step(expert.plan(state.values, 1)[0])
    assert state.success
    up = np.array([0.0, -0.01, 0.015, 0.0, 0.0, 0.0, 1.0])
    for _ in range(25):
        playtable.step(up)  # out of the light's way
    assert shining(playtable.render()["static"], tone) > before + 8


def blue_column(picture):
    """The middle column of the blue block's pixels."""
    red, green, blue = picture.astype(int).transpose(2, 0, 1)
    columns = np.nonzero((blue > 2 * red) & (blue > 1.7 * green) & (blue > 60))[1]
    assert len(columns) > 20
    return columns.mean()


def shining(picture, tone):
    """How many pixels are as bright as a light that is on."""
    red, green, blue = picture.astype(int).transpose(2, 0, 1)
    if tone == "yellow":
        return ((red > 150) & (green > 140) & (blue < 90)).sum()
    return ((green > 150) & (red < 100) & (blue < 120)).sum()
