"""Ask a policy again for the decisions of a recorded run, and compare its chunks with those in the bag.

    worldagen replay BAG                                            # the policy that was recorded: are the chunks equal?
    worldagen replay BAG --checkpoint CHECKPOINT --out replayed     # another one: replayed/replay.json, replayed/replay.png
    worldagen replay BAG --via ros --tolerance 0.01                 # through a policy node; exit code 1 if they are not equal

Nothing moves: offline no ROS is involved, and with --via ros the nodes have a namespace and a domain of their own.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from worldagen_ros.overrides import parse_overrides
from worldagen_ros.replaying import CHART, OFFLINE, PACES, REPORT, WAYS, ReplayRequest, replay, require_empty, write_outcome
from worldagen_ros.stack import stack_environment

HELP = "ask a policy again for the decisions of a bag, and compare"
DOMAINS = 100  # 1 to 100 are free to use on every system


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, help="a bag folder with chunks, pictures and joint states")
    parser.add_argument("--checkpoint", default="", help="folder or shipped name (default: what the bag's parameters name)")
    parser.add_argument("--via", default=OFFLINE, choices=WAYS, help="default: offline, without ROS in between")
    parser.add_argument("--pace", default="", choices=PACES, help="of the policy node, with --via ros (default: as recorded)")
    parser.add_argument("--clock", action="store_true", help="publish /clock in real time too; in lockstep it always is")
    parser.add_argument(
        "--tolerance", type=float, help="exit code 1 if anything is off by more mm or mrad, or a gripper disagrees"
    )
    parser.add_argument("--out", type=Path, help=f"folder to make, of {REPORT} and {CHART}; nothing may be in it")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. policy.history=reference")
    parser.add_argument(
        "--domain", type=int, default=None, help="ROS domain of the nodes, with --via ros (default: another one)"
    )


def run(args: argparse.Namespace) -> int:
    if args.out:
        require_empty(args.out)
    domain = args.domain if args.domain is not None else other_domain()
    os.environ.update(stack_environment(os.environ, domain if args.via != OFFLINE else None))
    request = ReplayRequest(args.checkpoint, args.via, args.pace, args.clock, parse_overrides(args.set))
    outcome = replay(args.bag, request, domain=domain, command=shlex.join(["worldagen", *sys.argv[1:]]))
    print("\n".join(outcome.comparison.describe()))
    if args.out:
        write_outcome(outcome, args.out)
        print(f"written: {args.out / REPORT}, {args.out / CHART}")
    if args.tolerance is not None and outcome.comparison.exceeds(args.tolerance):
        print(f"beyond the tolerance of {args.tolerance:g} mm and mrad")
        return 1
    return 0


def other_domain() -> int:
    """A ROS domain that is not the one of this shell, so that a robot there hears nothing of it."""
    used = int(os.environ.get("ROS_DOMAIN_ID") or 0)
    domain = 1 + os.getpid() % DOMAINS
    return domain if domain != used else 1 + domain % DOMAINS
