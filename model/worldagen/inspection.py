"""What a checkpoint folder holds, as plain data and as text. Reads headers only: no weights are loaded."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from worldagen.checkpoint import WEIGHTS, read_config, read_conventions, read_header, read_notes, require_whole
from worldagen.network.layout import Group, Layout


def inspect_checkpoint(folder: Path) -> dict[str, Any]:
    """Parameters by module, token layout, sizes, conventions, adapters. Raises CheckpointError if the folder is not whole."""
    require_whole(folder)
    config = read_config(folder)
    layout = Layout.of(config)
    header = read_header(folder)
    parameters: Counter[str] = Counter()
    for name, (shape, _) in header.items():
        parameters[name.split(".")[0]] += _size(shape)
    return {
        "folder": folder.name,
        "notes": read_notes(folder),
        "parameters": dict(parameters),
        "parameters_total": sum(parameters.values()),
        "tensors": len(header),
        "type": sorted({kind for _, kind in header.values()}),
        "bytes": (folder / WEIGHTS).stat().st_size,
        "network": asdict(config),
        "unit": {
            group.value: {"count": layout.count(group), "start": layout.span(group).start}
            for group in Group
            if layout.count(group)
        },
        "unit_tokens": layout.unit_length,
        "window_tokens": layout.length,
        "window_frames": config.window_frames,
        "conventions": asdict(read_conventions(folder)),
        "adapters": sorted(path.name for path in (folder / "adapters").glob("*") if path.is_dir()),
    }


def describe(report: dict[str, Any]) -> str:
    """The report of inspect_checkpoint as text for a terminal."""
    lines = [f"checkpoint {report['folder']}", f"  {report['notes']}" if report["notes"] else "  no notes", ""]
    lines += [f"parameters  ({report['tensors']} tensors, {', '.join(report['type'])}, {report['bytes'] / 2**20:.1f} MiB)"]
    lines += [f"  {name:<20} {count:>13,}" for name, count in report["parameters"].items()]
    lines += [f"  {'total':<20} {report['parameters_total']:>13,}", ""]
    lines += [f"a unit has {report['unit_tokens']} tokens, the window {report['window_tokens']}"]
    for name, place in report["unit"].items():
        lines.append(f"  {name:<20} {place['start']:>4} .. {place['start'] + place['count'] - 1}")
    lines += ["", "network", *_tree(report["network"]), "", "conventions", *_tree(report["conventions"]), ""]
    return "\n".join([*lines, f"adapters: {', '.join(report['adapters']) or 'none'}"])


def _tree(section: dict[str, Any], indent: str = "  ") -> list[str]:
    lines = []
    for name, value in section.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *_tree(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name:<{24 - len(indent)}} {value}")
    return lines


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
