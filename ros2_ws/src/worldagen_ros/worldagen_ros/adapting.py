"""The whole story of an adaptation in a simulator: evaluate, explore, adapt, judge, evaluate again on the same episodes.

OUT/adaptation.json      what was asked for; a later run in this folder must ask for the same, and goes on where it was
OUT/before/              evaluation of the base
OUT/exploration/         the bag
OUT/adapters/ID/         the adapter
OUT/canary/              one evaluation each of base and adapter, on episodes of their own, for the gate
OUT/after/               evaluation of the adapter, on the episodes of `before`
OUT/predictions.png      what base and adapter expect to see, beside what came
OUT/report.json, report.html
"""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from worldagen.adaptation.adapter import read_manifest, settle_checks
from worldagen.adaptation.gate import judge_canary
from worldagen.adaptation.process import AdaptationProcess
from worldagen.adaptation.recipe import load_adaptation_recipe
from worldagen.adaptation.request import AdaptationRequest, Progress
from worldagen.checkpoint import WEIGHTS, find_checkpoint
from worldagen.errors import AdaptationError, ExplorationError
from worldagen.exploring import Exploration, Reason
from worldagen.provenance import describe_run, sha256_of
from worldagen_ros.config import load_deployment
from worldagen_ros.evaluating import evaluate_tasks, open_evaluation
from worldagen_sim.adaptation_page import draw_page
from worldagen_sim.claimed_folder import claim_folder, write_json
from worldagen_sim.environment import make_environment
from worldagen_sim.evaluation import EvaluationRequest
from worldagen_sim.exploring import plain_instructions
from worldagen_sim.paired import compare_evaluations, pair_tasks

REQUEST, REPORT, PAGE, PREDICTIONS, STAGES = "adaptation.json", "report.json", "report.html", "predictions.png", "stages.json"
CANARY = "canary"
CANARY_SEED = 700_000  # of its episodes; neither trained, chosen nor evaluated on
EXPLORATION_SEED = 800_000


@dataclass(frozen=True)
class StoryRequest:
    """What to do. rollouts, steps, noise: of the exploration; seed: of everything that is drawn.

    episodes of each task and chains: of the evaluations before and after. canary_episodes: of each task, for the gate; 0: none.
    deployment: whose nodes are played without ROS. options: of the simulator.
    """

    environment: str = "playtable"
    scene: str = "D"
    recipe: str = "default"
    rollouts: int = 66
    steps: int = 60
    noise: float = 0.15
    seed: int = 0
    episodes: int = 2
    chains: int = 20
    canary_episodes: int = 0
    evaluation_seed: int = 500_000
    max_steps: int = 360
    renderer: str = "auto"
    rehearse: str = ""
    overrides: dict[str, str] = field(default_factory=dict)
    deployment: str = "sim_network"
    options: str = ""


