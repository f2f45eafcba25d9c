"""Record, look at, check, and rescue bags. Nothing here changes a bag: what is made is made beside it.

record       a running stack into a bag (where ROS is installed)
info         what is in it: topics, rates, the longest silence of each, metadata
check        against its contract: what is missing, too slow, out of order, apart, damaged; exit code 1 on a FAIL
recover      a whole bag of one whose recorder was killed, read back message by message
thumbnails   a contact sheet: one row for each camera
export       the episodes of many bags in another format, e.g. as a LeRobot data set
"""

import argparse
from importlib.metadata import entry_points
from pathlib import Path

HELP = "record, inspect, check and recover bags"
GROUP = "worldagen.bag_actions"  # entry points by which the ROS package adds what needs ROS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One action, and the bag."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for entry in entry_points(group=GROUP):
        module = entry.load()
        added = actions.add_parser(
            entry.name, help=module.HELP, description=module.__doc__, formatter_class=argparse.RawTextHelpFormatter
        )
        module.add_arguments(added)
        added.set_defaults(action_of=module.run)
    for name, (act, meaning) in ACTIONS.items():
        action = actions.add_parser(name, help=meaning)
        action.set_defaults(action_of=act)
        if name == "export":
            action.add_argument("out", type=Path, help="the folder to make; nothing may be in it")
            action.add_argument("--format", choices=("lerobot",), default="lerobot", help="of the folder (default: lerobot)")
            action.add_argument("bag", type=Path, nargs="+", help="bags, or folders of bags")
        else:
            action.add_argument("bag", type=Path, help="a bag folder" + (" or an .mcap file" if name == "recover" else ""))
        if name != "thumbnails":
            action.add_argument("--json", action="store_true", help="for programs instead of people")
        if name == "check":
            action.add_argument("--contract", type=Path, help="a contract (JSON) to check against, instead of the bag's own")
        if name == "recover":
            action.add_argument("--out", type=Path, help="folder to make (default: <bag>_recovered beside it)")
        if name == "thumbnails":
            action.add_argument("--out", type=Path, help="the PNG to write (default: <bag>.png beside it)")
            action.add_argument("--columns", type=int, default=8, help="pictures of each camera (default: 8)")


def run(args: argparse.Namespace) -> int:
    return args.action_of(args)


def info(args: argparse.Namespace) -> int:
    import json

    from worldagen.bags.reader import open_bag
    from worldagen.bags.report import describe, summarise

    with open_bag(args.bag) as bag:
        summary = summarise(bag)
    print(json.dumps(summary, indent=2) if args.json else describe(summary))
    return 0


def check(args: argparse.Namespace) -> int:
    import json

    from worldagen.bags.check import Level, check_bag
    from worldagen.bags.contract import Contract
    from worldagen.errors import BagError

    contract = None
    if args.contract:
        try:
            contract = Contract.from_json(args.contract.read_text("utf-8"), str(args.contract))
        except (OSError, UnicodeDecodeError) as error:
            raise BagError(f"{args.contract}: cannot be read ({error})") from None
    findings = check_bag(args.bag, contract)
    worst = max((finding.level for finding in findings), default=Level.OK)
    if args.json:
        told = [{"level": item.level.name, "where": item.where, "text": item.text} for item in findings]
        print(json.dumps({"bag": str(args.bag), "level": worst.name, "findings": told}, indent=2))
    else:
        for finding in sorted(findings, key=lambda item: -item.level):
            print(finding)
        counted = ", ".join(f"{sum(item.level is level for item in findings)} {level.name}" for level in reversed(Level))
        print(f"{args.bag}: {worst.name} ({counted})")
    return 1 if worst is Level.FAIL else 0


def recover(args: argparse.Namespace) -> int:
    import json

    from worldagen.bags.recover import recover_bag
    from worldagen.bags.report import describe_recovery, recovery_values

    recovery = recover_bag(args.bag, args.out)
    print(json.dumps(recovery_values(recovery), indent=2) if args.json else describe_recovery(recovery))
    return 0


def thumbnails(args: argparse.Namespace) -> int:
    from worldagen.bags.reader import open_bag
    from worldagen.bags.thumbnails import draw_contact_sheet

    out = args.out or args.bag.with_name(f"{args.bag.name}.png")
    with open_bag(args.bag) as bag:
        sheet = draw_contact_sheet(bag, args.columns)
    sheet.save(out)
    print(f"wrote {out}: {sheet.width}x{sheet.height}")
    return 0


def export(args: argparse.Namespace) -> int:
    import json
    import sys

    from worldagen.data.episodes import open_source
    from worldagen.errors import DataError

    try:
        from worldagen.data.lerobot_writer import export_lerobot
    except ModuleNotFoundError as error:
        raise DataError(f"{error.name} is not installed; run: pip install 'worldagen[data]'") from None
    sources = [open_source(f"bag:{bag}") for bag in args.bag]
    made = export_lerobot(args.out, sources, lambda line: print(line, file=sys.stderr))
    if args.json:
        skipped = [{"episode": name, "reason": reason} for name, reason in made.skipped]
        print(
            json.dumps(
                {"out": str(made.folder), "episodes": made.episodes, "frames": made.frames, "skipped": skipped}, indent=2
            )
        )
    else:
        print(f"wrote {made.folder}: {made.episodes} episodes, {made.frames} frames; {len(made.skipped)} bad episodes skipped")
    return 0


ACTIONS = {
    "info": (info, "what is in a bag"),
    "check": (check, "whether a bag is what it should be"),
    "recover": (recover, "make a whole bag of an unfinished one"),
    "thumbnails": (thumbnails, "a bag at a glance, as a picture"),
    "export": (export, "the episodes of bags in another format"),
}
