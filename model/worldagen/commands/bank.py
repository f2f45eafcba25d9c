"""A bank of places: one adapter for each place a robot has met, found again by how the place looks.

create     calibrate an empty bank for a checkpoint, on recordings of the places it was trained in: one --data for each place
add        a place: its adapter, and the recording it was adapted on; one that is there already is updated
list       what places there are, with the nearest other of each
merge      two places that are one; the first keeps its name and its adapter
remove     a place with all its versions
route      what the router says about each episode of a recording
start      what an adaptation in the place of a recording begins with: the mixture that the router makes of it, as one adapter
picture    how alike the places are, as a PNG
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldagen.mixture.places import PlaceBank
    from worldagen.mixture.routing import RoutingConfig
    from worldagen.mixture.surveying import Surveyor

HELP = "keep one adapter for each place, and tell which place a recording is of"
MOST_EPISODES = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One action, the bank, and what the action needs."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (act, meaning) in ACTIONS.items():
        action = actions.add_parser(name, help=meaning, description=meaning)
        action.set_defaults(action_of=act)
        action.add_argument("bank", type=Path, help="the folder of a bank" + (", to be made" if name == "create" else ""))
        if name in ("add", "remove", "merge"):
            action.add_argument("name", help="of the place: letters, digits, dots, hyphens, underscores")
        if name == "merge":
            action.add_argument("other", help="the place that goes")
        if name == "picture":
            action.add_argument("out", type=Path, help="the PNG to write")
        if name in ("create", "add", "route", "start"):
            _add_looking(action, name)
        if name == "create":
            action.add_argument(
                "--other", action="append", default=[], metavar="KIND:PATH",
                help="a place it was not trained in, which helps to tell places apart; again for each",
            )  # fmt: skip
            action.add_argument("--held-out-every", type=int, default=4, help="episodes the bound is measured on (default: 4)")
        if name == "add":
            action.add_argument("--adapter", type=Path, required=True, metavar="FOLDER", help="of `worldagen adapt`")
            action.add_argument("--allow-rejected", default="", metavar="WHY", help="take one its gate rejected; recorded")
        if name in ("add", "merge", "picture"):
            from worldagen.mixture.places import LIKENESS

            told = f"cosine above which, at all levels, two places are one (default: {LIKENESS})"
            action.add_argument("--likeness", type=float, default=LIKENESS, help=told)
        if name == "start":
            action.add_argument("--recipe", default="default", help="of the adaptation: a shipped one, or a YAML file")
            action.add_argument("--out", type=Path, default=Path("out/starts"), help="where its folder goes")
        if name in ("route", "start"):
            action.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. route=nearest, active=2")
        if name in ("list", "route"):
            action.add_argument("--json", action="store_true", help="for programs instead of people")


def run(args: argparse.Namespace) -> int:
    return args.action_of(args)


def create(args: argparse.Namespace) -> int:
    from worldagen.errors import BankError
    from worldagen.mixture.places import PlaceBank
    from worldagen.mixture.surveying import calibrate

    if args.bank.exists():  # before minutes are spent
        raise BankError(f"{args.bank} exists; give another folder, or remove it first")
    with _surveyor(args, args.checkpoint) as surveyor:
        known, others = ([_look(surveyor, args, source) for source in sources] for sources in (args.data, args.other))
        calibration = calibrate(known, others, args.held_out_every)
        bank = PlaceBank.create(args.bank, surveyor.base, calibration, args.checkpoint, _made())
    print(
        f"made {args.bank} for {args.checkpoint}: abstains below a scene cosine of {bank.least:.2f}, the "
        f"{calibration.told['quantile']:.0%} quantile of {calibration.told['held_out_episodes']} held-out episodes of "
        f"{len(known) + len(others)} places"
    )
    return 0


def add(args: argparse.Namespace) -> int:
    from worldagen.mixture.places import PlaceBank, require_plain_name

    bank = PlaceBank(args.bank)
    require_plain_name(args.name)
    with _surveyor(args, args.checkpoint or bank.checkpoint) as surveyor:
        bank.read_adapter(args.adapter, surveyor.network, args.allow_rejected)  # before minutes are spent
        seen = surveyor.seen([_look(surveyor, args, source) for source in args.data])
        admitted = bank.add(args.name, args.adapter, seen, surveyor.network, args.likeness, args.allow_rejected, _made())
    print(admitted)
    return 0


def show(args: argparse.Namespace) -> int:
    import json

    from worldagen.mixture.places import PlaceBank

    bank = PlaceBank(args.bank)
    rows = _rows(bank)
    if args.json:
        told = {key: bank.told[key] for key in ("checkpoint", "base", "least", "lora", "calibration")}
        print(json.dumps({"bank": str(args.bank), **told, "places": rows}, indent=2))
        return 0
    print(f"{args.bank}: {len(rows)} places for {bank.checkpoint}; abstains below a scene cosine of {bank.least:.2f}")
    if rows:
        print(_table(rows))
    return 0


def merge(args: argparse.Namespace) -> int:
    from worldagen.mixture.places import PlaceBank

    merged = PlaceBank(args.bank).merge(args.name, args.other, args.likeness, _made())
    print(f"{args.other} is {args.name} now, version {merged.version}, of {merged.counted} frames")
    return 0


def remove(args: argparse.Namespace) -> int:
    from worldagen.mixture.places import PlaceBank

    PlaceBank(args.bank).remove(args.name)
    print(f"removed {args.name}")
    return 0


def route(args: argparse.Namespace) -> int:
    import json

    from worldagen.mixture.places import PlaceBank

    config = _routing(args.set)
    bank = PlaceBank(args.bank)
    places = bank.routable()
    with _surveyor(args, args.checkpoint or bank.checkpoint) as surveyor:
        PlaceBank(args.bank, surveyor.base)
        from worldagen.mixture.surveying import route_episodes, routing_values

        recordings = [_look(surveyor, args, source) for source in args.data]
        told = [
            {"source": recording.source, **routing_values(episode, routing)}
            for recording in recordings
            for episode, routing in route_episodes(recording, places, config)
        ]
    if args.json:
        print(json.dumps({"bank": str(args.bank), "least": bank.least, "episodes": told}, indent=2))
    else:
        print("\n".join(_describe(told, bank.least)))
    return 0


def start(args: argparse.Namespace) -> int:
    from worldagen.adaptation.recipe import load_adaptation_recipe
    from worldagen.mixture.places import PlaceBank

    config, recipe = _routing(args.set), load_adaptation_recipe(args.recipe)
    bank = PlaceBank(args.bank)
    bank.routable()  # an empty one is refused before minutes are spent
    with _surveyor(args, args.checkpoint or bank.checkpoint) as surveyor:
        bank = PlaceBank(args.bank, surveyor.base)
        from worldagen.mixture.starting import start_by_bank, write_start

        seen = surveyor.seen([_look(surveyor, args, source) for source in args.data]).prototype.mean
        made = start_by_bank(bank, seen, config, surveyor.network, recipe)
        folder = write_start(args.out, made, surveyor.network.config, surveyor.base.digest, recipe)
    print(f"{made.told}\n{folder}: give it to `worldagen adapt --start`")
    return 0


def picture(args: argparse.Namespace) -> int:
    from worldagen.errors import BankError
    from worldagen.mixture.likeness_picture import draw_bank
    from worldagen.mixture.places import PlaceBank

    page = draw_bank(PlaceBank(args.bank), args.likeness)
    try:
        page.save(args.out, "PNG")
    except OSError as error:
        raise BankError(f"{args.out}: the picture cannot be written: {error}") from None
    print(f"wrote {args.out}: {page.width}x{page.height}")
    return 0


ACTIONS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "create": (create, "calibrate an empty bank for a checkpoint"),
    "add": (add, "take in a place, or update the one that it is"),
    "list": (show, "what places there are"),
    "merge": (merge, "make one place of two"),
    "remove": (remove, "take a place out"),
    "route": (route, "what the router says about a recording"),
    "start": (start, "what an adaptation in that place begins with, of the bank's mixture"),
    "picture": (picture, "how alike the places are, as a PNG"),
}


def _add_looking(action: argparse.ArgumentParser, name: str) -> None:
    """What is looked at, and with what."""
    needed = name == "create"
    told = "a shipped checkpoint's name, or a folder" + ("" if needed else " (default: what the bank says)")
    action.add_argument("--checkpoint", required=needed, default="", help=told)
    action.add_argument(
        "--data", action="append", required=True, metavar="KIND:PATH",
        help="a recording: bag:, calvin:, libero: or lerobot: and a path; again for each",
    )  # fmt: skip
    action.add_argument(
        "--episodes", type=int, default=MOST_EPISODES, help=f"of a recording at most (default: {MOST_EPISODES})"
    )
    action.add_argument("--cache", type=Path, metavar="FOLDER", help="keep decoded frames here, e.g. those of a training")
    action.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


@contextmanager
def _surveyor(args: argparse.Namespace, checkpoint: str) -> Iterator["Surveyor"]:
    from worldagen.adaptation.request import FRAMES
    from worldagen.mixture.surveying import Surveyor

    if args.cache:
        yield Surveyor(checkpoint, args.cache, args.threads)
    else:
        with tempfile.TemporaryDirectory(prefix=f"{FRAMES}{os.getpid()}-") as folder:
            yield Surveyor(checkpoint, Path(folder), args.threads)


def _look(surveyor: "Surveyor", args: argparse.Namespace, source: str) -> Any:
    recording = surveyor.look(source, args.episodes)
    for reason in recording.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    return recording


def _made() -> dict[str, Any]:
    from worldagen.provenance import describe_run

    return describe_run(shlex.join(["worldagen", *sys.argv[1:]]))


def _routing(settings: Sequence[str]) -> "RoutingConfig":
    """The mixture, changed by KEY=VALUE. Raises ConfigError."""
    import yaml

    from worldagen.config import apply_tree
    from worldagen.errors import ConfigError
    from worldagen.mixture.routing import RoutingConfig

    config = RoutingConfig(route="mixture")
    for text in settings:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ConfigError(f"override {text!r}: expected KEY=VALUE, e.g. route=nearest")
        config = apply_tree(config, {key: yaml.safe_load(value)}, f"override {text}")
    return config


def _rows(bank: "PlaceBank") -> list[dict[str, Any]]:
    """What is told of each place, JSON-ready."""
    from worldagen.mixture.embedding import LEVELS
    from worldagen.mixture.prototypes import BASE

    places = bank.places()
    names, likeness = [BASE, *(place.name for place in places)], bank.likeness(places)
    rows = []
    for number, place in enumerate(places, start=1):
        smallest = likeness[:, number].min(axis=0)
        nearest = max((other for other in range(len(names)) if other != number), key=smallest.__getitem__)
        rows.append({
            "name": place.name, "version": place.version, "frames": place.prototype.count, "adapter": place.adapter,
            "verdict": place.verdict, "allowed": place.told["adapter"]["allowed"], "folder": str(place.folder),
            "nearest": names[nearest], "cosines": dict(zip(LEVELS, likeness[:, number, nearest].tolist(), strict=True)),
        })  # fmt: skip
    return rows


def _table(rows: Sequence[dict[str, Any]]) -> str:
    from worldagen.mixture.embedding import LEVELS

    head = ["name", "version", "frames", "adapter", "verdict", "nearest other", *LEVELS]
    lines = [head]
    for row in rows:
        cosines = [f"{row['cosines'][level]:.2f}" for level in LEVELS]
        verdict = row["verdict"] + (", allowed" if row["allowed"] else "")
        lines.append([row["name"], row["version"], str(row["frames"]), row["adapter"], verdict, row["nearest"], *cosines])
    return _aligned(lines, right=(2, 6, 7, 8))


def _describe(told: Sequence[dict[str, Any]], least: float) -> Iterator[str]:
    """A line of each episode and one of each level."""
    from worldagen.mixture.embedding import FIRST_FRAMES

    for item in told:
        best = f"best scene cosine {item['best']:.2f}"
        state = f"none of these ({best}, below {least:.2f})" if item["abstains"] else f"{item['nearest']}, {best}"
        few = "" if item["frames"] >= FIRST_FRAMES else f", of {item['frames']} frames only"
        yield f"{item['episode']}: {state}{few}"
        for level, weights in item["weights"].items():
            shares = sorted(((place, weight) for place, weight in weights.items() if weight), key=lambda pair: -pair[1])
            listed = ", ".join(f"{place} {weight:.2f} ({item['cosines'][level][place]:+.2f})" for place, weight in shares)
            yield f"    {level:<7} entropy {item['entropy'][level]:.2f}  {listed}"


def _aligned(lines: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
