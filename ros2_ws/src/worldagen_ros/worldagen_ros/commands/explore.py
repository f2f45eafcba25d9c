"""Explore a place of the simulator: the policy follows one instruction after another, and a bag is recorded.

    worldagen explore --env playtable --scene D --out out/exploration --direct

By default it acts through the ROS nodes; --direct leaves ROS out and is faster. Ctrl-C ends it with a whole bag. What a new
place looks like is then learned from the bag: docs/exploration.md.
"""

import argparse
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from worldagen.exploring import Exploration, Progress, Reason
from worldagen_ros.config import DeploymentConfig, load_deployment
from worldagen_ros.overrides import parse_overrides
from worldagen_ros.stack import stack_environment
from worldagen_sim.environment import WITH_EXPERTS, make_environment
from worldagen_sim.exploring import plain_instructions

HELP = "explore a new place of the simulator, recording a bag"
DEPLOYMENT = "explore"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="BAG", help="folder of the bag; must not exist")
    parser.add_argument("--env", default="playtable", choices=WITH_EXPERTS, help="simulator (default: playtable)")
    parser.add_argument("--scene", default="", help="the place (default: the deployment's, D)")
    parser.add_argument(
        "--checkpoint", default="", help="a shipped one's name or a folder (default: the deployment's, playtable)"
    )
    parser.add_argument("--instructions", default="", help="semicolons between them (default: the plain words of every task)")
    parser.add_argument("--rollouts", type=int, default=0, metavar="N", help="in all (default: one for each instruction)")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="of each rollout (default: 60; published: 300)")
    parser.add_argument("--noise", type=float, default=None, help="on the arm's numbers, share of full scale (default: 0.15)")
    parser.add_argument("--seed", type=int, default=0, help="of order, layouts and noise (default: 0)")
    parser.add_argument("--direct", action="store_true", help="without ROS in between")
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast (default: auto)")
    parser.add_argument("--deployment", default=DEPLOYMENT, help="another deployment's name or YAML file (default: explore)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. explore.envelope.low_m=[0,0,0]")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain of the nodes, without --direct")


def run(args: argparse.Namespace) -> int:
    config = deployment_of(args)
    asked = asked_of(args, config)
    os.environ.update(stack_environment(os.environ, args.domain))
    # Imported here: torch takes seconds, and what is wrong with the request is said before.
    if args.direct:
        from worldagen_ros.explore_direct import explore_direct as explore
    else:
        from worldagen_ros.explore_stack import explore_through_ros as explore

    stop = threading.Event()
    begun_s = time.monotonic()
    print(
        f"{asked.rollouts} rollouts of {asked.steps} steps, noise {asked.action_noise:g}, scene {config.sim.scene}; Ctrl-C ends"
    )
    with tqdm(total=asked.rollouts, unit="rollout", smoothing=0.05) as bar:

        def show(progress: Progress) -> None:
            # Set again and again: rclpy puts in a handler of its own when it starts.
            signal.signal(signal.SIGINT, lambda *_: stop.set())
            bar.set_postfix_str(f"{progress.frames} pictures")
            bar.update(max(0, progress.rollout - 1 - bar.n))

        more = {} if args.direct else {"domain": args.domain}
        report = explore(config, asked, args.out, show, stop.is_set, **more)
        bar.update(report.rollouts - bar.n)
    print(f"{report} (took {time.monotonic() - begun_s:.0f} s)")
    if report.bag is not None and report.rollouts:
        print(f"look at it: worldagen data bag:{report.bag}; learn it: worldagen adapt --bag {report.bag} --out out/adapters")
    return 0 if report.reason in (Reason.FINISHED, Reason.CANCELED) else 1


def deployment_of(args: argparse.Namespace) -> DeploymentConfig:
    """The deployment with what the command line says. Raises ConfigError or UnknownName."""
    config = load_deployment(args.deployment, parse_overrides(args.set))
    sim = replace(config.sim, environment=args.env, scene=args.scene or config.sim.scene, renderer=args.renderer)
    return replace(config, sim=sim, policy=replace(config.policy, checkpoint=args.checkpoint or config.policy.checkpoint))


def asked_of(args: argparse.Namespace, config: DeploymentConfig) -> Exploration:
    """The request. Raises ExplorationError for what makes no sense, UnknownName for a scene that does not exist."""
    listed = [words.strip() for words in (args.instructions or config.explore.instructions).split(";") if words.strip()]
    environment = make_environment(config.sim.environment, "raycast", config.sim.options)  # to ask for names; draws nothing
    try:
        environment.reset(config.sim.task, config.sim.scene, 0)
        words = tuple(listed) or plain_instructions(environment)
    finally:
        environment.close()
    return Exploration(
        instructions=words,
        rollouts=args.rollouts or len(words),
        steps=args.steps or config.explore.steps,
        action_noise=config.explore.action_noise if args.noise is None else args.noise,
        seed=args.seed,
    )
