"""Look at recorded data as training will see it: episodes, words, lengths, what would be skipped and why, skew of the streams.

    worldagen data bag:out/bags
    worldagen data calvin:task_D_D/training --json

Reads every number of every episode, and of pictures only their stamps. Exit code 1 when an episode would be skipped.
"""

import argparse
import json
from collections import Counter
from dataclasses import asdict
from typing import Any

HELP = "look at recorded data as training will see it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE and --json."""
    parser.add_argument("source", metavar="KIND:PATH", help="bag:, calvin:, libero: or lerobot: and a path")
    parser.add_argument("--json", action="store_true", help="for programs instead of people")


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    from worldagen.data.episodes import open_source
    from worldagen.data.survey import survey

    report = survey(open_source(args.source))
    print(json.dumps(asdict(report), indent=2) if args.json else "\n".join(describe(asdict(report))))
    return 1 if report.skipped else 0


def describe(report: dict[str, Any]) -> list[str]:
    """The report in a few lines."""
    lines = [
        f"{report['spec']}: {report['episodes']} episodes, {report['instants']} instants, convention {report['convention']}"
    ]
    if report["lengths"]:
        shortest, median, longest = report["lengths"]
        lines.append(f"  length: {shortest} to {longest} instants, median {median}")
    words = Counter(report["words"]).most_common()
    lines += [f"  {count:>5}  {text}" for text, count in words[:20]]
    if len(words) > 20:
        lines.append(f"         and {len(words) - 20} other instructions")
    for stream, skew in report["skew"].items():
        told = f"median {skew['median_s'] * 1e3:.1f} ms, largest {skew['largest_s'] * 1e3:.1f} ms"
        lines.append(f"  {stream}: {told} from its instant")
    lines += [f"  would be skipped: {reason}" for reason in report["skipped"]]
    return lines
