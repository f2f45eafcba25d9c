"""What adaptation does to the world model and to success: recipes and explorations, on the same episodes before and after.

    python benchmarks/adaptation.py --scene D --recipes default,paper,published,full --seeds 0 --chains 200 --max-steps 180

Each recipe and seed is one `worldagen adapt` in a folder of its own below --out; the evaluation of the base is played once,
the exploration once a seed. Stop it at any time, and run it again to go on. Ablations are recipes too: paper_rank16, full, ...
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from record import command_line

from worldagen.provenance import describe_run
from worldagen_ros.adapting import REPORT, StoryRequest, claim, tell_story
from worldagen_ros.stack import stack_environment

RESULTS = Path(__file__).parent / "results"
TEN_STEPS = {"optimiser.steps": "10", "optimiser.clip": "1.0"}
RECIPES: dict[str, tuple[str, dict[str, str]]] = {  # name -> shipped recipe and what differs
    "default": ("default", {}),
    "paper": ("paper", {}),
    "paper_0005": ("paper", {"optimiser.learning_rate": "0.0005"}),
    "published": ("published", {}),
    **{f"paper_rank{rank}": ("paper", {"trained.rank": str(rank)}) for rank in (16, 64, 256)},
    "image_head": ("paper", {"trained.what": "image_head", "optimiser.learning_rate": "0.001", **TEN_STEPS}),
    "full": ("paper", {"trained.what": "full", "optimiser.learning_rate": "0.0005", **TEN_STEPS}),
    "free": ("default", {"optimiser.keep_actions": "0.0"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="playtable")
    parser.add_argument("--scene", default="D")
    parser.add_argument("--recipes", default="default,paper,published,full", help=f"of: {', '.join(RECIPES)}")
    parser.add_argument("--seeds", default="0", help="of explorations, with commas between them")
    parser.add_argument("--rollouts", type=int, default=66)
    parser.add_argument("--noise", type=float, default=0.15)
    parser.add_argument("--episodes", type=int, default=0, help="of each task")
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--max-steps", type=int, default=180, help="of each task")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("out/adaptation"))
    parser.add_argument("--results", type=Path, default=None, help="file (default: benchmarks/results/adaptation_SCENE.json)")
    args = parser.parse_args()
    os.environ.update(stack_environment(os.environ))
    command = command_line()
    results = args.results or RESULTS / f"adaptation_{args.scene.replace(':', '-')}.json"
    runs: list[dict[str, Any]] = []
    for seed in (int(part) for part in args.seeds.split(",")):
        for name in args.recipes.split(","):
            recipe, overrides = RECIPES[name]
            place = args.out / f"{args.scene.replace(':', '-')}_{name}_{seed}"
            request = StoryRequest(
                scene=args.scene, recipe=recipe, rollouts=args.rollouts, noise=args.noise, seed=seed, episodes=args.episodes,
                chains=args.chains, max_steps=args.max_steps, overrides=overrides,
            )  # fmt: skip
            claim(args.checkpoint, request, place)
            _share(args.out, place, request)
            report = tell_story(args.checkpoint, request, place, command, args.processes)
            runs.append(_told(name, seed, report))
            line = runs[-1]
            print(line["recipe"], line["seed"], line["verdict"], line["loss"], line["chains"], flush=True)
            results.write_text(json.dumps({**describe_run(command), "runs": runs}, indent=1) + "\n", encoding="utf-8")
    print(f"written: {results}")


def _share(root: Path, place: Path, request: StoryRequest) -> None:
    """Give a new story what another one has made already: the same evaluation of the base, the same exploration."""
    if (place / REPORT).exists():
        return
    for other in sorted(root.glob("*/adaptation.json")):
        asked = json.loads(other.read_text("utf-8"))
        same = {key: asked[key] == getattr(request, key) for key in ("scene", "seed", "rollouts", "noise", "steps")}
        played = {key: asked[key] == getattr(request, key) for key in ("scene", "episodes", "chains", "max_steps")}
        if all(same.values()):
            _copy(other.parent / "exploration", place / "exploration")
            _copy(other.parent / "frames", place / "frames")
        if all(played.values()):
            _copy(other.parent / "before", place / "before")


def _copy(source: Path, place: Path) -> None:
    if source.is_dir() and not place.exists():
        shutil.copytree(source, place)


def _told(name: str, seed: int, report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a story."""
    adapter, compared = report["adapter"], report["comparison"]
    return {
        "recipe": name,
        "seed": seed,
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
