"""The deployment libero: LIBERO through the nodes and without them, in lockstep."""

import sys
from pathlib import Path

import pytest
from small_networks import TINY, build

from worldagen.checkpoint import save_checkpoint
from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen_ros.config import load_deployment
from worldagen_ros.evaluate_direct import DirectPlayer
from worldagen_ros.evaluate_stack import play_all_through_ros
from worldagen_ros.robots import kinematics_of
from worldagen_sim.evaluation import Trial

sys.path.append(str(Path(__file__).parents[1] / "sim"))  # at the end: both folders have a conftest.py
from libero_here import BOWL, STOVE, require_libero

TRIALS = [
    Trial("task", "training", suite, seed, (task,), (words,))
    for suite, task, seed, words in (
        ("libero_10", STOVE, 3, "turn on the stove"),
        ("libero_spatial", BOWL, 7, "pick up the bowl"),
    )
]


def test_the_deployment_names_a_robot_whose_base_comes_with_its_joints():
    config = load_deployment("libero")
    assert (config.sim.environment, config.robot.convention, config.policy.preset) == ("libero", "libero", "libero")
    assert kinematics_of(config.robot).joint_names[:3] == ("panda_mount_x", "panda_mount_y", "panda_mount_z")


@pytest.mark.timeout(300)
def test_through_the_nodes_and_without_them_libero_sees_the_same_chunks_and_ends_the_same(tmp_path):
    require_libero()
    save_checkpoint(tmp_path / "random", build(TINY), PRESET_CONVENTIONS["libero"], "random weights")
    changes = {"policy.checkpoint": str(tmp_path / "random"), "sim.max_steps": "10", "sim.options": "settle_steps=2"}
    config = load_deployment("libero", changes)
    player = DirectPlayer(config)
    direct = [player.play(trial) for trial in TRIALS]
    player.close()
    through_ros = [result for _, result in play_all_through_ros(TRIALS, config, tmp_path / "nodes.log", None)]
    for one, other in zip(direct, through_ros, strict=True):
        (leg,), (same,) = one.legs, other.legs
        assert (leg.chunks, leg.steps, leg.decisions, leg.success) == (same.chunks, 10, 2, False)
        assert (same.steps, same.decisions) == (10, 2)
    assert direct[0].legs[0].chunks != direct[1].legs[0].chunks
