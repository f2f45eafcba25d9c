"""Draw the charts of the docs from benchmarks/results. A test holds what is committed to what this draws.

python benchmarks/charts.py
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS, PICTURES = HERE / "results", HERE.parent / "docs" / "pictures"
LABEL, BAR, WIDE, HIGH, GAP, EDGE = 250, 380, 860, 17, 7, 18  # pixels; WIDE: of the whole
INK, FAINT, OURS, THEIRS, REFUSED = "#1c2733", "#66717f", "#2456c6", "#9aa5b8", "#d97a1c"


@dataclass(frozen=True)
class Bar:
    """One figure. reach: a larger one of the same thing, such as its 99th percentile, drawn as a thin line; 0: none."""

    label: str
    value: float
    told: str
    reach: float = 0.0
    colour: str = OURS


def draw_bars(groups: Mapping[str, Sequence[Bar]], caption: str) -> str:
    """Groups of horizontal bars, each group with a scale of its own, as an SVG document."""
    parts, top = [], EDGE
    for title, bars in groups.items():
        parts.append(f'<text x="{EDGE}" y="{top + 12}" font-weight="600">{escape(title)}</text>')
        top += HIGH + GAP
        scale = BAR / max(max(bar.value, bar.reach) for bar in bars)
        for bar in bars:
            middle, long = top + HIGH / 2, max(1.0, scale * bar.value)
            parts.append(f'<text x="{LABEL - 8}" y="{middle + 4:g}" text-anchor="end">{escape(bar.label)}</text>')
            parts.append(f'<rect x="{LABEL}" y="{top}" width="{long:.1f}" height="{HIGH}" fill="{bar.colour}"/>')
            end = LABEL + long
            if bar.reach:
                end = LABEL + scale * bar.reach
                line = f'x1="{LABEL + long:.1f}" x2="{end:.1f}" y1="{middle:g}" y2="{middle:g}"'
                parts.append(f'<line {line} stroke="{bar.colour}" stroke-width="2"/>')
            parts.append(f'<text x="{end + 6:.1f}" y="{middle + 4:g}" fill="{FAINT}">{escape(bar.told)}</text>')
            top += HIGH + GAP
        top += GAP
    parts.append(f'<text x="{EDGE}" y="{top + 12}" fill="{FAINT}" font-size="11">{escape(caption)}</text>')
    high = top + EDGE + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{high}" viewBox="0 0 {WIDE} {high}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="12.5" fill="{INK}">'
        f'<rect width="{WIDE}" height="{high}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def draw_engines() -> str:
    """Decision times by engine, precision and preset."""
    groups: dict[str, list[Bar]] = {}
    for preset in ("playtable", "calvin"):
        result = _read(f"encoder_engines_{preset}_cpu")
        bars = []
        for name, seconds in result["seconds"].items():
            refused = bool(result["gate"].get(name, {}).get("refused"))
            faster = result["times_faster_than_plain"].get(name)
            told = f"{1e3 * seconds['p50']:.0f} ms" if seconds["p50"] >= 0.1 else f"{1e3 * seconds['p50']:.1f} ms"
            told += f", {faster:.1f} times as fast" if faster else ""
            told += ", refused by the gate" if refused else ""
            colour = THEIRS if name == "plain" else REFUSED if refused else OURS
            label = "plain evaluation" if name == "plain" else name
            bars.append(Bar(label, seconds["p50"], told, seconds["p99"], colour))
        groups[f"{preset}: one decision, {result['threads']} threads"] = bars
    return draw_bars(groups, f"median, line to the 99th percentile; {_machine(result)}")


def draw_ros_path() -> str:
    """Where the time between picture and command goes."""
    result = _read("ros_path")
    kinds = {
        "torch": ("picture to command, resized by torch", OURS),
        "now": ("resized by Pillow (default)", OURS),
        "before": ("before", THEIRS),
    }
    totals = [
        Bar(
            name, result[kind]["overhead_p50_ms"], f"{result[kind]['overhead_p50_ms']:.1f} ms",
            result[kind]["overhead_p99_ms"], colour,
        )
        for kind, (name, colour) in kinds.items()
    ]  # fmt: skip
    stages = [
        Bar(name, stage["p50_ms"], f"{stage['p50_ms']:.1f} ms", stage["p99_ms"])
        for name, stage in result["now"]["stages_of_the_last_round"].items()
        if name in ("camera", "decode", "wait", "preprocess", "publish", "deliver", "command")
    ]
    return draw_bars(
        {"two 640x480 cameras at 30 Hz, without the network": totals, "stages of the default": stages},
        f"median, line to the 99th percentile; {_machine(result)}",
    )


def draw_adaptation() -> str:
    """An adaptation window by window, and ours."""
    groups = {}
    for preset in ("playtable", "calvin"):
        result = _read(f"adaptation_speed_{preset}")
        plain, ours = result["median_s"]["plain"], result["median_s"]["ours"]
        groups[f"{preset}: one step on {result['windows']} windows, {result['threads']} threads"] = [
            Bar("window by window", plain, f"{plain:.1f} s", colour=THEIRS),
            Bar("ours", ours, f"{ours:.1f} s, {result['times_faster']:.1f} times as fast"),
        ]
    return draw_bars(groups, f"median; {_machine(result)}")


def draw_training() -> str:
    """How many windows a second the two halves of a training take."""
    result = _read("training")
    return draw_bars(
        {
            f"playtable: trained in a second, {result['threads']} threads": [
                Bar("encoder, frames", result["encoder_trained_frames_per_s"], f"{result['encoder_trained_frames_per_s']:.0f}"),
                Bar("policy, windows", result["policy_trained_windows_per_s"], f"{result['policy_trained_windows_per_s']:.0f}"),
            ],
            "made ready in a second": [
                Bar("frames decoded, one process", result["decoded_frames_per_s_one_process"],
                    f"{result['decoded_frames_per_s_one_process']:.0f}", colour=THEIRS),
                Bar("frames of encoder batches", result["encoder_batches_drawn_frames_per_s"],
                    f"{result['encoder_batches_drawn_frames_per_s']:.0f}", colour=THEIRS),
                Bar("windows of policy batches", result["policy_batches_drawn_windows_per_s"],
                    f"{result['policy_batches_drawn_windows_per_s']:.0f}", colour=THEIRS),
            ],
        },
        _machine(result),
    )  # fmt: skip


CHARTS = {"engines": draw_engines, "ros_path": draw_ros_path, "adaptation_speed": draw_adaptation, "training": draw_training}


def main() -> None:
    for name, draw in CHARTS.items():
        place = PICTURES / f"{name}.svg"
        place.write_text(draw(), "utf-8")
        print(f"written: {place.relative_to(HERE.parent)}")


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def _machine(result: Mapping[str, Any]) -> str:
    machine = result.get("machine", {})
    words = [f"{machine['cores']} cores of {machine['processor']}"] if machine else []
    return ", ".join([*words, result["date"][:10], f"benchmarks/{Path(result['command'].split()[1]).name}"])


if __name__ == "__main__":
    main()
