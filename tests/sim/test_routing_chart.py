"""Which places drove: means over the episodes that last so long, drawn to scale."""

import re

import pytest

from worldagen_sim.evaluation import Leg
from worldagen_sim.routing_chart import HIGH, draw_routing, mean_weights

CHANGED = ((0, {"kitchen": 1.0}), (1, {"kitchen": 0.5, "shed": 0.5}))
SHORT = Leg(True, 10, 2, "", routed=((0, {"base": 1.0}),)).weights
LONG = Leg(True, 15, 3, "", routed=CHANGED).weights


def test_weights_hold_until_they_change_and_an_episode_that_has_ended_has_no_say():
    assert mean_weights([SHORT, LONG]) == [
        {"base": 0.5, "kitchen": 0.5},
        {"base": 0.5, "kitchen": 0.25, "shed": 0.25},
        {"kitchen": 0.5, "shed": 0.5},
    ]
    assert mean_weights([SHORT, LONG], decisions=1) == [{"base": 0.5, "kitchen": 0.5}]


def test_the_bars_of_a_decision_are_as_high_as_the_chart_and_names_are_escaped():
    page = draw_routing({"D": [LONG], "A<": [SHORT]})
    assert "A&lt;, 1 episodes" in page and "A<" not in page
    first = page.split("<svg")[1]
    tall = [float(text) for text in re.findall(r'height="([0-9.]+)" fill', first)]
    assert sum(tall) == pytest.approx(3 * HIGH)
    assert "decision 2: shed 0.50" in page


def test_without_a_bank_there_is_nothing_to_draw():
    assert draw_routing({}) == "" and Leg(True, 10, 2, "").weights == []
