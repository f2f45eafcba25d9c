"""Write a checkpoint's encoder (vision, resampler, projections) for another engine, and tell what that engine changes.

onnx      an ONNX file. int8 without --frames is the form for ONNX Runtime on a CPU; with --frames it is TensorRT's, as fp8 is
tensorrt  besides, a TensorRT engine, built here for this GPU, driver and TensorRT version; int8 and fp8 need --frames

A policy finds what was written here by `engine.folder`; see docs/engines.md.
"""

import argparse
from pathlib import Path

from worldagen.engines.config import PRECISIONS

HELP = "write a checkpoint's encoder as ONNX, or build its TensorRT engine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CHECKPOINT and how it is exported."""
    parser.add_argument("checkpoint", help="a checkpoint folder, or the name of a shipped one")
    parser.add_argument("--engine", choices=("onnx", "tensorrt"), required=True)
    parser.add_argument("--precision", choices=PRECISIONS, help="default: fp32 as onnx, fp16 as tensorrt")
    parser.add_argument(
        "--frames", type=Path, nargs="+", default=[], metavar="BAG", help="bags to calibrate on and to try with"
    )
    parser.add_argument("--out", default="", metavar="FOLDER", help="default: worldagen/engines in the user's cache")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for trying it")


def run(args: argparse.Namespace) -> int:
    """Export, try, tell. 0 also where the gate would refuse it: the numbers are told, and the file is there to look at."""
    from worldagen.engines.exporting import ExportRequest, export_checkpoint

    precision = args.precision or ("fp32" if args.engine == "onnx" else "fp16")
    request = ExportRequest(args.checkpoint, args.engine, precision, tuple(args.frames), args.out, args.threads)
    for line in export_checkpoint(request, print):
        print(line, flush=True)
    return 0
