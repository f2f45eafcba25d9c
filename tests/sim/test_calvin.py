"""CALVIN's chains, initial states and conventions, held to recorded values; and CALVIN itself where there is a clone.

The recorded values are CALVIN's own: its generator and its initial states were run beside ours, all thousand of them.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from worldagen.errors import ConfigError, SimulatorError, UnknownName
from worldagen.kinematics import ForwardKinematics
from worldagen_sim.calvin import make_calvin
from worldagen_sim.calvin.chains import RULES, conditions_along, draw_chain, draw_chains, draw_from, starts_of
from worldagen_sim.calvin.clone import find_clone, find_python, read_tasks
from worldagen_sim.calvin.conditions import BLOCKS, START_ROBOT, initial_conditions, initial_state, published_hash, seed_of
from worldagen_sim.calvin.simulator import Calvin
from worldagen_sim.environment import Task, make_environment

DEPLOYMENT = Path(__file__).parents[2] / "ros2_ws/src/worldagen_ros/config/calvin.yaml"
TABLE = {
    "led": "0",
    "lightbulb": "0",
    "slider": "right",
    "drawer": "closed",
    "red_block": "table",
    "blue_block": "table",
    "pink_block": "slider_right",
}
STARTS_SHA256 = (
    "e551ab1eb96645a014cfc8e0af61e363e4bbc7176db11dc62b4734c7f8f6160b"  # scene_obs of all 192, little-endian doubles
)
CHAINS_SHA256 = {  # one line a chain: seven conditions and five tasks, spaces between
    40: "16e77eb166e42f85530cbb5341836766f67dfb40e0d8bf7b60f2cadbde9e7a8c",
    1000: "59b2b4489adf3348b7da83dee1b35b54d8564aec7859040dbb54c7bf93adac57",
}
LEFT, RIGHT = np.array([-0.02, 0, 0, 0, 0, 0, 1.0]), np.array([0.02, 0, 0, 0, 0, 0, 1.0])


def digest_of(count: int) -> str:
    lines = (" ".join([*chain.conditions.values(), *chain.tasks]) for chain in draw_chains(count))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_the_hash_is_pyhashs_and_not_what_its_name_says():
    assert published_hash("test") == 3910690890  # as pyhash's own test has it for a str
    assert seed_of(TABLE) == 432992106


def test_an_evaluation_begins_in_192_states_each_with_places_and_angles_of_its_own():
    states = initial_conditions()
    assert len(states) == 192 and dict(states[0]) == TABLE
    robot_obs, scene_obs = initial_state(TABLE)
    assert robot_obs[:3].tolist() == [0.02586889, -0.2313129, 0.5712808] and robot_obs[14] == 1.0
    assert scene_obs[6:12].tolist() == [0.229995412, -0.11999514, 0.45999001, 0.0, 0.0, 1.4418709252147632]
    numbers = b"".join(initial_state(state)[1].astype("<f8").tobytes() for state in states)
    assert hashlib.sha256(numbers).hexdigest() == STARTS_SHA256


def test_in_other_scenes_the_blocks_lie_where_those_have_their_surfaces():
    for scene, left in (("A", -0.240851662), ("B", -0.03), ("C", -0.03)):
        assert initial_state({**TABLE, "pink_block": "slider_left"}, scene)[1][18] == left
    with pytest.raises(UnknownName, match="unknown calvin scene 'E'; choose one of: A, B, C, D"):
        initial_state(TABLE, "E")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"led": "on"}, "led is 'on'; expected one of 0, 1"),
        ({"red_block": "slider_right"}, "red_block and pink_block are both in slider_right, which holds one"),
        ({"pink_block": "table"}, "3 blocks are on the table; expected 1 or 2"),
        ({"green_block": "table"}, "there is no 'green_block'"),
    ],
)
def test_conditions_in_which_no_evaluation_begins_are_refused(change, words):
    with pytest.raises(SimulatorError, match=words):
        initial_state({**TABLE, **change})


def test_chains_are_drawn_as_calvin_draws_them():
    assert draw_from(TABLE, 0, 2) == [
        ("open_drawer", "turn_on_lightbulb", "move_slider_left", "rotate_red_block_left", "lift_red_block_table"),
        ("lift_red_block_table", "stack_block", "unstack_block", "open_drawer", "turn_on_led"),
    ]
    assert digest_of(40) == CHAINS_SHA256[40]
    for chain in draw_chains(40):
        assert len(conditions_along(chain.conditions, chain.tasks)) == 6


def test_a_chain_that_cannot_be_is_refused():
    with pytest.raises(SimulatorError, match="there is no chain 1000; CALVIN's evaluation has those from 0 to 999"):
        draw_chain(1000)
    with pytest.raises(SimulatorError, match="task 2 of the chain, stack_block, can be done in 0 ways then: led 0"):
        conditions_along(TABLE, ("open_drawer", "stack_block"))
    both = {**TABLE, "pink_block": "slider_left", "slider": "left"}
    with pytest.raises(SimulatorError, match="task 2 of the chain, lift_pink_block_slider, can be done in 0 ways"):
        conditions_along(both, ("open_drawer", "lift_pink_block_slider"))  # the door covers it


def test_a_block_is_counted_on_the_side_of_the_door_when_it_is_stored():
    after = conditions_along(TABLE, ("lift_red_block_table", "place_in_slider"))[-1]
    assert after["red_block"] == "slider_right" == after["pink_block"]  # CALVIN counts no further


def test_seven_tasks_follow_others_and_have_no_start_of_their_own():
    alone = [task for task in RULES if not starts_of(task)]
    assert alone == [*(f"lift_{block}_drawer" for block in BLOCKS), "place_in_slider", "place_in_drawer", *alone[5:]]
    assert alone[5:] == ["stack_block", "unstack_block"]
    assert len(starts_of("push_into_drawer")) == 48 and len(RULES) == 34


class FakeWorld:
    """The parts of calvin_env that count: a target that relative actions add to, a gripper that takes 1 and -1 only."""

    blocks = ("pink_block", "blue_block", "red_block")  # scene A's order

    def __init__(self, scene):
        self.scenes, self.actions, self.drawn = [scene], [], []

    def load(self, scene):
        self.scenes.append(scene)

    def begin(self, robot_obs, scene_obs):
        self.robot_obs, self.scene_obs = robot_obs.copy(), scene_obs.copy()
        self.target = robot_obs[:6].copy()

    def step(self, action):
        assert action[6] in (-1, 1)
        self.actions.append(action)
        self.target += action[:6] * ([0.02] * 3 + [0.05] * 3)
        self.robot_obs[:3] += 0.9 * (self.target[:3] - self.robot_obs[:3])
        self.robot_obs[14] = action[6]
        self.scene_obs[1] += 0.02
        return self.info()

    def info(self):
        return self.scene_obs.copy()

    def numbers(self):
        return self.robot_obs.copy(), self.scene_obs.copy()

    def joints(self):
        return np.zeros(9), np.zeros(9)

    @property
    def target_pose(self):
        return self.target.copy()

    def picture(self, view):
        self.drawn.append(view)
        return np.zeros((2, 2, 3), np.uint8)

    def close(self):
        self.scenes.append("closed")


@pytest.fixture
def worlds():
    return []


@pytest.fixture
def fake(worlds):
    def make_world(scene):
        worlds.append(FakeWorld(scene))
        return worlds[-1]

    tasks = (Task("open_drawer", ("pull it",)), Task("turn_on_led", ("press it",)), Task("stack_block", ("stack it",)))
    return Calvin(tasks, lambda start, now, task: task == "open_drawer" and now[1] - start[1] > 0.05, make_world, "7")


def test_rows_become_relative_actions_of_full_scale_at_most(fake, worlds):
    state = fake.reset("open_drawer", "A", 0, TABLE)
    assert (state.time_ns, state.gripper_opening, state.success) == (0, 1.0, False)
    state = fake.step(np.array([0.01, -0.5, 0, 0, 0, 0.025, 0.0]))
    action = worlds[0].actions[0]
    assert action[:3].tolist() == [0.5, -1.0, 0.0] and action[6] == -1.0
    np.testing.assert_allclose(action[3:6], [0, 0, 0.5], atol=0.03)  # increments of Euler angles, nearly about z here
    assert (state.time_ns, state.gripper_opening) == (33_333_333, 0.0)
    np.testing.assert_allclose(state.target_pose[:3], [0.03586889, -0.2513129, 0.5712808])
    with pytest.raises(SimulatorError, match="expected 7 finite numbers"):
        fake.step(np.array([np.nan] * 7))


def test_blocks_are_put_in_the_scenes_own_order_and_told_by_name(fake, worlds):
    values = fake.reset("open_drawer", "A", 0, TABLE).values
    assert worlds[0].scene_obs[18] == values["red_block_x"] == initial_state(TABLE, "A")[1][6]
    assert values["pink_block_x"] == initial_state(TABLE, "A")[1][18] and values["gripper_width"] == 0.07999963


def test_the_oracle_compares_with_the_start_of_each_task(fake):
    fake.reset("turn_on_led", "D", 0)
    for _ in range(3):
        state = fake.step(RIGHT)
    assert not state.success and not fake.take_up("open_drawer").success
    assert [fake.step(RIGHT).success for _ in range(3)] == [False, False, True]


def test_a_world_is_made_once_and_goes_from_scene_to_scene(fake, worlds):
    for scene in ("D", "D", "B"):
        fake.reset("open_drawer", scene, 0)
    fake.close()
    fake.close()
    assert [world.scenes for world in worlds] == [["D", "B", "closed"]]
    with pytest.raises(SimulatorError, match="calvin has no episode; call reset first"):
        fake.step(RIGHT)


def test_only_the_pictures_that_are_wanted_are_drawn(fake, worlds):
    fake.reset("open_drawer", "D", 0)
    fake.step(RIGHT)
    assert worlds[0].drawn == [] and list(fake.render(("wrist",))) == worlds[0].drawn == ["wrist"]


def test_a_seed_draws_conditions_in_which_its_task_can_be_done(fake):
    for seed in range(20):
        fake.reset("open_drawer", "D", seed)
        assert fake.conditions["drawer"] == "closed"
    fake.reset("stack_block", "D", 0)  # which no initial state allows
    with pytest.raises(SimulatorError, match=r"open_drawer cannot be done from these conditions: led 0, .*drawer open"):
        fake.reset("open_drawer", "D", 0, {**TABLE, "drawer": "open"})
    with pytest.raises(SimulatorError, match="whole number"):
        fake.reset("open_drawer", "D", -1)


def test_a_stored_state_is_robot_obs_and_scene_obs(fake, worlds):
    robot_obs, scene_obs = initial_state(TABLE)
    fake.restore("open_drawer", "D", np.concatenate([robot_obs, scene_obs]))
    assert worlds[0].scene_obs.tolist() == scene_obs.tolist() and fake.conditions == {}
    with pytest.raises(SimulatorError, match=r"15 \+ 24 finite numbers"):
        fake.restore("open_drawer", "D", np.zeros(38))
    scene_obs[4] = 0.5
    with pytest.raises(SimulatorError, match=r"lightbulb and led are \[0.5, 0.0\]; expected 0 or 1"):
        fake.restore("open_drawer", "D", np.concatenate([robot_obs, scene_obs]))


def test_the_deployments_kinematics_tell_calvins_tool_pose():
    robot = yaml.safe_load(DEPLOYMENT.read_text())["robot"]
    kinematics = ForwardKinematics("panda", "panda_hand_tcp", (-0.34, -0.46, 0.24, 0.0, 0.0, 0.0), robot["tool_offset"])
    names = tuple(f"panda_joint{number}" for number in range(1, 8))
    told = kinematics.tool_pose(names, START_ROBOT[7:14])
    np.testing.assert_allclose(told, START_ROBOT[:6], atol=1e-4)  # CALVIN's own numbers, of a start that was measured there


def small_clone(folder: Path, sentences: bool = True) -> Path:
    """The files that a clone is known by, with tasks and sentences of ours."""
    inner = folder / "calvin_env" if sentences else folder
    for place in ("calvin_env/envs", "conf/tasks", "data/franka_panda", "data/calvin_table_D", ".git"):
        (inner / place).mkdir(parents=True)
    (inner / "calvin_env/envs/play_table_env.py").touch()
    (inner / "conf/config_data_collection.yaml").touch()
    (inner / "conf/tasks/new_playtable_tasks.yaml").write_text("tasks: {turn_it: [turn, 1], rest: [stop]}")
    if sentences:
        words = folder / "calvin_models/conf/annotations"
        words.mkdir(parents=True)
        (words / "new_playtable_validation.yaml").write_text('turn_it: ["turn it"]\nrest: ["rest"]')
        (words / "new_playtable.yaml").write_text('turn_it: ["make it turn", "turn it"]\nrest: ["stop"]')
    return folder


def test_tasks_and_sentences_come_from_the_clone_the_validations_first(tmp_path):
    clone = find_clone(str(small_clone(tmp_path / "calvin")))
    assert read_tasks(clone) == (Task("turn_it", ("turn it", "make it turn")), Task("rest", ("rest", "stop")))
    alone = find_clone(str(small_clone(tmp_path / "env", sentences=False)))
    assert alone.calvin_env == tmp_path / "env" and read_tasks(alone)[0].phrasings == ("turn it",)


def test_a_clone_is_found_by_variable_and_what_is_none_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("CALVIN_ROOT", raising=False)
    with pytest.raises(SimulatorError, match="it was not said where CALVIN is; git clone --recurse-submodules"):
        find_clone()
    with pytest.raises(SimulatorError, match="nowhere is no folder"):
        find_clone(str(tmp_path / "nowhere"))
    with pytest.raises(SimulatorError, match="holds neither calvin nor calvin_env"):
        find_clone(str(tmp_path))
    (tmp_path / "calvin_env").mkdir()
    with pytest.raises(SimulatorError, match="its submodules are missing"):
        find_clone(str(tmp_path))
    whole = small_clone(tmp_path / "whole")
    monkeypatch.setenv("CALVIN_ROOT", str(whole))
    assert find_clone().calvin_env == whole / "calvin_env"
    (whole / "calvin_env/.git").rmdir()
    with pytest.raises(SimulatorError, match="is no git checkout, and calvin_env does not run without one"):
        find_clone()
    (whole / "calvin_env/data/franka_panda").rmdir()
    with pytest.raises(SimulatorError, match="lacks data/franka_panda"):
        find_clone()


def test_calvins_python_is_found_or_told(tmp_path, monkeypatch):
    file = tmp_path / "python"
    file.touch()
    monkeypatch.setenv("WORLDAGEN_CALVIN_PYTHON", str(file))
    assert find_python() == str(file)
    with pytest.raises(SimulatorError, match="nowhere does not exist; build it with scripts/setup --with calvin"):
        find_python(str(tmp_path / "nowhere"))


def test_a_python_without_calvins_packages_is_told(tmp_path, monkeypatch):
    import sys

    monkeypatch.delenv("CALVIN_ROOT", raising=False)
    with pytest.raises(SimulatorError, match=r"cannot import what calvin_env needs: No module named '\w+'. Build its"):
        make_calvin(root=str(small_clone(tmp_path)), python=sys.executable)


def test_options_and_renderers_that_do_not_exist_are_refused():
    with pytest.raises(
        ConfigError, match="'speed=2' is no option of calvin; expected KEY=VALUE, each key once, of: root, python"
    ):
        make_environment("calvin", options="speed=2")
    with pytest.raises(UnknownName, match="unknown renderer of calvin 'osmesa'; choose one of: auto, egl, raycast"):
        make_environment("calvin", renderer="osmesa")
