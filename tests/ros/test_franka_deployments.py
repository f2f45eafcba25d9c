"""The deployments for a Franka load at first-run limits, and its pages name nothing that is not there."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from worldagen.config import leaves
from worldagen_msgs.msg import CommandStatus
from worldagen_ros import topics
from worldagen_ros.config import DeploymentConfig, config_folder, load_deployment
from worldagen_ros.gripper_bridge import BridgeConfig
from worldagen_ros.robots import kinematics_of
from worldagen_ros.specs import nodes_of
from worldagen_ros.trajectory_output import TrajectoryOutput

ROOT = Path(__file__).parents[2]
FRANKA = (ROOT / "docs/franka.md").read_text("utf-8")
SAFETY = (ROOT / "docs/safety.md").read_text("utf-8")
PAGES = {"franka.md": FRANKA, "safety.md": SAFETY}
DEPLOYMENTS = sorted(path.stem for path in config_folder().glob("franka*.yaml"))
ON_HARDWARE = [name for name in DEPLOYMENTS if name != "franka"]
LEAVES = {leaf.key for leaf in leaves(DeploymentConfig())}
TOPICS = {value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)}
# Of other people, under the namespace in which ours run so that the broadcaster's joint states are theirs.
FOREIGN = {
    "/franka_gripper",
    "/fr3_arm_controller",
    "/servo_node",
    "/service_server",
    "/action_server",
    "/panda_arm_controller",
    "/front",  # cameras, where somebody else named them
    "/hand",
}


def quoted(page: str) -> list[str]:
    """What stands in backticks or in blocks of code."""
    blocks = re.findall(r"```\w*\n(.*?)```", page, re.DOTALL)
    return [*blocks, *re.findall(r"`([^`]+)`", re.sub(r"```\w*\n.*?```", "", page, flags=re.DOTALL))]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_first_runs_are_slow(name):
    limits = load_deployment(name).command.limits
    assert (limits.max_speed_mps, limits.max_speed_radps) == (0.1, 0.5)
    assert limits.max_step_m * 30 <= 0.1 and limits.max_step_rad * 30 <= 0.51
    assert limits.max_following_m < limits.max_lead_m and limits.max_following_rad < limits.max_lead_rad


@pytest.mark.parametrize("name", ON_HARDWARE)
def test_on_hardware_no_simulator_starts_and_the_home_pose_is_where_the_arm_may_be(name):
    config = load_deployment(name)
    assert "sim" not in [spec.name for spec in nodes_of(config)]
    low, high = np.array(config.command.limits.workspace_low_m), np.array(config.command.limits.workspace_high_m)
    home = np.array(config.explore.home_pose[:3])
    assert (low < home).all() and (home < high).all()
    envelope = config.explore.envelope
    assert (np.array(envelope.low_m) < low).all() and (high < np.array(envelope.high_m)).all()
    output = TrajectoryOutput(config.robot, 1 / config.command.rate_hz)
    assert output.joint_names == tuple(f"fr3_joint{number}" for number in range(1, 8))


def test_each_way_of_the_page_has_its_deployment_and_topic():
    table = re.findall(r"^\| \[.+\| `(franka\w*)`.*?\| `(\w+)` \| ", FRANKA, re.MULTILINE)
    assert len(table) == 4
    for name, topic in table:
        assert topic in TOPICS
        assert load_deployment(name).command.interface == topic


@pytest.mark.parametrize("page", PAGES)
def test_every_parameter_that_is_named_exists(page):
    sections = "|".join(sorted({key.split(".")[0] for key in LEAVES}))
    named = {
        key
        for text in quoted(PAGES[page])
        for key in re.findall(rf"(?<![\w./-])(?:{sections})\.[a-z_0-9]+(?:\.[a-z_0-9]+)*", text)
    }
    assert len(named) > 5
    assert not [key for key in named if key not in LEAVES and not key.endswith((".py", ".yaml"))]


def test_every_limit_in_the_table_exists():
    table = FRANKA.split("## Who limits what")[1].split("## ")[0]
    named = set(re.findall(r"`(?:command\.limits\.)?((?:max|workspace|keep)_\w+)`", table))
    assert len(named) == 16
    assert named <= {key.removeprefix("command.limits.") for key in LEAVES}


@pytest.mark.parametrize("page", PAGES)
def test_every_name_on_the_wire_is_ours_or_is_known_as_foreign(page):
    names = {name for text in quoted(PAGES[page]) for name in re.findall(r"(?<![\w.~$)])/(franka/[a-z_/]+)", text)}
    ours = {name.removeprefix("franka/") for name in names}
    assert ours
    assert not {name for name in ours if name not in TOPICS and name != "command"}  # the last is a node
    others = {name for text in quoted(PAGES[page]) for name in re.findall(r"(?<![\w.~$)/])(/[a-z]\w+)/\w+", text)}
    assert others <= {*FOREIGN, "/franka"} | {f"/{name.split('/')[0]}" for name in TOPICS}


def test_every_deployment_that_is_named_exists():
    named = {name for text in quoted(FRANKA) for name in re.findall(r"worldagen up (franka\w*)", text)}
    assert named and named <= set(DEPLOYMENTS)


def test_the_controllers_in_the_page_are_yaml_and_have_the_arms_joints():
    blocks = [yaml.safe_load(block)["/**"] for block in re.findall(r"```yaml\n(.*?)```", FRANKA, re.DOTALL)]
    crisp, trajectories, servo = blocks
    joints = list(TrajectoryOutput(load_deployment("franka_crisp").robot, 0.03).joint_names)
    controller = crisp["cartesian_impedance_controller"]["ros__parameters"]
    assert controller["joints"] == joints
    assert controller["end_effector_frame"] == load_deployment("franka_crisp").robot.tool_frame
    assert controller["base_frame"] == load_deployment("franka_crisp").robot.frame_id
    task = controller["task"]
    assert f"{task['k_pos_x'] * task['error_clip']['x']:g} N" in FRANKA
    controller = trajectories["fr3_arm_controller"]["ros__parameters"]
    assert controller["joints"] == joints == list(controller["gains"])
    limits = load_deployment("franka_servo").command.limits
    scale = servo["ros__parameters"]["moveit_servo"]["scale"]
    assert (scale["linear"], scale["rotational"]) == (limits.max_speed_mps, limits.max_speed_radps)


def test_the_program_that_tells_where_the_tool_is_runs(capsys):
    names: dict = {}
    exec(re.findall(r"```python\n(.*?)```", FRANKA, re.DOTALL)[0], names)
    assert capsys.readouterr().out.startswith("[")
    kinematics = kinematics_of(load_deployment("franka_crisp").robot)
    assert names["pose"] == pytest.approx(kinematics.tool_pose(kinematics.joint_names, names["joints"]))


def test_what_the_page_says_of_the_gripper_bridge_is_so():
    section = FRANKA.split("## Gripper")[1].split("## ")[0]
    for name, value in vars(BridgeConfig()).items():
        assert f"`{name}" in section or f"-p {name}:=" in section
        assert str(value).removesuffix(".0") in section


def test_the_states_of_the_page_are_those_of_the_message():
    states = re.findall(r"^\| ([A-Z]+) \|", SAFETY, re.MULTILINE)
    assert [getattr(CommandStatus, state) for state in states] == [0, 1, 2, 3, 4]
    assert "state 1 (READY)" in SAFETY
