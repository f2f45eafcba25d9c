"""Exploring without ROS: a bag with an episode for each rollout, the same for the same seed, whole whatever happens."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeDecider

from worldagen.bags.reader import open_bag
from worldagen.cli import main
from worldagen.data.bags import BagSource
from worldagen.errors import BagError
from worldagen.exploring import Exploration, Reason, plan_rollouts
from worldagen_ros.config import load_deployment
from worldagen_ros.explore_direct import EXPLORATION, ROLLOUTS, explore_direct

WORDS = ("open the drawer", "wave at everybody", "turn on the led light")  # the second is nobody's task


class Still(FakeDecider):
    """Stays where it is, for the arm's sake; records what it was asked."""

    def decide(self, samples):
        chunk = super().decide(samples)
        return replace(chunk, rows=np.zeros((self.rows, 7)))


@pytest.fixture
def config():
    return load_deployment("explore", {"sim.renderer": "raycast", "recorder.floor_mib": "0"})


def episodes_of(bag):
    source = BagSource(bag)
    return [source.read(name) for name in source.episodes()]


def test_each_rollout_becomes_one_episode_with_its_words_and_its_length(config, tmp_path):
    asked, seen, decider = Exploration(WORDS, rollouts=4, steps=7, action_noise=0.1, seed=5), [], Still()
    report = explore_direct(config, asked, tmp_path / "bag", seen.append, decider=decider)
    plan = plan_rollouts(asked)
    assert (report.reason, report.rollouts, report.frames) == (Reason.FINISHED, 4, 4 * 8 * 2)
    assert report.duration_s == pytest.approx(4 * 7 / 30, abs=1e-3)
    episodes = episodes_of(report.bag)
    assert [episode.instruction for episode in episodes] == [rollout.instruction for rollout in plan]
    assert [len(episode.actions) for episode in episodes] == [8] * 4  # before the first step and after each
    assert [sum(1 for _ in episode.pictures()) for episode in episodes] == [8] * 4
    assert [what.seed for what in decider.disturbances] == [rollout.noise_seed for rollout in plan]
    assert (seen[-1].rollout, seen[-1].rollouts, seen[-1].time_left_s) == (4, 4, 0.0)
    assert seen[0].time_left_s == pytest.approx(4 * 7 / 30, abs=1e-3)
    with open_bag(report.bag) as bag:
        told = bag.metadata[EXPLORATION]
    assert told["reason"] == "FINISHED" and told["scene"] == "D"
    tasks = {entry["instruction"]: entry["task"] for entry in json.loads(told[ROLLOUTS])}
    assert tasks["open the drawer"] == "open_drawer" and tasks["wave at everybody"] == config.sim.task


def test_the_same_seed_gives_the_same_pictures_and_another_one_others(config, tmp_path):
    def pictures(name, seed):
        report = explore_direct(config, Exploration(WORDS[:1], 1, 2, seed=seed), tmp_path / name, decider=Still())
        return np.array([both[0] for both in episodes_of(report.bag)[0].pictures()])

    first = pictures("first", 1)
    assert np.array_equal(first, pictures("again", 1))
    assert not np.array_equal(first, pictures("other", 2))


def test_stopped_it_leaves_a_whole_bag_with_what_was_begun(config, tmp_path):
    seen = []
    stop = lambda: len(seen) > 12  # noqa: E731
    report = explore_direct(config, Exploration(WORDS, 3, 8), tmp_path / "bag", seen.append, stop, decider=Still())
    assert (report.reason, report.rollouts) == (Reason.CANCELED, 1) and "rollout 2 of 3" in report.message
    assert [len(episode.actions) for episode in episodes_of(report.bag)] == [9, 3]


def test_a_tool_outside_its_box_ends_it_and_says_where(config, tmp_path):
    box = replace(config.explore.envelope, low_m=(-0.44, -0.53, 0.8))
    config = replace(config, explore=replace(config.explore, envelope=box))
    report = explore_direct(config, Exploration(WORDS, 3, 8), tmp_path / "bag", decider=Still())
    assert (report.reason, report.rollouts) == (Reason.ENVELOPE, 0) and "the box allows 0.8 to 0.85 m" in report.message


def test_its_time_counts_what_was_recorded(config, tmp_path):
    asked = Exploration(WORDS, 3, 6, time_limit_s=0.3)
    report = explore_direct(config, asked, tmp_path / "bag", decider=Still())
    assert (report.reason, report.rollouts) == (Reason.ENVELOPE, 1) and "time limit is 0.3 s" in report.message


def test_a_policy_that_fails_is_told_by_the_report(config, tmp_path, monkeypatch):
    decider = Still()
    monkeypatch.setattr(decider, "decide", lambda samples: (_ for _ in ()).throw(BagError("the weights are gone")))
    report = explore_direct(config, Exploration(WORDS, 3, 8), tmp_path / "bag", decider=decider)
    assert (report.reason, report.message) == (Reason.FAULT, "the weights are gone") and open_bag(report.bag)


def test_without_disk_nothing_is_begun(config, tmp_path):
    config = replace(config, recorder=replace(config.recorder, floor_mib=10**9))
    report = explore_direct(config, Exploration(WORDS, 1), tmp_path / "bag", decider=Still())
    assert (report.reason, report.bag) == (Reason.DISK_FULL, None) and not (tmp_path / "bag").exists()


def test_a_folder_in_use_is_refused(config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BagError, match="explore into a new folder"):
        explore_direct(config, Exploration(WORDS, 1), tmp_path, decider=Still())


def test_the_scripted_expert_takes_no_noise(config, tmp_path):
    config = replace(config, policy=replace(config.policy, kind="expert"))
    report = explore_direct(config, Exploration(WORDS[:1], 1, action_noise=0.1), tmp_path / "bag")
    assert report.reason is Reason.FAULT and "takes no action noise" in report.message


def test_the_command_says_what_is_there_and_how_to_go_on(tmp_path, capsys):
    small = ["--set", "policy.kind=expert", "--renderer", "raycast", "--noise", "0", "--set", "recorder.floor_mib=0"]
    what = ["--instructions", "open the drawer; turn on the led light", "--steps", "5", "--scene", "C"]
    assert main(["explore", "--direct", "--out", str(tmp_path / "bag"), *small, *what]) == 0
    told = capsys.readouterr().out
    assert "2 rollouts of 5 steps" in told and f"worldagen data bag:{tmp_path / 'bag'}" in told
    assert len(episodes_of(tmp_path / "bag")) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "-1"], "-1 steps"),
        (["--rollouts", "-2"], "-2 rollouts"),
        (["--noise", "nan"], "action noise is nan"),
        (["--seed", "-1"], "the seed is -1"),
        (["--scene", "Z"], "unknown playtable scene 'Z'"),
    ],
)
def test_what_cannot_be_explored_is_refused_in_one_line(tmp_path, capsys, arguments, words):
    assert main(["explore", "--direct", "--out", str(tmp_path / "bag"), *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "bag").exists()
