"""CALVIN in the stack, through its deployment. Runs where CALVIN_ROOT names a clone (docs/simulators.md)."""

import os
from pathlib import Path

import pytest

from worldagen_ros.config import load_deployment
from worldagen_ros.evaluate_direct import DirectPlayer
from worldagen_ros.evaluate_stack import play_all_through_ros
from worldagen_sim.calvin.conditions import initial_conditions
from worldagen_sim.evaluation import Trial

DEPLOYMENT = Path(__file__).parents[2] / "ros2_ws/src/worldagen_ros/config/calvin.yaml"
QUICK = {"policy.preset": "playtable", "sim.max_steps": "15"}  # a smaller network, whose random weights do as well

pytestmark = pytest.mark.skipif(not os.environ.get("CALVIN_ROOT"), reason="CALVIN_ROOT does not name a clone of CALVIN")


@pytest.mark.timeout(600)
def test_through_the_nodes_and_without_them_calvin_plays_the_same(tmp_path):
    config = load_deployment(str(DEPLOYMENT), QUICK)
    start = initial_conditions()[0]
    trials = [
        Trial("task", "training", "D", 1, ("open_drawer",), ("pull the drawer",)),
        Trial("chain", "training", "B", 0, ("open_drawer", "turn_on_led"), ("pull it", "press it"), tuple(start.items())),
    ]
    player = DirectPlayer(config)
    direct = [player.play(trial) for trial in trials]
    player.close()
    through_ros = [result for _, result in play_all_through_ros(trials, config, tmp_path / "nodes.log", None)]
    assert [result.legs for result in through_ros] == [result.legs for result in direct]
    assert [result.legs[0].steps for result in direct] == [15, 15]
