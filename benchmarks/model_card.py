"""The model card of a trained checkpoint, from the reports of its training and of its evaluation; no number is typed in.

    python benchmarks/model_card.py --training benchmarks/results/playtable_training.json \\
        --evaluation benchmarks/results/playtable_ABC.json --evaluation benchmarks/results/playtable_D.json \\
        --out model/worldagen/checkpoints/playtable/README.md
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LIMITS = """\
- It has seen one simulator: its arm, its light, its blocks. It is no starting point for a real robot, and nothing here says how
  it would do there.
- Its words are the training phrasings of 33 tasks behind a hashed text encoder: words it never read mean nothing to it.
- Scene D is measured, not trained on: the loss there is what adaptation in a new place is for.
- Pictures of 96 and 64 pixels: what is smaller than a pixel of those cannot be seen.
- The world model's pictures are 64 pixels wide and blurred where the hand uncovers what was hidden.
"""
TRIED = """\
90 % of the tasks and 3.5 of five in a row were aimed for. What was tried on the way, what each step gave, and what would help
next: [docs/training.md](../../../../docs/training.md#what-made-the-difference).
"""
PHRASINGS = {"training": "training words", "held-out": "held-out words"}


def draw_card(training: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown, from OUT/training.json of `worldagen train` and report.json of several `worldagen evaluate`."""
    digest = training["weights_sha256"]
    wrong = [report["checkpoint"]["digest"] for report in evaluations if report["checkpoint"]["digest"] != digest]
    if wrong:
        raise SystemExit(f"an evaluation is of other weights: {wrong[0]}; the training left {digest}")
    recipe, machine = training["recipe"], training["machine"]
    parts = [
        f"# {recipe['preset']}\n",
        "A WorldAgen network for the 33 tasks of the embedded simulator: words, two cameras and the state of the hand in, "
        "chunks of five end-effector actions and the next pictures out. `worldagen demo` and the deployments `sim_network` "
        "and `franka` drive with it.\n",
        "## Where it comes from\n",
        _table(
            ("", ""),
            [
                ("chosen", f"`{training['chosen']}` (seed and step), the best of the candidates below in closed loop"),
                ("data", _data(recipe)),
                ("recipe", "[`playtable.yaml`](../../recipes/playtable.yaml)"),
                ("command", f"`{training['command']}`"),
                ("source", f"commit `{training['commit']}`" if training.get("commit") else "not known"),
                ("machine", f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}"),
                ("date", training["date"][:10]),
                ("weights", f"sha256 `{digest}`"),
            ],
        ),
        "## Seeds\n",
        f"Success on all tasks in scenes {recipe['choice']['scenes']}, episodes of each: {recipe['choice']['episodes']}, on "
        "seeds that are neither trained nor evaluated on:\n",
        _table(
            ("seed", "step", "success"),
            [(str(one["seed"]), str(one["step"]), _percent(one["success"])) for one in training["candidates"]],
        ),
    ]
    for report in evaluations:
        parts += _evaluation(report)
    return "\n".join([*parts, "## What was tried\n", TRIED, "## Limits\n", LIMITS])


def _data(recipe: Mapping[str, Any]) -> str:
    record = recipe["record"]
    return (
        f"{record['episodes_per_task']} demonstrations by disturbed scripted experts of each task in each of the scenes "
        f"{record['scenes']}, both cameras every {record['picture_every']} control steps; seeds from {record['seed']} on; one "
        f"in {recipe['data']['held_out_every']} held out"
    )


def _evaluation(report: Mapping[str, Any]) -> list[str]:
    request, machine = report["request"], report["machine"]
    several = len(request["scenes"]) > 1
    parts = [
        f"## Scene{'s' if several else ''} {', '.join(request['scenes'])}\n",
        f"`{report['command']}`, {report['date'][:10]}, {machine['processor']}, {machine['cores']} cores. In brackets Wilson's "
        "95 % interval.\n",
    ]
    summary = []
    for name, table in report["tasks"].items():
        score = table["all"]
        figure = f"{_percent(score['rate'])} ({_percent(score['low'])} to {_percent(score['high'])})"
        summary.append(
            (f"success, {PHRASINGS.get(name, name)}", figure, f"{score['successes']} of {score['episodes']} episodes")
        )
    if report["chains"]:
        chains = report["chains"]["all"]
        summary.append(("tasks in a row, of five", f"{chains['mean_length']:.2f}", f"{chains['chains']} chains"))
    for view, horizons in (report.get("world_model") or {}).get("all", {}).items():
        for horizon, one in horizons.items():
            ahead = f"{horizon} unit{'' if horizon == '1' else 's'} ahead"
            summary.append(
                (f"world model, {view} view, {ahead}", f"{_percent(one['gain'])} less square error than copying",
                 f"{one['pictures']} pictures")
            )  # fmt: skip
    parts.append(_table(("what", "figure", "of"), summary))
    tables = report["tasks"]
    lines = [
        (f"`{task}`", *(_counted(table["tasks"][task]) for table in tables.values()))
        for task in next(iter(tables.values()))["tasks"]
    ]
    return [*parts, _table(("task", *(str(PHRASINGS.get(name, name)) for name in tables)), lines)]


def _counted(score: Mapping[str, Any]) -> str:
    return f"{score['successes']} of {score['episodes']}" if score["episodes"] else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    training, *evaluations = (json.loads(path.read_text("utf-8")) for path in (args.training, *args.evaluation))
    args.out.write_text(draw_card(training, evaluations), "utf-8")


if __name__ == "__main__":
    main()
