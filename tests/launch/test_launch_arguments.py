"""Every argument of the launch files and of `worldagen up` has its effect, and what cannot be is refused with what can."""

import argparse
from dataclasses import fields, replace

import pytest

pytest.importorskip("worldagen_ros", reason="needs the built workspace: run scripts/test")

from worldagen.errors import ConfigError, UnknownName
from worldagen_ros.arrangement import ASKED, NAMES, Wish, arrange, camera_remappings, parse_remappings
from worldagen_ros.commands import up
from worldagen_ros.specs import nodes_of, remappings_of

CRISP = ("franka_crisp", "franka_servo", "franka_joint_trajectory")


def names(wish: Wish) -> list[str]:
    return [spec.name for spec in nodes_of(arrange(wish).config)]


def test_every_argument_is_explained():
    assert list(ASKED) == [field.name for field in fields(Wish)] and all(ASKED.values())


def test_the_simulator_plays_the_franka_unless_told_otherwise():
    assert "sim" in names(Wish("franka")) and "sim" in names(Wish("franka", robot="playtable"))
    assert "sim" not in names(Wish("franka", robot="franka"))


@pytest.mark.parametrize("deployment", CRISP)
def test_a_deployment_for_a_controller_starts_no_simulator(deployment):
    assert "sim" not in names(Wish(deployment)) and "sim" not in names(Wish(deployment, robot="franka"))


@pytest.mark.parametrize("deployment", CRISP)
def test_the_simulator_does_not_play_an_arm_that_it_has_not(deployment):
    with pytest.raises(ConfigError, match=f"{deployment} describes a real arm.*the playtable plays franka"):
        arrange(Wish(deployment, robot="playtable"))


def test_an_unknown_robot_is_refused_with_what_is_allowed():
    with pytest.raises(UnknownName, match="unknown robot 'panda'; choose one of: franka, playtable"):
        arrange(Wish("franka", robot="panda"))


def test_an_unknown_deployment_is_refused_with_what_is_allowed():
    with pytest.raises(UnknownName, match=r"unknown deployment 'franca'.*franka_crisp"):
        arrange(Wish("franca"))


def test_a_checkpoint_is_the_networks():
    policy = arrange(Wish("sim", checkpoint="somewhere/else")).config.policy
    assert (policy.kind, policy.checkpoint) == ("network", "somewhere/else")


def test_a_change_of_one_value_has_the_last_word():
    changed = arrange(Wish("franka", robot="franka", checkpoint="mine", set=("policy.kind=expert", "command.rate_hz=200")))
    assert (changed.config.policy.kind, changed.config.command.rate_hz) == ("expert", 200.0)


def test_a_namespace_is_told_without_slashes_and_moves_the_clock():
    arranged = arrange(Wish("sim", namespace="/left/"))
    assert arranged.namespace == "left"
    assert remappings_of(arranged.namespace) == (("/clock", "/left/clock"),)
    assert remappings_of("") == ()


@pytest.mark.parametrize("camera", ["static_camera", "wrist_camera"])
def test_a_camera_is_remapped_with_its_compressed_pictures_and_its_calibration(camera):
    arranged = arrange(replace(Wish("franka_crisp"), **{camera: "/realsense/color/image_raw"}))
    assert arranged.remappings == (
        (f"{camera}/image_raw", "/realsense/color/image_raw"),
        (f"{camera}/image_raw/compressed", "/realsense/color/image_raw/compressed"),
        (f"{camera}/camera_info", "/realsense/color/camera_info"),
    )


@pytest.mark.parametrize(("pictures", "info"), [("/image", "/camera_info"), ("image", "camera_info"), ("a/b", "a/camera_info")])
def test_the_calibration_lies_beside_the_pictures(pictures, info):
    assert camera_remappings("static_camera", pictures)[2] == ("static_camera/camera_info", info)


def test_the_topic_of_compressed_pictures_is_refused_with_what_to_say_instead():
    with pytest.raises(ConfigError, match=r"'/c/image_raw', and set cameras.transport=compressed"):
        camera_remappings("static_camera", "/c/image_raw/compressed")


@pytest.mark.parametrize("bad", ["no spaces", "/ends/", "two//slashes", "1st", "a-b"])
def test_what_is_no_topic_is_refused(bad):
    with pytest.raises(ConfigError, match="is no topic"):
        camera_remappings("wrist_camera", bad)


def test_a_name_can_be_given_that_of_another():
    pairs = parse_remappings(["joint_states:=/franka/joint_states", "/tf:=/left/tf"])
    assert pairs == (("joint_states", "/franka/joint_states"), ("/tf", "/left/tf"))


@pytest.mark.parametrize("bad", ["joint_states", "joint_states=x", ":=x", "joint_states:="])
def test_a_remapping_that_is_none_is_refused(bad):
    with pytest.raises(ConfigError, match="expected OLD:=NEW"):
        parse_remappings([bad])


def test_a_remapping_of_what_nobody_uses_is_refused_with_what_there_is():
    with pytest.raises(UnknownName, match=r"unknown name to remap 'joint_state'.*joint_states"):
        parse_remappings(["joint_state:=/franka/joint_states"])
    assert {"target_pose", "joint_states", "/clock"} <= NAMES


def test_a_name_with_two_homes_is_refused():
    with pytest.raises(ConfigError, match="static_camera/image_raw is remapped twice, to /a/image and to /b"):
        arrange(Wish("franka", static_camera="/a/image", remap=("static_camera/image_raw:=/b",)))


def test_what_was_asked_for_comes_before_the_namespace_clock():
    assert remappings_of("left", (("/clock", "/clock"),))[0] == ("/clock", "/clock")


def test_up_takes_the_same_words():
    parser = argparse.ArgumentParser()
    up.add_arguments(parser)
    args = parser.parse_args(
        [
            *("franka", "--set", "robot.source=hardware", "--set", "command.rate_hz=50", "--namespace", "left"),
            *("--checkpoint", "mine", "--static-camera", "/c/image", "--remap", "joint_states:=/arm/joint_states"),
        ]
    )
    arranged = arrange(up.wish_of(args))
    assert arranged.config.robot.source == "hardware" and arranged.config.command.rate_hz == 50.0
    assert arranged.namespace == "left" and arranged.config.policy.checkpoint == "mine"
    assert arranged.remappings[0] == ("static_camera/image_raw", "/c/image")
    assert arranged.remappings[-1] == ("joint_states", "/arm/joint_states")
