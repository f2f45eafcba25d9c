"""The report of an adaptation as one page of HTML that needs nothing else: no script, no font, no file beside it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from worldagen_sim.evaluation_page import STYLE, page_of, picture_of

MORE_STYLE = """
.accepted { color: #1c7a3e; } .rejected { color: #b3261e; }
ul.checks { list-style: none; padding: 0; margin: 10px 0; } ul.checks li { padding: 3px 0; }
ul.checks b { display: inline-block; width: 66px; }
svg text { font: 12px system-ui, sans-serif; fill: #6b7489; }
"""
STAGES = {
    "before": "evaluation before",
    "explore": "exploration",
    "adapt": "adaptation",
    "canary": "canary",
    "after": "evaluation after",
}


def draw_page(report: Mapping[str, Any], predictions_png: bytes) -> str:
    """The whole page. report: as in report.json; predictions_png: what base and adapter expected."""
    request, adapter = report["request"], report["adapter"]
    gate = adapter["gate"]
    title = f"Adaptation of {report['checkpoint']['name']} to scene {request['scene']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="faint">{escape(request["environment"])} · recipe {escape(adapter["recipe_name"])} · {report["date"][:10]} '
        f"· adapter <code>{escape(adapter['id'])}</code> · checkpoint <code>{report['checkpoint']['digest'][:12]}</code></p>",
        _cards(report),
        f'<h2>The gate: <span class="{gate["verdict"]}">{gate["verdict"]}</span></h2>',
        _checks(gate["checks"]),
        "<h2>What it expects to see, on rollouts it has not learned from</h2>",
        picture_of(predictions_png, "what base and adapter expected"),
        "<h2>Training</h2>",
        _curve(adapter["training"]["losses"]),
        draw_success_tables(report["comparison"], "Success before and after, on the same episodes"),
        "<h2>Time and origin</h2>",
        _origin(report),
    ]
    return page_of(title, STYLE + MORE_STYLE, parts)


def told_difference(one: Mapping[str, Any], as_share: bool = True) -> str:
    """A difference in words: "12.1 % -> 15.2 %, +3.0 points (-1.5 to 7.6)"."""
    scale, unit = (100, " %") if as_share else (1, "")
    digits = 1 if as_share else 2
    numbers = {key: f"{scale * one[key]:.{digits}f}" for key in ("before", "after", "low", "high")}
    points = " points" if as_share else ""
    return (
        f"{numbers['before']}{unit} → {numbers['after']}{unit}, {scale * one['difference']:+.{digits}f}{points} "
        f"(95 %: {numbers['low']} to {numbers['high']})"
    )


def _cards(report: Mapping[str, Any]) -> str:
    gate, compared = report["adapter"]["gate"], report["comparison"]
    loss = gate["reduction"]
    cards = [
        (
            "world-model loss, held-out rollouts",
            f"{-100 * loss['share']:+.1f} %",
            f"{loss['before']:.5f} → {loss['after']:.5f}<br>95 %: {-100 * loss['high']:.1f} to {-100 * loss['low']:.1f} %",
        )
    ]
    if "tasks" in compared:
        one = compared["tasks"]["all"]
        cards.append(
            (
                f"success, {one['pairs']} paired episodes", f"{100 * one['difference']:+.1f} points",
                f"{100 * one['before']:.1f} → {100 * one['after']:.1f} %<br>"
                f"95 %: {100 * one['low']:.1f} to {100 * one['high']:.1f}, p = {one['p']:.2f}",
            )
        )  # fmt: skip
    if "chains" in compared:
        one = compared["chains"]
        cards.append(
            (
                f"tasks in a row, {one['pairs']} paired chains", f"{one['difference']:+.2f}",
                f"{one['before']:.2f} → {one['after']:.2f}<br>95 %: {one['low']:.2f} to {one['high']:.2f}",
            )
        )  # fmt: skip
    told = "".join(f'<div class="card">{a}<b>{b}</b><span>{c}</span></div>' for a, b, c in cards)
    return f'<div class="cards">{told}</div>'


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    """A line each; of the canaries that passed, one for all."""
    passed = [check for check in checks if check["passed"] and check["name"].startswith("canary ")]
    rows = [_check(check["passed"], f"{check['name']}: {check['reason']}") for check in checks if check not in passed]
    if passed:
        rows.append(
            _check(True, f"canary: {len(passed)} of {len(passed) + _failed(checks)} tasks did not get significantly worse")
        )
    return f'<ul class="checks">{"".join(rows)}</ul>'


def _failed(checks: Sequence[Mapping[str, Any]]) -> int:
    return sum(not check["passed"] and check["name"].startswith("canary ") for check in checks)


def _check(passed: bool, told: str) -> str:
    mark = '<b class="accepted">passed</b>' if passed else '<b class="rejected">failed</b>'
    return f"<li>{mark} {escape(told)}</li>"


def _curve(losses: Sequence[float]) -> str:
    if len(losses) < 2:
        return f"<p>One step; the loss before it was {losses[0]:.5f}.</p>"
    width, height, left, low, high = 560, 170, 64, min(losses), max(losses)
    spread = (high - low) or 1.0
    x = [left + place * (width - left - 12) / (len(losses) - 1) for place in range(len(losses))]
    y = [14 + (high - loss) * (height - 44) / spread for loss in losses]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="loss of each step">'
        f'<polyline points="{line}" fill="none" stroke="#2456c6" stroke-width="2"/>'
        f'<text x="{left - 8}" y="18" text-anchor="end">{high:.4f}</text>'
        f'<text x="{left - 8}" y="{height - 30}" text-anchor="end">{low:.4f}</text>'
        f'<text x="{left}" y="{height - 6}">step 1</text>'
        f'<text x="{width - 12}" y="{height - 6}" text-anchor="end">step {len(losses)}</text></svg>'
        '<p class="faint">Mean loss of the windows that are learned from, before each step.</p>'
    )


def draw_success_tables(compared: Mapping[str, Any], heading: str) -> str:
    """What paired.compare_evaluations tells, HTML; nothing for nothing."""
    if not compared:
        return ""
    parts = [f"<h2>{heading}</h2>"]
    if "chains" in compared:
        parts.append(
            f"<p>Chains of five, tasks in a row: {told_difference(compared['chains'], as_share=False)}. "
            f"First task done: {told_difference(compared['first_tasks'])}, p = {compared['first_tasks']['p']:.2f}.</p>"
        )
    if "tasks" in compared:
        rows = []
        for name, one in {"all": compared["tasks"]["all"], **compared["tasks"]["tasks"]}.items():
            done = [round(one[key] * one["pairs"]) for key in ("before", "after")]
            kind = ' class="all"' if name == "all" else ""
            rows.append(
                f'<tr{kind}><td>{escape(name)}</td><td class="n">{one["pairs"]}</td><td class="n">{done[0]}</td>'
                f'<td class="n">{done[1]}</td><td class="n">{one["won"]}</td><td class="n">{one["lost"]}</td>'
                f'<td class="n">{one["p"]:.2f}</td></tr>'
            )
        parts.append(
            '<table><tr><th>task</th><th class="n">episodes</th><th class="n">done before</th><th class="n">done after</th>'
            '<th class="n">won</th><th class="n">lost</th><th class="n">p (McNemar)</th></tr>' + "".join(rows) + "</table>"
        )
    return "\n".join(parts)


def _origin(report: Mapping[str, Any]) -> str:
    rows: dict[str, Any] = {}
    for name, seconds in report["stages_s"].items():
        rows[str(STAGES.get(name, name))] = f"{seconds:.0f} s"
    machine, windows = report["machine"], report["adapter"]["windows"]
    rows |= {
        "windows": f"{windows['learned']['count']} learned, {windows['held_out']['count']} held out",
        "command": report["command"],
        "commit": report["commit"] or "unknown",
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
    }
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in rows.items()) + "</dl>"
