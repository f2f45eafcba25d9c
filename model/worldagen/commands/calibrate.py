"""Measure what is usual for a checkpoint's world model, so that the monitor can tell what is not.

    worldagen calibrate playtable --data bag:out/held_out --out surprise.json
    worldagen calibrate playtable --data bag:out/new_place --check surprise.json

Give episodes of the places it was trained in that it was not trained on. A `surprise.json` in the checkpoint folder is found by
the monitor. --check writes nothing: it tells how many episodes would be called surprising by a calibration that exists.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from worldagen.errors import CalibrationError

if TYPE_CHECKING:
    from worldagen.calibrating import EpisodeErrors

HELP = "measure what is usual for a world model, for the surprise monitor"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CHECKPOINT, --data, and --out or --check."""
    from worldagen.surprise import QUANTILE

    parser.add_argument("checkpoint", help="a shipped checkpoint's name, or a folder")
    parser.add_argument("--data", required=True, metavar="KIND:PATH", help="bag:, calvin:, libero: or lerobot: and a path")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help="the calibration to write")
    target.add_argument("--check", type=Path, metavar="FILE", help="a calibration to try on these episodes")
    parser.add_argument("--episodes", type=int, default=60, help="at most so many, spread evenly (default: 60)")
    parser.add_argument("--quantile", type=float, default=QUANTILE, help=f"of the errors, the bound (default: {QUANTILE})")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Measure, then write or compare."""
    from worldagen.calibrating import EpisodeErrors, is_surprised, measure
    from worldagen.checkpoint_files import find_checkpoint
    from worldagen.data.episodes import open_source
    from worldagen.surprise import SurpriseConfig, find_calibration

    folder = find_checkpoint(args.checkpoint)
    known = find_calibration(args.check, folder) if args.check else None
    episodes: list[EpisodeErrors] = []
    skipped = 0
    for measured in measure(folder, open_source(args.data), args.episodes, args.threads):
        if isinstance(measured, EpisodeErrors):
            episodes.append(measured)
        else:
            skipped += 1
            print(f"skipped: {measured}", file=sys.stderr)
    if not episodes:
        raise CalibrationError(f"{args.data}: no episode could be used")
    if known is None:
        _write(args, folder, episodes, skipped)
    else:
        surprised = sum(is_surprised(known, SurpriseConfig(), episode) for episode in episodes)
        print(f"{args.data}: {surprised} of {len(episodes)} episodes would be called surprising")
    return 0


def _write(args: argparse.Namespace, folder: Path, episodes: Sequence["EpisodeErrors"], skipped: int) -> None:
    from worldagen.checkpoint_files import WEIGHTS
    from worldagen.network.config import VIEWS
    from worldagen.provenance import describe_run, sha256_of
    from worldagen.surprise import calibrate, write_calibration

    made = {
        **describe_run(shlex.join(["worldagen", *sys.argv[1:]])),
        "data": args.data,
        "episodes": len(episodes),
        "skipped": skipped,
        "weights": sha256_of(folder / WEIGHTS),
    }
    errors = {view: np.concatenate([episode.errors[view] for episode in episodes]) for view in VIEWS}
    calibration = calibrate(errors, args.quantile, made)
    write_calibration(calibration, args.out)
    for view, usual in calibration.views.items():
        print(f"{view}: bound {usual.bound:.4g}, median {usual.median:.4g}, {usual.count} pictures")
    print(f"wrote {args.out}: {len(episodes)} episodes, {skipped} skipped")
