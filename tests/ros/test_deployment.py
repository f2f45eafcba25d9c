"""A deployment reaches every node as typed, read-only parameters, and what is wrong in it is refused at start."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from ament_index_python.packages import get_package_prefix
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter

from worldagen.config import leaves
from worldagen.errors import ConfigError, UnknownName
from worldagen_ros.commands.parameters import markdown
from worldagen_ros.config import DeploymentConfig, config_folder, load_deployment
from worldagen_ros.params import read_tree
from worldagen_ros.specs import (
    NODES,
    PICTURES_PROFILE,
    UDP_PROFILE,
    flat_parameters,
    nodes_of,
    profile_of,
    remappings_of,
)
from worldagen_ros.stack import RANGE, stack_environment

PACKAGE = Path(__file__).parents[2] / "ros2_ws/src/worldagen_ros"


@pytest.mark.parametrize("name", sorted(path.stem for path in (PACKAGE / "config").glob("*.yaml")))
def test_every_shipped_deployment_loads(name):
    config = load_deployment(name)
    assert {spec.name for spec in nodes_of(config)} >= {"command", "policy"}


def test_real_hardware_starts_no_simulator():
    config = load_deployment("franka", {"robot.source": "hardware"})
    assert [spec.name for spec in nodes_of(config)] == ["command", "policy", "adapt", "explore", "recorder", "manager"]


def test_a_recorder_starts_only_where_one_is_asked_for():
    assert "recorder" not in [spec.name for spec in nodes_of(load_deployment("sim"))]
    assert "recorder" in [spec.name for spec in nodes_of(load_deployment("sim", {"recorder.enabled": "true"}))]


def test_a_monitor_starts_only_where_one_is_asked_for():
    assert "monitor" not in [spec.name for spec in nodes_of(load_deployment("sim_network"))]
    assert "monitor" in [spec.name for spec in nodes_of(load_deployment("sim_network", {"monitor.enabled": "true"}))]


def test_exploration_and_adaptation_start_only_where_they_are_asked_for():
    assert not {"explore", "adapt"} & {spec.name for spec in nodes_of(load_deployment("sim_network"))}
    asked = {"explore.enabled": "true", "adapt.enabled": "true"}
    assert {"explore", "adapt"} <= {spec.name for spec in nodes_of(load_deployment("sim_network", asked))}


def test_an_unknown_deployment_is_refused_with_the_list():
    with pytest.raises(UnknownName, match=", ".join(sorted(path.stem for path in config_folder().glob("*.yaml")))):
        load_deployment("moon")


def test_a_bad_value_names_file_key_value_and_what_is_allowed(tmp_path):
    file = tmp_path / "cell.yaml"
    file.write_text("timing: {mode: sometimes}")
    with pytest.raises(ConfigError, match=r"cell\.yaml: timing\.mode is 'sometimes'; allowed: one of: lockstep, realtime"):
        load_deployment(str(file))


def test_every_leaf_says_what_it_means():
    for leaf in leaves(DeploymentConfig()):
        assert leaf.metadata.get("meaning"), leaf.key


def test_every_node_is_installed_and_listed_once():
    scripts = re.findall(r'"(\w+) = worldagen_ros\.(\w+):main"', (PACKAGE / "setup.py").read_text())
    assert sorted(spec.executable for spec in NODES) == sorted(name for name, _ in scripts)
    programs = Path(get_package_prefix("worldagen_ros")) / "lib/worldagen_ros"
    assert all((programs / spec.executable).exists() for spec in NODES)
    assert {(config_folder() / name).exists() for name in (PICTURES_PROFILE, UDP_PROFILE)} == {True}


def test_shared_memory_is_for_the_pictures_of_real_cameras_only():
    """A node that is killed keeps those waiting that send to it through shared memory: never the command node."""
    for name in ("sim", "sim_realtime", "libero", "calvin"):
        assert {profile_of(spec, load_deployment(name)) for spec in NODES} == {UDP_PROFILE}
    profiles = {spec.name: profile_of(spec, load_deployment("franka_crisp")) for spec in NODES}
    assert profiles["command"] == profiles["manager"] == UDP_PROFILE
    assert profiles["policy"] == profiles["recorder"] == PICTURES_PROFILE


def test_a_starter_exchanges_our_profiles_and_keeps_anybody_elses(tmp_path):
    variable = "FASTDDS_DEFAULT_PROFILES_FILE"
    copied, mine = tmp_path / "copied.xml", tmp_path / "mine.xml"
    copied.write_bytes((config_folder() / PICTURES_PROFILE).read_bytes())  # an installed copy, say
    mine.write_text("<dds/>")
    for said, used in ((None, UDP_PROFILE), (copied, UDP_PROFILE), (mine, "mine.xml"), (tmp_path / "gone.xml", "gone.xml")):
        base = {} if said is None else {variable: str(said)}
        assert Path(stack_environment(base, profile=UDP_PROFILE)[variable]).name == used


def test_a_node_without_shared_memory_stays_on_this_machine_by_its_profile():
    """rmw_fastrtps adds shared memory to any profile where the range is LOCALHOST."""
    shell = {RANGE: "LOCALHOST"}
    node = stack_environment(shell, profile=UDP_PROFILE)
    assert node[RANGE] == "SYSTEM_DEFAULT" and stack_environment(node, profile=PICTURES_PROFILE)[RANGE] == "LOCALHOST"
    assert stack_environment({RANGE: "SUBNET"}, profile=UDP_PROFILE)[RANGE] == "SUBNET"
    humble = stack_environment({**shell, "ROS_DISTRO": "humble"}, profile=UDP_PROFILE)
    assert humble[RANGE] == "LOCALHOST" and humble["FASTRTPS_DEFAULT_PROFILES_FILE"].endswith(PICTURES_PROFILE)


def test_only_lockstep_listens_to_a_clock_and_a_namespace_has_its_own():
    lockstep, realtime = load_deployment("sim"), load_deployment("sim_realtime")
    clocked = {spec.name: flat_parameters(spec, lockstep)["use_sim_time"] for spec in NODES}
    assert clocked == {spec.name: spec.name != "sim" for spec in NODES}
    assert not any(flat_parameters(spec, realtime)["use_sim_time"] for spec in NODES)
    assert remappings_of("/left/") == (("/clock", "/left/clock"),) and remappings_of("") == ()


class Configured(Node):
    def __init__(self) -> None:
        super().__init__("configured", automatically_declare_parameters_from_overrides=True)
        tree = read_tree(self, DeploymentConfig(), ("command", "robot"))
        self.sections = tree.command, tree.robot


def test_parameters_come_back_as_the_same_dataclasses(start_ros, tmp_path):
    config = load_deployment("franka", {"robot.base_pose": "[1, 2, 3, 0, 0, 0.5]"})
    spec = next(spec for spec in NODES if spec.name == "command")
    parameters = {key: value for key, value in flat_parameters(spec, config).items() if not key.startswith("timing")}
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
    graph = start_ros("--params-file", str(file), "-p", "command.limits.max_step_m:=0.01")
    node = graph.add(Configured())
    command, robot = node.sections
    assert robot == config.robot
    assert command.limits.max_step_m == 0.01 and command.limits.max_lead_m == config.command.limits.max_lead_m


def test_parameters_are_read_only_and_described(start_ros):
    graph = start_ros()
    node = graph.add(Configured())
    result = node.set_parameters([Parameter("command.limits.max_step_m", value=1.0)])[0]
    assert not result.successful
    assert "m" in node.describe_parameter("command.limits.max_step_m").description
    client = node.create_client(GetParameters, "configured/get_parameters")
    answer = client.call_async(GetParameters.Request(names=["command.interface"]))
    graph.wait(answer.done, "the parameters")
    assert answer.result().values[0].string_value == "target_pose"


def refusal(environment, executable: str, *parameters: str) -> str:
    """The one line with which a node refuses to start."""
    program = Path(get_package_prefix("worldagen_ros")) / "lib/worldagen_ros" / executable
    arguments = [part for parameter in ("autostart:=true", *parameters) for part in ("-p", parameter)]
    done = subprocess.run([program, "--ros-args", *arguments], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        ("command.blend:=3", ["unknown parameter command.blend", "command.blend_rows"]),
        ("command.limits.max_step_m:=-1.0", ["command.limits.max_step_m is -1.0", "from 0 to 0.1"]),
        ("timing.mode:=7", ["timing.mode is 7", "lockstep, realtime"]),
        ("robot.tool_frame:=claw", ["'claw'", "panda_hand_tcp"]),
        ("robot.urdf:=r2d2", ["'r2d2'", "panda"]),
    ],
)
def test_a_node_refuses_a_bad_parameter_in_one_line(environment, parameter, says):
    lines = [line for line in refusal(environment, "command_node", parameter).splitlines() if line.startswith("ERROR:")]
    assert len(lines) == 1
    for words in says:
        assert words in lines[0]


def test_an_unknown_task_or_environment_ends_the_simulator_with_the_list(environment):
    assert "open_drawer" in refusal(environment, "sim_node", "sim.task:=fly", "sim.renderer:=raycast")
    assert "playtable" in refusal(environment, "sim_node", "sim.environment:=kitchen")


def test_the_page_of_parameters_is_up_to_date():
    page = Path(__file__).parents[2] / "docs/reference/parameters.md"
    assert page.read_text() == markdown(), "run: worldagen parameters > docs/reference/parameters.md"


def test_a_checkpoint_must_not_drive_what_keeps_another_convention(environment):
    text = refusal(environment, "policy_node", "policy.kind:=network", "policy.preset:=playtable", "robot.convention:=libero")
    assert "translation_scale_m: the checkpoint has 0.02" in text and "0.05" in text
    text = refusal(environment, "sim_node", "robot.convention:=libero", "sim.renderer:=raycast")
    assert "robot.convention is 'libero', but playtable keeps 'calvin'" in text


def test_a_missing_checkpoint_is_refused_by_its_name(environment):
    text = refusal(environment, "policy_node", "policy.kind:=network", "policy.checkpoint:=/nowhere/checkpoint")
    assert "/nowhere/checkpoint" in text
