"""Show what a checkpoint folder holds: parameters, token layout, sizes, conventions, adapters."""

import argparse
from pathlib import Path

HELP = "show what a checkpoint holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CHECKPOINT and --json."""
    parser.add_argument("checkpoint", type=Path, help="a checkpoint folder")
    parser.add_argument("--json", action="store_true", help="for programs instead of people")


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    import json

    from worldagen.inspection import describe, inspect_checkpoint

    report = inspect_checkpoint(args.checkpoint)
    print(json.dumps(report, indent=2) if args.json else describe(report))
    return 0
