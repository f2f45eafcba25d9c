"""Evaluate a checkpoint: in closed loop, and its world model on expert episodes; the report and its page.

request = EvaluationRequest(scenes=("A", "B", "C"), episodes=4, held_out_episodes=0, chains=0)
report = evaluate_tasks(Path("checkpoint"), request, Path("evaluation"))
report["tasks"]["training"]["all"]["rate"]
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tqdm import tqdm

from worldagen.adaptation.adapter import read_manifest
from worldagen.checkpoint import WEIGHTS, read_config, read_conventions, read_notes, require_whole
from worldagen.conventions import find_convention
from worldagen.errors import UnknownName
from worldagen.history import HISTORY_MODES
from worldagen.mixture.likeness_picture import draw_bank
from worldagen.mixture.places import PlaceBank
from worldagen.provenance import describe_run, sha256_of
from worldagen_ros.config import DeploymentConfig, RobotConfig, load_deployment
from worldagen_ros.deciders import require_drivable
from worldagen_ros.evaluate_direct import DirectEvaluator
from worldagen_ros.evaluate_stack import play_all_through_ros
from worldagen_ros.evaluate_world import draw_predictions, shown_trials
from worldagen_ros.filming import Film
from worldagen_ros.ray_workers import RayWorkers, open_ray_workers
from worldagen_ros.workers import Workers, open_workers
from worldagen_sim.claimed_folder import write_json
from worldagen_sim.environment import make_environment
from worldagen_sim.evaluation import CHAIN, REPORT, TASK, Evaluation, EvaluationRequest, Result, Trial, check_request
from worldagen_sim.evaluation_page import draw_page, picture_of
from worldagen_sim.playtable.rendering import choose_renderer, make_ray_caster
from worldagen_sim.prediction_sheet import Foreseen
from worldagen_sim.routing_chart import draw_routing
from worldagen_sim.scores import wilson_interval

REALTIME_REPLAN_ROWS = 3  # decide before the last chunk is played out, so that the arm does not stop between chunks
WAYS = ("direct", "ros")
SHEET, PAGE, FILMS = "predictions.png", "report.html", "failures"


def evaluate_tasks(
    checkpoint: Path,
    request: EvaluationRequest,
    out: Path,
    *,
    processes: int | None = None,
    domain: int | None = None,
    command: str = "evaluate_tasks",
    show: bool = True,
    adapter: Path | None = None,
    films: int = 0,
    ray: str = "",
    more: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Play every task and chain of a request that has not ended in this folder yet; returns the report, also in report.json.

    adapter: folder of one that drives in the base's place, whatever its gate said. processes: all cores by default; through ROS
    always one stack. domain: of ROS. command: told in the report. show: a progress bar on standard error. films: of failed
    episodes, at most so many, in the folder failures. ray: address of a Ray cluster that plays instead of local processes.
    more: further parts of the report. Raises CheckpointError, UnknownName or EvaluationError before anything is played or
    changed; after an error in the middle the same call goes on where it was.
    """
    evaluation, config = open_evaluation(checkpoint, request, out, adapter)
    folder = (out / FILMS).resolve() if films else None
    build = (DirectEvaluator, config, folder, films)
    opened = open_ray_workers(ray, processes, *build) if ray else open_workers(processes or os.cpu_count() or 1, *build)
    with opened as workers:
        play_missing(evaluation, config, workers, domain, show, Film(folder, films))
    return write_report(evaluation, checkpoint, command, **more)


