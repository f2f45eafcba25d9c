"""Gymnasium environments that are not ours, by a mapping: Pusher from Gymnasium itself, and one with LeRobot's names."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from worldagen.errors import ConfigError, SimulatorError, UnknownName
from worldagen_sim.environment import make_environment, parse_options
from worldagen_sim.gymnasium_bridge import GymnasiumSimulator, read_mapping

WORKERS = Path(__file__).parent / "workers"
PUSHER = """
id: Pusher-v5
arguments: render_mode=rgb_array; width=96; height=64
tasks: push=push the cylinder to the goal
static: render
joints: "observation[0:7]"
joint_names: shoulder_pan, shoulder_lift, upper_arm_roll, elbow_flex, forearm_roll, wrist_flex, wrist_roll
position: "observation[14:17]"
convention: libero
success: info/nothing
"""
LEROBOT = """
id: small/LeRobot-v0
modules: lerobot_like
tasks: 0=put it there; 1=take it away
task_argument: task_id
static: pixels/image
wrist: pixels/image2
flip_rows: true
joints: robot_state/joints/pos
joint_names: one, two
position: robot_state/eef/pos
orientation: robot_state/eef/quat
rotation: quaternion_xyzw
"""


def write(folder: Path, text: str, **changes: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.split(":")[0] not in changes]
    lines += [f"{key}: {value}" for key, value in changes.items() if value]
    file = folder / "mapping.yaml"
    file.write_text("\n".join(lines))
    return str(file)


@pytest.fixture
def lerobot(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(WORKERS))
    return GymnasiumSimulator(write(tmp_path, LEROBOT))


def test_an_environment_that_comes_with_gymnasium_runs_in_a_process_of_its_own(tmp_path, gl_platform):
    mapping = write(tmp_path, PUSHER, success="info/reward_near")
    environment = make_environment("gymnasium", gl_platform, f"mapping={mapping}")
    try:
        assert environment.tasks[0].instruction == "push the cylinder to the goal"
        first = environment.reset("push", "default", 3)
        again = environment.reset("push", "default", 3)
        assert first.joint_positions.tolist() == again.joint_positions.tolist() and len(first.joint_names) == 7
        moved = environment.step(np.array([0.05, 0, 0, 0.5, 0, 0, 1.0]))
        assert moved.time_ns == 50_000_000 and np.abs(moved.joint_positions - first.joint_positions).max() > 1e-4
        pictures = environment.render()
        assert pictures["static"].shape == (64, 96, 3) and pictures["static"].std() > 5
        assert pictures["wrist"].shape == (84, 84, 3) and not pictures["wrist"].any()
    finally:
        environment.close()


def test_lerobots_names_are_understood(lerobot):
    state = lerobot.reset("1", "default", 5)
    assert [task.instruction for task in lerobot.tasks] == ["put it there", "take it away"]
    assert state.joint_names == ("one", "two") and state.joint_positions.tolist() == [5.0, 1.0]  # seed, task
    assert state.tcp_pose[:3].tolist() == [0.1, 0.2, 0.3]
    assert Rotation.from_euler("xyz", state.tcp_pose[3:]).as_rotvec() == pytest.approx([0, 0, np.pi / 2])
    pictures = lerobot.render()
    assert pictures["static"][-1, 0, 0] == 255 and pictures["static"][0, 0, 0] == 0  # told upside down
    assert not lerobot.step(np.array([0.01, 0, 0, 0, 0, 0, 1.0])).success
    done = lerobot.step(np.array([0.05, -0.1, 0, 0.25, 0, 0, 0.0]))
    assert done.success and done.gripper_opening == 0.0
    assert done.values == {} and lerobot._observation["last_action"].tolist() == [1.0, -1.0, 0.0, 0.5, 0.0, 0.0, 1.0]
    assert done.target_pose.tolist() == done.tcp_pose.tolist()


def test_what_it_cannot_do_is_refused(lerobot):
    with pytest.raises(SimulatorError, match="one scene, 'default', and takes no conditions"):
        lerobot.reset("1", "kitchen", 0)
    with pytest.raises(UnknownName, match="gymnasium task 'fly'"):
        lerobot.reset("fly", "default", 0)
    lerobot.reset("0", "default", 0)
    with pytest.raises(SimulatorError, match="cannot take up '1'"):
        lerobot.take_up("1")
    with pytest.raises(SimulatorError, match="stored numbers"):
        lerobot.restore("0", "default", np.zeros(3))
    with pytest.raises(SimulatorError, match="expected 7 finite numbers"):
        lerobot.step(np.full(7, np.nan))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"id": ""}, ConfigError, "id is missing"),
        ({"colour": "red"}, ConfigError, "unknown key colour; allowed here: id,"),
        ({"rotation": "none"}, ConfigError, "orientation and rotation go together"),
        ({"joint_names": ""}, ConfigError, "joints and joint_names go together"),
        ({"static": "pixels/top"}, SimulatorError, "has no 'pixels/top': 'top' is not there; there is image, image2"),
        ({"position": "robot_state/eef/quat"}, SimulatorError, "holds 4 numbers; expected 3"),
        ({"orientation": "robot_state/eef/pos"}, SimulatorError, "is no quaternion_xyzw"),
        ({"joint_names": "one"}, SimulatorError, "holds 2 numbers; joint_names has 1 names"),
        ({"wrist": "robot_state/eef/pos"}, SimulatorError, r"has shape \(3,\)"),
        ({"success": "info/won"}, SimulatorError, "has no 'info/won'"),
    ],
)
def test_a_mapping_that_does_not_fit_says_which_key(tmp_path, monkeypatch, changes, error, words):
    monkeypatch.syspath_prepend(str(WORKERS))
    with pytest.raises(error, match=words):
        environment = GymnasiumSimulator(write(tmp_path, LEROBOT, **changes))
        environment.step(np.array([0.01, 0, 0, 0, 0, 0, 1.0]))


def test_a_mapping_that_is_not_there_is_refused_before_anything_is_started():
    with pytest.raises(ConfigError, match="no mapping 'robocasa'; give mapping=PATH of a YAML file or one of: lerobot"):
        make_environment("gymnasium", options="mapping=robocasa")
    with pytest.raises(ConfigError, match="'colour=red' is no option of gymnasium; expected KEY=VALUE, each key once, of: map"):
        make_environment("gymnasium", options="colour=red")
    assert read_mapping("lerobot").wrist == "pixels/image2"
    assert parse_options("a=1; b = x y ;", "some") == {"a": 1, "b": "x y"}
