"""An evaluation: the same with and without ROS, resumed after a kill, refused in one line."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from counting import make_counter

from worldagen.checkpoint import save_checkpoint
from worldagen.conventions import CONVENTIONS
from worldagen.errors import WorldAgenError
from worldagen.session import make_policy
from worldagen_ros.config import load_deployment
from worldagen_ros.evaluate_direct import DirectPlayer
from worldagen_ros.evaluate_stack import play_all_through_ros
from worldagen_ros.evaluating import PAGE, configured, evaluate_tasks, open_evaluation
from worldagen_ros.workers import WorkerError, open_workers
from worldagen_sim.evaluation import EPISODES, REPORT, EvaluationRequest, Leg, Trial
from worldagen_sim.playtable.chains import draw_chain

QUICK = EvaluationRequest(
    tasks=("open_drawer",),
    episodes=2,
    held_out_episodes=0,
    chains=0,
    expert_episodes=0,
    max_steps=5,
    renderer="raycast",
)


def trials() -> list[Trial]:
    chain = draw_chain(500_000)
    return [
        Trial("task", "training", "D", 500_000, ("open_drawer",), ("pull the drawer",)),
        Trial(
            "task", "held-out", "A", 500_001, ("stack_block",), ("place the block on another one",)
        ),  # begins with a full hand
        Trial("chain", "training", "D", chain.seed, chain.tasks, chain.tasks, tuple(chain.conditions.items())),
    ]


def test_through_the_nodes_and_without_them_every_outcome_and_chunk_is_the_same(checkpoint, tmp_path):
    config = configured(checkpoint, replace(QUICK, max_steps=20), "raycast")
    player = DirectPlayer(config)
    direct = [player.play(trial) for trial in trials()]
    player.close()
    through_ros = [result for _, result in play_all_through_ros(trials(), config, tmp_path / "nodes.log", None)]
    assert [result.legs for result in through_ros] == [result.legs for result in direct]
    assert [result.legs[0].decisions for result in direct] == [4, 4, 4]
    assert len({result.legs[0].chunks for result in direct}) == 3  # and they are not all the same


def test_a_chain_is_played_in_one_world_until_a_task_fails():
    chain = draw_chain(500_001)
    trial = Trial("chain", "training", "A", chain.seed, chain.tasks, chain.tasks, tuple(chain.conditions.items()))
    player = DirectPlayer(load_deployment("sim", {"sim.renderer": "raycast"}))  # the scripted expert, five rows at a time
    whole = player.play(trial)
    assert [leg.success for leg in whole.legs] == [True] * len(chain.tasks) and whole.in_a_row == len(chain.tasks)
    player.close()
    hasty = DirectPlayer(load_deployment("sim", {"sim.renderer": "raycast", "sim.max_steps": str(whole.legs[1].steps - 1)}))
    cut = hasty.play(trial)
    hasty.close()
    assert cut.in_a_row < len(cut.legs) <= 2


@pytest.mark.timeout(300)
def test_the_command_goes_on_where_it_was_cut_off_and_ends_with_a_report_and_its_page(checkpoint, tmp_path, environment):
    out, request = tmp_path / "out", replace(QUICK, expert_episodes=1, max_steps=15, renderer="auto")
    evaluation, config = open_evaluation(checkpoint, request, out)
    player = DirectPlayer(config)
    first, second = [(trial, player.play(trial)) for trial in evaluation.trials]
    player.close()
    evaluation.settle(*first)
    with (out / EPISODES).open("a") as file:
        file.write('{"key": "task/training/D/open_dr')  # killed while it was writing
    asked = ["--tasks", "open_drawer", "--episodes", "2", "--held-out-episodes", "0", "--chains", "0", "--max-steps", "15"]
    command = [str(Path(sys.executable).parent / "worldagen"), "evaluate", str(checkpoint), *asked, "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "training words, D: 0.0 % (0.0 to 65.8), 0/2" in done.stdout
    lines = [json.loads(line) for line in (out / EPISODES).read_text().splitlines()]
    assert [line["key"] for line in lines] == [first[0].key, second[0].key]
    assert lines[0]["seconds"] == first[1].seconds
    assert [Leg(**leg) for leg in lines[1]["legs"]] == list(second[1].legs)  # whatever they took
    report = json.loads((out / REPORT).read_text())
    assert (report["complete"], report["tasks"]["training"]["all"]["episodes"]) == (True, 2)
    assert {len(horizons) for horizons in report["world_model"]["all"].values()} == {3}
    assert "data:image/png" in (out / PAGE).read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": ("fly",)}, "unknown playtable task 'fly'"),
        ({"scenes": ("E",)}, "scene 'E'"),
        ({"phrasings": "rude"}, "unknown kind of phrasings 'rude'"),
        ({"episodes": 0}, "0 episodes, 0 with held-out words"),
        ({"via": "pigeon"}, "unknown way 'pigeon'"),
        ({"renderer": "crayon"}, "unknown playtable renderer 'crayon'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_anything_is_written(checkpoint, tmp_path, change, words):
    with pytest.raises(WorldAgenError, match=words):
        evaluate_tasks(checkpoint, replace(QUICK, **change), tmp_path / "out", show=False)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_means_something_else_by_its_numbers_is_refused(checkpoint, tmp_path):
    policy = make_policy("playtable")
    foreign = replace(policy.conventions, actions=CONVENTIONS["libero"])
    save_checkpoint(tmp_path / "foreign", policy.network, foreign)
    with pytest.raises(
        WorldAgenError, match=r"must not drive this deployment's simulator(.|\n)*translation_scale_m: the checkpoint has 0.05"
    ):
        evaluate_tasks(tmp_path / "foreign", QUICK, tmp_path / "out", show=False)


def test_a_folder_with_another_evaluation_is_refused_with_every_difference(checkpoint, tmp_path):
    open_evaluation(checkpoint, QUICK, tmp_path / "out")
    with pytest.raises(WorldAgenError, match=r"request\.episodes 2 instead of 3; request\.seed 500000 instead of 7"):
        open_evaluation(checkpoint, replace(QUICK, episodes=3, seed=7), tmp_path / "out")


def test_what_fails_in_a_worker_is_told_in_its_words_and_what_has_ended_is_kept():
    done = []
    with pytest.raises(WorkerError, match="3 is too many"), open_workers(1, make_counter) as workers:
        for job, result in workers.run(range(1, 100)):
            done.append((job, result))
    assert done[:2] == [(1, 10), (2, 20)] and len(done) < 90  # and what would have come later is not begun
    with pytest.raises(WorkerError, match="a worker process was killed"), open_workers(1, make_counter) as workers:
        list(workers.run([0]))