def evaluate(
    checkpoint: Path,
    request: EvaluationRequest,
    out: Path,
    *,
    processes: int | None = None,
    domain: int | None = None,
    command: str = "evaluate",
    show: bool = True,
) -> dict[str, Any]:
    """As evaluate_tasks, then the world model's errors, a contact sheet of what it expected, and report.html.

    Where a bank of places drives, the page shows how alike its places are, and which of them drove when.
    """
    evaluation, config = open_evaluation(checkpoint, request, out)
    network = read_config(checkpoint)
    with open_workers(processes or os.cpu_count() or 1, DirectEvaluator, config) as workers:
        play_missing(evaluation, config, workers, domain, show)
        if network.image_prediction:
            measure_missing(evaluation, config, workers, show, network.rows)
    report = write_report(evaluation, checkpoint, command, world_model=evaluation.world_errors())
    sheet = out / SHEET
    below = bank_part(Path(config.policy.bank)) + draw_routing(evaluation.routes()) if "bank" in evaluation.whom else ""
    page = draw_page(report, sheet.read_bytes() if sheet.exists() else None, below=below)
    (out / PAGE).write_text(page, encoding="utf-8")
    return report


def bank_part(folder: Path) -> str:
    """How alike the places of a bank are, as a part of a page. Raises BankError."""
    picture = BytesIO()
    draw_bank(PlaceBank(folder)).save(picture, "PNG")
    return (
        "<h2>Bank of places</h2><p class='faint'>The places that the policy is routed by, as the frozen encoder sees them.</p>"
        f"{picture_of(picture.getvalue(), 'likeness of the places')}"
    )


def open_evaluation(
    checkpoint: Path, request: EvaluationRequest, out: Path, adapter: Path | None = None
) -> tuple[Evaluation, DeploymentConfig]:
    """Check everything that is asked for, begin or open the folder, and say with which deployment it is played."""
    for kind, name, known in (("way", request.via, WAYS), ("history", request.history, HISTORY_MODES)):
        if name not in known:
            raise UnknownName(kind, name, known)
    config = configured(checkpoint, request, renderer_found(request.environment, request.renderer))
    check_checkpoint(checkpoint, config.robot)
    environment = make_environment(request.environment, "raycast", request.options)  # to ask for names; draws nothing
    try:
        check_request(request, environment)
        whom = {
            "checkpoint": sha256_of(checkpoint / WEIGHTS),
            "version": environment.version,
            "drawn_by": config.sim.renderer,
            "caveat": environment.caveat,
        }
        if adapter is not None:
            driven_by = replace(config.policy, adapter=str(adapter.resolve()), allow_rejected_adapter=True)
            config = replace(config, policy=driven_by)
        if config.policy.adapter:
            whom["adapter"] = read_manifest(Path(config.policy.adapter))["id"]
        if config.policy.routes:
            whom["bank"] = PlaceBank(Path(config.policy.bank)).digest
        return Evaluation(out, request, environment, whom), config
    finally:
        environment.close()


def configured(checkpoint: Path, request: EvaluationRequest, renderer: str) -> DeploymentConfig:
    """The deployment that plays a request: the network in lockstep with the simulator. Raises ConfigError."""
    config = load_deployment(request.deployment, request.overrides)
    policy = replace(config.policy, checkpoint=str(checkpoint.resolve()), history=request.history, threads=1)
    if request.timing == "realtime":
        policy = replace(policy, replan_rows=policy.replan_rows or REALTIME_REPLAN_ROWS)
    sim = replace(
        config.sim,
        environment=request.environment,
        options=request.options,
        renderer=renderer,
        max_steps=request.max_steps,
        task=request.tasks[0] if request.tasks else config.sim.task,
        scene=request.scenes[0] if request.scenes else config.sim.scene,
    )
    return replace(config, policy=policy, sim=sim, timing=replace(config.timing, mode=request.timing))


def renderer_found(environment: str, wanted: str) -> str:
    """ "auto" -> the renderer it means here, so that no worker draws with another one. Raises UnknownName or SimulatorError.

    Simulators in processes of their own choose by themselves.
    """
    if environment != "playtable":
        return wanted
    if choose_renderer(wanted) is make_ray_caster:
        return "raycast"
    return os.environ["MUJOCO_GL"] if wanted == "auto" else wanted  # where the choice is written down


