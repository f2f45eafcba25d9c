"""How long it takes from a picture to the first command that comes of it, stage by stage.

    worldagen latency                       # of a running stack, live, until Ctrl-C
    worldagen latency --seconds 20 --json   # 20 s of it, for programs
    worldagen latency out/first             # of a recorded run

What each stage is, and whose clocks it is between: docs/latency.md.
"""

import argparse
import json
import os
import sys
from pathlib import Path

HELP = "how long it takes from a picture to the first command, stage by stage"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, nargs="?", help="look at this bag, not at what runs")
    parser.add_argument("--namespace", default="", help="namespace of the stack")
    parser.add_argument("--seconds", type=float, default=None, help="live: for so long (default: until Ctrl-C)")
    parser.add_argument("--json", action="store_true", help="for programs instead of people: once, at the end")
    parser.add_argument("--domain", type=int, default=None, help="live: ROS domain of the stack")


def run(args: argparse.Namespace) -> int:
    from worldagen.latency import as_json, format_table

    if args.bag:
        from worldagen.bags.reader import open_bag
        from worldagen.bags.traces import traced

        with open_bag(args.bag) as bag:
            window = traced(bag, args.namespace)
    else:
        from worldagen_ros.latency_live import listen
        from worldagen_ros.stack import stack_environment

        os.environ.update(stack_environment(os.environ, args.domain))
        window = listen(args.namespace, args.seconds, live=not args.json and sys.stdout.isatty())
    reports = window.report()
    if args.json:
        print(json.dumps({"traces": window.count, "stages": as_json(reports)}, indent=1))
    else:
        print(f"{window.count} traces\n{format_table(reports)}")
    return 0 if window.count else 1
