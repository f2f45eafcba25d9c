"""How episodes begin: every task can be done, nothing floats or stands in something else, every scene is its own."""

import numpy as np
import pytest

from worldagen.errors import SimulatorError
from worldagen_sim.playtable.cabinet import DOOR_TRAVEL_M
from worldagen_sim.playtable.conditions import BLOCKS, CHOICES, draw_conditions, fault_of
from worldagen_sim.playtable.consoles import SWITCH_HALF_M
from worldagen_sim.playtable.draws import Draws
from worldagen_sim.playtable.layout import BLOCK_GAP_M, draw_layout
from worldagen_sim.playtable.scenes import SCENES
from worldagen_sim.playtable.tasks import RULES, stands_on

STILL = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
TABLE = {"slider": "left", "drawer": "closed", "lightbulb": "off", "led": "off", **dict.fromkeys(BLOCKS, "table")}


@pytest.mark.parametrize("task", RULES)
def test_a_drawn_start_lets_its_task_be_done_and_is_not_done_yet(playtable, task):
    for seed in (0, 1):
        state = playtable.reset(task, "B", seed)
        assert RULES[task].requires(playtable.conditions)
        assert not state.success


@pytest.mark.parametrize("scene", SCENES)
def test_at_the_start_nothing_floats_moves_or_is_pressed_into_something(playtable, scene):
    for seed in range(12):
        state = playtable.reset("open_drawer" if seed % 2 else "place_in_slider", scene, seed)
        now = playtable.step(np.append(np.zeros(6), state.gripper_opening))
        for block in BLOCKS:
            moved = [now.values[f"{block}_{axis}"] - state.values[f"{block}_{axis}"] for axis in "xyz"]
            assert np.abs(moved).max() < 1e-3, f"{block} of seed {seed}"
        assert np.abs(now.joint_velocities).max() < 2e-2
        assert np.abs(now.tcp_pose[:3] - state.tcp_pose[:3]).max() < 1e-3


@pytest.mark.parametrize("scene", SCENES)
def test_the_table_is_as_its_conditions_say(playtable, scene):
    for seed in range(25):
        random = np.random.default_rng([seed, 3])
        conditions = draw_conditions(random)
        task = next((name for name, rules in RULES.items() if rules.requires(conditions)), None)
        if task is None:
            continue
        values = playtable.reset(task, scene, seed, conditions).values
        assert values["lightbulb"] == (conditions["lightbulb"] == "on")
        assert values["led"] == (conditions["led"] == "on")
        assert (values["drawer_opening"] > 0.1) == (conditions["drawer"] == "open")
        assert (values["slider_position"] > DOOR_TRAVEL_M / 2) == (conditions["slider"] == "right")
        for block in BLOCKS:
            assert where_is(block, values) == conditions[block], f"{block} of seed {seed}"


def where_is(block, values):
    if values[f"{block}_held"]:
        return "hand"
    if stands_on(block, values):
        return "stack"
    if values[f"{block}_z"] < values["table_top"]:
        return "drawer"
    if values[f"{block}_y"] > 0.1:
        return "slider_left" if abs(values[f"{block}_x"] - values["left_bay_x"]) < 0.05 else "slider_right"
    return "table"


def test_blocks_on_the_table_stand_clear_of_one_another_and_of_the_consoles():
    for scene in SCENES.values():
        for seed in range(100):
            draws = Draws(seed)
            drawn = scene.varied(draws)
            places = np.array(draw_layout(draws, drawn, TABLE).blocks)[:, :2]
            gaps = [np.linalg.norm(places[one] - places[other]) for one, other in ((0, 1), (0, 2), (1, 2))]
            assert min(gaps) >= max(drawn.block_edges_m) + BLOCK_GAP_M
            for console in (drawn.switch_m, drawn.button_m):
                beside = np.abs(places - console) - SWITCH_HALF_M
                assert (beside.max(axis=1) > max(drawn.block_edges_m) / 2).all()


def test_a_block_that_will_be_pushed_has_room(playtable):
    for task, sign in (("push_pink_block_left", -1), ("push_pink_block_right", 1)):
        for seed in range(30):
            draws = Draws(seed)
            drawn = SCENES["C"].varied(draws)
            places = np.array(draw_layout(draws, drawn, TABLE, task).blocks)[:, :2]
            ahead = places[2] + [sign * 0.1, 0]
            assert min(np.linalg.norm(places[:2] - ahead, axis=1)) > 0.09


def test_the_same_seed_means_the_same_draws_in_every_scene(playtable):
    states = [playtable.reset("open_drawer", scene, 3) for scene in "AD"]
    assert states[0].tcp_pose == pytest.approx(states[1].tcp_pose, abs=1e-3)
    assert states[0].values["pink_block_edge"] == states[1].values["pink_block_edge"]


def test_conditions_can_be_given(playtable):
    values = playtable.reset("lift_blue_block_drawer", "A", 0, {**TABLE, "drawer": "open", "blue_block": "drawer"}).values
    assert values["drawer_opening"] > 0.1
    assert values["blue_block_z"] < values["table_top"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drawer": "ajar"}, "drawer is 'ajar'; expected one of open, closed"),
        ({"red_block": "hand", "blue_block": "hand"}, "red_block and blue_block are both in the place 'hand'"),
        ({"red_block": "stack", "blue_block": "drawer", "pink_block": "hand"}, "no block on the table is under it"),
        ({"door": "open"}, "there is no 'door'"),
    ],
)
def test_conditions_that_cannot_be_are_refused(playtable, changes, words):
    before = playtable.reset("open_drawer", "A", 0).values
    with pytest.raises(SimulatorError, match=words):
        playtable.reset("open_drawer", "A", 1, {**TABLE, **changes})
    assert playtable.step(STILL).values["red_block_x"] == pytest.approx(before["red_block_x"], abs=1e-3)  # it goes on


def test_missing_conditions_are_named():
    assert fault_of({name: choices[0] for name, choices in CHOICES.items() if name != "led"}) == "led is missing"


def test_conditions_that_rule_the_task_out_are_refused(playtable):
    with pytest.raises(SimulatorError, match="close_drawer cannot be done from these conditions"):
        playtable.reset("close_drawer", "A", 0, TABLE)


def test_another_task_is_taken_up_in_the_world_as_it_stands(playtable):
    playtable.reset("open_drawer", "A", 0, TABLE)
    for _ in range(5):
        before = playtable.step(np.array([0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
    after = playtable.take_up("turn_on_led")
    moved = {name for name in before.values if after.values[name] != before.values[name]}
    assert all(name.startswith("target_") for name in moved)
    assert after.time_ns == before.time_ns
    # The commanded pose, which led, is seated on the measured one.
    assert before.target_pose[0] - before.tcp_pose[0] > 0.005
    assert after.target_pose == pytest.approx(after.tcp_pose)
