"""What adaptation does to the world model and to success: recipes and explorations, on the same episodes before and after.

    python benchmarks/adaptation.py --scenes D --recipes default,paper,published,full --seeds 0,1,2 --chains 200 --max-steps 180

Each scene, recipe and seed is one `worldagen adapt` in a folder of its own below --out; the evaluation of the base is played
once, the exploration once a seed. All adaptations come first, each on a core, as many at a time as there are --processes; then
the evaluations. Stop it at any time, and run it again to go on.
"""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from record import command_line

from worldagen.checkpoint import find_checkpoint
from worldagen.provenance import describe_run
from worldagen_ros.adapting import REQUEST, StoryRequest, adapt_once, claim, evaluation_of, explore, tell_story
from worldagen_ros.evaluating import open_evaluation
from worldagen_ros.stack import stack_environment
from worldagen_sim.evaluation import Result, Trial
from worldagen_sim.paired import compare, pair_episodes

RESULTS = Path(__file__).parent / "results"
RECIPES: dict[str, tuple[str, dict[str, str]]] = {  # name -> shipped recipe and what differs
    "default": ("default", {}),
    "paper": ("paper", {}),
    "paper_0005": ("paper", {"optimiser.learning_rate": "0.0005"}),
    "published": ("published", {}),
    **{f"paper_rank{rank}": ("paper", {"trained.rank": str(rank)}) for rank in (16, 64, 256)},
    "image_head": ("image_head", {}),
    "full": (
        "paper",
        {"trained.what": "full", "optimiser.learning_rate": "0.0005", "optimiser.passes": "10", "optimiser.clip": "1.0"},
    ),
    "free": ("default", {"optimiser.keep_actions": "0.0"}),
}

Pair = tuple[Trial, Result, Result]  # an episode, before and after
# Of a request: what makes an exploration, and an evaluation.
EXPLORED = ("scene", "seed", "rollouts", "noise", "steps", "options")
PLAYED = ("scene", "episodes", "chains", "max_steps", "options")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="playtable")
    parser.add_argument("--scenes", default="D", help="with commas between them")
    parser.add_argument("--recipes", default="default,paper,published,full", help=f"of: {', '.join(RECIPES)}")
    parser.add_argument("--seeds", default="0", help="of explorations, with commas between them")
    parser.add_argument("--rollouts", type=int, default=66)
    parser.add_argument("--noise", type=float, default=0.15)
    parser.add_argument("--episodes", type=int, default=0, help="of each task")
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--canary", type=int, default=0, help="episodes of each task for the gate")
    parser.add_argument("--max-steps", type=int, default=180, help="of each task")
    parser.add_argument("--options", default="", help='of the simulator, e.g. "noise=0.1", for exploration and evaluations')
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("out/adaptation"))
    parser.add_argument("--results", type=Path, default=None, help="file (default: benchmarks/results/adaptation_SCENES.json)")
    args = parser.parse_args()
    os.environ.update(stack_environment(os.environ))
    command = command_line()
    results = args.results or RESULTS / f"adaptation_{_plain(args.scenes)}.json"
    stories = [
        _story(args, scene, name, int(seed))
        for name in args.recipes.split(",")
        for scene in args.scenes.split(",")
        for seed in args.seeds.split(",")
    ]
    for story in stories:
        story.explore()
    with ThreadPoolExecutor(args.processes) as workers:  # each waits for a process of its own
        list(workers.map(lambda story: story.adapt(command), stories))
    runs: list[dict[str, Any]] = []
    pairs: dict[str, list[Pair]] = {}
    for story in stories:
        report = tell_story(args.checkpoint, story.request, story.place, command, args.processes)
        runs.append(_told(story, report))
        pairs.setdefault(story.name, []).extend(story.pairs())
        together = {name: _together(some) for name, some in pairs.items()}
        print(story.place.name, runs[-1]["verdict"], runs[-1]["loss"], together[story.name], flush=True)
        results.write_text(json.dumps({**describe_run(command), "together": together, "runs": runs}, indent=1) + "\n", "utf-8")
        _pass_on(stories, story)
    print(f"written: {results}")


