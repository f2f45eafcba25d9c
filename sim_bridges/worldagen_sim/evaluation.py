"""Which episodes an evaluation plays, with which words, which of them have ended, and what their scores are.

An evaluation is a folder:

    evaluation.json          what was asked for, and of which checkpoint; a later run must ask for the same
    episodes.jsonl           one line for each episode that ended, in the order in which they ended
    expert_episodes.jsonl    the same of the expert's episodes that the world model was measured on
    report.json              the scores, written anew at the end of every run

An episode is a function of its scene, task, seed and words, so whatever is evaluated with the same seeds can be compared in
pairs. A seed draws the whole world, so each task has seeds of its own: two episodes of each of 33 tasks meet 66 worlds, not
two. Scenes share them, so that a scene and a disturbed one can be compared in pairs. The seeds begin far from those of
demonstrations: nothing that was trained on is met again.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any

from worldagen.errors import EvaluationError, UnknownName
from worldagen.picture_errors import ErrorSum, report_errors
from worldagen_sim.chains import draw_chain, score_chains
from worldagen_sim.claimed_folder import claim_folder
from worldagen_sim.demonstrations import draw_words
from worldagen_sim.environment import Environment, Task, find_task
from worldagen_sim.journal import Journal
from worldagen_sim.scores import Tried, score_tasks

REQUEST, EPISODES, EXPERTS, REPORT = "evaluation.json", "episodes.jsonl", "expert_episodes.jsonl", "report.json"
PHRASINGS = ("training", "held-out", "plain")
FIRST_SEED = 500_000
SEEDS_PER_TASK = 1_000
STEPS_PER_TASK = 360
TIMINGS = ("lockstep", "realtime")
TASK, CHAIN, EXPERT = "task", "chain", "expert"


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate. tasks: names, none for all.

    episodes: of each task in each scene, with words of these phrasings and the task's seeds from its first up, which is
    `seed` for the first of the environment's tasks. held_out_episodes: with held-out words, on the first of the same seeds.
    chains: of five tasks, in each scene, with training words. expert_episodes: of each task in each scene, for the world
    model's error. max_steps: of each task. history: see worldagen/history.py. via: "direct", or "ros" through the nodes,
    which gives the same. deployment: which nodes. options: of the simulator. protocol: name of the benchmark this is, "" for
    none. timing: "lockstep", or "realtime": the simulator goes on while the policy thinks, through the nodes only. overrides:
    of the deployment, by dotted key, such as the adapter or the bank of places that drives.
    """

    environment: str = "playtable"
    scenes: tuple[str, ...] = ("D",)
    tasks: tuple[str, ...] = ()
    episodes: int = 10
    seed: int = FIRST_SEED
    phrasings: str = "training"
    held_out_episodes: int = 5
    chains: int = 20
    expert_episodes: int = 1
    max_steps: int = STEPS_PER_TASK
    renderer: str = "auto"
    history: str = "aligned"
    via: str = "direct"
    deployment: str = "sim_network"
    options: str = ""
    protocol: str = ""
    timing: str = "lockstep"
    overrides: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Trial:
    """One episode: a task, a chain of tasks in one world, or a task done by the expert, whose pictures a world model foresees.

    conditions: pairs of name and value, none for drawn ones.
    """

    kind: str
    phrasings: str
    scene: str
    seed: int
    tasks: tuple[str, ...]
    instructions: tuple[str, ...]
    conditions: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """What tells it from every other episode of an evaluation."""
        return "/".join((self.kind, self.phrasings, self.scene, "" if self.kind == CHAIN else self.tasks[0], str(self.seed)))


@dataclass(frozen=True)
class Leg:
    """How one task of a trial ended.

    decisions: chunks that were asked for; chunks: digest of all their rows, so that two runs can be compared to the last bit.
    detail: what went wrong in the simulator, "" for nothing. thinking_s: median time of a decision, wall seconds.
    routed: where a bank drives, pairs of a decision and the places' weights (scene level) from it on, whenever they changed.
    """

    success: bool
    steps: int
    decisions: int
    chunks: str
    detail: str = ""
    thinking_s: float = field(default=0.0, compare=False)  # two runs are the same whatever they took
    routed: Sequence[Sequence[Any]] = field(default=(), compare=False)  # the chunks tell of it, too

    @property
    def weights(self) -> list[Mapping[str, float]]:
        """Those of `routed`, decision by decision; empty without a bank."""
        begins = [begin for begin, _ in self.routed]
        return [self.routed[bisect_right(begins, decision) - 1][1] for decision in range(self.decisions) if begins]


@dataclass(frozen=True)
class Result:
    """How a trial ended: the tasks that were begun, the last of them the first that failed; wall seconds in all."""

    legs: tuple[Leg, ...]
    seconds: float

    @property
    def in_a_row(self) -> int:
        """Tasks that were done."""
        return sum(leg.success for leg in self.legs)


