"""scripts/activate, sourced as a user would: in bash, in zsh, twice, and before any set-up."""

import os
import shutil
import subprocess
import sys

import pytest
from checkout import ROOT

SHELLS = [pytest.param(s, marks=pytest.mark.skipif(not shutil.which(s), reason=f"no {s} here")) for s in ("bash", "zsh")]
BUILT = (ROOT / "ros2_ws" / "install" / "local_setup.bash").exists()
# These start from a clean terminal, where a workspace that was built against a distribution finds nothing of it.
WHEELS = not os.environ.get("ROS_DISTRO")
needs_setup = pytest.mark.skipif(not (BUILT and WHEELS), reason="the workspace is not built, or for a distribution")


def source(shell: str, script: str, **environ: str) -> subprocess.CompletedProcess:
    clean = {"PATH": os.defpath, "HOME": "/tmp", "WORLDAGEN_VENV": sys.prefix, **environ}
    command = [shutil.which(shell) or shell, "-c", script]
    return subprocess.run(command, env=clean, cwd="/", capture_output=True, text=True, timeout=60, check=False)


def variables(shell: str, script: str, **environ: str) -> dict[str, str]:
    run = source(shell, f"{script} && env -0", **environ)
    assert run.returncode == 0, run.stderr
    pairs = (line.partition("=") for line in run.stdout.split("\0") if line)
    return {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "OLDPWD", "PWD", "PS1")}


ENTER = f". {ROOT}/scripts/activate"


@needs_setup
@pytest.mark.parametrize("shell", SHELLS)
def test_entering_twice_is_entering_once(shell):
    assert variables(shell, f"{ENTER} && {ENTER}") == variables(shell, ENTER)


@needs_setup
@pytest.mark.parametrize("shell", SHELLS)
def test_it_says_nothing_and_finds_our_packages(shell):
    run = source(shell, f"{ENTER} && python -c 'import rclpy, worldagen_msgs.msg, worldagen_ros, worldagen_sim'")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@needs_setup
def test_images_get_through_because_the_profile_is_exported():
    inside = variables("bash", ENTER)
    assert inside["FASTDDS_DEFAULT_PROFILES_FILE"].endswith("worldagen_ros/config/fastdds.xml")
    assert os.path.exists(inside["FASTDDS_DEFAULT_PROFILES_FILE"])
    assert inside["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


@needs_setup
def test_what_the_user_chose_is_left_alone():
    chosen = {
        "ROS_DOMAIN_ID": "77",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml",
        "LD_LIBRARY_PATH": "/cuda/lib",
    }
    inside = variables("bash", ENTER, **chosen)
    assert inside["LD_LIBRARY_PATH"].endswith(":/cuda/lib")
    assert {name: inside[name] for name in list(chosen)[:3]} == {name: chosen[name] for name in list(chosen)[:3]}


@needs_setup
def test_it_works_in_a_script_that_stops_at_the_first_error():
    run = source("bash", f'set -euo pipefail; {ENTER}; echo "$-"')
    assert run.returncode == 0, run.stderr
    assert {"e", "u"} <= set(run.stdout.strip())


@needs_setup
def test_no_function_or_helper_variable_stays_behind():
    run = source("bash", f"{ENTER}; set | grep -i ^_worldagen")
    assert run.stdout.replace("_worldagen_status=0\n", "") == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_before_any_setup_one_line_says_what_to_do(shell, tmp_path):
    run = source(shell, ENTER, WORLDAGEN_VENV=str(tmp_path / "none"))
    assert run.returncode != 0
    assert run.stderr == f"scripts/activate: there is no environment in {tmp_path}/none; run scripts/setup first\n"


@needs_setup
def test_a_distribution_keeps_its_own_libraries():
    inside = variables(
        "bash", ENTER, ROS_DISTRO="jazzy", AMENT_PREFIX_PATH="/opt/ros/jazzy", LD_LIBRARY_PATH="/opt/ros/jazzy/lib"
    )
    assert inside["AMENT_PREFIX_PATH"].endswith(":/opt/ros/jazzy")
    assert sys.prefix not in inside["AMENT_PREFIX_PATH"].split(":")
    assert "ros_fastdds.libs" not in inside["LD_LIBRARY_PATH"]
    assert inside["FASTRTPS_DEFAULT_PROFILES_FILE"].endswith("fastdds.xml")


@needs_setup
def test_humble_gets_the_older_words_for_the_same_wishes():
    inside = variables("bash", ENTER, ROS_DISTRO="humble", AMENT_PREFIX_PATH="/opt/ros/humble")
    assert inside["ROS_LOCALHOST_ONLY"] == "1"
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE" not in inside
