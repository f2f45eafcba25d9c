"""`worldagen bench`: a protocol played, gone on with, compared; and every sentence that a reader of its report needs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from worldagen.cli import main
from worldagen.errors import EvaluationError, SimulatorError
from worldagen_ros.benching import COMPARISON, compare_benchmarks, run_benchmark
from worldagen_ros.evaluate_direct import DirectPlayer
from worldagen_ros.evaluating import open_evaluation
from worldagen_ros.ray_workers import open_ray_workers
from worldagen_ros.workers import WorkerError
from worldagen_sim.bench_page import alarms, draw_bench_page
from worldagen_sim.evaluation import EPISODES
from worldagen_sim.protocol import find_protocol, request_of

PROTOCOL = """
title: Two tasks
source: made for a test
scenes: A
tasks: open_drawer, close_drawer
episodes: 2
max_steps: 10
phrasings: training
"""


@pytest.fixture(scope="module")
def protocol(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("protocol") / "two_tasks.yaml"
    file.write_text(PROTOCOL)
    return str(file)


def run(protocol: str, checkpoint: Path, out: Path, **changes) -> dict:
    rules = find_protocol(protocol)
    request = replace(request_of(protocol, rules), renderer="raycast", **changes)
    return run_benchmark(protocol, rules, request, checkpoint, out, processes=1, films=1)


@pytest.fixture(scope="module")
def played(protocol, checkpoint, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "base"
    run(protocol, checkpoint, out)
    return out


def test_a_run_leaves_a_line_for_each_episode_a_report_a_page_and_a_film_of_a_failure(played):
    lines = [json.loads(line) for line in (played / EPISODES).read_text().splitlines()]
    assert [line["key"] for line in lines] == [
        f"task/training/A/{task}/{seed}" for seed, tasks in ((0, 2), (1, 2)) for task, seed in
        [("open_drawer", 500_000 + seed), ("close_drawer", 501_000 + seed)][:tasks]
    ]  # fmt: skip
    report = json.loads((played / "report.json").read_text())
    assert report["complete"] and not alarms(report) and report["protocol"]["name"] == "two_tasks"
    assert report["speed"]["decision_ms_median"] > 0 and report["protocol"]["departures"] == []
    (film,) = report["films"]
    assert (played / film).stat().st_size > 1000
    page = (played / "report.html").read_text()
    assert "<h1>Two tasks: random</h1>" in page and "made for a test" in page and f'src="{film}"' in page
    assert 'class="alarm"' not in page


def test_the_same_call_plays_nothing_again_and_another_is_refused(protocol, checkpoint, played):
    before = (played / EPISODES).read_text()
    run(protocol, checkpoint, played)
    assert (played / EPISODES).read_text() == before
    with pytest.raises(EvaluationError, match=r"holds another evaluation: request\.episodes 2 instead of 3"):
        run(protocol, checkpoint, played, episodes=3)


def test_a_departure_and_stand_ins_are_told_in_red(protocol, checkpoint, played, tmp_path):
    report = run(protocol, checkpoint, tmp_path / "part", episodes=1)
    assert alarms(report) == ["Not the protocol two_tasks: episodes 1 instead of 2"]
    report["caveat"] = "its assets are stand-ins"
    report["faults"] = {"episodes": 1, "first": "libero ended with status -9"}
    page = draw_bench_page(report)
    assert '<div class="alarm">Not a benchmark result: its assets are stand-ins</div>' in page
    assert "1 episodes were ended by a fault of the simulator, twice, and count as failures; the first: libero ended" in page
    assert '<div class="alarm">Not the protocol two_tasks: episodes 1 instead of 2</div>' in page


def test_an_episode_that_the_simulator_failed_in_is_played_once_more(protocol, checkpoint, monkeypatch, tmp_path):
    rules = find_protocol(protocol)
    request = replace(request_of(protocol, rules), renderer="raycast", episodes=1, tasks=("open_drawer",))
    evaluation, config = open_evaluation(checkpoint, request, tmp_path / "out")
    player = DirectPlayer(config)
    (trial,) = evaluation.missing
    whole = player.play(trial)
    world, step, fails = player._episodes.environment, player._episodes.environment.step, [3]

    def failing(action):
        fails[0] -= 1
        if fails[0] == 0:
            raise SimulatorError("the simulator has died")
        return step(action)

    monkeypatch.setattr(world, "step", failing)
    assert player.play(trial).legs == whole.legs
    monkeypatch.setattr(world, "step", lambda action: (_ for _ in ()).throw(SimulatorError("it dies every time")))
    assert player.play(trial).legs[0].detail == "it dies every time"
    player.close()


def test_adapting_first_is_refused_where_nothing_can_be_explored_without_nodes(checkpoint, tmp_path):
    rules = find_protocol("libero_10")
    with pytest.raises(EvaluationError, match=r"--adapt explores playtable only, not libero; .* with --adapter"):
        run_benchmark("libero_10", rules, request_of("libero_10", rules), checkpoint, tmp_path / "out", recipe="default")
    assert not (tmp_path / "out").exists()


def test_two_runs_are_compared_episode_by_episode(protocol, checkpoint, played, tmp_path):
    run(protocol, checkpoint, tmp_path / "again")
    told = compare_benchmarks(played, tmp_path / "again", None, "a test")
    assert (told["tasks"]["all"]["pairs"], told["tasks"]["all"]["won"], told["tasks"]["all"]["p"]) == (4, 0, 1.0)
    assert json.loads((tmp_path / "again" / COMPARISON).read_text())["before"]["folder"] == "base"
    assert "Two runs, episode by episode" in (tmp_path / "again" / "comparison.html").read_text()
    run(protocol, checkpoint, tmp_path / "longer", max_steps=15)
    with pytest.raises(EvaluationError, match="not played by the same rules: max_steps: 10 and 15"):
        compare_benchmarks(played, tmp_path / "longer", None, "a test")
    with pytest.raises(EvaluationError, match="holds no evaluation that can be read"):
        compare_benchmarks(played, tmp_path, None, "a test")


def test_the_command_lists_protocols_and_refuses_in_one_line(capsys, checkpoint):
    assert main(["bench"]) == 0
    listed = capsys.readouterr().out
    assert "calvin_abcd_d " in listed and "LIBERO-10 in half the light" in listed
    assert main(["bench", "playtable_E", str(checkpoint), "--out", "nowhere"]) != 0
    assert "unknown protocol 'playtable_E'" in capsys.readouterr().err
    assert main(["bench", "playtable_D"]) != 0
    assert "expected one checkpoint and --out FOLDER" in capsys.readouterr().err


@pytest.mark.timeout(200)
def test_in_real_time_the_nodes_play_and_the_report_says_so(protocol, checkpoint, tmp_path):
    report = run(protocol, checkpoint, tmp_path / "live", episodes=1, tasks=("open_drawer",), via="ros", timing="realtime")
    assert report["tasks"]["training"]["all"]["episodes"] == 1 and report["speed"]["control_steps"] == 10
    assert "timing realtime instead of lockstep" in alarms(report)[0]


@pytest.mark.timeout(300)
def test_a_ray_cluster_of_two_workers_plays_the_same(protocol, checkpoint, played, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra ray)")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        rules = find_protocol(protocol)
        request = replace(request_of(protocol, rules), renderer="raycast")
        run_benchmark(protocol, rules, request, checkpoint, tmp_path / "ray", ray=cluster.address, films=0)
    finally:
        ray.shutdown()
        cluster.shutdown()
    told = compare_benchmarks(played, tmp_path / "ray", None, "a test")
    assert told["tasks"]["all"]["pairs"] == 4
    chunks = [
        {line["key"]: line["legs"][0]["chunks"] for line in map(json.loads, (folder / EPISODES).read_text().splitlines())}
        for folder in (played, tmp_path / "ray")
    ]
    assert chunks[0] == chunks[1]


def test_no_cluster_is_said_in_a_sentence():
    pytest.importorskip("ray", reason="Ray is not installed (the extra ray)")
    refused = pytest.raises(WorkerError, match=r"there is no Ray cluster at '127\.0\.0\.1:1'")
    with refused, open_ray_workers("127.0.0.1:1", 1, dict):
        pass
