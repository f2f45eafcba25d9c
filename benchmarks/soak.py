"""A soak: everything at once, in real time, for as long as you like. What grows, what is late, who talks too much?

    . scripts/activate && python benchmarks/soak.py --minutes 30

Simulator, command, policy (the shipped network), monitor, recorder (recording), adapt, explore and manager. The active adapter
is swapped every five seconds, an episode begins every minute, and after 30 % of the time the world model is adapted once to a
small exploration made beforehand. Writes benchmarks/results/soak.json and docs/pictures/soak.png, of which docs/soak.md tells.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from PIL import Image, ImageDraw, ImageFont
from record import write_result

from worldagen.checkpoint import find_checkpoint
from worldagen_ros.client import StackClient
from worldagen_ros.config import load_deployment
from worldagen_ros.soaking import MB, SaidLines, Sample, Soak, SoakPlan, calm, judge
from worldagen_ros.specs import UDP_PROFILE, nodes_of
from worldagen_ros.stack import Stack, stack_environment

# What makes random adapters belongs to the tests.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "model"))
from adaptation_making import make_adapter

HERE = Path(__file__).parent
RESULT, PICTURE = HERE / "results" / "soak.json", HERE.parent / "docs" / "pictures" / "soak.png"
CHECKPOINT, RANK, SIZE = "playtable", 16, 0.001
ENABLED = {f"{node}.enabled": "true" for node in ("monitor", "recorder", "adapt", "explore")}
RECIPE = "{windows: {per_rollout: 3}, trained: {rank: 16, alpha: 16.0}, optimiser: {passes: 4, clip: 1.0, keep_actions: 0.1}}\n"
EVERY_SAMPLES = 6  # kept in the result: one in 30 s

WIDTH, PANEL, GAP, LEFT, RIGHT, TOP, BOTTOM, FINE = 1440, 150, 26, 110, 190, 70, 50, 2  # pixels
BACKGROUND, GROUND, INK, FAINT, BUSY = (24, 26, 31), (33, 36, 42), (240, 240, 240), (150, 155, 165), (58, 48, 36)
COLOURS = (
    *((112, 162, 236), (255, 168, 76), (120, 200, 140), (240, 110, 90), (190, 140, 240), (240, 215, 90)),
    *((90, 205, 215), (225, 150, 190)),
)


def explore(bag: Path, renderer: str) -> None:
    """A small exploration, in a process of its own, before the stack starts."""
    command = ["worldagen", "explore", "--direct", "--scene", "D", "--rollouts", "8", "--renderer", renderer, "--out", str(bag)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def soak(minutes: float, renderer: str, priority: int, folder: Path) -> tuple[tuple[Sample, ...], dict[str, Any]]:
    """Run it; returns the samples and what was said, recorded and adapted."""
    bag = folder / "exploration"
    explore(bag, renderer)
    adapters = tuple(
        str(make_adapter(find_checkpoint(CHECKPOINT), folder / f"adapters{number}", size=SIZE, rank=RANK)) for number in (0, 1)
    )
    recipe = folder / "short.yaml"
    recipe.write_text(RECIPE, "utf-8")
    overrides = {
        "policy.kind": "network",
        "policy.checkpoint": CHECKPOINT,
        "command.priority": str(priority),
        "sim.renderer": renderer,
        "sim.ends_on_success": "false",
        "adapt.folder": str(folder / "adapted"),
    }
    config = load_deployment("sim_realtime", overrides | ENABLED)
    names = [spec.name for spec in nodes_of(config)]
    said = SaidLines()
    rclpy.init(args=[])
    with Stack(config, said) as stack:
        client = StackClient("")
        run = Soak(client, stack, names, said)
        plan = SoakPlan(60 * minutes, adapters, str(bag), str(recipe), recording=str(folder / "recorded"))
        samples = run.run(plan)
        client.destroy_node()
    rclpy.try_shutdown()
    adapted, recorded = run.adapted, run.recorded
    assert adapted is not None and recorded is not None
    return samples, {
        "events": samples[-1].events,
        "adaptation": {"verdict": adapted.verdict, "reasons": list(adapted.reasons)},
        "recorded": {"messages": recorded.messages, "dropped": recorded.dropped, "size_mb": round(recorded.size / MB, 1)},
        "said": dict(run.texts.most_common(25)),
    }


def told(sample: Sample) -> dict[str, Any]:
    """A sample as it stands in the result."""
    return {
        "at_s": round(sample.at_s, 1),
        "rss_mb": {name: round(one.rss / MB, 2) for name, one in sample.processes.items()},
        "own_mb": {name: round(one.own / MB, 2) for name, one in sample.processes.items()},
        "threads": {name: one.threads for name, one in sample.processes.items()},
        "files": {name: one.files for name, one in sample.processes.items()},
        "shared_mb": round(sample.shared / MB, 2),
        "missed_ticks": sample.missed_ticks,
        "jitter_ms": [round(value, 2) for value in (sample.jitter_p50_ms, sample.jitter_p99_ms, sample.jitter_max_ms)],
        "latency_p50_ms": round(float(np.median(sample.latency_ms)), 1) if sample.latency_ms else None,
        "inference_p50_ms": round(float(np.median(sample.inference_ms)), 1) if sample.inference_ms else None,
        "chunks": len(sample.latency_ms),
        "adapting": sample.adapting,
        "load": round(sample.load, 2),
    }


def totals(samples: Sequence[Sample]) -> dict[str, Any]:
    """What the page tells."""
    first, last, quiet = samples[0], samples[-1], calm(samples)
    seconds = last.at_s - first.at_s
    latency = [value for sample in quiet for value in sample.latency_ms]
    ticks = last.ticks - first.ticks
    return {
        "seconds": round(seconds, 1),
        "ticks": ticks,
        "missed_ticks": last.missed_ticks - first.missed_ticks,
        "missed_ticks_beside_the_adaptation": missed_while(samples, lambda sample: sample.adapting),
        "ticks_per_s": round(ticks / seconds, 2),
        "jitter_p99_ms_median": round(float(np.median([sample.jitter_p99_ms for sample in quiet])), 2),
        "chunks_per_s": round(sum(len(sample.latency_ms) for sample in samples[1:]) / seconds, 2),
        "latency_ms": {f"p{percent}": round(float(np.percentile(latency, percent)), 1) for percent in (50, 99)},
        "cpu_share": {
            name: round((last.processes[name].cpu_s - first.processes[name].cpu_s) / seconds, 3) for name in first.processes
        },
        "rss_mb_first_last": {
            name: [round(sample.processes[name].rss / MB, 1) for sample in (first, last)] for name in first.processes
        },
        "threads_first_last": {name: [sample.processes[name].threads for sample in (first, last)] for name in first.processes},
        "files_first_last": {name: [sample.processes[name].files for sample in (first, last)] for name in first.processes},
        "shared_mb_first_last": [round(sample.shared / MB, 2) for sample in (first, last)],
        "load_average": {
            "median": round(float(np.median([sample.load for sample in samples])), 2),
            "max": round(max(sample.load for sample in samples), 2),
        },
    }


def missed_while(samples: Sequence[Sample], when: Callable[[Sample], bool]) -> int:
    """Missed ticks of the intervals that end in such a sample."""
    return sum(after.missed_ticks - before.missed_ticks for before, after in pairwise(samples) if when(after))


class Drawing:
    """Panels of lines over minutes."""

    def __init__(self, panels: int, minutes: float) -> None:
        self.height = TOP + panels * PANEL + (panels - 1) * GAP + BOTTOM
        self._image = Image.new("RGB", (WIDTH * FINE, self.height * FINE), BACKGROUND)
        self._draw, self._minutes, self._next = ImageDraw.Draw(self._image), minutes, TOP

    def text(self, x: float, y: float, text: str, colour: tuple[int, int, int], size: int, anchor: str = "la") -> None:
        self._draw.text((x * FINE, y * FINE), text, fill=colour, font=ImageFont.load_default(size * FINE), anchor=anchor)

    def panel(self, title: str, lines: dict[str, list[float]], minutes: list[float], busy: tuple[float, float] | None) -> None:
        """One quantity; each line has a name and a value at each time."""
        top, bottom = self._next, self._next + PANEL
        self._next = bottom + GAP
        self._box(LEFT, top, WIDTH - RIGHT, bottom, GROUND)
        if busy:
            self._box(self._x(busy[0]), top, self._x(busy[1]), bottom, BUSY)
        values = [value for line in lines.values() for value in line if np.isfinite(value)]
        low, high = min(values), max(values)
        low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
        margin = 0.08 * PANEL

        def y_of(value: float) -> float:
            return bottom - margin - (value - low) / (high - low) * (PANEL - 2 * margin)

        for number, (name, line) in enumerate(lines.items()):
            points = [
                (self._x(at) * FINE, y_of(value) * FINE) for at, value in zip(minutes, line, strict=True) if np.isfinite(value)
            ]
            self._draw.line(points, fill=COLOURS[number], width=round(1.6 * FINE), joint="curve")
            self.text(WIDTH - RIGHT + 14, top + 18 * number, name, COLOURS[number], 13)
        for value in (high, low):
            self.text(LEFT - 8, y_of(value), f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}", FAINT, 12, "rm")
        self.text(LEFT, top - 18, title, INK, 14)

    def finish(self) -> Image.Image:
        """Below the last panel the minutes."""
        step = next(step for step in (1, 2, 5, 10, 30, 60, 600) if self._minutes / step <= 12)
        for minute in range(0, int(self._minutes) + 1, step):
            self.text(self._x(minute), self._next - GAP + 8, f"{minute}", FAINT, 13, "ma")
        self.text(WIDTH - RIGHT + 14, self._next - GAP + 8, "min", FAINT, 13)
        return self._image.resize((WIDTH, self.height), Image.Resampling.LANCZOS)

    def _x(self, minute: float) -> float:
        return LEFT + minute / self._minutes * (WIDTH - LEFT - RIGHT)

    def _box(self, left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
        self._draw.rectangle((left * FINE, top * FINE, right * FINE - 1, bottom * FINE - 1), fill=colour)


def draw(samples: Sequence[Sample]) -> Image.Image:
    """The curves; the time of the adaptation is shaded."""
    first, names = samples[0], list(samples[0].processes)
    minutes = [sample.at_s / 60 for sample in samples]
    busy = [sample.at_s / 60 for sample in samples if sample.adapting]
    shaded = (min(busy), max(busy)) if busy else None

    def percentile(sample: Sample, percent: int) -> float:
        return float(np.percentile(sample.latency_ms, percent)) if sample.latency_ms else float("nan")

    grown = {
        name: [(sample.processes[name].rss - first.processes[name].rss) / MB for sample in samples] for name in names
    }  # fmt: skip
    files = {name: [float(sample.processes[name].files) for sample in samples] for name in names}
    threads = {name: [float(sample.processes[name].threads) for sample in samples] for name in names}
    panels: list[tuple[str, dict[str, list[float]]]] = [
        ("resident memory since the begin, MB", grown),
        ("open files", files),
        ("threads", threads),
        ("from capture to chunk, ms", {f"p{percent}": [percentile(s, percent) for s in samples] for percent in (50, 90)}),
        ("missed ticks of the command node, in all", {"missed": [float(s.missed_ticks - first.missed_ticks) for s in samples]}),
        ("its jitter, p99 of ten seconds, ms", {"p99": [sample.jitter_p99_ms for sample in samples]}),
        ("load average of the machine", {"load": [sample.load for sample in samples]}),
    ]
    drawing = Drawing(len(panels), minutes[-1])
    drawing.text(LEFT, 18, f"A soak of {minutes[-1]:.0f} minutes; shaded: beside an adaptation", INK, 20)
    for title, lines in panels:
        drawing.panel(title, lines, minutes, shaded)
    return drawing.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="at least 2 (default: 30)")
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast")
    parser.add_argument("--priority", type=int, default=0, help="SCHED_FIFO priority of the command node; 0: none")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain, 0 to 101")
    parser.add_argument("--beside", default="", help="what else ran on the machine, in words, for the result")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    args = parser.parse_args()
    os.environ.update(stack_environment(os.environ, args.domain, UDP_PROFILE))
    before = [round(load, 2) for load in os.getloadavg()]
    with tempfile.TemporaryDirectory() as folder:
        samples, more = soak(args.minutes, args.renderer, args.priority, Path(folder))
    checks = judge(samples)
    print("\n".join(map(str, checks)))
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    draw(samples).save(args.picture, optimize=True)
    write_result(args.out, {
        "minutes": args.minutes, "renderer": args.renderer, "priority": args.priority,
        "beside": args.beside, "load_average_before": before,
        "checks": [
            {"name": c.name, "found": round(c.found, 3), "bound": round(c.bound, 3), "unit": c.unit, "passed": c.passed}
            for c in checks
        ],
        "totals": totals(samples), **more, "samples": [told(sample) for sample in samples[::EVERY_SAMPLES]],
    })  # fmt: skip


if __name__ == "__main__":
    main()
