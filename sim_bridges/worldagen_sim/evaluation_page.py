"""The report of an evaluation as one page of HTML that needs nothing else: no script, no font, no file beside it."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Score = Mapping[str, Any]  # see scores.score

STYLE = """
:root { --ink: #1d2433; --faint: #6b7489; --line: #e3e7ee; --soft: #f5f7fa; --one: #2456c6; --two: #d97a1c; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 36px 28px 60px; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 27px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 6px; }
p { margin: 4px 0 14px; max-width: 86ch; }
.faint { color: var(--faint); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 14px; margin: 24px 0 6px; }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; background: var(--soft); }
.card b { display: block; font-size: 30px; line-height: 1.15; margin: 2px 0; font-weight: 650; }
.card span { color: var(--faint); font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; font-size: 13px; color: var(--faint); padding: 6px 10px 6px 0;
  border-bottom: 2px solid var(--line); vertical-align: bottom; }
td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.n, th.n { text-align: right; }
tr.all td { font-weight: 650; background: var(--soft); }
code { font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; }
.bar { position: relative; height: 13px; background: #edf0f5; border-radius: 3px; min-width: 150px; overflow: hidden; }
.bar i { position: absolute; left: 0; top: 0; bottom: 0; background: var(--one); border-radius: 3px 0 0 3px; }
.bar u { position: absolute; top: 4px; height: 5px; background: rgba(13, 20, 40, 0.38); border-radius: 2px; }
.held .bar i { background: var(--two); }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; background: var(--one); margin-right: 5px; }
.swatch.held { background: var(--two); }
img { width: 100%; border: 1px solid var(--line); border-radius: 8px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; font-size: 13.5px; margin: 8px 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.warning { background: #fff4e0; border: 1px solid #f0cf95; border-radius: 8px; padding: 10px 14px; margin: 16px 0; }
p.sheet { margin-top: 22px; }
@media (max-width: 760px) { .wide { overflow-x: auto; } }
@media print { body { max-width: none; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""
NAMES = {"training": "training words", "held-out": "held-out words", "plain": "plain words"}


def draw_page(
    report: Mapping[str, Any],
    sheet_png: bytes | None = None,
    *,
    title: str = "",
    above: str = "",
    below: str = "",
    style: str = "",
) -> str:
    """The whole page. report: as in report.json; sheet_png: the contact sheet of the world model.

    title: instead of the evaluation's own. above, below: further parts, HTML, before the figures and after the tables.
    """
    scenes = report["request"]["scenes"]
    title = title or f"Evaluation of {report['checkpoint']['name']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="faint">{escape(report["request"]["environment"])} {escape(report["version"])} · '
        f"{_counted(scenes, 'scene')} {escape(', '.join(scenes))} · {report['date'][:10]} · "
        f"checkpoint <code>{report['checkpoint']['digest'][:12]}</code></p>",
        "" if report["complete"] else '<div class="warning">Not all episodes have been played yet: a part of the result.</div>',
        above,
        _cards(report),
        _task_part(report),
        _chain_part(report["chains"]),
        _world_part(report.get("world_model") or {}, sheet_png),
        below,
        _origin_part(report),
    ]
    return page_of(title, STYLE + style, parts)


def page_of(title: str, style: str, parts: Iterable[str]) -> str:
    """A page of these parts, HTML each."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def picture_of(png: bytes, told: str) -> str:
    """A picture inside a page. told: what it shows."""
    return f'<img alt="{escape(told)}" src="data:image/png;base64,{b64encode(png).decode()}">'


def _cards(report: Mapping[str, Any]) -> str:
    cards = []
    for phrasings, table in report["tasks"].items():
        score = table["all"]
        interval = f"95 % interval {_percent(score['low'])} to {_percent(score['high'])}"
        told = f"{score['successes']} of {score['episodes']} episodes<br>{interval}"
        cards.append((f"success, {NAMES[phrasings]}", _percent(score["rate"]), told))
    if report["chains"]:
        chains = report["chains"]["all"]
        interval = f"95 % interval {chains['low']:.2f} to {chains['high']:.2f}"
        told = f"{chains['chains']} chains of {len(chains['rates'])}, all done in {_percent(chains['rates'][-1])}<br>{interval}"
        cards.append(("tasks in a row", f"{chains['mean_length']:.2f}", told))
    if report.get("world_model"):
        near = {view: numbers["1"] for view, numbers in report["world_model"]["all"].items()}
        shown = " / ".join(_or_dash(one["gain_pixels"], _percent) for one in near.values())
        told = f"of copying's error saved, one unit ahead<br>{' / '.join(near)} camera"
        cards.append(("world model", shown, told))
    return _tag("div", "".join(f'<div class="card">{a}<b>{b}</b><span>{c}</span></div>' for a, b, c in cards), "cards")


def _task_part(report: Mapping[str, Any]) -> str:
    tables = report["tasks"]
    if not tables:
        return ""
    first, *others = tables
    scenes = report["request"]["scenes"] if len(report["request"]["scenes"]) > 1 else []
    head = ["<th>task</th>", f'<th><span class="swatch"></span>{NAMES[first]}</th>', '<th class="n">success</th>']
    head += [f'<th class="n">{escape(scene)}</th>' for scene in scenes] + ['<th class="n">steps</th>']
    for other in others:
        head += [f'<th><span class="swatch held"></span>{NAMES[other]}</th>', '<th class="n">success</th>']
    lines = []
    for task in [None, *tables[first]["tasks"]]:
        score = _of(tables[first], task)
        cells = [
            f"<td>{'<b>all tasks</b>' if task is None else f'<code>{escape(task)}</code>'}</td>",
            _bar(score),
            _count(score),
        ]
        cells += [f'<td class="n">{_percent(_of(tables[first]["scenes"][scene], task)["rate"])}</td>' for scene in scenes]
        cells.append(f'<td class="n">{_or_dash(score["median_steps"], "{:g}".format)}</td>')
        for other in others:
            told = _of(tables[other], task)
            cells += [_bar(told, "held"), _count(told)]
        lines.append(f'<tr class="{"all" if task is None else "one"}">{"".join(cells)}</tr>')
    return (
        "<h2>Tasks</h2><p class='faint'>The dark line in a bar is Wilson's 95 % interval. Steps: control steps until success, "
        f"the median of those that succeeded; at most {report['request']['max_steps']} are allowed.</p>"
        f'<div class="wide"><table><tr>{"".join(head)}</tr>{"".join(lines)}</table></div>'
    )


def _chain_part(chains: Mapping[str, Any]) -> str:
    if not chains:
        return ""
    places = {"all scenes": chains["all"], **{f"scene {scene}": of for scene, of in chains["scenes"].items()}}
    if len(chains["scenes"]) == 1:
        del places["all scenes"]
    length = len(chains["all"]["rates"])
    head = "".join(f'<th class="n">{count} in a row</th>' for count in range(1, length + 1))
    lines = []
    for place, score in places.items():
        rates = "".join(f'<td class="n">{_percent(rate)}</td>' for rate in score["rates"])
        mean = (
            f'<td class="n"><b>{score["mean_length"]:.2f}</b></td><td class="n">{score["low"]:.2f} to {score["high"]:.2f}</td>'
        )
        lines.append(f'<tr><td>{escape(place)}</td>{rates}{mean}<td class="n">{score["chains"]}</td></tr>')
    return (
        f"<h2>Chains</h2><p class='faint'>{length} tasks one after another in one world, in CALVIN's manner: the share of "
        "chains in which so many were done before the first failure.</p>"
        f'<table><tr><th></th>{head}<th class="n">mean length</th><th class="n">95 %</th><th class="n">chains</th></tr>'
        f"{''.join(lines)}</table>"
    )


def _world_part(world: Mapping[str, Any], sheet_png: bytes | None) -> str:
    if not world:
        return ""
    lines = []
    for view, horizons in world["all"].items():
        for horizon, one in horizons.items():
            gains = "".join(f'<td class="n">{_or_dash(one[key], _percent)}</td>' for key in ("gain_pixels", "gain"))
            psnr = "".join(f'<td class="n">{_or_dash(one[key], "{:.2f}".format)}</td>' for key in ("psnr", "psnr_copied"))
            mse = "".join(
                f'<td class="n">{one[key]:.5f}</td>' for key in ("mse_pixels", "mse_pixels_copied", "mse", "mse_copied")
            )
            lines.append(
                f'<tr><td>{view}</td><td class="n">{horizon}</td>{psnr}{mse}{gains}<td class="n">{one["pictures"]}</td></tr>'
            )
    head = "".join(
        f'<th class="n">{name}</th>'
        for name in (
            "units ahead",
            "PSNR, dB",
            "copied",
            "MSE, pixels 0..1",
            "copied",
            "MSE, normalised",
            "copied",
            "gain, pixels",
            "gain, normalised",
            "pictures",
        )
    )
    picture = ""
    if sheet_png is not None:
        picture = (
            "<p class='faint sheet'>What was seen last, what was expected and what came, in the unit of each episode in which "
            "most changes. Blue frames are predictions.</p>"
            f"{picture_of(sheet_png, 'predictions of the world model')}"
        )
    return (
        "<h2>World model</h2><p class='faint'>Pictures expected on expert episodes that were never trained on, with the "
        "actions the expert took; from the second unit on, predictions are fed back. “Copied” says that nothing changes; the "
        "gain is the share of its error that the world model saves, and negative where it is worse.</p>"
        f'<div class="wide"><table><tr><th>view</th>{head}</tr>{"".join(lines)}</table></div>{picture}'
    )


def _origin_part(report: Mapping[str, Any]) -> str:
    request, machine, speed = report["request"], report["machine"], report["speed"]
    seeds = f"from {request['seed']} on, a thousand apart from task to task; chains from the same on"
    rate = f"{speed['control_steps_per_second_and_process']:.0f} a second in each process"
    told = {
        "checkpoint": f"{report['checkpoint']['name']}, sha256 {report['checkpoint']['digest']}",
        "notes": report["checkpoint"]["notes"],
        "seeds": seeds,
        "simulator": f"{request['environment']} {report['version']}{', ' + request['options'] if request['options'] else ''}",
        "played": f"{request['via']}, {request['timing']}, history {request['history']}, pictures by {report['renderer']}",
        "changed": ", ".join(f"{key} = {value}" for key, value in request.get("overrides", {}).items()),
        "control steps": f"{speed['control_steps']}, {rate}",
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}",
        "packages": ", ".join(f"{name} {version}" for name, version in machine["packages"].items()),
        "date": report["date"],
        "commit": report["commit"],
        "command": report["command"],
    }
    items = "".join(f"<dt>{name}</dt><dd>{escape(str(text))}</dd>" for name, text in told.items() if text)
    return f"<h2>Where these numbers come from</h2><dl>{items}</dl>"


def _of(table: Mapping[str, Any], task: str | None) -> Score:
    return table["all"] if task is None else table["tasks"][task]


def _bar(score: Score, kind: str = "") -> str:
    if not score["episodes"]:
        return "<td></td>"
    rate, low, high = (100 * score[key] for key in ("rate", "low", "high"))
    drawn = f'<i style="width:{rate:.1f}%"></i><u style="left:{low:.1f}%;width:{high - low:.1f}%"></u>'
    return f'<td class="{kind}"><div class="bar" title="{low:.1f} to {high:.1f} %">{drawn}</div></td>'


def _count(score: Score) -> str:
    return f'<td class="n">{_percent(score["rate"])} <span class="faint">{score["successes"]}/{score["episodes"]}</span></td>'


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-", "&minus;")


def _or_dash(number: float | None, shown: Any) -> str:
    return "&ndash;" if number is None else shown(number)


def _counted(things: Iterable[str], name: str) -> str:
    return name if len(list(things)) == 1 else f"{name}s"


def _tag(name: str, content: str, kind: str) -> str:
    return f'<{name} class="{kind}">{content}</{name}>' if content else ""
