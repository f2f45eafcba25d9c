"""Which episodes an evaluation plays, with which words, what it remembers of them, and how it shows them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from worldagen.errors import EvaluationError
from worldagen.picture_errors import ErrorSum
from worldagen.provenance import describe_run
from worldagen_sim.environment import find_task
from worldagen_sim.evaluation import EPISODES, Evaluation, EvaluationRequest, Leg, Result, trials_of
from worldagen_sim.evaluation_page import draw_page
from worldagen_sim.expert_episodes import play_units
from worldagen_sim.playtable.chains import draw_chain

REQUEST = EvaluationRequest(
    scenes=("A", "D"), tasks=("open_drawer", "stack_block"), episodes=3, held_out_episodes=2, chains=4, max_steps=50
)
WHOM = {"checkpoint": "0" * 64, "version": "1", "drawn_by": "raycast"}


@pytest.fixture
def evaluation(tmp_path, playtable):
    return Evaluation(tmp_path / "out", REQUEST, playtable, WHOM)


def result_of(trial) -> Result:
    """Invented: the drawer opens, whatever the scene; a chain of seed s is done up to task s mod 6."""
    if trial.kind == "chain":
        done = trial.seed % 6
        return Result(tuple(Leg(number < done, 10, 2, "0") for number in range(min(done + 1, len(trial.tasks)))), 1.0)
    return Result((Leg(trial.tasks == ("open_drawer",), 20, 4, "0"),), 1.0)


def test_every_task_has_seeds_of_its_own_which_scenes_share_and_held_out_words_the_first_of_them(playtable):
    trials = list(trials_of(REQUEST, playtable))
    assert len({trial.key for trial in trials}) == len(trials) == 2 * 2 * (3 + 2) + 2 * 4
    for scene in REQUEST.scenes:
        for task in REQUEST.tasks:
            some = [trial for trial in trials if trial.kind == "task" and (trial.scene, trial.tasks) == (scene, (task,))]
            seeds = {words: [trial.seed for trial in some if trial.phrasings == words] for words in ("training", "held-out")}
            first = 500_000 + 1000 * [known.name for known in playtable.tasks].index(task)
            assert seeds == {"training": [first, first + 1, first + 2], "held-out": [first, first + 1]}
    for trial in trials:
        known = [find_task(playtable, task) for task in trial.tasks]
        words = [task.held_out if trial.phrasings == "held-out" else task.phrasings for task in known]
        assert all(said in some for said, some in zip(trial.instructions, words, strict=True))


def test_words_can_be_plain_or_all_held_out(playtable):
    plain = trials_of(replace(REQUEST, phrasings="plain", held_out_episodes=0, chains=0), playtable)
    assert {trial.instructions[0] for trial in plain} == {find_task(playtable, task).instruction for task in REQUEST.tasks}
    held_out = list(trials_of(replace(REQUEST, phrasings="held-out", chains=0), playtable))
    assert len(held_out) == 2 * 2 * 3 and {trial.phrasings for trial in held_out} == {"held-out"}


def test_a_chain_has_the_start_and_the_tasks_of_its_seed_in_every_scene(playtable):
    chains = [trial for trial in trials_of(REQUEST, playtable) if trial.kind == "chain"]
    for trial in chains:
        chain = draw_chain(trial.seed)
        assert (trial.tasks, dict(trial.conditions)) == (chain.tasks, dict(chain.conditions))


def test_interrupted_anywhere_the_rest_is_played_once_and_the_scores_are_the_same(evaluation, tmp_path, playtable):
    for trial in evaluation.missing:
        evaluation.settle(trial, result_of(trial))
    for stop in (0, 1, 7, len(evaluation.trials)):
        folder = tmp_path / str(stop)
        begun = Evaluation(folder, REQUEST, playtable, WHOM)
        for trial in begun.missing[::-1][:stop]:  # in another order too
            begun.settle(trial, result_of(trial))
        with (folder / EPISODES).open("a") as file:
            file.write('{"key": "torn')
        again = Evaluation(folder, REQUEST, playtable, WHOM)
        assert len(again.missing) == len(again.trials) - stop
        for trial in again.missing:
            again.settle(trial, result_of(trial))
        assert again.scores() == evaluation.scores()
        assert len((folder / EPISODES).read_text().splitlines()) == len(evaluation.trials)


def test_scores_of_tasks_and_chains(evaluation):
    for trial in evaluation.missing:
        evaluation.settle(trial, result_of(trial))
    scores = evaluation.scores()
    assert scores["tasks"]["training"]["tasks"]["open_drawer"]["successes"] == 6
    assert scores["tasks"]["held-out"]["scenes"]["D"]["all"]["rate"] == 0.5
    done = [seed % 6 for seed in range(500_000, 500_004)]  # 2 3 4 5
    assert scores["chains"]["scenes"]["A"]["mean_length"] == np.mean(done) == 3.5
    assert scores["chains"]["all"]["rates"] == (1.0, 1.0, 0.75, 0.5, 0.25)


def test_another_checkpoint_or_a_foreign_folder_is_refused_and_left_alone(evaluation, tmp_path, playtable):
    with pytest.raises(EvaluationError, match=r"another evaluation: checkpoint '0+' instead of '1+'\. Ask for the same"):
        Evaluation(evaluation.folder, REQUEST, playtable, {**WHOM, "checkpoint": "1" * 64})
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear diary")
    with pytest.raises(EvaluationError, match="holds no evaluation"):
        Evaluation(foreign, REQUEST, playtable, WHOM)
    assert [file.name for file in foreign.iterdir()] == ["letter.txt"]


def test_the_page_needs_nothing_else_and_shows_every_task_and_part(evaluation):
    for trial in evaluation.missing:
        evaluation.settle(trial, result_of(trial))
    for trial in evaluation.missing_experts:
        sums = [ErrorSum(view, horizon, 2, 0.1, 0.2, 0.01, 0.02) for view in ("static", "wrist") for horizon in (1, 2, 3)]
        evaluation.settle_expert(trial, sums)
    report = {
        **describe_run("worldagen evaluate x --out <y>"),
        "checkpoint": {"name": "a & b", "digest": "0" * 64, "notes": ""},
        "version": "1",
        "renderer": "raycast",
        "request": {"environment": "playtable", **vars(REQUEST)},
        "complete": True,
        **evaluation.scores(),
        "world_model": evaluation.world_errors(),
    }
    page = draw_page(json.loads(json.dumps(report)), b"png")
    for told in ("a &amp; b", "open_drawer", "held-out words", "3.50", "50 %", "World model", "data:image/png", "&lt;y&gt;"):
        assert told in page
    for foreign in ("http://", "https://", "<script", "<link"):
        assert foreign not in page
    bare = draw_page(json.loads(json.dumps({**report, "tasks": {}, "chains": {}, "world_model": {}})))
    assert "Where these numbers come from" in bare and "World model" not in bare


def test_an_expert_episode_has_a_frame_before_and_after_every_unit(playtable):
    units = play_units(playtable, "turn_on_led", "A", 500_000, "turn on the led", rows=5, max_steps=20)
    assert (len(units), units.static.shape, units.wrist.shape) == (4, (5, 200, 200, 3), (5, 84, 84, 3))
    assert units.states.shape == units.actions.shape == (20, 7)
    again = play_units(playtable, "turn_on_led", "A", 500_000, "turn on the led", rows=5, max_steps=20)
    assert (again.static == units.static).all() and (again.actions == units.actions).all()
