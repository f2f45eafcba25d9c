"""Evaluate a checkpoint in a simulator: success of every task, chains of five, held-out words, and the world model's pictures.

    worldagen evaluate CHECKPOINT --env playtable --scenes D --episodes 20 --out evaluation

OUT gets report.json, report.html and one line for each episode in episodes.jsonl. Run the same command again to go on after an
interruption. Seeds begin at 500000, far from those of demonstrations. --via ros plays through the nodes in lockstep, slower, to
the same actions, bit for bit.

--set policy.adapter=FOLDER lets an adapter drive; --set policy.bank=FOLDER --set policy.routing.route=mixture a bank of places.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from worldagen.checkpoint import find_checkpoint
from worldagen_ros.evaluating import PAGE, WAYS, evaluate
from worldagen_ros.overrides import parse_overrides
from worldagen_ros.stack import stack_environment
from worldagen_sim.environment import WITH_EXPERTS
from worldagen_sim.evaluation import PHRASINGS, REPORT, EvaluationRequest

HELP = "evaluate a checkpoint in a simulator: tasks, chains, held-out words, world model"
DEFAULT = EvaluationRequest()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="checkpoint folder, or the name of a shipped one")
    parser.add_argument("--out", type=Path, required=True, help="folder of the evaluation: new, empty, or one to go on with")
    parser.add_argument("--env", default=DEFAULT.environment, choices=WITH_EXPERTS, help="simulator (default: playtable)")
    parser.add_argument("--scenes", default=",".join(DEFAULT.scenes), help="names with commas between them (default: D)")
    parser.add_argument("--tasks", default="", help="names with commas between them (default: all)")
    _number(parser, "--episodes", DEFAULT.episodes, "of each task in each scene")
    _number(parser, "--held-out-episodes", DEFAULT.held_out_episodes, "the same with held-out words, on the first of the seeds")
    _number(parser, "--chains", DEFAULT.chains, "chains of five tasks in each scene")
    _number(parser, "--expert-episodes", DEFAULT.expert_episodes, "of each task in each scene, for the world model")
    _number(parser, "--seed", DEFAULT.seed, "the first")
    _number(parser, "--max-steps", DEFAULT.max_steps, "control steps of each task")
    parser.add_argument(
        "--phrasings", default=DEFAULT.phrasings, choices=PHRASINGS, help="words of --episodes (default: training)"
    )
    parser.add_argument(
        "--history", default=DEFAULT.history, help="aligned, or reference: the published evaluation's off-by-one"
    )
    parser.add_argument("--renderer", default=DEFAULT.renderer, help="auto, egl, osmesa or raycast (default: auto)")
    parser.add_argument("--via", default=DEFAULT.via, choices=WAYS, help="default: direct, without ROS in between")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the deployment, e.g. policy.adapter=FOLDER"
    )
    _number(parser, "--processes", os.cpu_count() or 1, "that play at the same time")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain of the nodes, with --via ros")


def run(args: argparse.Namespace) -> int:
    os.environ.update(stack_environment(os.environ, args.domain))
    command = shlex.join(["worldagen", *sys.argv[1:]])
    report = evaluate(
        find_checkpoint(args.checkpoint),
        make_request(args),
        args.out,
        processes=args.processes,
        domain=args.domain,
        command=command,
    )
    print("\n".join(summary(report)))
    print(f"written: {args.out / REPORT}, {args.out / PAGE}")
    return 0


def make_request(args: argparse.Namespace) -> EvaluationRequest:
    """The command line as a request; nothing is checked yet."""
    return EvaluationRequest(
        environment=args.env,
        scenes=tuple(args.scenes.split(",")),
        tasks=tuple(args.tasks.split(",")) if args.tasks else (),
        episodes=args.episodes,
        seed=args.seed,
        phrasings=args.phrasings,
        held_out_episodes=args.held_out_episodes,
        chains=args.chains,
        expert_episodes=args.expert_episodes,
        max_steps=args.max_steps,
        renderer=args.renderer,
        history=args.history,
        via=args.via,
        overrides=parse_overrides(args.set),
    )


def summary(report: dict[str, Any]) -> list[str]:
    """The report in a few lines."""
    lines = []
    for phrasings, table in report["tasks"].items():
        for place, score in {"all": table["all"], **{name: of["all"] for name, of in table["scenes"].items()}}.items():
            rate, low, high = (f"{100 * score[key]:.1f}" for key in ("rate", "low", "high"))
            lines.append(f"{phrasings:>9} words, {place}: {rate} % ({low} to {high}), {score['successes']}/{score['episodes']}")
    if report["chains"]:
        score = report["chains"]["all"]
        rates = " ".join(f"{100 * rate:.1f}" for rate in score["rates"])
        length = f"{score['mean_length']:.2f} ({score['low']:.2f} to {score['high']:.2f})"
        lines.append(f"   chains: {rates} %, mean length {length}, {score['chains']} chains")
    for view, horizons in report.get("world_model", {}).get("all", {}).items():
        told = ", ".join(
            f"+{horizon}: {one['psnr'] or 0:.1f} dB (copied {one['psnr_copied'] or 0:.1f})" for horizon, one in horizons.items()
        )
        lines.append(f"{view:>9} pictures, units ahead {told}")
    speed = report["speed"]
    rate = speed["control_steps_per_second_and_process"]
    thinking = f"{speed['decision_ms_median']:.0f} ms a decision in the median"
    played = f"{speed['episodes']} episodes, {speed['control_steps']} control steps, {rate:.0f} a second and process"
    return [*lines, f"{played}, {thinking}"]


def _number(parser: argparse.ArgumentParser, name: str, default: int, meaning: str) -> None:
    parser.add_argument(name, type=int, default=default, metavar="N", help=f"{meaning} (default: {default})")
