"""Record demonstrations of a simulator's scripted experts: one rosbag2 folder an episode, in OUT/episodes/SCENE/TASK/SEED.

    worldagen record --env playtable --scenes A,B,C --episodes-per-task 10 --seed 0 --out demonstrations

By default the experts act through the ROS nodes; --direct leaves ROS out, is many times faster and writes the same messages,
bit for bit. Run the same command again to go on after an interruption. `worldagen bag check` looks at any of the bags, and
`worldagen bag record` records whatever stack is running.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from worldagen.bags.disk import MIB, DiskGuard, free_bytes
from worldagen.errors import RecordingError
from worldagen_ros.config import load_deployment
from worldagen_ros.demonstrating import DEPLOYMENT, configured
from worldagen_ros.overrides import parse_overrides
from worldagen_ros.stack import stack_environment
from worldagen_sim.demonstrations import Ended, Ledger, Request, check_request
from worldagen_sim.environment import WITH_EXPERTS, Environment, make_environment

HELP = "record demonstrations of a simulator's experts as bags"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the recording: new, empty, or one to go on with")
    parser.add_argument("--env", default="playtable", choices=WITH_EXPERTS, help="simulator (default: playtable)")
    parser.add_argument("--scenes", default="A,B,C", help="names with commas between them (default: A,B,C)")
    parser.add_argument("--tasks", default="", help="names with commas between them (default: all)")
    parser.add_argument("--episodes-per-task", type=int, default=10, metavar="N", help="kept ones, in each scene (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="the first; failed attempts take further ones (default: 0)")
    parser.add_argument("--direct", action="store_true", help="without ROS in between")
    parser.add_argument(
        "--picture-every", type=int, default=1, metavar="STEPS", help="with --direct: control steps from picture to picture"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="with --direct (default: all cores)")
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast (default: auto)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. recorder.floor_mib=500")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain of the nodes, without --direct")


def run(args: argparse.Namespace) -> int:
    deployment = load_deployment(DEPLOYMENT, parse_overrides(args.set))
    environment = make_environment(args.env, renderer="raycast")  # to ask for names; draws nothing
    request = make_request(args, environment, deployment.sim.max_steps, deployment.sim.tail_steps)
    check_request(request, environment)
    if request.picture_every > 1 and not args.direct:
        raise RecordingError("rarer pictures are recorded without ROS only: give --direct as well")
    config = configured(deployment, request, args.renderer)
    guard = DiskGuard(args.out, config.recorder.floor_mib * MIB)
    guard.check()
    ledger = Ledger(args.out, request, environment)
    os.environ.update(stack_environment(os.environ, args.domain))
    there = f"{ledger.kept} are there already; " if ledger.kept else ""
    print(f"{request.total} episodes: {len(request.tasks)} tasks, scenes {', '.join(request.scenes)}; {there}folder {args.out}")
    if args.direct:
        from worldagen_ros.record_direct import record_all

        show(ledger, record_all(ledger, config, args.processes), guard)
    else:
        from worldagen_ros.record_stack import record_all_through_ros

        show(ledger, record_all_through_ros(ledger, config, environment, args.domain), guard)
    return 0


def make_request(args: argparse.Namespace, environment: Environment, max_steps: int, tail_steps: int) -> Request:
    """The command line as a request; nothing is checked yet."""
    names = [task.name for task in environment.tasks]
    return Request(
        environment=environment.name,
        version=environment.version,
        scenes=tuple(args.scenes.split(",")),
        tasks=tuple(args.tasks.split(",")) if args.tasks else tuple(names),
        episodes=args.episodes_per_task,
        first_seed=args.seed,
        max_steps=max_steps,
        tail_steps=tail_steps,
        period_s=environment.convention.period_s,
        picture_every=args.picture_every,
    )


def show(ledger: Ledger, ended: Iterator[Ended], guard: DiskGuard) -> None:
    """A progress bar with the use of the disk; ends with a line that says what there is."""
    begun_s, begun_bytes = time.monotonic(), ledger.size_bytes
    with tqdm(total=ledger.request.total, initial=ledger.kept, unit="episode", smoothing=0.05) as bar:
        for done in ended:
            bar.update(int(done.kept))
            rate = (ledger.size_bytes - begun_bytes) / max(time.monotonic() - begun_s, 1e-9)
            free = free_bytes(ledger.folder)
            bar.set_postfix_str(
                f"{ledger.size_bytes / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s, {free / 1e9:.0f} GB free, {ledger.failed} failed"
            )
            guard.check()
    spent_s = time.monotonic() - begun_s
    print(f"{ledger.kept} episodes, {ledger.size_bytes / 1e6:.0f} MB, {ledger.failed} failed attempts, {spent_s:.0f} s")
