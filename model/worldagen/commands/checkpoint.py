"""Make checkpoint folders: `worldagen checkpoint import` turns a file of the authors into one of ours."""

import argparse
from pathlib import Path

HELP = "import a published checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The `import` action and its options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    importer = actions.add_parser("import", help="turn the authors' .pth file into a checkpoint folder")
    importer.add_argument("theirs", type=Path, help="a training checkpoint or a saved adapted checkpoint (.pth)")
    importer.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    importer.add_argument("--conventions", required=True, help="what its numbers mean: calvin or libero")
    importer.add_argument("--mae", type=Path, help="MAE ViT-B/16 weights; training checkpoints lack them")
    importer.add_argument("--clip", type=Path, help="CLIP ViT-B/32 weights; training checkpoints lack them")
    for option, meaning in (("units", "K"), ("frames", "n"), ("rows", "m")):
        importer.add_argument(f"--{option}", type=int, help=f"{meaning}, only if the file has no attention mask")


def run(args: argparse.Namespace) -> int:
    """Import, save, and say what was used and what was not."""
    from worldagen.checkpoint import save_checkpoint
    from worldagen.errors import ConfigError
    from worldagen.policy_conventions import find_preset_conventions
    from worldagen.published import WindowShape, import_published

    conventions = find_preset_conventions(args.conventions)
    sizes = (args.units, args.frames, args.rows)
    if any(sizes) and not all(sizes):
        raise ConfigError("give --units, --frames and --rows together, or none of them")
    network, report = import_published(args.theirs, args.mae, args.clip, WindowShape(*sizes) if all(sizes) else None)
    save_checkpoint(args.out, network, conventions, notes=f"imported from {args.theirs.name}")
    config = report.network
    print(f"wrote {args.out}: {config.backbone.kind}, {config.backbone.layers} layers of width {config.hidden}")
    print(f"  K = {config.units} units, n = {config.frames} frames, m = {config.rows} rows")
    if report.lora_layers:
        print(f"  folded the adapter of {report.lora_layers} layers into the weights")
    for name, reason in report.unused.items():
        print(f"  not used: {name} ({reason})")
    return 0