def check_request(request: EvaluationRequest, environment: Environment) -> None:
    """Raises UnknownName for a task, scene or word that does not exist, EvaluationError for numbers that ask for nothing."""
    counts = (request.episodes, request.held_out_episodes, request.chains, request.expert_episodes)
    if min(*counts, request.seed) < 0 or sum(counts) == 0 or request.max_steps < 1:
        raise EvaluationError(
            f"{request.episodes} episodes, {request.held_out_episodes} with held-out words, {request.chains} chains and "
            f"{request.expert_episodes} expert episodes from seed {request.seed}, {request.max_steps} steps each; expected "
            "numbers from 0 up, some episodes, and at least 1 step"
        )
    if max(request.episodes, request.held_out_episodes, request.expert_episodes) > SEEDS_PER_TASK:
        raise EvaluationError(f"more than {SEEDS_PER_TASK} episodes of a task in a scene; evaluate again from another --seed")
    if request.timing not in TIMINGS:
        raise UnknownName("timing", request.timing, TIMINGS)
    if request.timing == "realtime" and request.via != "ros":
        raise EvaluationError("in real time only the nodes play: give --via ros, or the timing lockstep")
    if request.phrasings not in PHRASINGS:
        raise UnknownName("kind of phrasings", request.phrasings, PHRASINGS)
    tasks = tasks_of(request, environment)
    for task in tasks:
        find_task(environment, task)
    for name, given in (("task", tasks), ("scene", request.scenes)):
        if len(set(given)) < len(given) or not given:
            raise EvaluationError(f"{name}s {', '.join(given)}; expected each {name} once")
    for scene in request.scenes:
        environment.reset(tasks[0], scene, request.seed)


def tasks_of(request: EvaluationRequest, environment: Environment) -> tuple[str, ...]:
    """The tasks that are asked for, by name."""
    return request.tasks or tuple(task.name for task in environment.tasks)


def first_seed(request: EvaluationRequest, environment: Environment, task: str) -> int:
    """Of a task's episodes; a function of the environment's tasks, not of those that are asked for."""
    return request.seed + [known.name for known in environment.tasks].index(task) * SEEDS_PER_TASK


def trials_of(request: EvaluationRequest, environment: Environment) -> Iterator[Trial]:
    """Every episode to play, in an order in which a part of them says something about all: seed by seed."""
    counts = {request.phrasings: request.episodes}
    counts["held-out"] = max(counts.get("held-out", 0), request.held_out_episodes)
    for phrasings, count in counts.items():
        for index in range(count):
            for scene in request.scenes:
                for name in tasks_of(request, environment):
                    seed = first_seed(request, environment, name) + index
                    words = _words(find_task(environment, name), phrasings, seed)
                    yield Trial(TASK, phrasings, scene, seed, (name,), (words,))
    for seed in range(request.seed, request.seed + request.chains):
        chain = draw_chain(environment.name, seed)
        words = tuple(_words(find_task(environment, name), "training", seed) for name in chain.tasks)
        for scene in request.scenes:
            yield Trial(CHAIN, "training", scene, seed, chain.tasks, words, tuple(chain.conditions.items()))


def expert_trials_of(request: EvaluationRequest, environment: Environment) -> Iterator[Trial]:
    """The expert episodes whose pictures the world model is asked to foresee."""
    for index in range(request.expert_episodes):
        for scene in request.scenes:
            for name in tasks_of(request, environment):
                seed = first_seed(request, environment, name) + index
                words = _words(find_task(environment, name), "training", seed)
                yield Trial(EXPERT, "training", scene, seed, (name,), (words,))


