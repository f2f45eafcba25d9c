"""Adapt a checkpoint to a place: evaluate, explore, train an adapter on the world model's loss, judge it, evaluate again.

    worldagen adapt --env playtable --scene D --out out/adapted          # the whole story, in the simulator
    worldagen adapt --bag out/exploration --out out/adapters             # from a bag: an adapter and its verdict
    worldagen adapt --bag BAG --out DIR --recipe paper --set optimiser.learning_rate=0.001

Run the first again to go on after an interruption. On a running robot: the action /adapt (docs/adaptation.md).
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from tqdm import tqdm

from worldagen.adaptation.request import AdaptationRequest, Progress
from worldagen.errors import ConfigError
from worldagen_ros.overrides import parse_overrides
from worldagen_ros.stack import stack_environment
from worldagen_sim.environment import WITH_EXPERTS

HELP = "adapt a checkpoint to a place by its world model's loss"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the story, or with --bag that of the adapters")
    parser.add_argument("--bag", default="", help="adapt from this bag, or folder of bags, only")
    parser.add_argument("--checkpoint", default="playtable", help="a shipped one's name or a folder (default: playtable)")
    parser.add_argument(
        "--recipe", default="default", help="default, image_head, paper, published or a YAML file (default: default)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe, e.g. trained.rank=64")
    parser.add_argument(
        "--rehearse", default="", metavar="KIND:PATH", help="stored data of known places, for optimiser.rehearsal"
    )
    parser.add_argument(
        "--start", default="", metavar="DIR", help="with --bag: an adapter that is trained on, of the same rank"
    )
    parser.add_argument("--env", default="playtable", choices=WITH_EXPERTS, help="simulator (default: playtable)")
    parser.add_argument("--scene", default="D", help="the place (default: D)")
    parser.add_argument("--seed", type=int, default=0, help="of the exploration (default: 0)")
    parser.add_argument("--rollouts", type=int, default=66, metavar="N", help="of the exploration (default: 66)")
    parser.add_argument("--steps", type=int, default=60, metavar="N", help="of each rollout (default: 60; published: 300)")
    parser.add_argument("--noise", type=float, default=0.15, help="on the arm's numbers, share of full scale (default: 0.15)")
    parser.add_argument("--episodes", type=int, default=2, metavar="N", help="of each task, before and after (default: 2)")
    parser.add_argument("--chains", type=int, default=20, metavar="N", help="of five tasks, before and after (default: 20)")
    parser.add_argument("--canary", type=int, default=6, metavar="N", help="episodes of each task for the gate (default: 6)")
    parser.add_argument("--max-steps", type=int, default=360, metavar="N", help="control steps of each task (default: 360)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="that play at the same time")
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast (default: auto)")


def run(args: argparse.Namespace) -> int:
    os.environ.update(stack_environment(os.environ))
    command = shlex.join(["worldagen", *sys.argv[1:]])
    if args.start and not args.bag:
        raise ConfigError("--start needs --bag: the whole story starts from zero")
    return _from_bag(args, command) if args.bag else _story(args, command)


def _from_bag(args: argparse.Namespace, command: str) -> int:
    from worldagen.adaptation.process import AdaptationProcess

    request = AdaptationRequest(
        args.checkpoint, args.bag, args.recipe, str(args.out), rehearse=args.rehearse, overrides=parse_overrides(args.set),
        start=args.start,
    )  # fmt: skip
    running, bar = AdaptationProcess(request, command), _Bar()
    try:
        for progress in running.follow():
            bar.show(progress)
        adapted = running.result()
    finally:
        bar.close()
        running.close()
    for reason in adapted.reasons:
        print(f"    {reason}")
    print(f"{'accepted' if adapted.accepted else 'REJECTED'}: {adapted.folder}")
    print(f"drive with it: worldagen up sim_network --set policy.adapter={adapted.folder}")
    return 0


def _story(args: argparse.Namespace, command: str) -> int:
    from worldagen_ros.adapting import PAGE, StoryRequest, tell_story
    from worldagen_sim.adaptation_page import told_difference

    request = StoryRequest(
        environment=args.env, scene=args.scene, recipe=args.recipe, rollouts=args.rollouts, steps=args.steps, noise=args.noise,
        seed=args.seed, episodes=args.episodes, chains=args.chains, canary_episodes=args.canary, max_steps=args.max_steps,
        renderer=args.renderer, rehearse=args.rehearse, overrides=parse_overrides(args.set),
    )  # fmt: skip
    bar = _Bar()
    report = tell_story(args.checkpoint, request, args.out, command, args.processes, show=bar.show)
    bar.close()
    compared = report["comparison"]
    if "tasks" in compared:
        print(f"success: {told_difference(compared['tasks']['all'])}, p = {compared['tasks']['all']['p']:.2f}")
    if "chains" in compared:
        print(f"chains, tasks in a row: {told_difference(compared['chains'], as_share=False)}")
    print(f"written: {args.out / PAGE}")
    return 0


class _Bar:
    """One bar a stage."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""

    def show(self, progress: Progress) -> None:
        """The newest progress."""
        if progress.stage != self._stage:
            self.close()
            self._stage, self._bar = progress.stage, tqdm(total=progress.of, desc=f"    {progress.stage}", unit="")
        if self._bar is None:  # done, and told once more
            return
        self._bar.total, self._bar.n = progress.of, progress.done
        if progress.loss == progress.loss:
            self._bar.set_postfix_str(f"loss {progress.loss:.5f}", refresh=False)
        self._bar.refresh()
        if progress.done == progress.of:
            self.close()

    def close(self) -> None:
        """End the bar of the last stage."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
