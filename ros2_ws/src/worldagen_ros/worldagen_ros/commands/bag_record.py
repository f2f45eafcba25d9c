"""Record a running stack into a bag until Ctrl-C, and say what was recorded.

The counterpart of `ros2 bag record` for machines without it; the bag carries a contract, so `worldagen bag check` can tell
what is missing. Where the stack has a recorder node, `ros2 service call /recorder/start` does the same.
"""

import argparse
import contextlib
import os
import time
from pathlib import Path

from worldagen.errors import WorldAgenError

HELP = "record a running stack into a bag"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, help="folder to make; must be empty or not exist")
    parser.add_argument("--deployment", default="sim", help="what is running: which topics, which rates (default: sim)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. recorder.compression=none")
    parser.add_argument("--seconds", type=float, default=0.0, help="end so long after the first message; 0: with Ctrl-C")
    parser.add_argument("--namespace", default="", help="namespace of the stack")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain of the stack")


def run(args: argparse.Namespace) -> int:
    # Here, because `worldagen bag info` looks at this module for its options and needs no ROS.
    from rclpy.node import Node

    from worldagen.bags.contract import KEY, NAME
    from worldagen.bags.recording import RecordingReport
    from worldagen_ros.config import load_deployment
    from worldagen_ros.overrides import parse_overrides
    from worldagen_ros.recorded import contract_of_deployment, recorded_of
    from worldagen_ros.recorder import Recorder
    from worldagen_ros.spinning import open_ros, spin_once
    from worldagen_ros.stack import stack_environment

    deployment = load_deployment(args.deployment, parse_overrides(args.set))
    os.environ.update(stack_environment(os.environ, args.domain))
    with open_ros():
        node = Node("bag_recorder", namespace=args.namespace, enable_rosout=False)
        ended: list[RecordingReport] = []
        recorder = Recorder(node, recorded_of(deployment), deployment.recorder, ended.append)
        contract = contract_of_deployment(deployment, node.resolve_topic_name)
        deadline = float("inf")
        try:
            recorder.start(args.bag, {NAME: {KEY: contract.to_json()}})
            print(f"recording into {args.bag}; Ctrl-C ends it", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                while not ended and time.monotonic() < deadline:
                    spin_once(node, 0.1)
                    if args.seconds and deadline == float("inf") and recorder.progress().messages:
                        deadline = time.monotonic() + args.seconds
            report = ended[0] if ended else recorder.stop()
        finally:
            node.destroy_node()
    print(report)
    for name, count in sorted(report.messages.items()):
        print(f"  {count:>8}  {name}")
    if report.stopped:
        raise WorldAgenError(f"recording stopped by itself: {report.stopped}")
    return 0