class Evaluation:
    """The books of an evaluation's folder. One process keeps them."""

    def __init__(self, folder: Path, request: EvaluationRequest, environment: Environment, whom: dict[str, Any]) -> None:
        """Open or begin. whom: what else tells it from other evaluations, such as the checkpoint's digest.

        Raises EvaluationError, changing nothing, when the folder holds anything else.
        """
        self.folder, self.request, self.whom = folder, request, whom
        self.tasks = tasks_of(request, environment)
        told = {name: value for name, value in asdict(request).items() if name != "overrides" or value}
        asked = {"request": {**told, "tasks": self.tasks}, **whom}
        claim_folder(folder, REQUEST, asked, "evaluation", EvaluationError)
        self.trials = tuple(trials_of(request, environment))
        self._episodes = Journal(folder / EPISODES)
        self._results = {line["key"]: _result(line) for line in self._episodes.lines}
        self.expert_trials = tuple(expert_trials_of(request, environment))
        self._experts = Journal(folder / EXPERTS)
        self._errors = {line["key"]: [ErrorSum(**one) for one in line["errors"]] for line in self._experts.lines}

    @property
    def missing(self) -> list[Trial]:
        """The trials that have not ended."""
        return [trial for trial in self.trials if trial.key not in self._results]

    @property
    def ended(self) -> list[tuple[Trial, Result]]:
        """The trials that have, in the order of the request, whatever the order in which they ended."""
        return [(trial, self._results[trial.key]) for trial in self.trials if trial.key in self._results]

    def settle(self, trial: Trial, result: Result) -> None:
        """Note how a trial ended."""
        self._episodes.append({"key": trial.key, **asdict(trial), **asdict(result)})
        self._results[trial.key] = result

    @property
    def missing_experts(self) -> list[Trial]:
        """The expert episodes that were not measured."""
        return [trial for trial in self.expert_trials if trial.key not in self._errors]

    @property
    def measured(self) -> list[tuple[Trial, list[ErrorSum]]]:
        """The expert episodes that were, in the order of the request."""
        return [(trial, self._errors[trial.key]) for trial in self.expert_trials if trial.key in self._errors]

    def settle_expert(self, trial: Trial, errors: Sequence[ErrorSum]) -> None:
        """Note how far the world model was from an expert episode."""
        self._experts.append({"key": trial.key, "errors": [asdict(one) for one in errors]})
        self._errors[trial.key] = list(errors)

    def world_errors(self) -> dict[str, Any]:
        """{"all": {view: {horizon: numbers}}, "scenes": {scene: the same}}, empty before anything was measured."""
        rows = [(trial.scene, one) for trial in self.expert_trials for one in self._errors.get(trial.key, [])]
        if not rows:
            return {}
        by_scene = {
            scene: report_errors(some)
            for scene in self.request.scenes
            if (some := [one for place, one in rows if place == scene])
        }
        return {"all": report_errors(one for _, one in rows), "scenes": by_scene}

    def scores(self) -> dict[str, Any]:
        """Everything that ended so far, JSON-ready: "tasks" by kind of phrasings, "chains" by scene, "speed", "faults"."""
        ended = self.ended
        steps = sum(leg.steps for _, result in ended for leg in result.legs)
        seconds = sum(result.seconds for _, result in ended)
        thinking = [leg.thinking_s for _, result in ended for leg in result.legs if leg.decisions]
        faults = [leg.detail for _, result in ended for leg in result.legs if leg.detail]
        return {
            "faults": {"episodes": len(faults), "first": faults[0] if faults else ""},
            "tasks": self._task_scores(ended),
            "chains": self._chain_scores(ended),
            "speed": {
                "episodes": len(ended),
                "control_steps": steps,
                "seconds": seconds,
                "control_steps_per_second_and_process": steps / seconds if seconds else 0.0,
                "decision_ms_median": 1e3 * median(thinking) if thinking else 0.0,
            },
        }

    def _task_scores(self, ended: list[tuple[Trial, Result]]) -> dict[str, Any]:
        tried: dict[str, list[Tried]] = {}
        for trial, result in ended:
            if trial.kind == TASK:
                leg = result.legs[0]
                one = Tried(trial.tasks[0], trial.scene, leg.success, leg.steps)
                tried.setdefault(trial.phrasings, []).append(one)
        return {phrasings: score_tasks(some, self.tasks, self.request.scenes) for phrasings, some in tried.items()}

    def routes(self) -> dict[str, list[list[Mapping[str, float]]]]:
        """Weights of the places in each episode of each scene, decision by decision; empty without a bank."""
        routes: dict[str, list[list[Mapping[str, float]]]] = {}
        for trial, result in self.ended:
            for leg in result.legs:
                if leg.weights:
                    routes.setdefault(trial.scene, []).append(leg.weights)
        return routes

    def _chain_scores(self, ended: list[tuple[Trial, Result]]) -> dict[str, Any]:
        rows = [(trial.scene, result.in_a_row) for trial, result in ended if trial.kind == CHAIN]
        if not rows:
            return {}
        by_scene = {
            scene: asdict(score_chains(some))
            for scene in self.request.scenes
            if (some := [in_a_row for place, in_a_row in rows if place == scene])
        }
        return {"all": asdict(score_chains([in_a_row for _, in_a_row in rows])), "scenes": by_scene}


def read_ended(folder: Path) -> tuple[dict[str, Any], list[tuple[Trial, Result]]]:
    """What an evaluation's folder was asked for, and what has ended in it. Raises EvaluationError for any other folder."""
    try:
        asked = json.loads((folder / REQUEST).read_text("utf-8"))["request"]
        lines = Journal(folder / EPISODES).lines
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(f"{folder} holds no evaluation that can be read ({error}); give the folder of a run") from None
    return asked, [(_trial(line), _result(line)) for line in lines]


def _trial(line: dict[str, Any]) -> Trial:
    parts = {item.name: line[item.name] for item in fields(Trial)}
    listed = {name: tuple(parts[name]) for name in ("tasks", "instructions")}
    return Trial(**{**parts, **listed, "conditions": tuple((name, value) for name, value in parts["conditions"])})


def _words(task: Task, phrasings: str, seed: int) -> str:
    if phrasings == "plain":
        return task.instruction
    choices: Sequence[str] = task.held_out if phrasings == "held-out" else task.phrasings
    if not choices:
        raise EvaluationError(f"{task.name} has no {phrasings} phrasings; ask for plain ones")
    return draw_words(choices, task.name, seed)


def _result(line: dict[str, Any]) -> Result:
    return Result(tuple(Leg(**leg) for leg in line["legs"]), line["seconds"])
