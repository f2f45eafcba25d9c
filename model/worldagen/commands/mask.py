"""Draw the attention mask of a preset or a checkpoint as an SVG picture."""

import argparse
from dataclasses import replace
from pathlib import Path

HELP = "draw a network's attention mask as a picture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PICTURE, and which network."""
    parser.add_argument("picture", type=Path, help="the .svg file to write")
    parser.add_argument("--preset", default="calvin", help="calvin, libero or playtable (default: calvin)")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint folder, instead of a preset")
    parser.add_argument("--goal-attention", action="store_true", help="draw the goal-attention variant")


def run(args: argparse.Namespace) -> int:
    """Write the picture."""
    from worldagen.network.config import find_preset
    from worldagen.network.layout import Layout
    from worldagen.network.mask_picture import draw_mask
    from worldagen.network.masks import build_mask

    if args.checkpoint:
        from worldagen.checkpoint import read_config

        config = read_config(args.checkpoint)
    else:
        config = find_preset(args.preset)
    config = replace(config, goal_attention=config.goal_attention or args.goal_attention)
    layout = Layout.of(config)
    args.picture.write_text(draw_mask(layout, build_mask(layout, config.goal_attention)), "utf-8")
    print(f"wrote {args.picture}: {layout.length} tokens, {layout.units} units of {layout.unit_length}")
    return 0