def check_checkpoint(folder: Path, robot: RobotConfig) -> None:
    """Refuse a checkpoint that is not whole or must not drive this robot, before any process is started for it."""
    require_whole(folder)
    require_drivable(read_config(folder), read_conventions(folder), robot, str(folder))


def play_missing(
    evaluation: Evaluation,
    config: DeploymentConfig,
    workers: Workers | RayWorkers,
    domain: int | None,
    show: bool,
    film: Film | None = None,
) -> None:
    """Play whatever the evaluation misses and note each trial as it ends, with a progress bar that tells the success so far."""
    missing = evaluation.missing
    if not missing:
        return
    with tqdm(
        total=len(evaluation.trials), initial=len(evaluation.trials) - len(missing), unit="episode", disable=not show
    ) as bar:
        bar.set_postfix_str(success_so_far(evaluation))
        for trial, result in _play(evaluation, config, missing, workers, domain, film):
            evaluation.settle(trial, result)
            bar.update()
            bar.set_postfix_str(success_so_far(evaluation))


def measure_missing(evaluation: Evaluation, config: DeploymentConfig, workers: Workers, show: bool, rows: int) -> None:
    """Measure the world model wherever it was not measured yet, and draw the contact sheet if it is not there."""
    missing, sheet = evaluation.missing_experts, evaluation.folder / SHEET
    pictured = [] if sheet.exists() else shown_trials(evaluation.expert_trials)
    due = [trial for trial in evaluation.expert_trials if trial in missing or trial in pictured]
    shown: dict[str, Foreseen] = {}
    with tqdm(total=len(due), unit="expert episode", disable=not show or not due) as bar:
        for trial, measured in workers.run(due):
            if trial in missing:
                evaluation.settle_expert(trial, measured.errors)
            if measured.shown is not None:
                shown[trial.key] = measured.shown
            bar.update()
    if pages := [shown[trial.key] for trial in pictured if trial.key in shown]:
        draw_predictions(pages, find_convention(config.robot.convention).period_s, rows).save(sheet)


def success_so_far(evaluation: Evaluation) -> str:
    """The share of single tasks that were done with Wilson's interval, and the mean length of chains, in words."""
    single = [result.legs[0].success for trial, result in evaluation.ended if trial.kind == TASK]
    chains = [result.in_a_row for trial, result in evaluation.ended if trial.kind == CHAIN]
    said = []
    if single:
        low, high = wilson_interval(sum(single), len(single))
        said.append(f"success {100 * sum(single) / len(single):.0f} % ({100 * low:.0f} to {100 * high:.0f})")
    if chains:
        said.append(f"chains {sum(chains) / len(chains):.2f}")
    return ", ".join(said)


def write_report(evaluation: Evaluation, checkpoint: Path, command: str, **more: Any) -> dict[str, Any]:
    """Write report.json and return it. command: what made it; more: further parts."""
    request, whom = evaluation.request, evaluation.whom
    report = {
        **describe_run(command),
        "checkpoint": {"name": checkpoint.resolve().name, "digest": whom["checkpoint"], "notes": read_notes(checkpoint)},
        "version": whom["version"],
        "renderer": whom["drawn_by"],
        "caveat": whom["caveat"],
        "request": {**asdict(request), "tasks": evaluation.tasks},
        "complete": not evaluation.missing,
        **evaluation.scores(),
        **more,
    }
    write_json(evaluation.folder / REPORT, report)
    return report


def _play(
    evaluation: Evaluation,
    config: DeploymentConfig,
    missing: list[Trial],
    workers: Workers | RayWorkers,
    domain: int | None,
    film: Film | None,
) -> Iterator[tuple[Trial, Result]]:
    if evaluation.request.via == "ros":
        return play_all_through_ros(missing, config, evaluation.folder / "nodes.log", domain, film)
    return workers.run(missing)
