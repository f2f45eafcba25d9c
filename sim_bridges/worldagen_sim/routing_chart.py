"""Which places of a bank drove, decision by decision, as a part of a page: a chart for each scene, averaged over episodes."""

from collections.abc import Mapping, Sequence
from html import escape

Route = Sequence[Mapping[str, float]]  # of an episode: the weights of the places, decision by decision
DECISIONS = 24  # that are shown
BAR, HIGH, GAP = 22, 120, 3  # pixels
COLOURS = ("#9aa5b8", "#2456c6", "#d97a1c", "#1f8f5f", "#b23a6f", "#6b4fc0", "#c2a512", "#3aa0b2", "#7a5230", "#d0575a")


def draw_routing(routes: Mapping[str, Sequence[Route]]) -> str:
    """routes: of each scene its episodes. Empty where there are none."""
    if not routes:
        return ""
    means = {scene: mean_weights(episodes) for scene, episodes in routes.items()}
    names = sorted({name for rows in means.values() for row in rows for name in row}, key=lambda name: (name != "base", name))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    legend = " ".join(
        f'<span><i style="display:inline-block;width:11px;height:11px;background:{colours[name]}"></i> {escape(name)}</span>'
        for name in names
    )
    parts = [
        "<h2>Which places drove</h2><p class='faint'>Mean weight of each place at the scene level, over the episodes that last "
        f"so long, at the first {DECISIONS} decisions.</p><p>{legend}</p>"
    ]
    for scene, rows in means.items():
        parts.append(f"<p>{escape(scene)}, {len(routes[scene])} episodes</p>{_chart(rows, colours)}")
    return "".join(parts)


def mean_weights(episodes: Sequence[Route], decisions: int = DECISIONS) -> list[dict[str, float]]:
    """Of each decision, over the episodes that have it: place -> mean weight; at most so many."""
    rows: list[dict[str, float]] = []
    for decision in range(min(decisions, max(map(len, episodes)))):
        here = [episode[decision] for episode in episodes if decision < len(episode)]
        names = sorted({name for weights in here for name in weights})
        rows.append({name: sum(weights.get(name, 0.0) for weights in here) / len(here) for name in names})
    return rows


def _chart(rows: Sequence[Mapping[str, float]], colours: Mapping[str, str]) -> str:
    bars = []
    for number, row in enumerate(rows):
        top = float(HIGH)
        for name, colour in colours.items():
            tall = HIGH * row.get(name, 0.0)
            if tall:
                top -= tall
                told = f"<title>decision {number + 1}: {escape(name)} {row[name]:.2f}</title>"
                place = f'x="{number * BAR}" y="{top:.1f}" width="{BAR - GAP}" height="{tall:.1f}"'
                bars.append(f'<rect {place} fill="{colour}">{told}</rect>')
    return f'<svg width="{len(rows) * BAR}" height="{HIGH}" role="img" aria-label="weights of places">{"".join(bars)}</svg>'
