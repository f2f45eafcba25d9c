"""The whole story by one command, small: its folder, its report, and that it goes on where it was."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

from worldagen.adaptation.recipe import AdaptationRecipe, OptimiserSection, TrainedSection, WindowSection
from worldagen.checkpoint import save_checkpoint
from worldagen.errors import AdaptationError
from worldagen.network.config import find_preset
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import find_preset_conventions
from worldagen_ros.adapting import StoryRequest, tell_story
from worldagen_ros.benching import compare_benchmarks, run_benchmark
from worldagen_sim.protocol import find_protocol, request_of

SMALL = AdaptationRecipe(
    windows=WindowSection(frames=24, per_rollout=2, held_out_every=2),
    trained=TrainedSection(rank=2, alpha=4.0),
    optimiser=OptimiserSection(passes=2, learning_rate=1e-3),
)
REQUEST = StoryRequest(rollouts=4, steps=24, episodes=1, chains=1, max_steps=5)


pytestmark = pytest.mark.timeout(400)  # three processes, each of which imports torch


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> tuple[Path, Path, StoryRequest, dict]:
    """A story about random weights: (folder, checkpoint, request, report)."""
    folder = tmp_path_factory.mktemp("story")
    torch.manual_seed(0)
    network = WorldAgen(find_preset("playtable"))
    with torch.no_grad():  # a fresh one paints a copy, whatever the backbone says, so there would be nothing to learn
        network.image_head.paint.weight.normal_(std=0.1)
    save_checkpoint(folder / "checkpoint", network, find_preset_conventions("playtable"))
    (folder / "small.yaml").write_text(yaml.safe_dump(asdict(SMALL)), "utf-8")
    request = replace(REQUEST, recipe=str(folder / "small.yaml"))
    report = tell_story(str(folder / "checkpoint"), request, folder / "out", "a test", processes=1, say=lambda _: None)
    return folder, folder / "checkpoint", request, report


def test_the_report_says_what_changed_and_how_sure_that_is(told):
    folder, _, _, report = told
    assert report["comparison"]["tasks"]["all"]["pairs"] == 33 and report["comparison"]["chains"]["pairs"] == 1
    assert set(report["stages_s"]) == {"before", "explore", "adapt", "after"}
    checks = {check["name"] for check in report["adapter"]["gate"]["checks"]}
    assert checks == {"finite", "held-out loss", "translation", "rotation", "gripper"}
    assert report["adapter"]["data"]["rollouts"] == 4 and report["adapter"]["windows"]["learned"]["count"] == 4
    page = (folder / "out" / "report.html").read_text("utf-8")
    assert "Adaptation of checkpoint to scene D" in page and "data:image/png;base64," in page
    assert str(folder) not in json.dumps(report)  # no path of this machine


def test_the_adapter_drove_the_episodes_after(told):
    folder, _, _, report = told
    asked = json.loads((folder / "out" / "after" / "evaluation.json").read_text("utf-8"))
    assert asked["adapter"] == report["adapter"]["id"]
    before, after = (
        [json.loads(line) for line in (folder / "out" / name / "episodes.jsonl").read_text("utf-8").splitlines()]
        for name in ("before", "after")
    )
    digests = [{line["key"]: [leg["chunks"] for leg in line["legs"]] for line in lines} for lines in (before, after)]
    assert set(digests[0]) == set(digests[1]) and digests[0] != digests[1]


def test_the_same_call_goes_on_where_it_was_and_another_is_refused(told):
    folder, checkpoint, request, report = told
    again = tell_story(str(checkpoint), request, folder / "out", "a test", processes=1, say=lambda _: None)
    assert again["adapter"]["id"] == report["adapter"]["id"] and again["comparison"] == report["comparison"]
    with pytest.raises(AdaptationError, match="rollouts 4 instead of 8"):
        tell_story(str(checkpoint), replace(request, rollouts=8), folder / "out", "a test", 1, say=lambda _: None)


def test_a_benchmark_can_adapt_to_its_scene_first_and_says_by_what_it_was_driven(told, tmp_path):
    _, checkpoint, request, _ = told
    (tmp_path / "one.yaml").write_text("title: One\nscenes: D\ntasks: open_drawer\nepisodes: 1\nmax_steps: 5\n")
    name = str(tmp_path / "one.yaml")
    asked = request_of(name, find_protocol(name))
    report = run_benchmark(
        name, find_protocol(name), asked, checkpoint, tmp_path / "out", recipe=request.recipe, rollouts=4, processes=1, films=0
    )
    assert report["adapter"]["verdict"] in ("accepted", "rejected") and report["adapter"]["recipe"] == "small"
    assert Path(report["folder"]) == tmp_path / "out" / "played"
    assert f"Driven by adapter {report['adapter']['id']}" in (tmp_path / "out" / "played" / "report.html").read_text("utf-8")
    run_benchmark(name, find_protocol(name), asked, checkpoint, tmp_path / "base", processes=1, films=0)
    compared = compare_benchmarks(tmp_path / "base", tmp_path / "out" / "played", tmp_path, "a test")
    assert compared["after"]["adapter"]["id"] == report["adapter"]["id"] and compared["tasks"]["all"]["pairs"] == 1
