"""The `worldagen` command: finds its sub-commands, parses, runs, and turns our own errors into one line.

A sub-command is a module with HELP (one line), add_arguments(parser) and run(args) -> exit code. Those without ROS live in
worldagen/commands; installed packages add theirs through the entry-point group "worldagen.commands".
"""

import argparse
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from worldagen import commands
from worldagen.errors import WorldAgenError

GROUP = "worldagen.commands"


def find_commands() -> dict[str, str]:
    """Name of each sub-command -> its module."""
    found = {
        module.name.replace("_", "-"): f"{commands.__name__}.{module.name}"
        for module in pkgutil.iter_modules(commands.__path__)
    }
    found.update({entry.name: entry.value for entry in entry_points(group=GROUP)})
    return dict(sorted(found.items()))


def make_parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="worldagen", description="Deploy WorldAgen policies with ROS 2.")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in modules.items():
        subparser = subparsers.add_parser(
            name, help=module.HELP, description=module.__doc__, formatter_class=argparse.RawTextHelpFormatter
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; exit code 1 and one line on standard error for an error of ours."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = find_commands()
    # Only the command that was asked for is imported: `worldagen up` must not load torch.
    chosen = [name for name in known if name in arguments[:1]] or list(known)
    parsed = make_parser({name: import_module(known[name]) for name in chosen}).parse_args(arguments)
    try:
        return parsed.run(parsed)
    except WorldAgenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
