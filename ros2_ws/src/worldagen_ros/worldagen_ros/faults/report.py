"""What came of the trials: one row for each fault, as JSON and as a page in Markdown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worldagen.provenance import describe_run
from worldagen_ros.faults.table import TABLE

if TYPE_CHECKING:
    from worldagen_ros.faults.campaign import Campaign, Trial

AIM_S = 0.1  # to a safe command, beyond what is waited for on purpose


def rows_of(trials: "Sequence[Trial]") -> list[dict[str, Any]]:
    """One for each fault that was tried, in the table's order; times in ms."""
    rows = []
    for fault in TABLE:
        mine = [trial for trial in trials if trial.fault.name == fault.name]
        if not mine:
            continue
        verdicts = [trial.verdict for trial in mine]
        rows.append(
            {
                "fault": fault.name,
                "says": fault.says,
                "expected": " or ".join(fault.expected.reaches),
                "stack": fault.expected.stack,
                "trials": len(mine),
                "as_expected": sum(verdict.passed for verdict in verdicts),
                "waits_for": fault.waits,
                "seen": sorted({" ".join(verdict.states) for verdict in verdicts}),
                "safe_ms": _spread([verdict.safe_s for verdict in verdicts]),
                "late_ms": _spread([trial.late_s for trial in mine]),
                "announced_ms": _spread([verdict.announced_s for verdict in verdicts]),
                "recovery_ms": _spread([verdict.recovery_s for verdict in verdicts]),
                "reasons": sorted({verdict.why for verdict in verdicts if verdict.why})[:5],
                "problems": sorted({problem for verdict in verdicts for problem in verdict.problems}),
            }
        )
    return rows


def summary_of(trials: "Sequence[Trial]", rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over all faults."""
    late = [trial.late_s for trial in trials if trial.late_s is not None]
    return {
        "trials": len(trials),
        "faults": len(rows),
        "as_expected": sum(row["as_expected"] for row in rows),
        "late_ms": _spread(late),
        "beyond_100_ms": sum(seconds > AIM_S for seconds in late),
        "of": len(late),
        "commands": sum(trial.verdict.commands for trial in trials),
        "commands_not_seen": sum(trial.verdict.lost for trial in trials),
        "tick_jitter_p99_ms": _spread([trial.tick_s[0] for trial in trials]),
        "tick_jitter_longest_ms": _spread([trial.tick_s[1] for trial in trials]),
    }


def write_report(folder: Path, campaign: "Campaign", command: str, took_s: float, remark: str) -> int:
    """faults.json and faults.md; returns how many trials were wrong."""
    rows = rows_of(campaign.trials)
    summary = summary_of(campaign.trials, rows)
    told = {
        **describe_run(command),
        "remark": remark,
        "took_s": round(took_s),
        "waits_ms": {name: round(seconds * 1e3, 1) for name, seconds in campaign.waits.items() if name},
        "summary": summary,
        "not_made": campaign.failures,
        "faults": rows,
    }
    (folder / "faults.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (folder / "faults.md").write_text(page(told), encoding="utf-8")
    return summary["trials"] - summary["as_expected"]


def page(told: dict[str, Any]) -> str:
    """The page, from what stands in the JSON file."""
    summary, machine = told["summary"], told["machine"]
    waited = ", ".join(f"{name} {milliseconds:g} ms" for name, milliseconds in told["waits_ms"].items())
    lines = [
        "# What happens when something breaks",
        "",
        "Made by `worldagen faults`; do not edit. The faults and what is expected of them are `worldagen_ros/faults/table.py`, "
        "the judge is `judging.py` beside it, the numbers are in `benchmarks/results/faults.json`.",
        "",
        f"`{told['command']}`, {told['date'][:10]}, {told['took_s'] / 60:.0f} minutes on {machine['processor']}, "
        f"{machine['cores']} cores, load {machine['load_average'][0]:g}. {told['remark']}".rstrip(),
        "",
        f"**{summary['trials']} trials of {summary['faults']} faults; {summary['as_expected']} went as expected.** "
        f"{summary['commands']} commands were judged ({summary['commands_not_seen']} more were sent and not seen).",
        "",
        "The stack runs in real time with the embedded simulator; the scripted expert drives or, for cameras and words, the "
        "network `playtable`; the deadman is held; each fault comes at a random moment while the arm moves. Besides what is "
        "expected, each trial is judged for: no command outside work space, speed, acceleration or jerk of the deployment; "
        "no plan from before a stop played after it; FAULT left only by `command/clear_fault`.",
        "",
        "**Time to a safe command**: from the injection to the first command from which on the commanded pose only slows down, "
        "in translation and in rotation, until it rests; when the sender is gone, to its last command. Some of it is waited "
        f"for on purpose, because the input might still come: {waited}. What goes beyond is *late*: p50, p99, longest "
        f"{_three(summary['late_ms'])} ms over the {summary['of']} trials that had to stop; {summary['beyond_100_ms']} of them "
        f"above 100 ms. How late the command node's own ticks came, in its p99: {_three(summary['tick_jitter_p99_ms'])} ms.",
        "",
        "Times in ms: p50, p99, longest. Recovery: from the end of the fault, or from the clearing of a FAULT, to RUNNING; "
        "where a node was killed, its start is in it.",
        "",
        "| fault | expected | as expected | safe command | late | recovery | seen, remarks |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in told["faults"]:
        remarks = [row["says"], "; ".join(row["problems"])]
        seen = " / ".join(_short(states) for states in row["seen"][:3])
        waited = f" ({row['waits_for']})" if row["waits_for"] else ""
        expected = row["expected"] + ("" if row["stack"] == "ACTIVE" else ", taken down")
        lines.append(
            f"| {row['fault']} | {expected} | {row['as_expected']} of {row['trials']} | {_three(row['safe_ms'])}{waited} | "
            f"{_three(row['late_ms'])} | {_three(row['recovery_ms'])} | {'. '.join(filter(None, [seen, *remarks]))} |"
        )
    if told["not_made"]:
        lines += ["", "Not made, because the stack did not come to where a trial begins:", ""]
        lines += [f"- {text}" for text in told["not_made"]]
    return "\n".join(lines) + "\n"


def _short(states: str) -> str:
    """A sequence that goes on and on, cut."""
    names = states.split()
    return " ".join(names if len(names) <= 5 else [*names[:4], "..."])


def _spread(seconds: Sequence[float | None]) -> list[float]:
    """p50, p99 and the largest, ms; empty for none."""
    known = [value * 1e3 for value in seconds if value is not None]
    return (
        [round(float(value), 1) for value in (np.percentile(known, 50), np.percentile(known, 99), max(known))] if known else []
    )


def _three(spread: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in spread)
