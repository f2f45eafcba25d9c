"""Benchmarks by protocol: what `worldagen bench` does. A protocol is an evaluation with rules that others can repeat."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from worldagen.adaptation.adapter import read_manifest
from worldagen.errors import EvaluationError
from worldagen_ros.evaluating import FILMS, PAGE, evaluate_tasks
from worldagen_sim.bench_page import draw_bench_page, draw_comparison_page
from worldagen_sim.claimed_folder import write_json
from worldagen_sim.environment import WITH_EXPERTS
from worldagen_sim.evaluation import REPORT, EvaluationRequest, read_ended
from worldagen_sim.paired import compare_evaluations
from worldagen_sim.protocol import Protocol, departures

ADAPTATION, COMPARISON = "adaptation", "comparison.json"
SAME = ("environment", "options", "phrasings", "max_steps", "history")  # else two runs are no pair; timing may be compared


def run_benchmark(
    name: str,
    protocol: Protocol,
    request: EvaluationRequest,
    checkpoint: Path,
    out: Path,
    *,
    adapter: Path | None = None,
    recipe: str = "",
    rollouts: int = 66,
    processes: int | None = None,
    domain: int | None = None,
    ray: str = "",
    films: int = 8,
    command: str = "run_benchmark",
) -> dict[str, Any]:
    """Play what is missing of a protocol and write report.json and report.html; returns the report.

    request: the protocol's, or one that departs from it, which the report then says. recipe: adapt first, by exploring the
    protocol's scene for so many rollouts, and play with the adapter that comes of it. Raises as evaluate_tasks; the same call
    goes on where it was.
    """
    if recipe:
        if adapter is not None:
            raise EvaluationError("--adapter and --adapt exclude each other: one brings an adapter, the other makes it")
        adapter = adapt_to(request, checkpoint, out / ADAPTATION, recipe, rollouts, command)
    told = {
        "protocol": {"name": Path(name).stem, **asdict(protocol), "departures": departures(protocol, name, request)},
        "adapter": _told(adapter) if adapter else None,
    }
    folder = out / "played" if recipe else out
    report = evaluate_tasks(
        checkpoint, request, folder, processes=processes, domain=domain, command=command,
        adapter=adapter, films=films, ray=ray, more=told,
    )  # fmt: skip
    report["films"] = sorted(f"{FILMS}/{film.name}" for film in (folder / FILMS).glob("*.mp4"))
    write_json(folder / REPORT, report)
    (folder / PAGE).write_text(draw_bench_page(report), encoding="utf-8")
    return {**report, "folder": str(folder)}


def adapt_to(request: EvaluationRequest, checkpoint: Path, out: Path, recipe: str, rollouts: int, command: str) -> Path:
    """Explore the request's scene and adapt to it; the adapter's folder. What is there is not made again."""
    from worldagen_ros.adapting import StoryRequest, adapt_once, claim, explore

    if request.environment not in WITH_EXPERTS:
        raise EvaluationError(
            f"--adapt explores {', '.join(WITH_EXPERTS)} only, not {request.environment}; explore and adapt there with the "
            "nodes (docs/exploration.md, docs/adaptation.md) and give the adapter with --adapter"
        )
    if len(request.scenes) != 1:
        raise EvaluationError(f"--adapt adapts to one place; this protocol has {len(request.scenes)} scenes")
    story = StoryRequest(
        environment=request.environment, scene=request.scenes[0], recipe=recipe, rollouts=rollouts, renderer=request.renderer,
        deployment=request.deployment, options=request.options, episodes=0, chains=0,
    )  # fmt: skip
    folder = claim(str(checkpoint), story, out)
    explore(folder, story, out / "exploration")
    return adapt_once(str(checkpoint), story, out, command, lambda progress: None)


def compare_benchmarks(before: Path, after: Path, out: Path | None, command: str) -> dict[str, Any]:
    """Two runs of one protocol, episode by episode; written to OUT (by default the second run's folder).

    Raises EvaluationError when they are no pair: rules that differ, or no episode that both have played.
    """
    (one, played_before), (other, played_after) = read_ended(before), read_ended(after)
    differing = [f"{key}: {one[key]!r} and {other[key]!r}" for key in SAME if one.get(key) != other.get(key)]
    if differing:
        raise EvaluationError(f"{before} and {after} were not played by the same rules: {'; '.join(differing)}")
    compared = compare_evaluations(played_before, played_after)
    if not compared:
        raise EvaluationError(f"{before} and {after} have no episode in common; give two runs of one protocol")
    reports = [_report_of(folder) for folder in (before, after)]
    told = {
        "command": command,
        "before": {"folder": before.name, **_origin(reports[0])},
        "after": {"folder": after.name, **_origin(reports[1])},
        **compared,
    }
    place = out or after
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / COMPARISON, told)
    (place / COMPARISON).with_suffix(".html").write_text(draw_comparison_page(told), encoding="utf-8")
    return told


def _told(adapter: Path) -> dict[str, Any]:
    manifest = read_manifest(adapter)
    return {"id": manifest["id"], "recipe": manifest.get("recipe_name", ""), "verdict": manifest["gate"]["verdict"]}


def _report_of(folder: Path) -> dict[str, Any]:
    file = folder / REPORT
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def _origin(report: dict[str, Any]) -> dict[str, Any]:
    wanted: Sequence[str] = ("date", "commit", "command", "checkpoint", "adapter", "renderer", "version", "caveat")
    return {key: report[key] for key in wanted if key in report}
