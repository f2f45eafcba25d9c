"""Exploring through the nodes, in lockstep: the same rollouts as without them."""

import pytest

from worldagen.data.bags import BagSource
from worldagen.exploring import Exploration, Reason, plan_rollouts
from worldagen_ros.config import load_deployment
from worldagen_ros.explore_direct import explore_direct
from worldagen_ros.explore_stack import explore_through_ros

SMALL = {"sim.renderer": "raycast", "recorder.floor_mib": "0", "policy.kind": "expert"}  # quick, and it needs no torch


@pytest.mark.timeout(300)
def test_through_the_nodes_and_without_them_the_same_rollouts_are_recorded(tmp_path, domain):
    config = load_deployment("explore", SMALL)
    asked, seen = Exploration(("open the drawer", "turn on the led light"), rollouts=2, steps=10), []
    through = explore_through_ros(config, asked, tmp_path / "through", seen.append, domain=domain)
    assert (through.reason, through.rollouts) == (Reason.FINISHED, 2), through.message
    direct = explore_direct(config, asked, tmp_path / "direct")
    words = [rollout.instruction for rollout in plan_rollouts(asked)]
    actions = []
    for report in (through, direct):
        source = BagSource(report.bag)
        episodes = [source.read(name) for name in source.episodes()]
        assert [episode.instruction for episode in episodes] == words
        actions.append([episode.actions[:10].tolist() for episode in episodes])
    assert actions[0] == actions[1]
    assert seen[-1].rollout == 2 and through.frames >= 2 * 10 * 2
