"""Benchmarks that others can repeat: a protocol, the deployed nodes or the same parts without ROS, paired statistics.

    worldagen bench                                            the protocols there are
    worldagen bench playtable_D playtable --out out/D          play one; the same command again goes on after an interruption
    worldagen bench libero_10 CHECKPOINT --via ros --out out/libero
    worldagen bench playtable_D playtable --adapt default --out out/D_adapted
    worldagen bench compare out/D out/D_adapted/played         two runs, episode by episode

OUT gets one line for each episode in episodes.jsonl, report.json, report.html and films of some failures. What departs from
the protocol (--episodes, --chains, --tasks, --max-steps, --timing realtime) is allowed, and the report says so.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from worldagen.checkpoint import find_checkpoint
from worldagen.errors import ConfigError
from worldagen_ros.commands.evaluate import summary
from worldagen_ros.evaluating import WAYS
from worldagen_ros.stack import stack_environment
from worldagen_sim.bench_page import alarms, tell_comparison
from worldagen_sim.evaluation import TIMINGS
from worldagen_sim.protocol import find_protocol, protocol_names, request_of

HELP = "play a benchmark by its protocol, or compare two runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", nargs="?", default="", help="its name or a YAML file; compare; nothing: list them")
    parser.add_argument("what", nargs="*", help="a checkpoint (folder or shipped name); for compare: the folders of two runs")
    parser.add_argument("--out", type=Path, help="folder of the run: new, empty, or one to go on with")
    driver = parser.add_mutually_exclusive_group()
    driver.add_argument("--adapter", type=Path, help="folder of an adapter that drives in the base's place")
    driver.add_argument("--adapt", default="", metavar="RECIPE", help="explore the scene and adapt first")
    parser.add_argument("--rollouts", type=int, default=66, metavar="N", help="of that exploration (default: 66)")
    parser.add_argument("--via", default="direct", choices=WAYS, help="through the ROS nodes or without (default: direct)")
    parser.add_argument("--timing", default="lockstep", choices=TIMINGS, help="realtime: it goes on while one thinks")
    parser.add_argument("--renderer", default="auto", help="of the simulator (default: auto)")
    parser.add_argument("--films", type=int, default=8, metavar="N", help="of failed episodes, at most (default: 8)")
    parser.add_argument("--processes", type=int, default=None, metavar="N", help="that play at once (default: all cores)")
    parser.add_argument("--ray", default="", metavar="ADDRESS", help="play on a Ray cluster: auto, HOST:PORT or ray://...")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain of the nodes, with --via ros")
    parser.add_argument("--tasks", default=None, help="only these, with commas between them")
    for name in ("episodes", "chains", "held-out-episodes", "max-steps"):
        parser.add_argument(f"--{name}", type=int, default=None, metavar="N", help="instead of the protocol's")
    parser.add_argument("--options", default=None, help="further options of the simulator, KEY=VALUE with semicolons between")


def run(args: argparse.Namespace) -> int:
    os.environ.update(stack_environment(os.environ, args.domain))
    if not args.protocol:
        return list_protocols()
    return compare(args) if args.protocol == "compare" else play(args)


def list_protocols() -> int:
    """One line each."""
    for name in protocol_names():
        print(f"{name:<28} {find_protocol(name).title}")
    return 0


def play(args: argparse.Namespace) -> int:
    from worldagen_ros.benching import run_benchmark

    protocol = find_protocol(args.protocol)
    if len(args.what) != 1 or args.out is None:
        raise ConfigError(f"worldagen bench {args.protocol}: expected one checkpoint and --out FOLDER")
    options = protocol.options if args.options is None else "; ".join(filter(None, (protocol.options, args.options)))
    changes: dict[str, Any] = {
        "tasks": tuple(args.tasks.split(",")) if args.tasks else None,
        "episodes": args.episodes,
        "held_out_episodes": args.held_out_episodes,
        "chains": args.chains,
        "max_steps": args.max_steps,
        "options": options,
        "via": args.via,
        "timing": args.timing,
        "renderer": args.renderer,
    }
    report = run_benchmark(
        args.protocol,
        protocol,
        request_of(args.protocol, protocol, **{key: value for key, value in changes.items() if value is not None}),
        find_checkpoint(args.what[0]),
        args.out,
        adapter=args.adapter,
        recipe=args.adapt,
        rollouts=args.rollouts,
        processes=args.processes,
        domain=args.domain,
        ray=args.ray,
        films=args.films,
        command=shlex.join(["worldagen", *sys.argv[1:]]),
    )
    for line in [*alarms(report), *summary(report)]:
        print(line)
    print(f"written: {report['folder']}/report.json and report.html")
    return 0


def compare(args: argparse.Namespace) -> int:
    from worldagen_ros.benching import COMPARISON, compare_benchmarks

    if len(args.what) != 2:
        raise ConfigError(f"worldagen bench compare takes the folders of two runs; got {len(args.what)}")
    before, after = (Path(folder) for folder in args.what)
    told = compare_benchmarks(before, after, args.out, shlex.join(["worldagen", *sys.argv[1:]]))
    print("\n".join(tell_comparison(told)))
    print(f"written: {(args.out or after) / COMPARISON} and comparison.html")
    return 0
