"""Start a deployment's nodes, show what they say by name, and stop them cleanly on Ctrl-C.

The counterpart of `ros2 launch worldagen_ros sim.launch.py` for machines without `ros2 launch`.
"""

import argparse
import signal
import sys
import threading
import time
from dataclasses import fields

from worldagen_ros.arrangement import ASKED, Wish, arrange
from worldagen_ros.stack import Ended, Stack

HELP = "start a deployment (sim, sim_realtime, franka, or a YAML file)"
COLOURS = {"sim": 36, "command": 33, "policy": 35, "recorder": 32, "explore": 34}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deployment", help="a shipped deployment's name or the path of a YAML file")
    add_stack_arguments(parser)
    for name in ("robot", "checkpoint", "static_camera", "wrist_camera"):
        parser.add_argument(f"--{name.replace('_', '-')}", default="", help=ASKED[name])
    parser.add_argument(
        "--remap", action="append", default=[], metavar="OLD:=NEW", help="give a topic the name it has elsewhere"
    )


def add_stack_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command that starts a stack takes."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, e.g. sim.scene=D")
    parser.add_argument(
        "--namespace", default="", help="put all topics under this namespace; two stacks then ignore each other"
    )
    parser.add_argument("--domain", type=int, default=None, help="ROS domain of the stack, 0 to 101")


class LinePrinter:
    """Prints `[name] line`, whole lines only, coloured on a terminal."""

    def __init__(self, stream) -> None:
        self._stream, self._lock, self._colour = stream, threading.Lock(), stream.isatty()

    def __call__(self, name: str, line: str) -> None:
        tag = f"[{name}]"
        if self._colour:
            tag = f"\033[{COLOURS.get(name, 37)}m{tag}\033[0m"
        with self._lock:
            print(f"{tag} {line}", file=self._stream, flush=True)


def wish_of(args: argparse.Namespace) -> Wish:
    """What was asked for, as the launch files have it too."""
    said = {field.name: getattr(args, field.name) for field in fields(Wish)}
    return Wish(**{**said, "set": tuple(args.set), "remap": tuple(args.remap)})


def run(args: argparse.Namespace) -> int:
    arranged = arrange(wish_of(args))
    config = arranged.config
    asked_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_stop.set())
    say = LinePrinter(sys.stdout)
    first: Ended | None = None
    with Stack(config, say, arranged.namespace, args.domain, arranged.remappings) as stack:
        say("up", f"{args.deployment}: {config.timing.mode}; press Ctrl-C to stop")
        while not asked_to_stop.is_set() and first is None:
            first = stack.ended()
            time.sleep(0.1)
        say("up", f"{first}; stopping the others" if first else "stopping")
    say("up", "stopped")
    return first.exit_code if first else 0
