"""A benchmark's report, and the comparison of two, as pages of HTML that need nothing else but the films beside them."""

from collections.abc import Mapping
from html import escape
from typing import Any

from worldagen_sim.adaptation_page import draw_success_tables, told_difference
from worldagen_sim.evaluation_page import STYLE, draw_page, page_of

MORE_STYLE = """
.alarm { background: #fdeaea; border: 2px solid #b3261e; color: #8c1d18; border-radius: 8px; padding: 12px 16px; margin: 18px 0;
  font-weight: 600; }
.films { display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 14px; }
.films figure { margin: 0; } video { width: 100%; border-radius: 8px; background: #181a1f; }
figcaption { font-size: 12.5px; color: #6b7489; overflow-wrap: anywhere; }
"""


def alarms(report: Mapping[str, Any]) -> list[str]:
    """Why a result is no benchmark's, in sentences; none for one that is."""
    told = []
    if report.get("caveat"):
        told.append(f"Not a benchmark result: {report['caveat']}")
    if departed := report["protocol"]["departures"]:
        told.append(f"Not the protocol {report['protocol']['name']}: {'; '.join(departed)}")
    if faults := report["faults"]["episodes"]:
        told.append(
            f"{faults} episodes were ended by a fault of the simulator, twice, and count as failures; the first: "
            f"{report['faults']['first']}"
        )
    return told


def draw_bench_page(report: Mapping[str, Any]) -> str:
    """The whole page. report: as in report.json."""
    protocol, adapter = report["protocol"], report["adapter"]
    above = [f'<div class="alarm">{escape(line)}</div>' for line in alarms(report)]
    above.append(f"<p>{escape(protocol['source'])}</p>")
    driven = "the base" if adapter is None else f"adapter {adapter['id']} ({adapter['verdict']})"
    above.append(f'<p class="faint">Driven by {escape(driven)}; {escape(_timing(report))}.</p>')
    return draw_page(
        report, title=f"{protocol['title'] or protocol['name']}: {report['checkpoint']['name']}",
        above="\n".join(above), below=_films(report.get("films", [])), style=MORE_STYLE,
    )  # fmt: skip


def draw_comparison_page(told: Mapping[str, Any]) -> str:
    """told: as in comparison.json."""
    lines = ["<h1>Two runs, episode by episode</h1>"]
    for side in ("before", "after"):
        one = told[side]
        drove = one.get("adapter") or {}
        lines.append(
            f"<p><b>{side}</b>: {escape(one['folder'])}, checkpoint "
            f"<code>{escape(str(one.get('checkpoint', {}).get('digest', 'unknown'))[:12])}</code>"
            f"{', adapter ' + escape(drove['id']) if drove else ''}, {escape(str(one.get('date', ''))[:10])}</p>"
        )
        if one.get("caveat"):
            lines.append(f'<div class="alarm">Not a benchmark result: {escape(one["caveat"])}</div>')
    note = "Each episode is its own control. Intervals are bootstrapped over pairs, 95 %; p is McNemar's."
    lines.append(f'<p class="faint">{note}</p>')
    lines.append(draw_success_tables(told, "Success, before and after"))
    return page_of("Two runs, episode by episode", STYLE + MORE_STYLE, lines)


def tell_comparison(told: Mapping[str, Any]) -> list[str]:
    """The comparison in a few lines of text."""
    lines = []
    if "tasks" in told:
        one = told["tasks"]["all"]
        counted = f"{one['pairs']} pairs, {one['won']} won, {one['lost']} lost, p {one['p']:.3f}"
        lines.append(f"single tasks: {told_difference(one)}, {counted}")
    if "chains" in told:
        one = told["chains"]
        lines.append(f"chains: {told_difference(one, as_share=False)} tasks in a row, {one['pairs']} pairs")
    return lines


def _timing(report: Mapping[str, Any]) -> str:
    speed, request = report["speed"], report["request"]
    told = f"{request['timing']}, through {'the ROS nodes' if request['via'] == 'ros' else 'the same parts without ROS'}"
    thinking = speed.get("decision_ms_median")
    return told if not thinking else f"{told}; a decision takes {thinking:.0f} ms in the median"


def _films(names: list[str]) -> str:
    if not names:
        return ""
    shown = [
        f'<figure><video controls preload="metadata" src="{name}"></video><figcaption>{name}</figcaption></figure>'
        for name in map(escape, names)
    ]
    heading = '<h2>Some that failed</h2><p class="faint">What the policy saw at its decisions.</p>'
    return f'{heading}<div class="films">{"".join(shown)}</div>'
