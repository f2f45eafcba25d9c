"""Protocols as data: every one that comes with us can be read and asked for, and what departs from it is said."""

from dataclasses import replace

import pytest

from worldagen.errors import ConfigError, EvaluationError, SimulatorError, UnknownName
from worldagen_sim.chains import draw_chain, score_chains
from worldagen_sim.environment import ENVIRONMENTS
from worldagen_sim.evaluation import check_request, trials_of
from worldagen_sim.protocol import Protocol, departures, find_protocol, protocol_names, request_of


def test_the_benchmarks_of_the_papers_and_our_own_are_there():
    names = set(protocol_names())
    assert {"calvin_abcd_d", "calvin_abcd_d_published", "libero_10_published", "playtable_D", "playtable_perturbed"} <= names
    assert {f"libero_{suite}" for suite in ("spatial", "object", "goal", "10", "90")} <= names
    for name in names:
        protocol = find_protocol(name)
        assert protocol.title and protocol.source and protocol.environment in ENVIRONMENTS
        assert request_of(name, protocol).protocol == name and not departures(protocol, name, request_of(name, protocol))


def test_the_published_variants_say_how_they_differ():
    ours, published = find_protocol("calvin_abcd_d"), find_protocol("calvin_abcd_d_published")
    assert (ours.max_steps, published.max_steps) == (360, 1800)  # 360 chunks of five steps
    assert (ours.history, published.history) == ("aligned", "reference") and ours.chains == published.chains == 1000
    assert (find_protocol("libero_10").max_steps, find_protocol("libero_10_published").max_steps) == (520, 600)


@pytest.mark.parametrize("name", [name for name in protocol_names() if name.startswith("playtable")])
def test_our_own_can_be_played(playtable, name):
    request = request_of(name, find_protocol(name))
    check_request(request, playtable)
    trials = list(trials_of(request, playtable))
    assert len({trial.key for trial in trials}) == len(trials) >= 200


def test_what_departs_from_a_protocol_is_said_and_how_it_is_played_is_no_departure():
    protocol = find_protocol("playtable_D")
    request = replace(request_of("playtable_D", protocol), episodes=2, timing="realtime", via="ros", renderer="raycast")
    part = replace(request_of("playtable_D", protocol), tasks=("open_drawer", "stack_block"), max_steps=10)
    assert departures(protocol, "playtable_D", part) == [
        "tasks open_drawer, stack_block instead of all",
        "max steps 10 instead of 360",
    ]
    assert departures(protocol, "playtable_D", request) == [
        "episodes 2 instead of 6",
        "timing realtime instead of lockstep",
    ]


def test_real_time_without_the_nodes_is_refused(playtable):
    request = request_of("playtable_D", find_protocol("playtable_D"), timing="realtime")
    with pytest.raises(EvaluationError, match="only the nodes play"):
        check_request(request, playtable)


def test_a_protocol_can_be_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("title: mine\nscenes: A,B\nepisodes: 1\n")
    assert find_protocol(str(file)) == Protocol(title="mine", scenes="A,B", episodes=1)
    assert request_of(str(file), find_protocol(str(file))).scenes == ("A", "B")
    file.write_text("episodess: 1\n")
    with pytest.raises(ConfigError, match="unknown key episodess"):
        find_protocol(str(file))
    with pytest.raises(UnknownName, match="unknown protocol 'libero_11'"):
        find_protocol("libero_11")


def test_chains_come_from_their_simulator():
    assert draw_chain("playtable", 500_000).seed == 500_000
    with pytest.raises(SimulatorError, match="libero has no chains of tasks; those that do: playtable, calvin"):
        draw_chain("libero", 0)


def test_the_mean_length_of_chains_has_an_interval():
    score = score_chains([0, 1, 5, 2] * 25)
    assert score.low < score.mean_length == 2.0 < score.high and score.high - score.low < 1.0
    assert (score_chains([3] * 10).low, score_chains([3] * 10).high) == (3.0, 3.0)
