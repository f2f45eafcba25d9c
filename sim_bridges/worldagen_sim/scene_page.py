"""Draw a page of episodes' first pictures: one row a scene, one column a seed. A+camera:0.5 is scene A, perturbed.

worldagen scenes --scenes A,B,C,D --episodes 4 --out scenes.png
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldagen.errors import SimulatorError
from worldagen_sim.environment import Environment, make_environment

HELP = "draw the scenes of the embedded simulator on one page"
ENLARGED, GAP, LEFT = 1.5, 6, 30  # factor; pixels between pictures, and for the scenes' names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenes", default="A,B,C,D", help="names with commas between them (default: A,B,C,D)")
    parser.add_argument("--task", default="", help="task of every episode (default: another one in each)")
    parser.add_argument("--episodes", type=int, default=4, help="of each scene (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the first column (default: 0)")
    parser.add_argument("--camera", default="static", choices=("static", "wrist"), help="default: static")
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast (default: auto)")
    parser.add_argument("--out", type=Path, default=Path("scenes.png"), help="default: scenes.png")


def run(args: argparse.Namespace) -> int:
    if args.episodes < 1:
        raise SimulatorError(f"{args.episodes} episodes of each scene; expected 1 or more")
    environment, seeds = make_environment("playtable", renderer=args.renderer), range(args.seed, args.seed + args.episodes)
    try:
        page = draw_page(environment, args.scenes.split(","), args.task, seeds, args.camera)
    finally:
        environment.close()
    page.save(args.out, quality=90)  # for formats that have one
    print(f"written: {args.out}, {page.width} x {page.height}")
    return 0


def draw_page(environment: Environment, scenes: list[str], task: str, seeds: range, camera: str) -> Image.Image:
    """One row a scene, one column a seed. Raises UnknownName or SimulatorError for what does not exist."""
    names = [one.name for one in environment.tasks]
    rows = []
    for row, scene in enumerate(scenes):
        pictures = []
        for column, seed in enumerate(seeds):
            environment.reset(task or names[(7 * (row * len(seeds) + column)) % len(names)], scene, seed)
            pictures.append(environment.render()[camera])
        rows.append(pictures)
    return _tile(rows, scenes)


def _tile(rows: list[list[np.ndarray]], names: list[str]) -> Image.Image:
    side = round(rows[0][0].shape[0] * ENLARGED)
    step, font = side + GAP, ImageFont.load_default(18)
    page = Image.new("RGB", (LEFT + step * len(rows[0]), step * len(rows)), "white")
    for row, (pictures, name) in enumerate(zip(rows, names, strict=True)):
        for column, picture in enumerate(pictures):
            enlarged = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
            page.paste(enlarged, (LEFT + column * step, row * step))
        label = Image.new("RGB", (side, LEFT), "white")
        ImageDraw.Draw(label).text((side / 2, LEFT / 2), name, fill="black", font=font, anchor="mm")
        page.paste(label.rotate(90, expand=True), (0, row * step))
    return page