@dataclass(frozen=True)
class Story:
    """One recipe after one exploration."""

    checkpoint: str
    name: str
    place: Path
    request: StoryRequest

    def explore(self) -> None:
        """Make its bag, unless another story of the same folder has made the same."""
        folder = claim(self.checkpoint, self.request, self.place)
        for other in _others(self.place):
            if _same(other, self.request, EXPLORED):
                _copy(other / "exploration", self.place / "exploration")
        explore(folder, self.request, self.place / "exploration")

    def adapt(self, command: str) -> None:
        """Make its adapter."""
        adapt_once(self.checkpoint, self.request, self.place, command, lambda progress: None)
        print(self.place.name, "has its adapter", flush=True)

    def pairs(self) -> list[Pair]:
        """Every episode of the evaluations before and after."""
        if self.request.episodes + self.request.chains == 0:
            return []
        folder, asked = find_checkpoint(self.checkpoint), evaluation_of(self.request)
        adapter = adapt_once(self.checkpoint, self.request, self.place, "", lambda progress: None)  # is there
        before, after = (
            open_evaluation(folder, asked, self.place / part, driver)[0].ended
            for part, driver in (("before", None), ("after", adapter))
        )
        return pair_episodes(before, after)


def _story(args: argparse.Namespace, scene: str, name: str, seed: int) -> Story:
    recipe, overrides = RECIPES[name]
    request = StoryRequest(
        scene=scene, recipe=recipe, rollouts=args.rollouts, noise=args.noise, seed=seed, episodes=args.episodes,
        chains=args.chains, canary_episodes=args.canary, max_steps=args.max_steps, overrides=overrides, options=args.options,
    )  # fmt: skip
    told = [args.options, f"canary={args.canary}" if args.canary else ""]
    return Story(args.checkpoint, name, args.out / "_".join([_plain(scene), name, str(seed), *filter(None, told)]), request)


def _pass_on(stories: Sequence[Story], told: Story) -> None:
    """Give the other stories the evaluation of the base, where they ask for the same."""
    for story in stories:
        if story is not told and _same(told.place, story.request, PLAYED):
            _copy(told.place / "before", story.place / "before")


def _others(place: Path) -> list[Path]:
    return [file.parent for file in sorted(place.parent.glob(f"*/{REQUEST}")) if file.parent != place]


def _same(other: Path, request: StoryRequest, fields: Sequence[str]) -> bool:
    asked = json.loads((other / REQUEST).read_text("utf-8"))
    return all(asked[field] == getattr(request, field) for field in fields)


def _plain(name: str) -> str:
    return name.replace(":", "-")


def _together(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Over all scenes and explorations, by kind of episode: tasks in a row, and whether the first was done.

    An episode that was played after several explorations is one episode: the mean of what came of it is what is compared.
    """
    report: dict[str, Any] = {}
    for kind in sorted({trial.kind for trial, _, _ in pairs}):
        played: dict[Any, list[tuple[int, int]]] = {}
        for trial, one, other in pairs:
            if trial.kind == kind:
                played.setdefault(trial.key, []).append((one.in_a_row, other.in_a_row))
        rows = np.array([np.mean(some, axis=0) for some in played.values()])
        firsts = np.array([np.mean(np.minimum(some, 1), axis=0) for some in played.values()])
        report[kind] = {
            name: asdict(compare(*numbers.T, yes_or_no=False)) for name, numbers in (("in_a_row", rows), ("first", firsts))
        }
    return report


def _copy(source: Path, place: Path) -> None:
    if source.is_dir() and not place.exists():
        shutil.copytree(source, place)


def _told(story: Story, report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a story."""
    adapter, compared = report["adapter"], report["comparison"]
    return {
        "scene": story.request.scene,
        "recipe": story.name,
        "seed": story.request.seed,
        "settings": adapter["recipe"],
        "verdict": adapter["gate"]["verdict"],
        "reasons": adapter["gate"]["reasons"],
        "loss": adapter["gate"]["reduction"],
        "drift": adapter["gate"]["drift"],
        "windows": adapter["windows"],
        "chains": compared.get("chains"),
        "first_tasks": compared.get("first_tasks"),
        "tasks": compared.get("tasks"),
        "adaptation_s": adapter["seconds"],
        "stages_s": report["stages_s"],
    }


if __name__ == "__main__":
    main()
