"""Step 1 says in one line what is wrong with a machine, and installs what it may."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from setup_steps.disk import not_enough
from setup_steps.machine import CheckMachine, Machine, foreign_folder, missing_packages, not_for_apt, refusal
from setup_steps.problem import Problem
from setup_steps.progress import Progress

GOOD = Machine()


def check(layout, machine=GOOD, rights=None, ran=None):
    step = CheckMachine(layout, os.environ, look=lambda _: machine, rights=lambda: rights)
    if ran is not None:
        step._apt = lambda rights, arguments, progress: ran.append(list(arguments)) or 0
    return step


def test_a_complete_machine_is_accepted(layout):
    assert refusal(GOOD, layout) is None
    assert missing_packages(GOOD) == []


@pytest.mark.parametrize("python", [(3, 9), (3, 13)])
def test_another_python_is_refused_with_the_variable_that_names_a_better_one(layout, python):
    reason = refusal(replace(GOOD, python=python), layout)
    assert reason is not None
    assert "3.10 to 3.12" in reason
    assert "WORLDAGEN_PYTHON" in reason


def test_arm_needs_a_distribution_because_there_are_no_wheels_for_it(layout):
    jetson = replace(GOOD, cpu="aarch64")
    reason = refusal(jetson, layout)
    assert reason == ("this is aarch64, ROS wheels exist for x86_64 only; on a Jetson source your ROS distribution first")
    assert refusal(jetson, replace(layout, distribution="humble")) is None


def test_a_distribution_for_another_python_is_noticed_before_anything_is_installed(layout):
    reason = refusal(replace(GOOD, python=(3, 11), has_rclpy=False), replace(layout, distribution="jazzy"))
    assert reason is not None
    assert "ROS_DISTRO is jazzy, but Python 3.11 cannot import its rclpy" in reason


@pytest.mark.parametrize("machine", [replace(GOOD, glibc=(2, 27)), replace(GOOD, glibc=None), replace(GOOD, system="Darwin")])
def test_systems_that_the_wheels_do_not_run_on_are_refused(layout, machine):
    assert refusal(machine, layout)


def test_a_path_that_ros_cannot_handle_is_refused(layout):
    assert "blank" in str(refusal(GOOD, replace(layout, root=Path("/home/me/my robots"))))


def test_missing_packages_have_their_debian_names():
    bare = Machine(python=(3, 12), has_compiler=False, has_headers=False, has_ensurepip=False)
    assert missing_packages(bare) == ["g++", "python3.12-dev", "python3.12-venv"]


def test_no_compiler_and_no_rights_is_one_line_with_the_command(layout):
    step = check(layout, replace(GOOD, has_compiler=False), rights=None)
    assert step.faults({}) == ["system package g++ is missing"]
    with pytest.raises(Problem, match=r"run: sudo apt-get install g\+\+$"):
        step.work(Progress(6))


def test_with_rights_missing_packages_are_installed_and_wanted_ones_apart_from_them(layout):
    ran = []
    step = check(layout, replace(GOOD, has_compiler=False, missing_gl=("libegl1",)), rights=["sudo", "-n"], ran=ran)
    step.work(Progress(6))
    assert ran == [["update"], ["install", "g++"], ["install", "libegl1", "libgl1-mesa-dri"]]


def test_missing_opengl_is_no_failure_and_is_asked_for_only_once(layout):
    step = check(layout, replace(GOOD, missing_gl=("libegl1",)), rights=None)
    assert step.faults({}) == ["system package libegl1 is missing"]
    step.work(Progress(6))
    assert step.faults(step.record()) == []
    assert "ray-cast" in step.summary()


def test_apt_is_not_asked_to_complete_a_python_that_it_did_not_install():
    own = Machine(python_prefix="/home/me/python", has_headers=False)
    assert "WORLDAGEN_PYTHON" in str(not_for_apt(own))
    assert not_for_apt(Machine(has_headers=False)) is None


def test_a_folder_with_something_else_in_it_is_never_taken_for_the_environment(tmp_path):
    assert foreign_folder(tmp_path) is None
    (tmp_path / "thesis.tex").touch()
    assert "thesis" not in str(foreign_folder(tmp_path))
    assert foreign_folder(tmp_path)
    (tmp_path / "pyvenv.cfg").touch()
    assert foreign_folder(tmp_path) is None


def test_a_full_disk_is_named_with_what_is_needed_and_what_is_free():
    line = not_enough(Path("/env"), needed_gb=11.0, free_gb=2.5)
    assert line is not None
    assert "/env needs 11.0 GB and 2.5 GB are free" in line
    assert not_enough(Path("/env"), needed_gb=11.0, free_gb=12.0) is None