def tell_story(
    checkpoint: str,
    request: StoryRequest,
    out: Path,
    command: str,
    processes: int,
    say: Callable[[str], None] = print,
    show: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """All of it; returns the report. Raises the errors of its parts; the same call goes on where it was.

    A rejected adapter is evaluated all the same: the report is about what it does, and says that it may not drive.
    """
    folder = claim(checkpoint, request, out)
    stages = _Stages(out / STAGES)
    asked = evaluation_of(request)
    evaluated = request.episodes + request.chains > 0
    if evaluated:
        say(f"1/5 evaluate the base in scene {request.scene}")
        with stages.timed("before"):
            evaluate_tasks(folder, asked, out / "before", processes=processes, command=command)
    say(f"2/5 explore: {request.rollouts} rollouts of {request.steps} steps")
    with stages.timed("explore"):
        explore(folder, request, out / "exploration")
    say(f"3/5 adapt by the recipe {request.recipe!r}")
    with stages.timed("adapt"):
        adapter = adapt_once(checkpoint, request, out, command, show)
    if request.canary_episodes:
        say(f"4/5 canary: {request.canary_episodes} episodes of each task, before and after")
        with stages.timed("canary"):
            make_canary(folder, request, adapter, out, processes, command)
    manifest = read_manifest(adapter)
    for reason in manifest["gate"]["reasons"]:
        say(f"    {reason}")
    say(f"    verdict: {manifest['gate']['verdict']}")
    compared: dict[str, Any] = {}
    if evaluated:
        say("5/5 evaluate the adapter on the same episodes")
        with stages.timed("after"):
            evaluate_tasks(folder, asked, out / "after", processes=processes, command=command, adapter=adapter)
        before, after = (
            open_evaluation(folder, asked, out / name, driver)[0].ended
            for name, driver in (("before", None), ("after", adapter))
        )
        compared = compare_evaluations(before, after)
    draw_pictures(checkpoint, adapter, out)
    report = {
        **describe_run(command),
        "request": {**asdict(request), "recipe": Path(request.recipe).stem, "rehearse": Path(request.rehearse).name},
        "checkpoint": {"name": folder.name, "digest": sha256_of(folder / WEIGHTS)},
        "adapter": {
            key: manifest[key] for key in ("id", "recipe_name", "recipe", "data", "windows", "training", "gate", "seconds")
        },
        "comparison": compared,
        "stages_s": stages.seconds,
    }
    write_json(out / REPORT, report)
    (out / PAGE).write_text(draw_page(report, (out / PREDICTIONS).read_bytes()), "utf-8")
    return report


def evaluation_of(request: StoryRequest) -> EvaluationRequest:
    """The one that is played before and after."""
    return EvaluationRequest(
        environment=request.environment, scenes=(request.scene,), episodes=request.episodes, seed=request.evaluation_seed,
        held_out_episodes=0, chains=request.chains, expert_episodes=0, max_steps=request.max_steps, renderer=request.renderer,
        deployment=request.deployment, options=request.options,
    )  # fmt: skip


def claim(checkpoint: str, request: StoryRequest, out: Path) -> Path:
    """Begin or go on with a story's folder; returns the checkpoint's. Raises AdaptationError for one of another request."""
    folder = find_checkpoint(checkpoint)
    load_adaptation_recipe(request.recipe, request.overrides)  # refused before anything is begun
    claim_folder(out, REQUEST, {**asdict(request), "checkpoint": sha256_of(folder / WEIGHTS)}, "adaptation", AdaptationError)
    return folder


def explore(checkpoint: Path, request: StoryRequest, bag: Path) -> None:
    """Record the bag, unless it is there. Raises ExplorationError when it ended early."""
    if bag.exists():
        return
    from worldagen_ros.explore_direct import explore_direct

    config = load_deployment(request.deployment)
    config = replace(
        config,
        policy=replace(config.policy, checkpoint=str(checkpoint.resolve())),
        sim=replace(
            config.sim, environment=request.environment, options=request.options, scene=request.scene, renderer=request.renderer
        ),
    )
    environment = make_environment(request.environment, "raycast", request.options)  # to ask for names; draws nothing
    words = plain_instructions(environment)
    environment.close()
    asked = Exploration(
        words,
        rollouts=request.rollouts,
        steps=request.steps,
        action_noise=request.noise,
        seed=EXPLORATION_SEED + 1000 * request.seed,
    )
    aside = bag.with_name(f".{bag.name}")
    if aside.exists():  # of a run that was killed
        shutil.rmtree(aside)
    report = explore_direct(config, asked, aside)
    if report.reason is not Reason.FINISHED:
        raise ExplorationError(f"the exploration ended early: {report}")
    aside.rename(bag)


def adapt_once(checkpoint: str, request: StoryRequest, out: Path, command: str, show: Callable[[Progress], None]) -> Path:
    """The adapter's folder; made in a process of its own, unless it is there."""
    root = out / "adapters"
    made = sorted(place for place in root.glob("*") if (place / "manifest.json").is_file()) if root.is_dir() else []
    if made:
        return made[-1]
    running = AdaptationProcess(
        AdaptationRequest(
            checkpoint=checkpoint, bag=str(out / "exploration"), recipe=request.recipe, out=str(root),
            cache=str(out / "frames"),
            rehearse=request.rehearse, overrides=request.overrides, further_checks=(CANARY,) if request.canary_episodes else (),
        ),
        command,
    )  # fmt: skip
    try:
        for progress in running.follow():
            show(progress)
    except BaseException:
        running.close()
        raise
    return Path(running.result().folder)


def make_canary(checkpoint: Path, request: StoryRequest, adapter: Path, out: Path, processes: int, command: str) -> None:
    """Play every task before and after on paired episodes, and settle the gate."""
    asked = EvaluationRequest(
        environment=request.environment, scenes=(request.scene,), episodes=request.canary_episodes, seed=CANARY_SEED,
        held_out_episodes=0, chains=0, expert_episodes=0, max_steps=request.max_steps, renderer=request.renderer,
        deployment=request.deployment, options=request.options,
    )  # fmt: skip
    ended = []
    for name, driver in (("before", None), ("after", adapter)):
        evaluate_tasks(checkpoint, asked, out / CANARY / name, processes=processes, command=command, adapter=driver)
        ended.append(open_evaluation(checkpoint, asked, out / CANARY / name, driver)[0].ended)
    pairs: dict[str, tuple[list[bool], list[bool]]] = {}
    for task, before, after in pair_tasks(*ended):
        done = pairs.setdefault(task, ([], []))
        done[0].append(before)
        done[1].append(after)
    recipe = load_adaptation_recipe(request.recipe, request.overrides)
    settle_checks(adapter, judge_canary(pairs, recipe.gate))


def draw_pictures(checkpoint: str, adapter: Path, out: Path) -> None:
    """OUT/predictions.png, unless it is there."""
    if not (out / PREDICTIONS).exists():
        from worldagen.adaptation.pictures import draw_before_and_after

        draw_before_and_after(checkpoint, adapter, str(out / "exploration"), out / "frames").save(out / PREDICTIONS)


class _Stages:
    """Wall seconds of each stage, over all calls."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds: dict[str, float] = json.loads(file.read_text("utf-8")) if file.is_file() else {}

    @contextmanager
    def timed(self, name: str):
        began_s = time.monotonic()
        try:
            yield
        finally:
            spent_s = time.monotonic() - began_s
            self.seconds[name] = self.seconds.get(name, 0.0) + spent_s
            write_json(self._file, self.seconds)
