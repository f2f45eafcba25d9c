"""CALVIN itself: physics, oracle, pictures and kinematics. Runs where CALVIN_ROOT names a clone (docs/simulators.md)."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation
from test_calvin import CHAINS_SHA256, DEPLOYMENT, TABLE, digest_of

from worldagen.errors import SimulatorError
from worldagen.kinematics import ForwardKinematics
from worldagen_sim.calvin import make_calvin
from worldagen_sim.calvin.clone import find_clone, find_python
from worldagen_sim.calvin.conditions import SCENES, initial_state
from worldagen_sim.remote.environment import RemoteEnvironment
from worldagen_sim.remote.process import Launch

BUTTON_XY = (-0.12, -0.12)  # of scene D
RED, BLUE, PINK = 6, 12, 18  # where a block's numbers begin in scene_obs of scene D
OPEN, CLOSED = np.array([0, 0, 0, 0, 0, 0, 1.0]), np.zeros(7)


def why_not() -> str:
    try:
        find_clone()
        find_python()
    except SimulatorError as error:
        return str(error)
    return ""


pytestmark = [
    pytest.mark.skipif(not os.environ.get("CALVIN_ROOT"), reason="CALVIN_ROOT does not name a clone of CALVIN"),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "CALVIN is here"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def calvin():
    environment = make_calvin()
    yield environment
    environment.close()


@pytest.fixture(scope="module")
def teleporting():
    clone, workers = find_clone(), str(Path(__file__).parent / "workers")
    options = {"root": str(clone.root), "egl": False}
    paths = (workers, str(clone.calvin_env))
    environment = RemoteEnvironment(
        Launch("calvin", "teleporting_calvin:make_teleporting", options, python=find_python(), paths=paths)
    )
    yield environment
    environment.close()


def test_it_says_what_it_is(calvin):
    assert (calvin.name, calvin.scenes, len(calvin.tasks), calvin.convention.name) == ("calvin", SCENES, 34, "calvin")
    assert calvin.version.startswith("1, calvin_env ") and "pybullet" in calvin.version
    assert "TinyRenderer" in calvin.caveat
    assert all(task.instruction for task in calvin.tasks)


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_begins_with_its_blocks_at_rest_where_they_were_put(calvin, scene):
    begun = calvin.reset("open_drawer", scene, 0, {**TABLE, "blue_block": "slider_left"})
    for _ in range(20):
        state = calvin.step(OPEN)
    names = [f"{block}_block_{axis}" for block in ("red", "blue", "pink") for axis in "xyz"]
    moved = [abs(state.values[name] - begun.values[name]) for name in names]
    assert max(moved) < 0.003
    wanted = initial_state(calvin.conditions, scene)[1]
    for block, begin in (("red", RED), ("blue", BLUE), ("pink", PINK)):
        np.testing.assert_allclose(
            [state.values[f"{block}_block_{axis}"] for axis in "xyz"], wanted[begin : begin + 3], atol=0.003
        )
        assert abs(state.values[f"{block}_block_yaw"] - wanted[begin + 5]) < 0.02


def test_an_episode_is_the_same_after_others_and_in_another_process(calvin):
    def played(environment):
        environment.reset("open_drawer", "D", 3)
        random = np.random.default_rng(0)
        scale = [0.02] * 3 + [0.05] * 3
        states = [environment.step(np.append(random.uniform(-1, 1, 6) * scale, step % 20 < 10)) for step in range(40)]
        return [state.values for state in states], [state.joint_positions.tolist() for state in states], environment.render()

    first = played(calvin)
    calvin.reset("open_drawer", "B", 7)
    for _ in range(20):
        calvin.step(CLOSED)
    other = make_calvin()
    try:
        for again in (played(calvin), played(other)):
            assert again[:2] == first[:2]
            assert all(np.array_equal(picture, first[2][name]) for name, picture in again[2].items())
    finally:
        other.close()


def test_relative_actions_add_to_the_target_which_the_arm_follows_late(calvin):
    begun = calvin.reset("open_drawer", "D", 0, TABLE)
    for _ in range(10):
        state = calvin.step(np.array([0.02, 0, 0, 0, 0, 0, 1.0]))
    np.testing.assert_allclose(state.target_pose - begun.target_pose, [0.2, 0, 0, 0, 0, 0], atol=1e-12)
    assert 0.12 < state.tcp_pose[0] - begun.tcp_pose[0] < 0.19
    kept = calvin.take_up("turn_on_led")
    assert kept.target_pose.tolist() == state.target_pose.tolist()
    for _ in range(15):
        state = calvin.step(OPEN)
    np.testing.assert_allclose(state.tcp_pose[:3] - begun.tcp_pose[:3], [0.2, 0, 0], atol=0.005)


def test_the_gripper_closes_and_opens_all_the_way(calvin):
    calvin.reset("open_drawer", "D", 0, TABLE)
    for row, width in ((CLOSED, 0.0), (OPEN, 0.08)):
        for _ in range(20):
            state = calvin.step(row)
        assert state.gripper_opening == row[6] and abs(state.values["gripper_width"] - width) < 0.001
        np.testing.assert_allclose(state.joint_positions[7:], width / 2, atol=0.001)


def test_a_reset_forgets_the_gripper_of_the_episode_before(calvin):
    calvin.reset("open_drawer", "D", 0)
    calvin.step(CLOSED)
    assert calvin.reset("open_drawer", "D", 0).gripper_opening == 1.0


def test_the_deployments_kinematics_tell_calvins_own_tool_pose(calvin):
    robot = yaml.safe_load(DEPLOYMENT.read_text())["robot"]
    base = (-0.34, -0.46, 0.24, 0.0, 0.0, 0.0)  # the default of robot.base_pose
    kinematics = ForwardKinematics("panda", "panda_hand_tcp", base, robot["tool_offset"])
    robot_obs, scene_obs = initial_state(TABLE)
    random = np.random.default_rng(0)
    low, high = [-2.8, -1.7, -2.8, -3.0, -2.8, 0.0, -2.8], [2.8, 1.7, 2.8, -0.1, 2.8, 3.7, 2.8]
    states = []
    for _ in range(50):
        robot_obs[7:14] = random.uniform(low, high)
        states.append(calvin.restore("open_drawer", "D", np.concatenate([robot_obs, scene_obs])))
    calvin.reset("open_drawer", "D", 0)
    states += [calvin.step(np.array([0.02, 0.01, 0.02, 0.05, -0.05, 0.05, 1.0])) for _ in range(20)]  # and a moving arm
    for state in states:
        told = kinematics.tool_pose(state.joint_names, state.joint_positions)
        turn = Rotation.from_euler("xyz", told[3:]) * Rotation.from_euler("xyz", state.tcp_pose[3:]).inv()
        assert np.linalg.norm(told[:3] - state.tcp_pose[:3]) < 1e-6 and turn.magnitude() < 1e-6


def test_pictures_are_upright_and_in_colour(calvin):
    state = calvin.reset("open_drawer", "D", 0, {**TABLE, "led": "1", "lightbulb": "1"})
    pictures = calvin.render()
    assert {name: (picture.shape, picture.dtype) for name, picture in pictures.items()} == {
        "static": ((200, 200, 3), np.uint8),
        "wrist": ((84, 84, 3), np.uint8),
    }
    red, green, blue = pictures["static"].astype(int).transpose(2, 0, 1)
    bulb = np.argwhere((red > 150) & (green > 150) & (blue < 80))
    block = np.argwhere((red > 120) & (green < 50) & (blue < 50))
    assert len(bulb) > 20 and bulb[:, 0].mean() < 30 and bulb[:, 1].mean() > 120  # the bulb is above, on the right
    assert len(block) > 20 and block[:, 0].mean() > 70 and state.values["red_block_x"] > 0.2


@pytest.mark.parametrize(
    ("task", "before", "after"),
    [
        ("open_drawer", {}, {1: 0.2}),
        ("close_drawer", {1: 0.22}, {1: 0.0}),
        ("move_slider_left", {}, {0: 0.28}),
        ("move_slider_right", {0: 0.28}, {0: 0.0}),
        ("turn_on_led", {}, {5: 1}),
        ("turn_off_led", {5: 1}, {5: 0}),
        ("turn_on_lightbulb", {}, {3: 0.088, 4: 1}),
        ("turn_off_lightbulb", {3: 0.088, 4: 1}, {3: 0.0, 4: 0}),
        ("push_red_block_left", {}, {RED: 0.06, BLUE: 0.25}),
        ("push_blue_block_right", {}, {RED: 0.1, BLUE: 0.3}),
    ],
)
def test_the_oracle_is_calvins_own(teleporting, task, before, after):
    robot_obs, scene_obs = initial_state({**TABLE, "pink_block": "slider_left"})
    scene_obs[[RED + 3, RED + 4, BLUE + 3, BLUE + 4]] = 0
    scene_obs[[RED, BLUE]] = (0.2, 0.1)
    scene_obs[list(before)] = list(before.values())
    # A restore is no beginning here: begin, go there, and take it up.
    conditions = {**TABLE, "pink_block": "slider_left"}
    teleporting.reset("rotate_red_block_left", "D", 0, conditions)
    teleporting.restore(task, "D", np.concatenate([robot_obs, scene_obs]))
    assert not teleporting.take_up(task).success
    assert not teleporting.restore(task, "D", np.concatenate([robot_obs, scene_obs])).success
    scene_obs[list(after)] = list(after.values())
    assert teleporting.restore(task, "D", np.concatenate([robot_obs, scene_obs])).success


def go(environment, position, opening, steps=60):
    """Send the target to a place, and wait until the arm is there or the task is done."""
    for _ in range(steps):
        state = environment.step(np.concatenate([np.zeros(6), [opening]]))
        away = np.asarray(position) - state.target_pose[:3]
        state = environment.step(np.concatenate([np.clip(away, -0.02, 0.02), np.zeros(3), [opening]]))
        if state.success or np.abs(np.asarray(position) - state.tcp_pose[:3]).max() < 0.004:
            break
    return state


def test_a_chain_goes_on_in_the_same_world(calvin):
    calvin.reset("turn_on_led", "D", 0, TABLE)
    go(calvin, (*BUTTON_XY, 0.56), 0.0)
    state = go(calvin, (*BUTTON_XY, 0.44), 0.0)
    assert state.success and state.values["led"] == 1.0
    state = calvin.take_up("turn_off_led")
    assert not state.success and state.time_ns > 0
    go(calvin, (*BUTTON_XY, 0.56), 0.0)
    state = go(calvin, (*BUTTON_XY, 0.44), 0.0)
    assert state.success and state.values["led"] == 0.0


def test_a_block_is_grasped_and_lifted(calvin):
    state = calvin.reset("lift_red_block_table", "D", 0, {**TABLE, "pink_block": "slider_left", "blue_block": "slider_right"})
    x, y = state.values["red_block_x"], state.values["red_block_y"]
    go(calvin, (x, y, 0.56), 1.0)
    go(calvin, (x, y, 0.468), 1.0)
    for _ in range(15):
        calvin.step(CLOSED)
    assert go(calvin, (x, y, 0.6), 0.0).success


def test_all_thousand_chains_are_calvins():
    assert digest_of(1000) == CHAINS_SHA256[1000]
